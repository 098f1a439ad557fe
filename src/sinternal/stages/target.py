"""Stage `target`: the untouched target model, found or built."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sinternal.errors import DataError, ModelError
from sinternal.models.resolve import ModelSource, resolve_model
from sinternal.registry import Kind, names
from sinternal.settings.plugins import ModelSourcePlugin
from sinternal.stages.stage import Stage, free
from sinternal.store import Artifact, Draft
from sinternal.store.files import remove

MODEL_FOLDER = "model"
SERVED = "served"
"""Name of the file that holds a served model's name."""
LARGE = 64 << 20
"""Bytes above which a ready-made model is linked, not copied."""


class TargetConfig(BaseModel):
    """Which model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """A model directory, a Hugging Face id, or the name of a registered source."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face model."""
    options: dict[str, object] = {}
    """For a registered source: how its model is made."""
    seed: int | None = None
    """Build a model of its own from this seed; None takes the ready-made one where there is one."""
    trained: bool = False
    """Whether arms are trained on it: a chat template that cannot be trained with is then refused at once."""
    fingerprint: str | None = None
    """Hash of the model, so that a changed one is another input."""
    served: bool = False
    """Whether a server runs it under this name, so that nothing of it is here."""


def target(draft: Draft, config: TargetConfig) -> None:
    """Put the model, or for a large one a link to it, into the artifact's `model` folder.

    Raises:
        ModelError: there is no such model, it cannot be downloaded, or its chat template cannot be trained with.
    """
    if config.served:
        draft.write_json(SERVED, config.model)
        return
    _put_model(draft, config)
    template = _template(draft.path / MODEL_FOLDER, config)
    draft.write_json("template", template)
    if not template["keeps_thinking"]:
        draft.notes.append(
            "the chat template deletes the thinking of finished turns; training renders its rows with TRL's variant"
        )


def _put_model(draft: Draft, config: TargetConfig) -> None:
    folder = draft.path / MODEL_FOLDER
    remove(folder)
    if config.model not in names(Kind.MODEL):
        try:
            path = resolve_model(config.model, config.revision)
        except ModelError as error:
            raise ModelError(f"target.model: {error}") from error
        folder.symlink_to(path.resolve(), target_is_directory=True)
        return
    source: ModelSource = ModelSourcePlugin(name=config.model, options=config.options).open()
    ready = source.locate() if config.seed is None else None
    if ready is None:
        source.build(config.seed or 0, folder, draft.progress)
    elif _size(ready) > LARGE:
        folder.symlink_to(ready.resolve(), target_is_directory=True)
    else:
        shutil.copytree(ready, folder)


def _template(folder: Path, config: TargetConfig) -> dict[str, object]:
    """What the model's chat template does with the thinking, for the report."""
    from sinternal.models.loading import open_tokenizer
    from sinternal.models.vocabulary import check_vocabulary
    from sinternal.prompting import chat

    try:
        tokenizer = open_tokenizer(folder)
        check_vocabulary(folder, tokenizer, chat.turn_tokens(tokenizer))
    except ModelError as error:
        raise ModelError(f"target.model: {config.model!r}: {error}") from error
    if config.trained:
        try:
            chat.template_to_train_with(tokenizer)
        except DataError as error:
            raise ModelError(f"target.model: {config.model!r}: {error}") from error
    return {"thinking": chat.thinking_style(tokenizer), "keeps_thinking": chat.keeps_thinking(tokenizer)}


def model_name(model: Artifact) -> str:
    """What an engine opens an artifact's model with: its directory, or its name on a server."""
    return str(model.json(SERVED)) if model.has(f"{SERVED}.json") else str(model_path(model))


def model_path(model: Artifact) -> Path:
    """The model directory inside an artifact of `target`, `sft` or `grpo`. Raises StoreError if it is damaged."""
    return model.folder(MODEL_FOLDER)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def check_same_template(start: Artifact, target: Artifact) -> None:
    """Make sure that a model from elsewhere has the target's chat template.

    Raises:
        ModelError: their chat templates render a message differently.
    """
    from sinternal.models.loading import open_tokenizer
    from sinternal.prompting import chat

    messages = [("user", "hello")]
    ours, theirs = (chat.generation_prompt(open_tokenizer(model_path(model)), messages) for model in (target, start))
    if ours != theirs:
        raise ModelError(
            f"the chat template of the start model renders a message as {theirs.text[-80:]!r}, that of the target as "
            f"{ours.text[-80:]!r}; give the start the target's chat template, or study it as a target of its own"
        )


STAGE = Stage(
    name="target",
    function=target,
    version=3,
    cost=free,
    counted_as="model",
)
