"""docs/architecture.md names files: they are there, and every room is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/architecture.md").read_text()
ROOMS = [path.name for path in (ROOT / "src/sinternal").iterdir() if (path / "__init__.py").exists()]
LONGEST = 450
"""Lines of a file that a reader can still hold in mind."""


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(src/sinternal/[\w./]+)`", PAGE))))
def test_every_file_that_the_page_names_is_there(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_on_the_page(room: str) -> None:
    assert f"{room}/" in PAGE


def test_no_file_is_too_long_to_be_read() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert not {str(path): size for path, size in sizes.items() if size > LONGEST}
