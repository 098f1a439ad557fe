"""What every HTML page of this package is made with."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sinternal.report.terms import TERMS, Term
from sinternal.report.texts import Texts
from sinternal.store.files import copy_file, write_text

SCRIPT = ("base", "texts", "search", "filters", "entries", "pairs", "tables", "start")
"""The files of the page's one script, in their order."""


class Page(NamedTuple):
    """A page, and the texts that are too many to be in it."""

    html: str
    """The page."""
    texts: Mapping[str, str]
    """Files that lie in the folder beside it, by name; none if all is in the page."""

    def write(self, path: Path) -> None:
        """Write it, the texts first; those of an earlier page go last, so that there is always a whole one."""
        folder = texts_beside(path)
        if self.texts:
            folder.mkdir(exist_ok=True)
        for name, text in self.texts.items():
            write_text(folder / name, text)
        write_text(path, self.html)
        _remove_others(folder, self.texts)


def texts_beside(page: Path) -> Path:
    """The folder of texts of a page, which need not be there."""
    return page.with_name(f"{page.stem}-texts")


def copy_page(file: Callable[[str], Path], name: str, folder: Path) -> list[str]:
    """Copy a page with its texts, so that there is always a whole one.

    Args:
        file: finds a file of an artifact, and looks whether it is what it was.
        name: of the page.
        folder: where to.

    Returns:
        The names of its texts in the folder.
    """
    source, to = texts_beside(file(name)), texts_beside(folder / name)
    names = sorted(text.name for text in source.glob("*.css"))
    if names:
        to.mkdir(exist_ok=True)
    for text in names:
        copy_file(file(f"{source.name}/{text}"), to / text)
    copy_file(file(name), folder / name)
    _remove_others(to, names)
    return [f"{to.name}/{text}" for text in names]


def _remove_others(folder: Path, kept: Mapping[str, str] | list[str]) -> None:
    """Remove texts that no page needs any more; whatever else somebody put there stays."""
    if folder.is_dir() and not folder.is_symlink():
        for file in folder.glob("*.css"):
            if file.name not in kept:
                file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def environment(**filters: Callable[..., object]) -> Environment:
    """Templates of this folder, in which all text is escaped and a name that is not there is an error."""
    made = Environment(
        loader=PackageLoader("sinternal", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update(filters)
    return made


def script_hash(script: str) -> str:
    """What the content security policy of a page calls its one script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def around(texts: Texts, terms: Sequence[Term] = TERMS) -> dict[str, object]:
    """What the template of every page takes: style, script, texts, and the policy that lets nothing else run.

    Args:
        texts: the transcripts.
        terms: the words that the page explains.
    """
    script = "\n".join(_asset(f"script/{name}.js") for name in SCRIPT)
    sheets = "'unsafe-inline' 'self'" if texts.files else "'unsafe-inline'"
    ours = f"style-src {sheets}; script-src 'sha256-{script_hash(script)}'"
    policy = f"default-src 'none'; {ours}; base-uri 'none'; form-action 'none'"
    return {
        "script": Markup(script),
        "style": Markup(_asset("style.css")),
        "policy": Markup(policy),
        "texts": texts,
        "terms": terms,
    }


def _asset(name: str) -> str:
    """A file of this folder, as text."""
    return files("sinternal.report").joinpath(name).read_text(encoding="utf-8")
