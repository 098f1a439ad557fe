"""Stage `demonstrate`."""

from __future__ import annotations

from sinternal.experts import Demonstration
from sinternal.records import Prompt, Response
from sinternal.stages import (
    demonstrate,
)
from sinternal.store import Artifact
from tests.stages.shared import (
    EXPERT,
    Make,
)


def test_demonstrations_are_right_and_only_the_deliberative_ones_reason_about_safety(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    harmful = {row.id: row.harmful for row in asked.rows(Prompt)}
    for kind in Demonstration:
        config = demonstrate.DemonstrateConfig(expert=EXPERT, kind=kind, seed=0)
        artifact = make(
            f"demonstrate-{kind}", lambda draft, c=config: demonstrate.demonstrate(draft, c, prompts=asked, pairs=kept)
        )
        rows = artifact.rows(Response)
        assert len(rows) == 8
        for row in rows:
            assert (row.answer == "sorry i cannot .") == harmful[row.prompt_id]
            checks = "forbidden" in (row.thinking or "") or "allowed" in (row.thinking or "")
            assert checks == (kind is not Demonstration.REFUSAL)
