"""Stage `self_verify`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from sinternal.records import Prompt, Response, Verification
from sinternal.settings.sampling import Sampling
from sinternal.stages import (
    self_verify,
)
from sinternal.store import Artifact
from tests.conftest import response_to
from tests.stages.shared import (
    ENGINE,
    TASK,
    Make,
    tables,
)


def test_every_answer_is_verified_with_the_specification_and_without(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals[:8])
    said = tables(
        make, "sample", responses=[response_to(p, None if i == 0 else "mix g1 .") for i, p in enumerate(originals[:8])]
    )
    config = self_verify.SelfVerifyConfig(engine=ENGINE, sampling=Sampling(max_tokens=64), verification=TASK, seed=0)
    artifact = make(
        "verify", lambda draft: self_verify.self_verify(draft, config, prompts=asked, responses=said, model=model)
    )
    rows = artifact.rows(Verification)
    answered = {row.id for row in said.rows(Response) if row.answer is not None}
    assert {(row.response_id, row.with_spec) for row in rows} == {(i, spec) for i in answered for spec in (True, False)}
    assert all(("check norm e" in row.prompt) == row.with_spec for row in rows)
    assert all(row.label is None for row in rows), "labels are joined when figures are computed"


def test_each_answer_is_verified_as_often_as_asked_with_the_probability_of_its_verdict(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals[:6])
    said = tables(make, "responses", responses=[response_to(prompt, "mix g1 g2 g3 .") for prompt in originals[:6]])
    config = self_verify.SelfVerifyConfig(
        engine=ENGINE,
        sampling=Sampling(n=3, temperature=1.0, max_tokens=64, top_logprobs=20),
        verification=TASK,
        seed=0,
    )
    found = make(
        "verify", lambda draft: self_verify.self_verify(draft, config, prompts=asked, responses=said, model=model)
    )
    rows = found.rows(Verification)
    assert len(rows) == len({row.id for row in rows}) == 6 * 2 * 3
    assert {row.sample for row in rows} == {0, 1, 2}
    for row in rows:
        assert (row.p_unsafe is None) is (row.verdict is None)


def test_an_answer_is_verified_in_the_ways_that_are_asked_for(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals[:4])
    said = tables(make, "responses", responses=[response_to(prompt, "mix g1 g2 g3 .") for prompt in originals[:4]])
    config = self_verify.SelfVerifyConfig(
        engine=ENGINE, sampling=Sampling(max_tokens=64), verification=TASK, specification=("absent",), seed=0
    )
    found = make(
        "verify", lambda draft: self_verify.self_verify(draft, config, prompts=asked, responses=said, model=model)
    )
    assert [row.with_spec for row in found.rows(Verification)] == [False] * 4
    assert self_verify.STAGE.cost(config, {"responses": 4}).rows == 4
    with pytest.raises(ValidationError, match="distilled is a way to train"):
        self_verify.SelfVerifyConfig.model_validate({**config.model_dump(), "specification": ["distilled"]})
