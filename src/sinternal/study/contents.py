"""What settings count as in an artifact's key: not a path but what lies there, not a plug-in's name but its code.

Options are the plug-ins' own, so any text in them may be a path: it is taken for one if something is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sinternal.errors import DataError, StoreError
from sinternal.fingerprints import fingerprint
from sinternal.registry import Kind, names, origins

LONGEST_PATH = 4096
"""Characters, as most systems have it."""
ADAPTER = "adapter_config.json"
"""Says which model an adapter belongs to."""


@dataclass(frozen=True)
class Contents:
    """Settings, and what they name."""

    settings: dict[str, Any]
    """The settings with contents in place of paths."""
    files: dict[str, str]
    """A hash for each file or folder, by its path as it is written."""
    plugins: dict[str, list[str]]
    """For each name of plug-ins that are not built in: their packages, versions and code."""
    revisions: dict[str, str]
    """For each plug-in that is not built in, by kind and name: what a figure is marked with."""


def contents(settings: Mapping[str, Any]) -> Contents:
    """Look at everything that the settings of a stage name.

    Args:
        settings: plain values.

    Raises:
        StoreError: a file or folder cannot be read.
    """
    references = _References()
    resolved: dict[str, Any] = references.resolve(settings, "")
    return Contents(resolved, references.files, *references.plugins())


def check_unchanged(before: Contents, settings: Mapping[str, Any]) -> None:
    """Make sure that an artifact is made from what its key says.

    Raises:
        DataError: a file, folder or plug-in is not what it was when the run was planned.
    """
    try:
        now = contents(settings)
    except StoreError as error:
        raise DataError(f"{error}; it was there when this run was planned: put it back and run again") from error
    old, new = {**before.plugins, **before.files}, {**now.plugins, **now.files}
    changed = next((name for name in {**old, **new} if old.get(name) != new.get(name)), None)
    if changed is not None:
        raise DataError(f"{changed} has changed since this run was planned; run again")


def check_models(before: Mapping[str, str]) -> None:
    """Make sure that model folders are what they were.

    Args:
        before: the hash of each, by its path.

    Raises:
        DataError: one has changed, or is gone.
    """
    for folder, digest in before.items():
        if not Path(folder).is_dir() or folder_contents(Path(folder)) != digest:
            raise DataError(
                f"{folder} has changed since this run was planned; put it back, or run again with what is there now"
            )


def folder_contents(folder: Path) -> str:
    """A hash of a folder; of an adapter's, with that of the model on this disk that it belongs to.

    The working directory, and what it lies in, count by their own files alone: the run itself writes below them.

    Raises:
        StoreError: something in it cannot be read.
    """
    within = folder.resolve() in (cwd := Path.cwd().resolve(), *cwd.parents)
    digest = fingerprint(folder, deep=not within)
    base = _base_of(folder)
    return digest if base is None else f"{digest}-{folder_contents(base)}"


def _base_of(folder: Path) -> Path | None:
    try:
        base = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(base, str):
        return None
    # A relative path is taken from the adapter's folder first, as it is when the adapter is opened.
    path = existing_path(str(folder.resolve() / base)) or existing_path(base)
    return path if path is not None and path.is_dir() and path.resolve() != folder.resolve() else None


def existing_path(text: str) -> Path | None:
    """The file or folder that a text names, if there is one."""
    if not text or len(text) > LONGEST_PATH:
        return None
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a home of nobody
        return None


class _References:
    """Walks through settings and notes what they name."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.named: set[str] = set()

    def resolve(self, value: Any, name: str) -> Any:
        """A value outside of options, where only plug-ins are named."""
        if isinstance(value, Mapping):
            by_name = "benchmark" in value or any(origins(str(value.get(key))) for key in ("name", "model"))
            return {
                key: self.resolve_option(inner, by_name) if key == "options" else self.resolve(inner, key)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.resolve(inner, name) for inner in value]
        if isinstance(value, str):
            self.named.add(value)
            if name == "task":
                return self._task(value)
        return value

    def resolve_option(self, value: Any, by_name: bool) -> Any:
        """A value of a plug-in's options, at any depth; `by_name` if what it makes may depend on a file's name."""
        if isinstance(value, Mapping):
            return {self._key(key, by_name): self._field(key, inner, by_name) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve_option(inner, by_name) for inner in value]
        if not isinstance(value, str):
            return value
        self.named.add(value)
        path = existing_path(value)
        return value if path is None else self._content(value, path, by_name)

    def plugins(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        """The plug-ins that are not built in, as the key counts them and as people read them."""
        by_name = {name: by_kind for name in sorted(self.named) if (by_kind := origins(name))}
        code = {
            name: [f"{kind} {origin.distribution} {origin.version} {origin.source}" for kind, origin in by_kind.items()]
            for name, by_kind in by_name.items()
        }
        revisions = {
            f"{kind} {name}": origin.revision for name, by_kind in by_name.items() for kind, origin in by_kind.items()
        }
        return code, revisions

    def _key(self, key: Any, by_name: bool) -> Any:
        """A key may name a file, as in a mapping of files to shares; the name of an option hardly does."""
        path = existing_path(key) if isinstance(key, str) else None
        return key if path is None or path.is_dir() else self._content(key, path, by_name)

    def _field(self, key: str, value: Any, by_name: bool) -> Any:
        """The name of an engine or judge inside options is no path, though a folder here may be called the same."""
        if key == "name" and isinstance(value, str) and any(value in names(kind) for kind in Kind):
            self.named.add(value)
            return value
        return self.resolve_option(value, by_name)

    def _task(self, value: str) -> str:
        """A task of Inspect may stand in a file: `file.py`, or `file.py@task`."""
        file, at, task = value.partition("@")
        path = existing_path(file) if file.endswith(".py") else None
        return value if path is None else f"{self._content(file, path, by_name=False)}{at}{task}"

    def _content(self, written: str, path: Path, by_name: bool) -> str:
        digest = self.files[written] = folder_contents(path) if path.is_dir() else fingerprint(path)
        return f"{path.name}:{digest}" if by_name and not path.is_dir() else digest
