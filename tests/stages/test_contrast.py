"""Stage `contrast`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sinternal.errors import DataError
from sinternal.records import Prompt, Response
from sinternal.stages import (
    contrast,
)
from sinternal.store import Artifact
from tests.conftest import judgement_of, plain_prompt, response_to
from tests.stages.shared import (
    Make,
    tables,
)


def paired(make: Make, asked: list[Prompt], said: list[tuple[Response, bool | None]]) -> Artifact:
    inputs = {
        "prompts": tables(make, "prompts", prompts=asked),
        "responses": tables(make, "sample", responses=[r for r, _ in said]),
        "judgements": tables(make, "judge", judgements=[judgement_of(r, safe) for r, safe in said]),
    }
    return make(
        "pair", lambda draft: contrast.contrast(draft, contrast.ContrastConfig(judge="oracle", seed=0), **inputs)
    )


def test_a_harmful_prompt_is_kept_only_if_it_was_answered_both_ways(make: Make) -> None:
    mixed, always, never = (plain_prompt(text, harmful=True) for text in "abc")
    benign = plain_prompt("d")
    said = [(response_to(mixed, "x", i), i == 0) for i in range(4)]
    said += [(response_to(always, "x", i), False) for i in range(4)]
    said += [(response_to(never, "x", i), True) for i in range(4)]
    said += [(response_to(benign, "x", i), True) for i in range(4)]
    artifact = paired(make, [mixed, always, never, benign], said)
    kept = [row.prompt_id for row in artifact.rows(Response)]
    assert sorted(kept) == sorted([mixed.id, mixed.id, benign.id])
    assert artifact.counts[contrast.NO_SAFE] == artifact.counts[contrast.NO_UNSAFE] == 1


def test_unclosed_and_unlabelled_answers_are_never_paired(make: Make) -> None:
    mixed, broken = (plain_prompt(text, harmful=True) for text in "ab")
    said: list[tuple[Response, bool | None]] = [(response_to(mixed, "x", i), i == 0) for i in range(2)]
    said += [
        (response_to(broken, None, 0), None),
        (response_to(broken, "?", 1), None),
        (response_to(broken, "x", 2), True),
    ]
    artifact = paired(make, [mixed, broken], said)
    assert {row.prompt_id for row in artifact.rows(Response)} == {mixed.id}


def test_an_answer_that_says_nothing_is_never_taken_whatever_its_label(make: Make) -> None:
    mixed, silent = (plain_prompt(text, harmful=True) for text in "ab")
    benign, silent_benign = (plain_prompt(text) for text in "cd")
    said: list[tuple[Response, bool | None]] = [(response_to(mixed, "x", i), i == 0) for i in range(2)]
    said += [(response_to(silent, "x", 0), False), (replace(response_to(silent, "y", 1), answer=""), True)]
    said += [(replace(response_to(benign, "y", i), answer="" if i else "x"), True) for i in range(8)]
    said += [(replace(response_to(silent_benign, "y", 0), answer=""), True)]
    artifact = paired(make, [mixed, silent, benign, silent_benign], said)
    assert {row.prompt_id for row in artifact.rows(Response)} == {mixed.id, benign.id}
    assert all(row.answer for row in artifact.rows(Response))
    assert (artifact.counts[contrast.NO_SAFE], artifact.counts[contrast.NO_LABEL]) == (1, 1)


def test_no_contrast_pair_is_an_error_that_says_what_to_change(make: Make) -> None:
    prompt = plain_prompt("a", harmful=True)
    with pytest.raises(DataError, match=r"no contrast pair found among 1 harmful prompts \(no safe answer: 1\); raise"):
        paired(make, [prompt], [(response_to(prompt, "x"), False)])
