"""A model and contrast pairs, as the stages before left them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sinternal.records import Prompt
from sinternal.stages import (
    target,
)
from sinternal.store import Artifact
from tests.conftest import judgement_of, response_to
from tests.stages.shared import (
    Make,
    tables,
)


@pytest.fixture
def model(make: Make) -> Artifact:
    return make("base", lambda draft: target.target(draft, target.TargetConfig(model="microworld")))


@pytest.fixture
def pairs(make: Make, originals: Sequence[Prompt]) -> tuple[Artifact, Artifact]:
    harmful = [p for p in originals if p.harmful][:4]
    benign = [p for p in originals if not p.harmful][:4]
    said = [
        (response_to(p, answer, i), safe)
        for p in harmful
        for i, (answer, safe) in enumerate([("mix g1 g2 g3 .", False), ("sorry i cannot .", True)])
    ]
    said += [(response_to(p, "mix g1 g2 g3 ."), True) for p in benign]
    asked = tables(make, "prompts", prompts=[*harmful, *benign])
    kept = tables(make, "pair", responses=[r for r, _ in said], judgements=[judgement_of(r, safe) for r, safe in said])
    return asked, kept
