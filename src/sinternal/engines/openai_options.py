"""Settings of the engine `openai`, and where they say that the server is."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sinternal.engines import Destination, TemplateOptions
from sinternal.engines.openai_fields import unknown_fields
from sinternal.errors import EngineError
from sinternal.records import Finish
from sinternal.redaction import VARIABLE, names_a_secret, remember, secrets_in

OPENAI = "https://api.openai.com/v1"
"""Where the hosted API is that gave this protocol its name."""
NEVER_REACHED = 20.0
"""Seconds that a server is waited for that has never answered, if nothing else is said: six looks."""
OWN_KEY = re.compile(r"authorization|key|token", re.IGNORECASE)
"""Headers of this kind bring a key of their own, so that none is sent beside them."""


class Prefill(StrEnum):
    """How to make a server continue an assistant's turn."""

    NO = "no"
    """It cannot: a request with a prefill fails."""
    TRAILING = "trailing"
    """A last message by the assistant is continued as it is (llama.cpp)."""
    CONTINUE = "continue"
    """The same, if asked for with `continue_final_message` (vLLM, SGLang)."""


class Price(BaseModel):
    """What a million tokens cost, in any one currency."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    read: float = Field(ge=0)
    """Tokens of the prompt."""
    written: float = Field(ge=0)
    """Tokens of the completion."""
    batch: float = Field(default=0.5, ge=0)
    """What a call costs in a batch, as a share of that: half at OpenAI, Azure, Groq and Together (their pages on
    batches, 2026)."""


class BatchOptions(BaseModel):
    """How calls are handed in as batches. The limits are OpenAI's (API reference, "Create batch", 2026)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    window: str = Field(default="24h", pattern=r"^[1-9]\d*[a-z]+$")
    """How long a batch may take, in the server's word; OpenAI knows 24h only, Groq up to 7d."""
    poll: float = Field(default=60.0, gt=0)
    """Seconds between two looks at a batch."""
    max_requests: int = Field(default=50_000, ge=1)
    """Requests in one batch."""
    max_bytes: int = Field(default=200_000_000, ge=1)
    """Size of a batch's file."""


class OpenAIOptions(TemplateOptions):
    """Settings of this engine."""

    model_config = ConfigDict(allow_inf_nan=False)

    base_url: str | None = None
    """Where the server is, for example http://localhost:8000/v1; None: OPENAI_BASE_URL, else OpenAI itself."""
    model: str | None = None
    """The model's name on the server, where it differs from the name that the recipe gives it elsewhere."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key. A server of one's own may ask for none."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers; `$NAME` in a value, or a value that is the NAME of a variable that is set, comes from the
    environment. Other values of headers that hold keys are kept in no file."""
    query: dict[str, str] = Field(default_factory=dict)
    """Further parts of the address's query, for example api-version; `$NAME` as in headers."""
    concurrency: int = Field(default=32, ge=1)
    """Calls under way at once."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds that a server may be silent in a call."""
    max_retries: int = Field(default=6, ge=0)
    """How often a failed call is made again, with growing pauses or as the server asks."""
    patience: float = Field(default=300.0, ge=0)
    """Seconds that a server which is away is waited for: the run pauses, says so, and goes on by itself. One that has
    never answered is waited for so long only if this is set, else for 20 s."""
    stream: bool = False
    """Take replies in pieces, for servers and gateways that give them in no other way."""
    prefill: Prefill = Prefill.NO
    """How the server continues an assistant's turn."""
    opens_thinking: bool = False
    """The chat template opens the thinking and no reasoning parser reads it: text without tags is then thinking."""
    price: Price | None = None
    """What tokens cost; without it only tokens are counted."""
    batch: BatchOptions | None = None
    """Hand calls in as batches, which cost less and take up to a day: `{}` for the defaults. None: ask one by one."""
    fields: dict[str, str | None] = Field(default_factory=dict)
    """Fields of a call that the server has under another name, or (null) does not take: {seed: null}."""
    finish_reasons: dict[str, Finish] = Field(default_factory=dict)
    """What the server's own words for the end of a text mean, where they are not known: {my-stop: stop}."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of every call, for example a grammar."""

    @property
    def first_patience(self) -> float:
        """Seconds that a server is waited for that has never answered: the address may be wrong."""
        return self.patience if "patience" in self.model_fields_set else min(NEVER_REACHED, self.patience)

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is not None:
            check_address(url)
        return url

    @field_validator("fields")
    @classmethod
    def _are_fields_of_a_call(cls, fields: dict[str, str | None]) -> dict[str, str | None]:
        if unknown := unknown_fields(fields):
            raise ValueError(f"no call has a field {unknown[0]!r}; write others into extra_body")
        return fields

    @field_validator("query", "headers", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        """YAML reads 2025-04-01 as a date and 1 as a number."""
        return {name: str(one) for name, one in values.items()} if isinstance(values, Mapping) else values


REACH = frozenset(
    (
        "base_url",
        "api_key_env",
        "headers",
        "query",
        "concurrency",
        "timeout",
        "max_retries",
        "patience",
        "stream",
        "price",
        "batch",
    )
)
"""Options that say how a server is reached and what it costs, and change nothing in what it writes."""


class Address(NamedTuple):
    """A server, with all that a call needs to reach it."""

    url: str
    """Without user, password and query: to be shown."""
    query: dict[str, str]
    """The query of each call."""
    headers: dict[str, str]
    """Further headers of each call."""
    brings_a_key: bool
    """Whether a header, or a user's name in the address, already says who calls."""

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.url).hostname or ""


def check_address(url: str) -> None:
    """Make sure that a text is an address of the web.

    Raises:
        ValueError: it is none; the message shows no password.
    """
    at = url.strip()
    try:
        parts = urlsplit(at)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, fine = None, False
    if fine and at == url:
        return
    address = at.rpartition("@")[2]
    if parts is None or parts.scheme not in ("http", "https"):
        raise ValueError(f"{address!r} has no http:// or https:// in front of its host; write http://{_bare(address)}")
    raise ValueError(f"{address!r} is not an address; write one like http://localhost:8000/v1")


def _bare(text: str) -> str:
    return text.partition("://")[2] or text.lstrip("/")


def find_address(options: OpenAIOptions, key: str | None) -> Address:
    """Where the options say that the server is.

    Args:
        options: of the engine.
        key: what is sent as a key, to be hidden from now on as all other secrets are.

    Raises:
        EngineError: OPENAI_BASE_URL is not an address, a header names a variable that is not set, or cannot be sent.
    """
    base_url = options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
    try:
        check_address(base_url)
    except ValueError as error:
        raise EngineError(f"engine openai: OPENAI_BASE_URL: {error}") from error
    parts = urlsplit(base_url)
    netloc = parts.netloc.rpartition("@")[2]
    headers = {name: _from_environment(value, f"headers.{name}") for name, value in options.headers.items()}
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query |= {name: _from_environment(value, f"query.{name}") for name, value in options.query.items()}
    if parts.username or parts.password:
        headers = {"Authorization": _basic(unquote(parts.username or ""), unquote(parts.password or ""))} | headers
    for name, value in headers.items():
        if not name.isascii() or not name.strip() or not fits_a_header(value):
            raise EngineError(f"engine openai: headers.{name}: a header holds ASCII characters without line breaks")
    remember(secrets_in({"base_url": base_url, **options.model_dump(include={"headers", "query", "extra_body"})}))
    for name, value in headers.items():
        remember([value, *value.split(" ")] if OWN_KEY.search(name) or names_a_secret(name) else ())
    remember([key or "", *(value for name, value in query.items() if names_a_secret(name))])
    return Address(
        urlunsplit((parts.scheme, netloc, parts.path, "", "")),
        query,
        headers,
        any(OWN_KEY.search(name) for name in headers),
    )


def find_destination(options: OpenAIOptions) -> Destination:
    """The server that the options name, and the variables of the environment that go there, if they are set."""
    parts = urlsplit(options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI)
    own_key = bool(parts.username or parts.password) or any(OWN_KEY.search(name) for name in options.headers)
    named = [name for value in (*options.headers.values(), *options.query.values()) for name in _variables(value)]
    variables = (*([] if own_key else [options.api_key_env]), *named)
    return Destination(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        tuple(name for name in dict.fromkeys(variables) if os.environ.get(name)),
        is_loopback(parts.hostname or ""),
    )


def _variables(value: str) -> list[str]:
    """The variables that a value of a header or query names."""
    if value in os.environ and VARIABLE.fullmatch(f"${value}"):
        return [value]
    return [match[1] or match[2] for match in VARIABLE.finditer(value)]


def _from_environment(value: str, where: str) -> str:
    if _variables(value) == [value]:
        return variable(value)

    def read(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise EngineError(f"engine openai: {where}: {name} is not set; export it, or write another variable's name")
        return variable(name)

    return VARIABLE.sub(read, value)


def variable(name: str) -> str:
    """What a variable of the environment holds, without the line break or blank that files and shells put around it."""
    return os.environ.get(name, "").strip()


def fits_a_header(value: str) -> bool:
    """Whether a header can hold a value: ASCII characters without line breaks."""
    return value.isascii() and value.isprintable()


def _basic(user: str, password: str) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that no proxy can lead there."""
    name = host.lower().rstrip(".").partition("%")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified
