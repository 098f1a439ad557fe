"""What an installed package holds."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_file_that_is_no_module_is_part_of_what_is_installed() -> None:
    """An editable install finds them anyway; a wheel holds only what is listed."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["sinternal"]
    package = ROOT / "src" / "sinternal"
    there = [path.relative_to(package) for path in package.rglob("*") if path.is_file()]
    data = [str(path) for path in there if path.suffix not in (".py", ".pyc")]
    assert "settings/diagnoses/default.yaml" in data
    assert [name for name in data if not any(fnmatch(name, pattern) for pattern in listed)] == []
