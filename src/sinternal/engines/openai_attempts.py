"""One attempt at a call: what the server sent, or why nothing came back, in words and by its kind."""

from __future__ import annotations

import asyncio
import email.utils
import math
import os
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum
from typing import Any
from urllib.request import proxy_bypass

import anyio
import httpx2
import openai

from sinternal.engines.openai_options import is_loopback
from sinternal.engines.openai_replies import Refusal, RefusedError, read_refusal
from sinternal.redaction import conceal, conceal_reply

MOST_BYTES = 128 * 2**20
"""Of a reply, unpacked. 32,768 tokens, each with 20 alternatives in words, come to about half of that."""
MOST_OF_A_FILE = 4 * 2**30
"""Bytes of what a batch has written: 50,000 replies of 80 kB each."""
MOST_AT_ONCE = 512 * 2**20
"""Bytes of all replies that are being read; where servers send more, the larger ones of them break off."""
FILE_CONTENT = "/content"
"""End of the address of a file's content."""
USUAL_BYTES = 8 * 2**20
"""Of a reply, which no other makes too large."""
DRIPPING = 10
"""A call may take so many times the seconds that its server may be silent: some drip a byte now and then for ever."""
BELIEVED_WAIT = 120.0
"""Seconds in Retry-After that are waited; what asks for more is tried after pauses of our own."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds until a call is made again, doubled each time."""
KEEPING_TEXTS = (307, 308)
"""Redirects after which a call is what it was (RFC 9110, 15.4); after others it may come without its text."""
PASSING = (408, 409, 425, 429)
"""Refusals that may pass, beside those from 500 on."""
QUOTA = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|exceeded your current quota|billing|credit balance|out of credits?"
    r"|payment required|account.{0,20}(deactivated|suspended)",
    re.IGNORECASE,
)
"""How servers say that an account has nothing left: OpenAI, Azure, Anthropic, DeepSeek, OpenRouter."""
NO_HTTP_AT_ALL = "illegal request line"
"""What the client says of a reply whose first byte cannot begin one: that of a TLS server to a plain call."""
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""Reasons of OpenSSL for what a plain server says to TLS."""
_NO_SUCH_HOST = tuple(
    number for name in ("EAI_NONAME", "EAI_NODATA") if isinstance(number := getattr(socket, name, None), int)
)


class Lost(Enum):
    """Why an attempt brought nothing."""

    NOT_THERE = "not there"
    """Nobody takes connections: nothing was sent."""
    NEVER = "never"
    """The same, and waiting will not mend it: there is no such host, or it speaks another protocol."""
    SILENT = "silent"
    """Somebody takes connections, and does not answer in time."""
    BROKEN = "broken"
    """The reply breaks off, or is no HTTP."""
    BUSY = "busy"
    """The server does not take the call at present: it has written nothing."""


class AttemptError(Exception):
    """An attempt brought nothing, and another may."""

    def __init__(
        self,
        why: Lost,
        words: str,
        *,
        mend: str = "",
        wait: float | None = None,
        refusal: Refusal | None = None,
        last: bool = False,
    ) -> None:
        """Say what happened.

        Args:
            why: of which kind it is.
            words: what happened, after the server's address: `cannot be reached (connection refused)`.
            mend: what to do about it, if that is known.
            wait: seconds that the server asks to wait.
            refusal: its own words, if it sent any.
            last: whether it says that another attempt is of no use.
        """
        super().__init__(words)
        self.why = why
        self.mend = mend
        self.wait = wait
        self.refusal = refusal
        self.last = last

    @property
    def may_cost(self) -> bool:
        """Whether the server may have written a text that never came back."""
        return self.why in (Lost.SILENT, Lost.BROKEN)


class ElsewhereError(httpx2.RequestError):
    """A server sends texts on to where nobody has named: its words are the address."""

    def __init__(self, where: str, response: httpx2.Response) -> None:
        """Say where to, by which reply."""
        super().__init__(where, request=response.request)
        self.status = response.status_code


async def check_stays(response: httpx2.Response) -> None:
    """Follow a call with a text to no other host, nor out of encryption, nor where it would lose its text.

    Args:
        response: what a server says to a call.

    Raises:
        ElsewhereError: it sends the call there.
    """
    if not response.has_redirect_location or response.request.method == "GET":
        return  # a question for the list of models has no text
    here, there = response.request.url, response.request.url.join(response.headers["location"])
    opened = here.scheme == "https" and there.scheme != "https"
    if response.status_code not in KEEPING_TEXTS or here.host != there.host or opened:
        raise ElsewhereError(_where(response), response)


def _where(response: httpx2.Response) -> str:
    """The address that a redirect leads to, without its query."""
    there = response.request.url.join(response.headers["location"])
    return f"{there.scheme}://{there.netloc.decode('ascii')}{there.path}"


class Client(openai.DefaultAsyncHttpxClient):
    """Reads replies up to a size, and without the secrets that they repeat. What is packed counts as unpacked."""

    _reading = 0
    """Bytes of all replies that are being read."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request. Raises RemoteProtocolError if the reply is larger than any can be."""
        response = await super().send(request, stream=True, **options)
        if stream:
            return response
        is_file = request.method == "GET" and request.url.path.endswith(FILE_CONTENT)
        content = bytearray()
        try:
            async for piece in response.aiter_bytes():
                content += piece
                self._reading += len(piece)
                if len(content) > (most := self._most(is_file=is_file)):
                    raise httpx2.RemoteProtocolError(f"a reply of more than {most >> 20} MiB")
        finally:
            self._reading -= len(content)
            await response.aclose()
        gone = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]
        return httpx2.Response(
            response.status_code,
            headers=headers,
            content=conceal_reply(bytes(content)),
            request=response.request,
            extensions=response.extensions,
            history=response.history,
        )

    def _most(self, *, is_file: bool) -> int:
        if is_file:
            return MOST_OF_A_FILE
        return USUAL_BYTES if self._reading > MOST_AT_ONCE else MOST_BYTES


async def attempt(call: Callable[[], Awaitable[httpx2.Response]], timeout: float) -> httpx2.Response:
    """Make a call once.

    Args:
        call: makes it, by a client that makes none again.
        timeout: seconds that the server may be silent.

    Raises:
        AttemptError: nothing came back, or that the server cannot at present.
        RefusedError: the server does not do what it was asked for.
    """
    try:
        async with asyncio.timeout(DRIPPING * timeout):
            return await call()
    except TimeoutError as error:
        raise AttemptError(Lost.SILENT, f"has not finished its reply after {DRIPPING * timeout:g} s") from error
    except openai.APIStatusError as error:
        refusal = refusal_of(error)
        if not _may_pass(refusal):
            raise RefusedError(refusal) from error
        headers = error.response.headers
        raise AttemptError(
            Lost.BUSY,
            f"answers {refusal.status}: {refusal.words}",
            wait=read_wait(headers.get("retry-after-ms"), headers.get("retry-after")),
            refusal=refusal,
            last=headers.get("x-should-retry", "").lower() == "false",
        ) from error
    except openai.APIConnectionError as error:
        if isinstance(elsewhere := error.__cause__, ElsewhereError):
            raise RefusedError(Refusal(elsewhere.status, str(elsewhere))) from error
        raise read_cause(error, timeout) from error
    except httpx2.InvalidURL as error:  # where it sends us to
        raise AttemptError(Lost.BUSY, f"sends calls to an address that is none ({error})") from error


def out_of_quota(refusal: Refusal) -> bool:
    """Whether an account has nothing left, so that no further call can succeed."""
    if refusal.status == 402:
        return True
    return refusal.status in (400, 403, 429) and QUOTA.search(f"{refusal.code} {refusal.words}") is not None


def _may_pass(refusal: Refusal) -> bool:
    return (refusal.status in PASSING or refusal.status >= 500) and not out_of_quota(refusal)


def read_wait(milliseconds: str | None, seconds_or_date: str | None) -> float | None:
    """What a server says in Retry-After, in seconds; None for what is not there, or cannot be believed."""
    for value, unit in ((milliseconds, 1000.0), (seconds_or_date, 1.0)):
        try:
            wait = float(value or "none") / unit
        except ValueError:
            continue
        return wait if 0 <= wait <= BELIEVED_WAIT else None
    try:
        wait = email.utils.parsedate_to_datetime(seconds_or_date or "").timestamp() - time.time()
    except (TypeError, ValueError, OverflowError, OSError, IndexError):
        return None
    return wait if math.isfinite(wait) and 0 <= wait <= BELIEVED_WAIT else None


def pause(failures: int) -> float:
    """Seconds until the next attempt, after so many have failed."""
    return float(min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 10)))


def read_cause(error: openai.APIConnectionError, timeout: float) -> AttemptError:
    """Why nothing came back."""
    causes, url = list(_causes(error)), error.request.url
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = f"cannot be reached (its certificate is not valid here: {cause.verify_message.rstrip('.')})"
            return AttemptError(Lost.NEVER, words, mend=MEND_CERTIFICATE)
        if isinstance(cause, ssl.SSLError) and isinstance(error.__cause__, httpx2.ConnectError) and cause.reason:
            if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) or "UNEXPECTED_EOF" in cause.reason:
                return AttemptError(Lost.NOT_THERE, "cannot be reached (it hangs up before TLS is agreed on)")
            plain = any(word in cause.reason for word in _PLAIN)
            words = "it does not speak TLS: write http:// in place of https://" if plain else f"TLS: {cause.reason}"
            return AttemptError(Lost.NEVER, f"cannot be reached ({words})")
    name = proxy_variable(url.scheme, url.host)
    mend = f"mend {name}, or name the host in NO_PROXY" if name else ""
    at = f"the proxy of {name}: " if name else ""
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            kind = Lost.NEVER if cause.errno in _NO_SUCH_HOST else Lost.NOT_THERE
            words = f"cannot be reached ({at}no host of this name: {cause.strerror or cause})"
            return AttemptError(kind, words, mend=mend)
    outer = error.__cause__
    known = ((why, words) for kind, why, words in _CAUSES if isinstance(outer, kind))
    why, words = next(known, (Lost.BROKEN, "sends no reply ({})"))
    if isinstance(outer, httpx2.RemoteProtocolError) and NO_HTTP_AT_ALL in str(outer):
        words = f"sends no HTTP ({PERHAPS_TLS})"
    if isinstance(outer, httpx2.ConnectError | httpx2.ProxyError):
        number = next((cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno), None)
        said = at + (_first(str(outer)) if number is None else _first(os.strerror(number)))
    else:
        said, mend = f"{timeout:g} s" if why is Lost.SILENT else _first(str(outer or error)), ""
    return AttemptError(why, words.format(said), mend=mend)


MEND_CERTIFICATE = (
    "if it is your own, name the file of its certificate, or of the authority that signed it, in SSL_CERT_FILE"
)
PERHAPS_TLS = "if it speaks TLS, write https:// in place of http://"


def perhaps_tls(url: str, error: AttemptError) -> str:
    """What to add where a server that has never replied hangs up on a plain call: one that speaks TLS may do so."""
    fits = url.startswith("http://") and error.why is Lost.BROKEN and PERHAPS_TLS not in str(error)
    return f" ({PERHAPS_TLS})" if fits else ""


def proxy_variable(scheme: str, host: str) -> str:
    """The variable of the environment that names the proxy through which a host is asked; empty if there is none."""
    if is_loopback(host) or proxy_bypass(host):
        return ""
    names = (f"{scheme}_proxy", "all_proxy")
    return next((name for one in names for name in (one, one.upper()) if os.environ.get(name)), "")


_CAUSES: tuple[tuple[type[Exception], Lost, str], ...] = (
    (httpx2.ConnectTimeout, Lost.NOT_THERE, "cannot be reached (nobody takes the connection)"),
    (httpx2.TimeoutException, Lost.SILENT, "timed out after {}"),
    (httpx2.TooManyRedirects, Lost.BUSY, "sends calls round in a circle of redirects"),
    (httpx2.UnsupportedProtocol, Lost.BUSY, "sends calls to an address that is none"),
    (httpx2.ConnectError, Lost.NOT_THERE, "cannot be reached ({})"),
    (httpx2.ProxyError, Lost.NOT_THERE, "cannot be reached ({})"),
    (httpx2.DecodingError, Lost.BROKEN, "sends a reply that cannot be unpacked"),
    (httpx2.RemoteProtocolError, Lost.BROKEN, "sends no whole reply ({})"),
    (httpx2.NetworkError, Lost.BROKEN, "hangs up before its reply is whole"),
    (anyio.EndOfStream, Lost.BROKEN, "hangs up before its reply is whole"),
)
"""What the client's errors mean, in this order."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        cause = waiting.pop(0)
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [other for other in (cause.__cause__, cause.__context__) if other is not None]
            waiting += cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()


def _first(words: str) -> str:
    text = (words.splitlines() or [""])[0].strip().rstrip(".")
    return text[:1].lower() + text[1:200] if text[1:2].islower() else text[:200]


def refusal_of(error: openai.APIStatusError) -> Refusal:
    """What a server said in refusing; of a redirect that is not followed, the address."""
    if error.response.has_redirect_location:
        return Refusal(error.status_code, conceal(_where(error.response)))
    try:
        body = error.response.content
    except httpx2.HTTPError:
        body = b""
    return read_refusal(error.status_code, conceal(body.decode("utf-8", "replace")).encode())
