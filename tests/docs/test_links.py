"""Links between pages lead somewhere, in the repository as well as in the site."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!<)([^)\s]+)\)")
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCED.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text()))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{target} is not there"
        assert file.is_relative_to(ROOT), f"{target} leads out of the repository"
        if anchor:
            assert anchor in anchors(file), f"{file.name} has no heading for #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_is_inside_a_list_is_indented_so_that_the_site_takes_it_so(page: Path) -> None:
    """GitHub takes two spaces; Python-Markdown, which makes the site, takes four."""
    text = FENCED.sub("", page.read_text())
    assert not re.findall(r"^ {1,3}(?:[-*]|\d+\.) .*|(?<=\n\n) {1,3}\S.*", text, re.MULTILINE)


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\]\((\d[^)]*)\)", (ROOT / "docs/decisions/README.md").read_text())
    assert listed == sorted(file.name for file in ROOT.glob("docs/decisions/[0-9]*.md"))


def test_each_extra_is_in_the_table_of_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    section = (ROOT / "docs/start.md").read_text().partition("## Extras")[2].partition("\n## ")[0]
    first = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert set(re.findall("`([a-z]+)`", " ".join(first))) == set(extras)


@pytest.mark.parametrize("file", sorted(ROOT.glob("docs/decisions/[0-9]*.md")), ids=lambda file: file.stem)
def test_a_decision_has_context_decision_and_cost_and_is_short(file: Path) -> None:
    text = file.read_text()
    assert text.startswith(f"# {int(file.name[:3])}. ")
    parts = re.findall(r"^\*\*(Context|Decision|Cost)\.\*\*", text, re.MULTILINE)
    assert parts == ["Context", "Decision", "Cost"]
    assert len(text.split()) <= 350
