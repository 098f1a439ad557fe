"""A trained arm as a folder that transformers, PEFT and vLLM load: weights or adapter, tokenizer, and a model card."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinternal.errors import ModelError
from sinternal.extras import is_there
from sinternal.integrations.hub.cards import ModelFacts, model_card, public_recipe
from sinternal.integrations.hub.folder import CARD, RECIPE, new_folder
from sinternal.models.resolve import ADAPTER, ModelSource, adapter_base
from sinternal.registry import Kind, names
from sinternal.settings.arms import TrainOn
from sinternal.settings.plugins import ModelSourcePlugin
from sinternal.stages.target import MODEL_FOLDER, model_path
from sinternal.store import Artifact
from sinternal.store.files import copy_file, write_text
from sinternal.study.named_arm import ArmOfRun

GENERATION = "generation_config.json"
STOPS = "eos_token_id"
PLACES = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file")
"""Fields of JSON files in which libraries keep where on this machine something was loaded from."""
_CACHED = re.compile(r"/models--(?P<owner>[\w.]+(?:-[\w.]+)*)--(?P<name>[\w.]+(?:-[\w.]+)*)/snapshots/")
"""Where the hub's library keeps what it downloads."""


@dataclass
class ExportedModel:
    """What was written."""

    folder: Path
    """Where."""
    adapter: bool
    """Whether it is a LoRA adapter, which needs its base."""
    base: str
    """The model that it was trained from, as the folder names it."""
    bytes: int
    """Size of all files together."""
    notes: list[str] = field(default_factory=list)
    """What whoever takes it should know."""


def export_model(
    arm: ArmOfRun, to: Path, *, base: str | None = None, licence: str | None = None, merge: bool = False
) -> ExportedModel:
    """Write a trained arm as a folder of its own.

    Args:
        arm: which.
        to: the folder, new or empty.
        base: what others call the model that it was trained from: an id on the hub, or a path; by default what the
            recipe says.
        licence: of the weights, as the hub names licences; by default that of the base's own card, if there is one.
        merge: whether an adapter is merged into its base.

    Raises:
        SInternalError: the arm is not trained, its model is not there, or the folder cannot be written.
    """
    run, recipe = arm.run, arm.recipe
    trained = next(each for each in recipe.arms if each.name == arm.arm)
    if trained.train_on is TrainOn.NOTHING:
        others = [each.name for each in recipe.arms if each.train_on is not TrainOn.NOTHING]
        hint = f"; trained are: {', '.join(others)}" if others else ""
        raise ModelError(f"{arm.arm!r} is not trained: its model is {trained.start or recipe.target.model!r}{hint}")
    made = run.model_artifact(arm.arm, arm.seed, arm.variant)
    source = model_path(made)
    located = adapter_base(source)
    named = base or (_target_name(arm) if located is None else _base_name(arm, located))
    notes = [arm.note] if arm.note else []
    licence = licence or _licence(recipe.target.model if located is None else located) or _licence(recipe.target.model)
    if licence is None:
        notes.append("no card of the base that is here names a licence: the new card says so; --license names one")
    adapter = located is not None and not merge
    if merge and located is None:
        notes.append("--merge changes nothing: the arm has weights of its own, and is no adapter")
    if adapter and not is_public(named):
        notes.append(
            f"the adapter names its base by the path {named}, which holds on this machine alone: for others, give "
            "--base OWNER/NAME, or --merge"
        )
    with new_folder(to) as folder:
        if located is not None and merge:
            _write_merged(source, folder)
        else:
            _copy(source, folder)
        if adapter:
            revision = recipe.target.revision if named == recipe.target.model else None
            _name_base(folder / ADAPTER, named, revision)
        else:
            notes += _write_stops(source, folder)
        _leave_out_places(folder)
        facts = ModelFacts(
            arm=arm,
            adapter=adapter,
            merged=located is not None and merge,
            base=named if is_public(named) else _spoken_name(arm, named),
            licence=licence,
            packages=dict(made.manifest["packages"]),
            made=float(made.manifest["started"]),
        )
        write_text(folder / CARD, model_card(facts))
        write_text(folder / RECIPE, public_recipe(run.folder))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return ExportedModel(to, adapter, named, size, notes)


def _copy(source: Path, folder: Path) -> None:
    """Copy files with the modes that new files have: weights in a store may be their owner's alone."""
    for directory, _, files in os.walk(source):
        here = folder / Path(directory).relative_to(source)
        here.mkdir(exist_ok=True)
        for name in files:
            if name not in (CARD, RECIPE):
                copy_file(Path(directory, name), here / name)


def _leave_out_places(folder: Path) -> None:
    """Take out of settings where on this machine something was loaded from."""
    for files in (folder.rglob("*_config.json"), folder.rglob("config.json")):
        for each in files:
            content = json.loads(each.read_text())
            kept = {
                name: value
                for name, value in content.items()
                if name not in PLACES or not Path(str(value)).is_absolute()
            }
            if kept != content:
                write_text(each, json.dumps(kept, indent=2) + "\n")


def _write_merged(source: Path, folder: Path) -> None:
    """Merge an adapter into its base; it is computed in float32, and stored as the base is."""
    from sinternal.models.loading import apply_adapter, load_base, open_tokenizer

    base = load_base(source)
    stored_as = base.dtype
    apply_adapter(base.float(), source).merge_and_unload().to(stored_as).save_pretrained(folder)
    open_tokenizer(source).save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _name_base(file: Path, base: str, revision: str | None) -> None:
    content = json.loads(file.read_text()) | {"base_model_name_or_path": base, "revision": revision}
    write_text(file, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _write_stops(source: Path, folder: Path) -> list[str]:
    """Make whoever loads the folder stop where a turn ends: a base's own settings may name other tokens."""
    from sinternal.models.loading import open_tokenizer, stop_tokens
    from sinternal.prompting.chat import turn_ends

    stops = stop_tokens(source)
    known = [stops] if isinstance(stops, int) else list(stops or [])
    ends = turn_ends(open_tokenizer(source), stops)
    file = folder / GENERATION
    content: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    if set(ends) == set(known) and STOPS in content:
        return []
    write_text(file, json.dumps({**content, STOPS: ends if len(ends) > 1 else ends[0]}, indent=2) + "\n")
    return [f"{GENERATION} now names the tokens that end a turn ({', '.join(map(str, ends))}), so that all stop there"]


def _target_name(arm: ArmOfRun) -> str:
    """What the study's own target is called: an id, or the absolute path of a directory."""
    model = arm.recipe.target.model
    if model in names(Kind.MODEL):
        return model
    path = Path(model).expanduser()
    return str(path.resolve()) if path.is_dir() else model


def _base_name(arm: ArmOfRun, located: str) -> str:
    """What an adapter's base is called: the target by its own name; another arm's model by where it lies."""
    run = arm.run
    targets = {path.resolve() for path in run.store.root.glob(f"target/*/{MODEL_FOLDER}")}
    target = _target_name(arm)
    if (cached := _CACHED.search(Path(located).as_posix())) is not None:
        return f"{cached['owner']}/{cached['name']}"
    if Path(located).is_dir() and Path(located).resolve() not in targets:
        return str(Path(located).resolve())
    if target in names(Kind.MODEL):  # what a package ships has no name that others would know
        return str(Path(located).resolve())
    return target


def _spoken_name(arm: ArmOfRun, base: str) -> str:
    """What a card calls a base that is on this machine alone: no folder of it."""
    target = arm.recipe.target.model
    return f"{target} (it comes with a package)" if target in names(Kind.MODEL) else Path(base).name


def is_public(base: str) -> bool:
    """Whether others would find a model by this name."""
    return not Path(base).expanduser().exists() and base.count("/") == 1 and not base.startswith((".", "/", "~"))


def _licence(base: str) -> str | None:
    """The licence that the base's own card names, if that card is on this disk."""
    card: Path | str | None = None
    if base in names(Kind.MODEL):
        source: ModelSource = ModelSourcePlugin(name=base).open()
        if source.licence:
            return source.licence
        folder = source.locate()
        card = folder / CARD if folder else None
    elif Path(base).expanduser().is_dir():
        card = Path(base).expanduser() / CARD
    elif is_there("huggingface_hub") and is_public(base):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(base, CARD)
        card = cached if isinstance(cached, str) else None
    try:
        return None if card is None else front_matter_field(Path(card).read_text().splitlines(), "license")
    except (OSError, ValueError):
        return None


def front_matter_field(lines: Sequence[str], name: str) -> str | None:
    """One plain field of the YAML with which a card begins; None if it has none."""
    marks = [number for number, line in enumerate(lines) if line.strip() == "---"]
    if len(marks) < 2 or marks[0] != 0:
        return None
    fields = (line.partition(":") for line in lines[1 : marks[1]])
    return next((value.strip().strip("'\"") or None for field, _, value in fields if field == name), None)


def artifact_of(arm: ArmOfRun, key: str) -> Artifact | None:
    """An artifact of a run by its key alone; None if it is not in the store."""
    store = arm.run.store
    stages = sorted(path.parent.name for path in store.root.glob(f"*/{key}")) if key.isalnum() else []
    return next(filter(None, (store.find(stage, key) for stage in stages)), None)
