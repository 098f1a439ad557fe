"""The fenced blocks of pages, each with the mark that says how it is tested.

A mark is a comment on the line above the fence, which neither GitHub nor the site shows: `<!-- test: run -->`.
CONTRIBUTING.md lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ("docs/api.md", "docs/commands.md", "docs/settings.md")
"""Written from the code itself."""
MARKED = ("sh", "console", "python", "yaml")
"""Languages whose blocks take a mark."""
SHOWN = ("text", "json", "toml", "html", "csv", "jinja", "bibtex")
"""Languages whose blocks may do without."""
PROGRAMS = ("sinternal", "pip", "make", "inspect", "$", "python")
PROGRAM = "|".join(rf"(?:\S*/)?{re.escape(program)}\b" if program != "$" else r"\$ " for program in PROGRAMS)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)$")
MARK = re.compile(r"^ *<!-- test: (?P<mark>.+?) -->$")


class Way(StrEnum):
    """How a block is tested."""

    RUN = "run"
    """It is run, small, in the page's own folder."""
    SLOW = "run slow"
    """It is run by `make docs-test`, and parsed by `make test`."""
    FAILS = "run fails"
    """It is run, and must end in an error."""
    PARSE = "parse"
    """It is parsed by the real command line; the mark says why it is not run."""
    FILE = "file"
    """It is a file of the page's folder."""
    PART = "part of"
    """It is a valid change to a recipe."""
    RECIPE = "recipe"
    """It is a valid recipe."""
    DIAGNOSIS = "diagnosis"
    """It is a valid change to the settings of a diagnosis."""
    OTHER = "other"
    """It belongs to another program."""


LANGUAGES: dict[Way, Sequence[str]] = {
    Way.RUN: ("sh", "console", "python"),
    Way.SLOW: ("sh", "console", "python"),
    Way.FAILS: ("sh", "console"),
    Way.PARSE: ("sh", "console", "python"),
    Way.FILE: (*MARKED, *SHOWN),
    Way.PART: ("yaml",),
    Way.RECIPE: ("yaml",),
    Way.DIAGNOSIS: ("yaml",),
    Way.OTHER: (*MARKED, *SHOWN),
}
WITH_WORDS = (Way.PARSE, Way.FILE, Way.PART, Way.OTHER)
"""What says more: why, the file's name, the recipe, or whose it is."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    """Of its opening fence."""
    language: str
    text: str
    way: Way | None
    """None: it has no mark."""
    words: str = ""
    """What the mark says after the way."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page that people write."""
    written = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(page for page in written if page.relative_to(ROOT).as_posix() not in GENERATED)


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page.

    Raises:
        AssertionError: a mark or a fence cannot be read.
    """
    lines = page.read_text().splitlines()
    opening: tuple[int, re.Match[str]] | None = None
    for at, line in enumerate(lines):
        fence = FENCE.match(line)
        if opening is None and fence is None:
            assert not line.strip().startswith("```"), f"{page.name}:{at + 1}: a fence is ``` and a language"
        elif opening is None:
            opening = (at, fence)  # type: ignore[assignment]
        elif fence and not fence["language"] and fence["indent"] == opening[1]["indent"]:
            start, first = opening
            mark = MARK.match(lines[start - 1]) if start else None
            indent = len(first["indent"])
            text = "\n".join(row[indent:] for row in lines[start + 1 : at]) + "\n"
            yield Block(page, start + 1, first["language"], text, *_way(mark and mark["mark"], f"{page}:{start + 1}"))
            opening = None
        if opening is None and re.match(rf" {{4,}}(?:{PROGRAM})", line) and not (at and lines[at - 1].strip()):
            raise AssertionError(f"{page.name}:{at + 1}: a command is in a fenced block, which says how it is tested")
    assert opening is None, f"{page.name}:{opening and opening[0] + 1}: the block does not end"


def _way(mark: str | None, place: str) -> tuple[Way | None, str]:
    if mark is None:
        return None, ""
    for way in sorted(Way, key=len, reverse=True):
        if mark == way or mark.startswith(f"{way} "):
            words = mark.removeprefix(way).strip()
            assert bool(words) == (way in WITH_WORDS), f"{place}: mark {mark!r}: {way} takes words, or none"
            return way, words
    raise AssertionError(f"{place}: no such mark: {mark!r}; there are {', '.join(Way)}")


def mistake(block: Block) -> str | None:
    """What is wrong with a block's language or mark."""
    if block.language not in (*MARKED, *SHOWN):
        return f"{block.place}: language {block.language!r}; take one of {', '.join((*MARKED, *SHOWN))}"
    if block.way is not None and block.language not in LANGUAGES[block.way]:
        return f"{block.place}: a {block.language} block cannot be tested by {block.way!r}"
    if block.way is None and block.language in MARKED:
        return f"{block.place}: say above the fence how it is tested: <!-- test: {' | '.join(Way)} -->"
    first = {line.split()[0] for line in block.text.splitlines() if line.strip()}
    if block.way is None and block.language == "text" and first & set(PROGRAMS):
        return f"{block.place}: holds a command; its language is sh or console"
    return None
