"""What the site needs beyond mkdocs: pages that lie outside docs/, links to files, the decisions, notebooks.

Pages are written for whoever reads them in the repository; their relative links lead to files there. In the site the
same links lead to pages, or to copies of the files, so that it needs nothing else.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import log

DOCS = Path(__file__).parent
ROOT = DOCS.parent
OUTSIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
"""Pages of the repository's first folder, and where they are in the site."""
COPIES = "repository"
"""Folder of the site for files that pages link to."""
LINK = re.compile(r"(?P<before>\]\(|(?:src|href)=\")(?P<target>[^)\s\"]+)")
FENCE = re.compile(r"^ *(```+|~~~+)")
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:|^#|^//")


def on_config(config: MkDocsConfig) -> None:
    """List the decisions in the navigation."""
    decisions: list[Any] = [{"All of them": "decisions/README.md"}]
    for file in sorted(DOCS.glob("decisions/[0-9]*.md")):
        title = re.sub(r"^# *\d+[.]? *", "", file.read_text().splitlines()[0])
        decisions.append({f"{file.name[:3]} {title}".replace("`", ""): f"decisions/{file.name}"})
    config.nav = _filled(config.nav, decisions)


def _filled(nav: Any, decisions: list[Any]) -> Any:
    if isinstance(nav, list):
        return [_filled(each, decisions) for each in nav]
    if isinstance(nav, dict):
        return {title: decisions if at == "decisions/" else _filled(at, decisions) for title, at in nav.items()}
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside, and notebooks as pages."""
    for outside, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / outside).read_text()))
    for notebook in sorted(DOCS.rglob("*.ipynb")):
        page = notebook.relative_to(DOCS).with_suffix(".md").as_posix()
        files.append(File.generated(config, page, content=from_notebook(json.loads(notebook.read_text()))))
    return files


def from_notebook(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: text as it is, code and what it printed as blocks."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        printed = "".join("".join(_printed(output)) for output in cell["outputs"]).rstrip()
        if printed:
            parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"


def _printed(output: dict[str, Any]) -> list[str]:
    """The text of one output; a picture has none."""
    return list(output.get("text") or output.get("data", {}).get("text/plain", []))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the repository lead to where these are in the site."""
    at = _source(page.file.src_uri)

    def rewritten(match: re.Match[str]) -> str:
        return match["before"] + _target(match["target"], at, page.file.src_uri, config, files)

    lines, fence = [], None
    for line in markdown.splitlines():
        if mark := FENCE.match(line):
            fence = None if fence == mark[1] else fence or mark[1]
        lines.append(line if fence or mark else LINK.sub(rewritten, line))
    return "\n".join(lines)


def _source(page: str) -> Path:
    """The file of the repository that a page of the site is."""
    back = {site: ROOT / outside for outside, site in OUTSIDE.items()}
    return back.get(page, DOCS / page)


def _target(target: str, at: Path, page: str, config: MkDocsConfig, files: Files) -> str:
    """Where a link of a page leads in the site."""
    name, hash_, anchor = target.partition("#")
    if SCHEME.match(target) or not name:
        return target
    file = Path(os.path.normpath(at.parent / name))
    if file.is_dir():
        file /= "README.md"
    if not file.is_file():
        if not file.is_relative_to(DOCS):  # of those inside mkdocs tells itself
            log.warning("%s links to %s, which is not there", page, target)
        return target
    inside = file.relative_to(DOCS).as_posix() if file.is_relative_to(DOCS) else None
    outside = file.relative_to(ROOT).as_posix()
    if outside == "README.md":
        site = "index.md"
    elif outside in OUTSIDE:
        site = OUTSIDE[outside]
    elif inside and file.suffix == ".ipynb":
        site = Path(inside).with_suffix(".md").as_posix()
    elif inside and files.get_file_from_path(inside):
        site = inside
    else:
        site = f"{COPIES}/{outside}.txt"
        if files.get_file_from_path(site) is None:
            files.append(File.generated(config, site, content=file.read_bytes()))
    return posixpath.relpath(site, posixpath.dirname(page) or ".") + hash_ + anchor
