"""Finding and reading what a user writes: YAML files, those that come with the package, and single fields over both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from sinternal.errors import RecipeError
from sinternal.redaction import NOT_KEPT, names_a_secret
from sinternal.settings.strict_yaml import StrictYamlError, load_yaml
from sinternal.validation import LONGEST_VALUE, nearest, preview

MOST_BYTES = 5_000_000
"""Size of a file of settings."""
RECIPE, DIAGNOSIS = "recipe", "diagnosis"
"""What files of settings are called."""
OWN_FIELDS = {RECIPE: ("arms", "judges", "extends"), DIAGNOSIS: ("judge", "verification_sampling")}
"""Fields that the one has and the other does not."""


def packaged_recipes() -> dict[str, Traversable]:
    """The recipes that come with the package, by name."""
    return packaged_yaml("sinternal.settings.recipes")


def packaged_yaml(package: str) -> dict[str, Traversable]:
    """The YAML files of a package, by name."""
    by_name = {entry.name.removesuffix(".yaml"): entry for entry in files(package).iterdir() if ".yaml" in entry.name}
    return dict(sorted(by_name.items()))


def packaged_diagnoses() -> dict[str, Traversable]:
    """The settings of diagnoses that come with the package, by name."""
    return packaged_yaml("sinternal.settings.diagnoses")


def read_yaml(name_or_path: str, packaged: Mapping[str, Traversable], noun: str) -> dict[str, Any]:
    """The fields of a YAML file.

    Args:
        name_or_path: name of a packaged file, or a path.
        packaged: the packaged files by name.
        noun: what such a file is called.

    Raises:
        RecipeError: there is none, or it is no mapping in YAML.
    """
    source = packaged.get(name_or_path) or Path(name_or_path).expanduser()
    if not source.is_file():
        if name_or_path in (packaged_diagnoses() if noun == RECIPE else packaged_recipes()):
            raise RecipeError(_is_the_other(name_or_path, noun))
        written = Path(name_or_path)
        beside = written.parent.glob("*.y*ml") if written.parent.is_dir() else ()
        close = nearest(name_or_path, [*packaged, *(str(file) for file in beside)])
        hint = f"did you mean {close!r}?" if close else f"packaged ones: {', '.join(packaged)}"
        raise RecipeError(f"{name_or_path}: no such file or packaged {noun}; {hint}")
    try:
        if isinstance(source, Path) and source.stat().st_size > MOST_BYTES:
            raise RecipeError(f"{name_or_path}: no {noun} has more than {MOST_BYTES:,} bytes; name another file")
        content = load_yaml(source.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{name_or_path}: cannot be read ({error.strerror})") from error
    except (StrictYamlError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name_or_path}: not a YAML file ({error})") from error
    if content is None:
        raise RecipeError(f"{name_or_path}: the file is empty; a {noun} is a mapping of fields")
    if not isinstance(content, dict):
        raise RecipeError(f"{name_or_path}: a {noun} is a mapping of fields (name: value), this is {preview(content)}")
    own, others = ({*fields} & content.keys() for fields in (OWN_FIELDS[noun], OWN_FIELDS[_other(noun)]))
    if others and not own:
        raise RecipeError(_is_the_other(name_or_path, noun))
    return content


def _other(noun: str) -> str:
    return DIAGNOSIS if noun == RECIPE else RECIPE


def _is_the_other(name_or_path: str, noun: str) -> str:
    """What to do with a file that is not what a command takes."""
    if noun == RECIPE:
        return (
            f"{name_or_path}: these are settings of a diagnosis, not a recipe; `sinternal diagnose --settings "
            f"{name_or_path} --model MODEL` runs it, and with --check says what it asks for and costs at most"
        )
    return (
        f"{name_or_path}: this is a recipe, not the settings of a diagnosis; `sinternal run {name_or_path}` runs it, "
        f"and `sinternal plan {name_or_path}` says what it takes"
    )


def read_recipe(name_or_path: str, heirs: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe file's fields, over those of the recipe that it extends: a packaged one, or a file beside it."""
    packaged = packaged_recipes()
    origin = name_or_path if name_or_path in packaged else str(Path(name_or_path).expanduser().resolve())
    if origin in heirs:
        raise RecipeError(f"{heirs[0]}: it extends itself, by way of {' and '.join(heirs[1:]) or 'nothing else'}")
    content = read_yaml(name_or_path, packaged, RECIPE)
    if "extends" not in content:
        return content
    return _merge(read_recipe(_parent(content, name_or_path), (*heirs, origin)), content)


def parents_elsewhere(name_or_path: str) -> list[str]:
    """A note for each file outside of a recipe's folder that the recipe extends, directly or by way of others.

    Args:
        name_or_path: of a recipe that `read_recipe` has read.
    """
    packaged, notes = packaged_recipes(), []
    home = Path(name_or_path).expanduser().resolve().parent
    while name_or_path not in packaged:
        file = Path(name_or_path).expanduser().resolve()
        if home not in file.parents:
            notes.append(f"this recipe extends {file}, which lies outside of its folder")
        content = read_yaml(name_or_path, packaged, RECIPE)
        if "extends" not in content:
            break
        name_or_path = _parent(content, name_or_path)
    return notes


def _parent(content: dict[str, Any], name_or_path: str) -> str:
    """What a recipe extends, which is taken out of its fields."""
    parent, packaged = content.pop("extends"), packaged_recipes()
    if not isinstance(parent, str) or not parent:
        raise RecipeError(f"{name_or_path}: extends: name one recipe, not {preview(parent)}")
    if parent in packaged or name_or_path in packaged:
        return parent
    return str(Path(name_or_path).expanduser().parent / Path(parent).expanduser())


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Fields of the second mapping over those of the first; lists, and the variants, are replaced as a whole.

    So is a plug-in by one of another name, whose options the first one's would be mistakes among.
    """
    both = {
        name: _merge(under[name], over[name]) for name in under.keys() & over.keys() if _mappings(under, over, name)
    }
    return {**under, **over, **both}


def _mappings(under: dict[str, Any], over: dict[str, Any], name: str) -> bool:
    first, second = under[name], over[name]
    if name == "variants" or not (isinstance(first, dict) and isinstance(second, dict)):
        return False
    return "name" not in first or second.get("name", first["name"]) == first["name"]


def override(content: dict[str, Any], overrides: Sequence[str], flag: str) -> None:
    """Put values into plain settings.

    Args:
        content: changed in place.
        overrides: `a.b=c` each, with `c` in YAML.
        flag: the option by which they were given, for the message.

    Raises:
        RecipeError: one is not written so.
    """
    for assignment in overrides:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise RecipeError(f"{flag} {_short(assignment)}: write it as field=value, for example {flag} sft.steps=100")
        try:
            parsed = load_yaml(value)
        except StrictYamlError as error:
            raise RecipeError(f"{flag} {_short(assignment)}: the value is not valid YAML ({error})") from error
        set_field(content, path.strip(), parsed)


def _short(assignment: str) -> str:
    """An assignment as a message shows it: in part, and without what may be a secret."""
    path, equals, _ = assignment.partition("=")
    names = re.split(r"[^\w-]+", assignment)
    if "://" in assignment or any(map(names_a_secret, names)):
        assignment = f"{path if equals else NOT_KEPT}{equals and '=…'}"
    assignment = " ".join(assignment.split())
    return assignment if len(assignment) <= LONGEST_VALUE else f"{assignment[:LONGEST_VALUE]}…"


def set_field(content: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a dotted path; whether the path exists is left to validation."""
    *parents, last = path.split(".")
    at: Any = content
    for parent in parents:
        at = at[_position(at, parent, path)] if isinstance(at, list) else at.setdefault(parent, {})
        if not isinstance(at, dict | list):
            raise RecipeError(f"{path}: {parent!r} holds a single value and has no fields")
    at[_position(at, last, path) if isinstance(at, list) else last] = value


def _position(entries: list[Any], text: str, path: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < len(entries)):
        numbered = f"they are numbered 0 to {len(entries) - 1}" if entries else "it is empty"
        raise RecipeError(f"{path}: {_short(text)!r} is not an entry of this list; {numbered}")
    return int(text)
