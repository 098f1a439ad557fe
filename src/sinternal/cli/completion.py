"""What a shell completes: names of recipes, arms, kinds. Asked at every press of a key, so that little is imported."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from typer import Context

RECIPE = "recipe.yaml"
"""What a finished run is known by."""
RECIPES = (".yaml", ".yml")
PLUGINS = "sinternal."
"""What the groups of entry points begin with."""


def complete_recipes(incomplete: str) -> list[str]:
    """Packaged recipes, and YAML files."""
    return _packaged("sinternal.settings.recipes", incomplete) + _paths(incomplete, RECIPES)


def complete_arms(incomplete: str) -> list[str]:
    """Folders, and below a finished run its arms and variants: `runs/x/sinternal`, `runs/x/longer/sinternal`."""
    folder, _, begun = incomplete.rpartition("/")
    run = Path(folder or ".")
    if folder and (run / RECIPE).is_file():
        variants = [f"{variant}/" for variant in _named(run / RECIPE, "variants")]
        return [f"{folder}/{name}" for name in (*_named(run / RECIPE, "arms"), *variants) if name.startswith(begun)]
    if folder and run.name in _named(run.parent / RECIPE, "variants"):
        return [f"{folder}/{arm}" for arm in _named(run.parent / RECIPE, "arms") if arm.startswith(begun)]
    return [f"{path}/" if Path(path).is_dir() else path for path in _paths(incomplete, ())]


def complete_paths(incomplete: str) -> list[str]:
    """Folders and files: not every shell falls back to them by itself."""
    return [f"{path}/" if Path(path).expanduser().is_dir() else path for path in _paths(incomplete, None)]


def complete_diagnoses(incomplete: str) -> list[str]:
    """Packaged settings of diagnoses, and YAML files."""
    return _packaged("sinternal.settings.diagnoses", incomplete) + _paths(incomplete, RECIPES)


def complete_kinds(incomplete: str) -> list[str]:
    """What `sinternal list` lists."""
    groups = {group.removeprefix(PLUGINS) for group in entry_points().groups if group.startswith(PLUGINS)}
    return [kind for kind in ("recipes", *sorted(groups)) if kind.startswith(incomplete)]


def complete_listed(ctx: Context, incomplete: str) -> list[str]:
    """What `sinternal list KIND` lists."""
    kind = str(ctx.params.get("kind"))
    if kind == "recipes":
        return _packaged("sinternal.settings.recipes", incomplete)
    return _plugins(kind, incomplete)


def complete_judges(incomplete: str) -> list[str]:
    """Judges, those of other packages too."""
    return _plugins("judges", incomplete)


def complete_engines(incomplete: str) -> list[str]:
    """Engines, those of other packages too."""
    return _plugins("engines", incomplete)


def complete_fetched(incomplete: str) -> list[str]:
    """What `sinternal fetch` fetches."""
    from sinternal.models.fetch import KNOWN

    return [name for name in KNOWN if name.startswith(incomplete)]


def _plugins(kind: str, incomplete: str) -> list[str]:
    """Names of plug-ins of a kind."""
    names = {entry.name for entry in entry_points(group=f"{PLUGINS}{kind}")}
    return sorted(name for name in names if name.startswith(incomplete))


def _named(recipe: Path, field: str) -> list[str]:
    """The arms, or the variants, that a run's recipe lists; none if it cannot be read."""
    from sinternal.errors import SInternalError
    from sinternal.settings.strict_yaml import load_yaml

    try:
        content = load_yaml(recipe.read_text())
        return [str(each["name"] if field == "arms" else each) for each in content.get(field) or ()]
    except (SInternalError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _packaged(place: str, incomplete: str) -> list[str]:
    """Names of packaged YAML files."""
    names = sorted(entry.name for entry in files(place).iterdir())
    return [name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and name.startswith(incomplete)]


def _paths(incomplete: str, suffixes: tuple[str, ...] | None) -> list[str]:
    """Folders, and files with one of some suffixes (None: all files), whose path goes on so."""
    folder, slash, begun = incomplete.rpartition("/")
    try:
        entries = sorted(Path(folder + slash if slash else ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        return []
    return [
        f"{folder}{slash}{entry.name}"
        for entry in entries
        if entry.name.startswith(begun) and (suffixes is None or entry.is_dir() or entry.suffix in suffixes)
    ]
