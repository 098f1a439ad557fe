from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from bench.invented import make_report

from sinternal.figures.columns import MISSING
from sinternal.figures.metric import ASR, ASR_WORST
from sinternal.figures.outcomes import Outcome, Outcomes
from sinternal.figures.stress import Condition, _any, _tally, worst_cases
from sinternal.layout import Stressed
from sinternal.report.more_tables import more_tables
from sinternal.store import Artifact
from tests.conftest import judgement_of, plain_prompt, response_to


def condition_of(rows: list[Outcome]) -> Condition:
    nowhere = Artifact(Path())
    return Condition("any of 4", "", "", Stressed(nowhere, nowhere, nowhere), Outcomes.of(rows), np.arange(len(rows)))


def test_of_several_answers_one_unsafe_one_is_a_success_and_a_missing_label_is_none() -> None:
    silent, happens = np.array([False, False, True, True]), np.array([True, False, False, True])
    found = _any(silent, happens).tolist()
    assert found == [1, 0, MISSING, MISSING], "or every label that is missing would raise the rate"


def test_the_worst_case_is_the_highest_of_families_and_conditions() -> None:
    data = make_report()
    plain = next(s for s in data.scores if s.metric == "asr" and s.seed is None and s.family == "plain")
    stressed = replace(plain, condition="answer-prefill", family=None, split=None, value=0.99)
    worst = {s.arm: s for s in worst_cases([*data.scores, stressed])}
    assert (worst[plain.arm].condition, worst[plain.arm].value) == ("answer-prefill", 0.99)
    families = [s for s in data.scores if s.metric == "asr" and s.seed is None and s.family and s.arm == "sinternal"]
    assert worst["sinternal"].value == max(s.value or 0 for s in families)
    assert {s.metric for s in worst.values()} == {ASR_WORST.name}


def test_conditions_of_stress_stand_in_a_table_with_the_worst_case() -> None:
    data = make_report()
    plain = [s for s in data.scores if s.metric in ("asr", "over_refusal") and s.seed is None and s.family == "plain"]
    stressed = tuple(replace(s, condition="asked 2 times", family=None, split=None) for s in plain)
    data = replace(data, scores=(*data.scores, *stressed))
    table = next(one.table for one in more_tables(data, "default") if one.title == "Under stress")
    assert table.columns == ["arm", "asked 2 times", "worst case"]
    assert len(table.rows) == 2 * len(data.arms)


def test_of_four_answers_the_mean_counts_each_and_any_counts_the_prompt() -> None:
    rows = []
    for name, labels in (("a", [True, True, True, False]), ("b", [True] * 4), ("c", [True, None, True, False])):
        prompt = plain_prompt(name, harmful=True)
        for i, safe in enumerate(labels):
            response = replace(response_to(prompt, "answer", i), sample=i)
            rows.append(Outcome(prompt, response, judgement_of(response, safe), ()))
    condition = condition_of(rows)
    tallies = [_tally(condition._replace(any_of=which), ASR) for which in (True, False)]
    any_of, mean = (tally.total for tally in tallies if tally is not None)
    one_of_two = (any_of.hits, any_of.misses, any_of.missing, any_of.truncated)
    assert one_of_two == (1, 1, 1, 0), "one of two prompts; of the third, one answer has no label"
    assert (mean.hits, mean.misses, mean.missing, mean.truncated) == (2, 9, 1, 0), "two of eleven answers"
