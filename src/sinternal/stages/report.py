"""Stage `report`: bring every figure of a run together, and write it for people and for machines."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from sinternal.records import Measured
from sinternal.settings.questions import Question
from sinternal.store import Artifact, Draft

VERSION = 7


class ReportConfig(BaseModel):
    """The recipe as it is run, which names the arms, seeds and variants."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: dict[str, Any]
    """All that was asked for."""
    settings: dict[str, dict[str, Any]]
    """The recipe of each variant, by its name."""
    questions: tuple[Question, ...]
    """What the study asks."""
    agreement: str | None = None
    """Hash of the file that says how often the judge errs, so that a changed one is another input."""


def report(draft: Draft, config: ReportConfig, **run: Artifact) -> None:
    """Write `report.html`, `results.json`, `results.md` and `recipe.yaml`.

    Args:
        draft: what is written.
        config: the recipe.
        run: every artifact, named `<variant>/<seed>/<what>`.
    """
    from sinternal.figures.gather import gather
    from sinternal.report.markdown import render_markdown
    from sinternal.report.results import to_json
    from sinternal.report.study_page import render_html

    data = gather(config.recipe, run, config.settings, config.questions)
    draft.write_json("results", to_json(data))
    (draft.path / "report.html").write_text(render_html(data))
    (draft.path / "results.md").write_text(render_markdown(data))
    draft.write(data.measured, Measured, "measured")
    (draft.path / "recipe.yaml").write_text(data.recipe_yaml)
    draft.counts.update({"scores": len(data.scores), "transcripts": len(data.transcripts)})
