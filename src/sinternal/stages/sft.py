"""Stage `sft`: fine-tune the base on one arm's examples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pydantic import BaseModel, ConfigDict

from sinternal.engines import TemplateOptions
from sinternal.extras import TRAINING
from sinternal.records import Example
from sinternal.settings.training import SftSettings, cautions
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import MODEL_FOLDER, check_same_template, model_path
from sinternal.store import Artifact, Draft


class SftConfig(BaseModel):
    """How, and from which seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: SftSettings
    """How."""
    speech: TemplateOptions = TemplateOptions()
    """The chat-template options of the engine that measures the model."""
    seed: int
    """Seed of the order of the rows and of new weights."""
    steps_for: int | None = None
    """Rows that `settings.steps` are meant for; other set sizes get steps in proportion, so that each row is seen
    equally often. None: the same steps for any set."""


def sft(
    draft: Draft, config: SftConfig, *, examples: Artifact, model: Artifact, target: Artifact | None = None
) -> None:
    """Write the folder `model`, which holds a model or a LoRA adapter, and the training log `training.json`.

    Args:
        draft: what is written.
        config: how.
        examples: what to train on.
        model: the start.
        target: the study's own target, if the start comes from elsewhere: both must have the same chat template.
    """
    from sinternal.training import launch, tracking
    from sinternal.training.sft import train

    if target is not None:
        check_same_template(model, target)
    rows = examples.rows(Example)
    settings = settings_for(config, len(rows))
    out = draft.path / MODEL_FOLDER
    draft.scaffolding.append(out.with_suffix(".checkpoints"))
    job = partial(
        train,
        *(model_path(model), rows, settings, config.seed, out),
        speech=config.speech,
        tracking=tracking.current(),
    )
    log = launch.run(job, draft.progress, out.with_suffix(".launch"))
    draft.write_json("training", log.training)
    draft.notes.extend([*cautions(settings), *log.notes])
    draft.counts.update({"examples": len(rows), "steps": settings.steps})


def settings_for(config: SftConfig, rows: int) -> SftSettings:
    """How a set of so many rows is trained on: in its steps, or in as many as show each row equally often."""
    if config.steps_for is None:
        return config.settings
    steps = max(1, round(config.settings.steps * rows / config.steps_for))
    return config.settings.model_copy(update={"steps": steps})


def _cost(config: SftConfig, _inputs: Mapping[str, int]) -> Costs:
    return Costs(config.settings.steps * config.settings.batch)


STAGE = Stage(
    name="sft",
    function=sft,
    version=3,
    cost=_cost,
    counted_as="examples",
    needs=TRAINING,
)
