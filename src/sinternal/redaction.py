"""What is written down of settings: everything but the secrets in them.

A key belongs into an environment variable. Where one was written into settings all the same, it is used and not kept:
in manifests, recipes and pages these words stand in its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

NOT_KEPT = "(not kept)"
VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
"""How a value names an environment variable."""
_SECRET = re.compile(
    r"(^|[-_.])((api|access|subscription|secret|private|auth|account)?[-_]?keys?|token|secrets?|passw(or)?d|pwd|pass"
    r"|authorization|credentials?|signature|sig|cookie|bearer)$",
    re.IGNORECASE,
)
_SENT = ("headers", "query", "extra_body")
"""Mappings that go to servers as they are: whatever is called a key there is one."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"]+", re.IGNORECASE)
_QUERY_SECRET = re.compile(r"([?&;])([^=&;#\s]+)=([^&;#\s]*)")


def names_a_secret(name: str) -> bool:
    """Whether a header or field of this name holds a key, a password or the like."""
    return _SECRET.search(name) is not None


def redacted(settings: Any, *, sent: bool = False) -> Any:
    """Settings as they may be written down.

    Args:
        settings: plain values at any depth.
        sent: whether they are fields that go to a server.
    """
    if isinstance(settings, Mapping):
        return {
            name: NOT_KEPT
            if sent and isinstance(value, str | int | float) and names_a_secret(str(name)) and not _is_variable(value)
            else redacted(value, sent=sent or name in _SENT)
            for name, value in settings.items()
        }
    if isinstance(settings, list | tuple):
        return [redacted(value, sent=sent) for value in settings]
    return redacted_text(settings) if isinstance(settings, str) and "://" in settings else settings


def redacted_text(text: str) -> str:
    """A text whose addresses hold no password, and no query's key."""
    return _URL.sub(lambda match: _redacted_url(match[0]), text)


def _redacted_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    bare = host.rpartition("@")[2]
    shown = f"{scheme}://{bare}{rest[len(host) :]}"

    def hide(match: re.Match[str]) -> str:
        kept = not names_a_secret(match[2]) or _is_variable(match[3])
        return match[0] if kept else f"{match[1]}{match[2]}={NOT_KEPT}"

    return _QUERY_SECRET.sub(hide, shown) if urlsplit(shown.split("#")[0]).query else shown


def _is_variable(value: object) -> bool:
    """Whether a value only names where the secret is."""
    text = str(value).removeprefix("Bearer ").removeprefix("Basic ")
    return VARIABLE.fullmatch(text) is not None or (VARIABLE.fullmatch(f"${text}") is not None and text in os.environ)
