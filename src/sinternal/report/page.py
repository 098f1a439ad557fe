"""What every HTML page of this package is made with."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined


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


def asset(name: str) -> str:
    """A file of this folder, as text."""
    return files("sinternal.report").joinpath(name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """What the content security policy of a page calls its one script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
