"""Stage `diagnosis`: what a model's answers and its verdicts on them say together, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from sinternal.records import Judgement, Prompt, Response, Verification
from sinternal.settings.diagnosis import Diagnosis
from sinternal.stages.stage import Stage, free
from sinternal.store import Artifact, Draft

if TYPE_CHECKING:
    from sinternal.figures.diagnosis import Diagnosed


class DiagnosisConfig(BaseModel):
    """The settings as they are run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Diagnosis
    """All that was asked for."""


def diagnosis(
    draft: Draft,
    config: DiagnosisConfig,
    *,
    prompts: Artifact,
    responses: Artifact,
    judgements: Artifact,
    verifications: Artifact,
) -> None:
    """Write `diagnosis.json`, `diagnosis.html` and `diagnosis.md`.

    Raises:
        DataError: no answer has a label, so that there is nothing to compare a verdict with.
    """
    from sinternal.report.diagnosis_page import render, render_markdown, to_json
    from sinternal.report.diagnosis_words import caveats

    diagnosed = diagnosis_of(
        config.settings,
        prompts=prompts,
        responses=responses,
        judgements=judgements,
        verifications=verifications,
    )
    draft.write_json("diagnosis", to_json(diagnosed))
    render(diagnosed).write(draft.path / "diagnosis.html")
    draft.write_text("diagnosis.md", render_markdown(diagnosed))
    draft.counts["figures"] = len(diagnosed.figures)
    draft.notes.extend(caveats(diagnosed))


def diagnosis_of(
    settings: Diagnosis, *, prompts: Artifact, responses: Artifact, judgements: Artifact, verifications: Artifact
) -> Diagnosed:
    """All figures of a diagnosis.

    Raises:
        DataError: no answer has a label, so that there is nothing to compare a verdict with.
    """
    from sinternal.figures.calls import spent_on
    from sinternal.figures.diagnosis import Source, Times, diagnose
    from sinternal.figures.outcomes import join
    from sinternal.figures.provenance import plugin_of

    outcomes = join(
        prompts.rows(Prompt), responses.rows(Response), judgements.rows(Judgement), verifications.rows(Verification)
    )
    times = Times(responses.manifest["started"], verifications.manifest["started"])
    spent = spent_on((prompts, responses, judgements, verifications))
    version = judgements.manifest["packages"]["sinternal"]
    plugin = plugin_of(judgements, settings.judge.name)
    return diagnose(settings, outcomes, times, Source(version, plugin, spent, spent_on([judgements])))


STAGE = Stage(
    name="diagnosis",
    function=diagnosis,
    version=11,
    cost=free,
    counted_as="figures",
    shows_paths=True,
)
