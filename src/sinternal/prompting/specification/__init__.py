"""The safety specification: what an answer must not do, what it may do, and what a good one does in between.

It is a folder of Markdown files, one category a file, so that a user can read it, edit a copy and name that instead:

    ---
    title: Violence
    keywords: [kill, weapon, explosiv]  # optional: beginnings of words that this section is about
    ---
    An answer must not ...
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sinternal.errors import DataError
from sinternal.settings.strict_yaml import StrictYamlError, load_yaml
from sinternal.validation import explain


class Packaged(StrEnum):
    """The specifications that come with the package, in its own words."""

    SAFETY = "safety"
    """What an answer must not do for the harm that it could do, in eight categories."""
    WRITING = "writing"
    """How an answer is to be written: as many sections, in the same form and about as long, of another domain. A
    specification to swap the first one for, in an ablation."""


@dataclass(frozen=True)
class Section:
    """One category."""

    title: str
    """Its name, as critiques cite it."""
    keywords: tuple[str, ...]
    """Beginnings of words that tell that a text is about it."""
    text: str
    """The rules, in Markdown without a heading."""

    def overlap(self, words: Sequence[str]) -> int:
        """How many of the keywords begin one of the words, which are sorted."""
        return sum(_begins_one(keyword, words) for keyword in self.keywords)


@dataclass(frozen=True)
class Specification:
    """All categories, in the order of their files."""

    sections: tuple[Section, ...]
    """At least one."""

    def text(self, sections: Sequence[Section] | None = None) -> str:
        """The specification, or only some sections of it, as Markdown to be quoted in a prompt."""
        quoted = self.sections if sections is None else sections
        return "\n\n".join(f"## {section.title}\n\n{section.text}" for section in quoted)

    def relevant(self, text: str, k: int) -> tuple[Section, ...]:
        """The `k` sections that share most keywords with a text; sections that share equally many in file order.

        Always exactly `k`, also for a text that is about none of them: how much is quoted must not tell a verifier
        whether there is anything to find.

        Raises:
            DataError: there are not that many sections.
        """
        if not 1 <= k <= len(self.sections):
            raise DataError(f"{k} relevant sections are asked of a specification that has {len(self.sections)}")
        words = sorted(set(_words(text)))
        return tuple(sorted(self.sections, key=lambda section: -section.overlap(words))[:k])


def load_spec(folder: Path | None = None, packaged: Packaged = Packaged.SAFETY) -> Specification:
    """Read a specification.

    Args:
        folder: the user's own, with one `.md` file a category, in the order of their names; None for the package's.
        packaged: which of the package's.

    Raises:
        DataError: there is no such folder, it holds no Markdown, or a file is not of the form shown above.
    """
    folder = folder.expanduser() if folder is not None else None
    if folder is not None and not folder.is_dir():
        raise DataError(f"specification {folder}: there is no such folder")
    own = files(__name__) if packaged is Packaged.SAFETY else files(__name__) / packaged.value
    # Editors keep hidden files, with names of their own, beside what is being edited.
    sections = [
        file for file in (folder or own).iterdir() if file.name.endswith(".md") and not file.name.startswith(".")
    ]
    if not sections:
        raise DataError(f"specification {folder}: the folder holds no .md file")
    return Specification(tuple(_read(file) for file in sorted(sections, key=_number_aware)))


class _FrontMatter(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1)
    keywords: tuple[Annotated[str, Field(pattern=r"^\w+$")], ...] | None = Field(None, min_length=1)


_FILE = re.compile(r"---[ \t]*\n(?P<front>.*?\n)---[ \t]*\n(?P<text>.*)", re.DOTALL)


def _read(file: Traversable) -> Section:
    try:
        match = _FILE.fullmatch(file.read_text(encoding="utf-8-sig"))
        if match is None:
            raise DataError(
                f"specification {file}: it does not begin with front matter: write a line '---', a line 'title: …', "
                "another line '---', and below them the rules"
            )
        front = _FrontMatter.model_validate(load_yaml(match["front"]))
    except ValidationError as error:
        fields = ", ".join(_FrontMatter.model_fields)
        raise DataError(
            f"specification {file}: front matter: {explain(error, _FrontMatter)}; its fields are {fields}"
        ) from error
    except (StrictYamlError, UnicodeDecodeError) as error:
        raise DataError(f"specification {file}: broken front matter ({error})") from error
    except OSError as error:
        raise DataError(f"specification {file}: cannot be read ({error.strerror})") from error
    text = match["text"].strip()
    if not text:
        raise DataError(f"specification {file}: there is no text below the front matter")
    keywords = front.keywords or _title_keywords(front.title)
    return Section(front.title, tuple(keyword.casefold() for keyword in keywords), text)


def _title_keywords(title: str) -> tuple[str, ...]:
    words = _words(title)
    # Words like "and" begin a word of every text.
    return tuple(word for word in words if len(word) > 3) or tuple(words)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _begins_one(keyword: str, words: Sequence[str]) -> bool:
    at = bisect_left(words, keyword)
    return at < len(words) and words[at].startswith(keyword)


def _number_aware(file: Traversable) -> list[str | int]:
    # "10-…" comes after "9-…"; text and numbers alternate, so that like is compared with like.
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", file.name))]
