"""What is written down of settings and of what servers say: everything but secrets.

A key belongs into an environment variable. Where one was written into settings all the same, it is used and not kept:
in manifests, recipes and pages these words stand in its place.

Whatever is sent to a server as a secret is remembered for as long as the process lives, and hidden in everything that
comes back, in tracebacks and in the logs of HTTP libraries: as it is, in Base64, and as addresses and JSON spell it.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

NOT_KEPT = "(not kept)"
VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
"""How a value names an environment variable."""
_SECRET = re.compile(
    r"(^|[-_.])((api|access|subscription|secret|private|auth|account)?[-_]?keys?|token|secrets?|passw(or)?d|pwd|pass"
    r"|auth(orization)?|credentials?|signature|sig|cookie|bearer|jwt|session)$",
    re.IGNORECASE,
)
_SENT = ("headers", "query", "extra_body")
"""Mappings that go to servers as they are: whatever is called a key there is one."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"]+", re.IGNORECASE)
HIDDEN = "***"
"""What stands in the place of a secret in a text."""
SHORTEST, SHORTEST_IN_REPLIES = 4, 16
"""Characters from which on a text is hidden in messages, and in what models write, which a key of the kind `test` that
a server of one's own may have must not change."""
_NO_SECRETS = ("PWD", "OLDPWD", "DESKTOP_SESSION")
"""Variables that hold none, whatever their names say: the folders of a shell (POSIX.1-2024, 8.3), and which desktop."""
_remembered: set[str] = set()
_sealed: dict[str, dict[str, Any]] = {}
"""Options with their secrets, by what they look like without."""
_QUERY_SECRET = re.compile(r"([?&;])([^=&;#\s]+)=([^&;#\s]*)")


def names_a_secret(name: str) -> bool:
    """Whether a header or field of this name holds a key, a password or the like."""
    return _SECRET.search(name) is not None


def is_sent(name: str) -> bool:
    """Whether a field of this name holds what goes to servers as it is, or a key."""
    return name in _SENT or names_a_secret(name)


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

    return _QUERY_SECRET.sub(hide, shown) if "?" in shown.partition("#")[0] else shown


def _is_variable(value: object) -> bool:
    """Whether a value only names where the secret is."""
    text = str(value).removeprefix("Bearer ").removeprefix("Basic ")
    return VARIABLE.fullmatch(text) is not None or (VARIABLE.fullmatch(f"${text}") is not None and text in os.environ)


def seal(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they may be written down, for others to hand on, who log what they are given; see `unseal`."""
    public: dict[str, Any] = redacted(options)
    _sealed[json.dumps(public, sort_keys=True, default=str)] = dict(options)
    return public


def unseal(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was sealed as these options in this process last; the options themselves if nothing was."""
    return dict(_sealed.get(json.dumps(options, sort_keys=True, default=str), options))


def remember(secrets: Iterable[str]) -> None:
    """Hide these from now on, see `conceal`."""
    _remembered.update(secret for secret in secrets if len(secret) >= SHORTEST)


def secrets_in(settings: Any, *, sent: bool = False) -> Iterator[str]:
    """The secrets that settings hold, or name the environment variables of.

    Args:
        settings: plain values at any depth, as for `redacted`.
        sent: whether they are fields that go to a server.
    """
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            if name == "api_key_env" and isinstance(value, str):
                yield os.environ.get(value, "")
            elif sent and isinstance(value, str | int | float) and names_a_secret(str(name)):
                yield str(value)
            yield from secrets_in(value, sent=sent or name in _SENT)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from secrets_in(value, sent=sent)
    elif isinstance(settings, str):
        if sent:
            yield from (os.environ.get(match[1] or match[2], "") for match in VARIABLE.finditer(settings))
            yield os.environ.get(settings, "") if VARIABLE.fullmatch(f"${settings}") else ""
        for match in _URL.finditer(settings):
            yield from _secrets_in_url(match[0])


def _secrets_in_url(url: str) -> Iterator[str]:
    host = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    user, at, _ = host.rpartition("@")
    if at:
        yield from (user.partition(":")[2], unquote(user.partition(":")[2]))
        yield base64.b64encode(unquote(user).encode()).decode()
    for _, name, value in _QUERY_SECRET.findall(url):
        if names_a_secret(name):
            yield from (value, unquote(value.replace("+", " ")), unquote(value))


def conceal(text: str, *, shortest: int = SHORTEST) -> str:
    """A text without secrets: those that are remembered, and those in variables of the environment that are called so.

    Args:
        text: any.
        shortest: characters of a secret from which on it is hidden.
    """
    known = (secret for secret in _remembered.union(_of_environment()) if len(secret) >= shortest)
    pattern = _spelled(frozenset(known))
    return text if pattern is None else pattern.sub(HIDDEN, text)


def conceal_reply(body: bytes) -> bytes:
    """What a server has sent, without the secrets that it was sent."""
    pattern = _spelled(frozenset(secret for secret in _remembered if len(secret) >= SHORTEST_IN_REPLIES))
    if pattern is None:
        return body
    text = body.decode("utf-8", "surrogateescape")
    return pattern.sub(HIDDEN, text).encode("utf-8", "surrogateescape") if pattern.search(text) else body


def _of_environment() -> Iterator[str]:
    """Values of variables that are called keys or the like, and passwords in addresses, as of proxies."""
    for name, value in os.environ.items():
        if names_a_secret(name) and len(value) >= SHORTEST_IN_REPLIES and not _is_place(name, value):
            yield value
        if "://" in value and "@" in value:
            yield from (secret for secret in secrets_in(value) if len(secret) >= SHORTEST)


def _is_place(name: str, value: str) -> bool:
    """Whether a variable holds no secret for all its name: a folder or socket, as PWD, OLDPWD and SSH_AUTH_SOCK do.

    A path says where something is, a file with a key among them (GOOGLE_APPLICATION_CREDENTIALS): it is to be read in
    messages. Whatever does not exist under such a path may be a key that begins with a slash.
    """
    if name in _NO_SECRETS:
        return True
    # Not by pathlib, which raises where a name is too long for a file.
    return value.startswith(("/", "~/", "./", "../")) and os.path.exists(os.path.expanduser(value))  # noqa: PTH110, PTH111


@lru_cache(maxsize=8)
def _spelled(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """Finds every way to spell some secrets; the longest first, as one may be a part of another."""
    forms = sorted({form for secret in secrets for form in _spellings(secret)}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, forms))) if forms else None


def _spellings(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    texts = {secret, quote(raw), quote(raw, safe=""), quote_plus(raw)}
    texts |= {re.sub("%..", lambda code: code[0].lower(), text) for text in texts}
    for text in texts:
        spelled = json.dumps(text)[1:-1]
        yield from (text, spelled, spelled.replace("/", "\\/"))
        yield re.sub("[<>&+']", lambda sign: f"\\u{ord(sign[0]):04x}", spelled)  # what others escape in JSON
    if len(raw) >= SHORTEST_IN_REPLIES:
        for shift in range(3):
            # The digits that depend on what stands before and after it are left out.
            digits = base64.b64encode(b"0" * shift + raw).decode()[4 if shift else 0 : -4]
            yield from (digits, digits.translate({ord("+"): "-", ord("/"): "_"}))


class ConcealingFilter(logging.Filter):
    """Hides secrets in what a library logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record pass, without them."""
        record.msg, record.args = conceal(record.getMessage()), None
        return True
