"""All that a user can write: one YAML file, validated before anything runs.

A recipe names plug-ins and holds their settings; each section is a small pydantic model, the settings of a stage stand
in the file of that stage. Nothing is defaulted here that is defaulted there.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sinternal.engines.base import Sampling
from sinternal.errors import RecipeError
from sinternal.stages.critique import ExpertConfig, VerificationConfig
from sinternal.stages.judge import JudgeConfig
from sinternal.stages.sample import EngineConfig
from sinternal.training.settings import SftSettings


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainOn(StrEnum):
    """What an arm is trained on (the arms of the paper's comparison)."""

    NOTHING = "nothing"
    """The untouched base."""
    VERIFICATION = "verification"
    """The expert's critiques and verdicts of the model's own answers: the method."""
    REFUSAL = "refusal"
    """Right answers without safety reasoning."""
    DELIBERATIVE = "deliberative"
    """Right answers after a thinking that reasons from the specification."""


class Target(_Section):
    """The model that is studied."""

    model: str
    """A Hugging Face model directory, or the name of a registered source."""
    options: dict[str, object] = {}
    """For a registered source: how its model is made."""
    build_for_each_seed: bool = False
    """For a registered source: build a base of its own for each seed, so that the spread includes the base."""


class Prompts(_Section):
    """What the arms are tuned on, and what they are measured on."""

    benchmark: str
    """Name of a registered benchmark."""
    options: dict[str, object] = {}
    """Its options."""
    train_attacks: tuple[str, ...] = Field(("plain",), min_length=1)
    """Attack families of the training prompts."""
    train_limit: int | None = Field(None, ge=1)
    """At most this many harmful and this many benign training prompts."""
    eval_part: str = "eval"
    """The part to measure on; `dev`, a slice kept from training, is for choosing settings."""
    eval_attacks: tuple[str, ...] = Field(("plain",), min_length=1)
    """Attack families of the evaluation prompts."""
    eval_limit: int | None = Field(None, ge=1)
    """At most this many harmful and this many benign evaluation prompts."""


class Evaluation(_Section):
    """How every arm is measured."""

    sampling: Sampling
    """How the arm responds."""
    verification_sampling: Sampling
    """How it verifies its own answers."""


class Examples(_Section):
    """The training sets."""

    size: int = Field(ge=4)
    """Rows, the same for every trained arm."""


class Arm(_Section):
    """One model of the comparison."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Its name in every table."""
    train_on: TrainOn
    """What it is trained on."""


class Recipe(_Section):
    """One study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Names the folder under `runs/`."""
    description: str = ""
    """What the study is for; shown in the report."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Each seed repeats everything that is left to chance."""
    workers: int = Field(1, ge=1)
    """Processes that work on independent arms at once. More than one: each computes on one thread."""
    target: Target
    """The model that is studied."""
    prompts: Prompts
    """What is asked."""
    engine: EngineConfig = EngineConfig()
    """Who writes the target's text."""
    sampling: Sampling
    """How the target's own answers are drawn, and how many for each prompt."""
    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    """Who labels; the first one decides."""
    expert: ExpertConfig
    """Who writes critiques and demonstrations."""
    verification: VerificationConfig
    """How a model is asked to verify."""
    examples: Examples
    """The training sets."""
    sft: SftSettings
    """Fine-tuning, the same for every trained arm."""
    evaluation: Evaluation
    """Measurement."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    """The models that are compared."""
    variants: dict[str, dict[str, Any]] = {}
    """Settings to repeat the study under: for each variant, fields by dotted path and their values."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Recipe:
        for field, values in (("arms", [arm.name for arm in self.arms]), ("seeds", list(self.seeds))):
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: every one must be different, not {values}")
        return self

    def variant(self, name: str) -> Recipe:
        """The recipe with one variant's values in place. Raises RecipeError if they do not fit."""
        content = self.model_dump(mode="json")
        overrides = content.pop("variants").get(name, {})
        for path, value in overrides.items():
            _set(content, path, value)
        return _validate(content, f"variants.{name}")


DEFAULT_VARIANT = "default"


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: name of a packaged recipe, or path of a YAML file.
        overrides: `a.b=c` each, with `c` in YAML.

    Raises:
        RecipeError: there is no such recipe, it is no YAML, or a field is unknown or of the wrong type. The message
            names the field's path, and the nearest valid one.
    """
    source = _find(name_or_path)
    try:
        content = yaml.safe_load(source.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name_or_path}: not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{name_or_path}: a recipe is a mapping of fields, this is {type(content).__name__}")
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise RecipeError(f"--set {override}: write it as field=value, for example --set sft.steps=100")
        try:
            _set(content, path.strip(), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {override}: the value is not valid YAML") from error
    recipe = _validate(content, name_or_path)
    for variant in recipe.variants:
        recipe.variant(variant)
    return recipe


def packaged_recipes() -> dict[str, Traversable]:
    """The recipes that come with the package, by name."""
    folder = files("sinternal.recipes")
    found = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return dict(sorted(found.items()))


def _find(name_or_path: str) -> Traversable:
    packaged = packaged_recipes()
    if name_or_path in packaged:
        return packaged[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    close = difflib.get_close_matches(name_or_path, packaged, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"packaged recipes are: {', '.join(packaged)}"
    raise RecipeError(f"{name_or_path}: no such file or packaged recipe; {hint}")


def _validate(content: Mapping[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        valid = _paths(Recipe)
        generic = ".".join("*" if isinstance(part, int) else str(part) for part in first["loc"])
        close = difflib.get_close_matches(generic, valid, n=1, cutoff=0.4)
        return f"unknown field {path!r}" + (f"; did you mean {close[0].replace('.*', '[]')!r}?" if close else "") + more
    if first["type"] == "missing":
        return f"field {path!r} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"field {path!r}: {message}, not {first['input']!r}{more}" if path else f"{message}{more}"


def _paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every valid field path, with `*` for the entries of a list."""
    found = []
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        found.append(path)
        for inner in [field.annotation, *get_args(field.annotation)]:
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                listed = inner is not field.annotation
                found += _paths(inner, f"{path}.*." if listed else f"{path}.")
    return found


def _set(content: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a dotted path; whether the path exists is left to validation."""
    *parents, last = path.split(".")
    at: Any = content
    for parent in parents:
        at = at[_position(at, parent, path)] if isinstance(at, list) else at.setdefault(parent, {})
        if not isinstance(at, dict | list):
            raise RecipeError(f"{path}: {parent!r} holds a single value and has no fields")
    at[_position(at, last, path) if isinstance(at, list) else last] = value


def _position(entries: list[Any], text: str, path: str) -> int:
    if not text.isdigit() or int(text) >= len(entries):
        raise RecipeError(f"{path}: {text!r} is no entry of this list; they are numbered 0 to {len(entries) - 1}")
    return int(text)
