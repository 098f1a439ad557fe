"""Stage `sample`."""

from __future__ import annotations

from collections.abc import Sequence

from sinternal.records import Prompt, Response
from sinternal.settings.sampling import Sampling
from sinternal.stages import (
    sample,
)
from sinternal.store import Artifact
from tests.stages.shared import (
    ENGINE,
    Make,
    tables,
)


def test_sample_writes_n_responses_that_lead_back_to_their_prompts(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals[:10])
    config = sample.SampleConfig(engine=ENGINE, sampling=Sampling(n=3, temperature=1, max_tokens=64), seed=0)
    artifact = make("sample", lambda draft: sample.sample(draft, config, prompts=asked, model=model))
    rows = artifact.rows(Response)
    assert len(rows) == len({row.id for row in rows}) == 30
    assert {row.prompt_id for row in rows} == {p.id for p in originals[:10]}
    assert artifact.counts["truncated"] == 0
