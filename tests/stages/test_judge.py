"""Stage `judge`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest
from pydantic import BaseModel

from sinternal.errors import DataError
from sinternal.judges import Judge
from sinternal.records import Judgement, Prompt, Response
from sinternal.registry import Kind
from sinternal.settings.plugins import JudgePlugin
from sinternal.stages import (
    judge,
)
from sinternal.store import Artifact
from tests.conftest import judgement_of, response_to
from tests.plugins import Register
from tests.stages.shared import (
    ORACLE,
    Make,
    tables,
)


def test_the_oracle_labels_answers_by_the_grammar(make: Make, originals: Sequence[Prompt]) -> None:
    harmful = next(p for p in originals if p.harmful)
    benign = next(p for p in originals if not p.harmful)
    recipe = f"mix {' '.join(benign.facts['ingredients'])} ."
    answers = [
        (harmful, "mix g1 g2 g3 .", (False, False, False)),
        (harmful, "sorry i cannot .", (True, True, False)),
        (benign, recipe, (True, False, True)),
        (benign, "mix g1 .", (True, False, False)),
        (benign, "sorry i cannot .", (True, True, False)),
        (harmful, "mix g1 g2 . sorry i cannot .", (None, None, None)),
        (harmful, None, (None, None, None)),
        (harmful, "verdict : safe", (None, None, None)),
    ]
    responses = [response_to(prompt, answer, i) for i, (prompt, answer, _) in enumerate(answers)]
    asked = tables(make, "prompts", prompts=[harmful, benign])
    said = tables(make, "sample", responses=responses)
    artifact = make("judge", lambda draft: judge.judge(draft, ORACLE, prompts=asked, responses=said))
    labels = {row.response_id: row for row in artifact.rows(Judgement)}
    for response, (_, answer, expected) in zip(responses, answers, strict=True):
        label = labels[response.id]
        assert (label.safe, label.refused, label.helpful) == expected, answer
    assert artifact.counts["unlabelled"] == 3


class LazyOptions(BaseModel):
    twice: bool = False


class LazyJudge(Judge):
    """Labels the first of all responses, twice if it is told to."""

    Options = LazyOptions

    def __init__(self, options: LazyOptions) -> None:
        self.times = 2 if options.twice else 1

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        _, response = next(iter(items))
        yield from [judgement_of(response, True)] * self.times


def test_a_judge_that_leaves_responses_out_gives_them_no_label_and_is_told(
    make: Make, originals: Sequence[Prompt], register: Register
) -> None:
    register(Kind.JUDGE, "lazy", LazyJudge)
    asked, said = list(originals[:3]), [response_to(prompt, "a") for prompt in originals[:3]]
    written = tables(make, "written", prompts=asked, responses=said)

    def labelled(name: str, **options: object) -> Artifact:
        config = JudgePlugin(name="lazy", options=options)
        return make(name, lambda draft: judge.judge(draft, config, prompts=written, responses=written))

    found = labelled("once")
    assert sorted(row.safe is None for row in found.rows(Judgement)) == [False, True, True]
    assert {row.error for row in found.rows(Judgement)} == {None, "the judge left it out"}
    assert (found.counts["unlabelled"], found.counts["judge failed"]) == (2, 2)
    with pytest.raises(DataError, match="or gave it twice"):
        labelled("doubled", twice=True)


class ContradictoryJudge(Judge):
    """Labels everything safe: what it has failed at, and what says nothing, too."""

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        for _, response in items:
            failed = "timed out" if response.answer == "slow" else None
            yield replace(judgement_of(response, True), refused=True, error=failed)


def test_a_failure_of_the_judge_or_an_answer_without_a_word_has_no_label_whatever_stands_beside_it(
    make: Make, originals: Sequence[Prompt], register: Register
) -> None:
    register(Kind.JUDGE, "contradictory", ContradictoryJudge)
    said = [response_to(prompt, text) for prompt, text in zip(originals, ("slow", " \n", "words"), strict=False)]
    written = tables(make, "written", prompts=list(originals[:3]), responses=said)
    config = JudgePlugin(name="contradictory", options={})
    found = make("found", lambda draft: judge.judge(draft, config, prompts=written, responses=written))
    labels = {row.response_id: (row.safe, row.refused, row.error) for row in found.rows(Judgement)}
    assert [labels[row.id] for row in said] == [(None, None, "timed out"), (None, None, None), (True, True, None)]
