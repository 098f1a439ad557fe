"""Stage `report`: bring every figure of a run together, and write it for people and for machines."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sinternal.layout import RunMap
from sinternal.records import Measured
from sinternal.settings.recipe import Recipe
from sinternal.stages.stage import Stage, free
from sinternal.store import Artifact, Draft


class ReportConfig(BaseModel):
    """The recipe as it is run, which names the arms, seeds and variants."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    """All that was asked for."""
    variants: dict[str, Recipe]
    """The recipe of each variant, by its name."""
    agreement: str | None = None
    """Hash of the file that says how often the judge errs, so that a changed one is another input."""


def report(draft: Draft, config: ReportConfig, **run: Artifact) -> None:
    """Write `report.html`, `results.json`, `results.md` and `recipe.yaml`.

    Args:
        draft: what is written.
        config: the recipe.
        run: a `RunMap` made flat.
    """
    from sinternal.figures.gather import gather
    from sinternal.report.markdown import render_markdown
    from sinternal.report.results import to_json
    from sinternal.report.study_page import render

    data = gather(config.recipe, config.variants, RunMap[Artifact].from_flat(run))
    draft.write_json("results", to_json(data))
    render(data).write(draft.path / "report.html")
    draft.write_text("results.md", render_markdown(data))
    draft.write(data.measured, Measured, "measured")
    draft.write_text("recipe.yaml", data.recipe_yaml)
    draft.counts.update({"scores": len(data.scores), "transcripts": len(data.transcripts)})


STAGE = Stage(name="report", function=report, version=14, cost=free, counted_as="scores", shows_paths=True)
