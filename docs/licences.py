"""The licences of everything that is installed here; `make audit` calls it.

    python docs/licences.py            # exit status 1 if one is unknown, or asks for what the project cannot give

A licence counts as its package declares it, in License-Expression, else in a classifier, else in License.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

COPYLEFT = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|EUPL|CC-BY-SA|SSPL)", re.IGNORECASE)
"""Licences that what is built with a package would have to take. LGPL and MPL ask for their own files alone."""
TITLES = ("Apache License", "MIT License", "BSD 3-Clause License", "BSD 2-Clause License", "Mozilla Public License")
"""How the files of licences begin, for packages that declare none and bring one."""
LONGEST = 60


def licence(distribution: Distribution) -> str:
    """What a package declares; empty for nothing."""
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [
        str(value).rpartition("::")[2].strip()
        for value in metadata.get_all("Classifier") or ()
        if str(value).startswith("License ::")
    ]
    named = [name for name in classifiers if name != "OSI Approved"]
    text = "; ".join(named) or " ".join(str(metadata.get("License") or "").split())
    return _by_file(distribution) if text.upper() in ("", "UNKNOWN") else text


def _by_file(distribution: Distribution) -> str:
    """What the file of a licence that a package brings says it is; empty if there is none, or no title is known."""
    files = [file for file in distribution.files or () if re.search(r"licen[cs]e", file.name, re.IGNORECASE)]
    texts = (" ".join(Path(str(file.locate())).read_text(errors="replace").split())[:200] for file in files)
    return next((f"{title}, by its file" for text in texts for title in TITLES if title in text), "")


def flags() -> Iterator[str]:
    """List all packages; yields a line for each whose licence has to be looked at."""
    for distribution in sorted(distributions(), key=lambda each: str(each.name).lower()):
        name, text = str(distribution.name), licence(distribution)
        print(f"{name:28} {distribution.version:16} {text[:LONGEST] or 'declares none'}")
        if not text or COPYLEFT.search(text[:200]):
            yield f"{name} {distribution.version}: {text[:LONGEST] or 'declares no licence'}"


if __name__ == "__main__":
    found = list(flags())
    for line in found:
        print(f"look at: {line}", file=sys.stderr)
    sys.exit(1 if found else 0)
