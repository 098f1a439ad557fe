"""The server of the engine `openai`: how it is reached, and what its refusals mean."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import httpx2
import openai

from sinternal import budget
from sinternal.budget import Spent
from sinternal.engines import Sight
from sinternal.engines.openai_attempts import (
    AttemptError,
    Client,
    Lost,
    attempt,
    check_stays,
    out_of_quota,
    pause,
    perhaps_tls,
)
from sinternal.engines.openai_failures import OUTAGE, Call, FailedError
from sinternal.engines.openai_options import OpenAIOptions, find_address, fits_a_header, is_loopback, variable
from sinternal.engines.openai_presence import Presence
from sinternal.engines.openai_replies import Refusal, RefusedError, line
from sinternal.errors import EngineError
from sinternal.redaction import ConcealingFilter, conceal

WAITS_FOR_SENSE = (0.1, 0.2, 0.4)
"""Seconds before a call is made again whose reply makes no sense; up to twice as long, so that calls spread out."""
NO_KEY = "none"
"""Sent to servers that ask for no key; the client insists on one."""
CONNECTING = 10.0
"""Seconds to wait for a connection: an address where nobody is."""
LOOKING = 5.0
"""Seconds that a server has for the list of its models, when it is looked whether it is there."""
ENDINGS = ("/chat/completions", "/completions", "/models")
"""Of addresses that are no base_url, but what is asked below one."""
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of the environment that name the certificates which are trusted, in the client's order."""
MEND_QUOTA = "what is done is kept, raise it and run again"

logging.getLogger("httpx2").addFilter(ConcealingFilter())  # it logs addresses whole, with the keys in their queries


class Server:
    """One server, and the model that is asked for there."""

    def __init__(self, options: OpenAIOptions, model: str, key: str | None) -> None:
        """Find out where it is.

        Args:
            options: of the engine.
            model: the model's name there.
            key: its key; by default what the option `api_key_env` names.

        Raises:
            EngineError: the key is missing or none, or the address is none.
        """
        self.options = options
        self.model = model
        key = key or variable(options.api_key_env)
        if key and not fits_a_header(key):
            raise EngineError(
                f"engine openai: what {options.api_key_env} holds is no key: no header takes its characters (a line "
                "break, or one outside ASCII); copy the key once more"
            )
        self.address = find_address(options, key)
        self.url = self.address.url
        self.hosted_by_openai = self.address.host == "api.openai.com"
        self.has_key = bool(key)
        if not key and self.hosted_by_openai and not self.address.brings_a_key:
            raise EngineError(
                f"engine openai: {options.api_key_env} is not set; set it, or name a server of your own in base_url"
            )
        self._key = key or NO_KEY

    def client(self, max_retries: int | None = None) -> openai.AsyncOpenAI:
        """A client of it; `max_retries` by default as the options say. Raises EngineError for an unusable proxy."""
        # Calls wait for a connection as long as the others need: how many are under way at once is decided elsewhere.
        timeout = httpx2.Timeout(self.options.timeout, connect=min(CONNECTING, self.options.timeout), pool=None)
        settings: dict[str, Any] = {"timeout": timeout, "event_hooks": {"response": [check_stays]}}
        if is_loopback(self.address.host):
            # A proxy cannot lead to this machine: whatever the environment says of proxies is not for this address.
            settings |= {"trust_env": False, "verify": httpx2.create_ssl_context()}
        if self.address.headers:
            settings["follow_redirects"] = False  # to another host, keys in headers would go along
        try:
            return openai.AsyncOpenAI(
                base_url=self.url,
                api_key=self._key,
                default_query=dict(self.address.query),
                max_retries=self.options.max_retries if max_retries is None else max_retries,
                http_client=Client(**settings),
                timeout=timeout,
            )
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise EngineError(
                f"{self.url} cannot be asked: {self.clean(str(error))}; see the proxy variables"
            ) from error
        except OSError as error:
            named = next((name for name in CERTIFICATES if os.environ.get(name)), "")
            where = f"that {named} names ({os.environ[named]})" if named else "of this machine"
            raise EngineError(
                f"{self.url} cannot be asked: the certificates {where} cannot be read: {self.clean(str(error))}"
            ) from error

    @property
    def headers(self) -> dict[str, Any]:
        """Those that every call is sent with."""
        headers: dict[str, Any] = dict(self.address.headers)
        if self.address.brings_a_key and not any(name.lower() == "authorization" for name in headers):
            headers["Authorization"] = openai.Omit()
        return headers

    async def models(self, client: openai.AsyncOpenAI) -> dict[str, int | None] | None:
        """The names of its models, each with its context as far as that is told; None if it tells no names."""
        try:
            response = await client.get("/models", cast_to=httpx2.Response, options={"headers": self.headers})
            return {self.clean(str(model["id"]))[:80]: _context(model) for model in response.json()["data"]}
        except (openai.OpenAIError, ValueError, LookupError, TypeError, RecursionError):
            return None

    async def look(self, client: openai.AsyncOpenAI) -> Sight:
        """What its list of models says of ours. Raises EngineError, see `Engine.look`."""
        options: Any = {"headers": self.headers}
        if why := await self.why_away(client):
            raise EngineError(f"{self.url} {why}; {why.mend or 'start the server, or correct the address'}")
        try:
            await attempt(lambda: client.get("/models", cast_to=httpx2.Response, options=options), LOOKING)
        except RefusedError as error:
            if error.refusal.status in (401, 403):
                raise await self.failure(client, error.refusal) from error
            if error.refusal.status == 404 and (right := await self._where_it_is(client)):
                raise EngineError(
                    f"{self.url} has no list of models (404), and {right} has one: write base_url: {right}"
                ) from error
        except AttemptError as error:
            words = f"{error}{perhaps_tls(self.url, error)}"
            return Sight(f"{self.url} {words}: whether it has {self.model!r} shows with the first request", sure=False)
        known = await self.models(client)
        if not known:
            return Sight(
                f"{self.url} answers, and does not list its models: whether it has {self.model!r}, and whether the "
                "address is right, shows with the first request; base_url usually ends in /v1",
                sure=False,
            )
        if self.model not in known:
            raise EngineError(f"{self.url} does not know the model {self.model!r}; it has: {', '.join([*known][:8])}")
        return Sight(f"{self.url} answers and serves {self.model!r}", context=known[self.model])

    async def _where_it_is(self, client: openai.AsyncOpenAI) -> str | None:
        """The address nearby that has a list of models; None if there is none."""
        beginning = self.url.rstrip("/")
        for ending in ENDINGS:
            beginning = beginning.removesuffix(ending)
        for address in dict.fromkeys((beginning, f"{beginning}/v1")):
            if address == self.url.rstrip("/"):
                continue
            nearby = client.with_options(base_url=address, max_retries=0, timeout=LOOKING)
            if await self.models(nearby) is not None:
                return address
        return None

    async def why_away(
        self, client: openai.AsyncOpenAI, times: float = 1.0, most: float = math.inf
    ) -> AttemptError | None:
        """Why it takes no calls, or answers none; None if it says anything at all.

        Args:
            client: asks it.
            times: how many times as long it has as it usually has: some are slow, or busy with the calls of others.
            most: seconds that it has at most, if that is more than it usually has.
        """
        seconds = min(LOOKING * times, max(LOOKING, most))
        asking = client.with_options(max_retries=0, timeout=seconds)
        options: Any = {"headers": self.headers}
        try:
            await attempt(lambda: asking.get("/models", cast_to=httpx2.Response, options=options), seconds)
        except AttemptError as error:
            if error.why is Lost.SILENT:
                return AttemptError(Lost.SILENT, f"takes connections and answers nothing (GET models, {seconds:.3g} s)")
            return error if error.why in (Lost.NOT_THERE, Lost.NEVER) else None
        except RefusedError:
            return None
        return None

    def presence(self, client: openai.AsyncOpenAI, patience: float | None = None) -> Presence:
        """What is known of whether it is there, for the calls of a client; `patience` as the options say if None."""

        async def look(times: float, most: float) -> AttemptError | None:
            return await self.why_away(client, times, most)

        enough = max(OUTAGE, self.options.concurrency)
        return Presence(self.url, self.options.patience if patience is None else patience, look, enough=enough)

    def look_by(self, look: Callable[[openai.AsyncOpenAI], Coroutine[Any, Any, Any]]) -> Any:
        """What is found by a client of its own."""

        async def ask() -> Any:
            async with self.client() as client:
                return await look(client)

        return asyncio.run(ask())

    def clean(self, text: str) -> str:
        """Its words without what could steer a terminal, and without the secrets that it was sent."""
        return line(conceal(text))

    async def failure(self, client: openai.AsyncOpenAI, refusal: Refusal) -> EngineError | FailedError:
        """What a refusal means for a call, or for the whole engine."""
        words, status = self.clean(refusal.words), refusal.status
        if out_of_quota(refusal):
            return EngineError(f"{self.url} refuses all calls, the account has no quota left: {words}; {MEND_QUOTA}")
        if status in (401, 403):
            return EngineError(self._about_the_key(status, words))
        if status == 404:
            return EngineError(await self._not_found(client, words))
        if 300 <= status < 400:
            where = words.removesuffix("/chat/completions") or "another address"
            return EngineError(
                f"{self.url} sends calls on to {where}; texts go only where they are sent: if there, make it base_url"
            )
        if status == 200:
            return FailedError(f"{self.url} sent an error in place of a text: {words}", outage=True, status=status)
        return FailedError(
            f"{self.url} answered {status}: {words}", outage=status == 429 or status >= 500, status=status
        )

    def _about_the_key(self, status: int, words: str) -> str:
        name = self.options.api_key_env
        if status == 403:
            return f"{self.url} does not allow this: {words}"
        if self.address.brings_a_key:
            return f"{self.url} refuses the key in the headers or the address: {words}"
        if not self.has_key:
            return f"{self.url} asks for a key, and {name} is not set; set it, or name another variable in api_key_env"
        return f"{self.url} refuses the key in {name}: {words}"

    async def _not_found(self, client: openai.AsyncOpenAI, words: str) -> str:
        known = await self.models(client)
        if known is not None and self.model in known:
            return (
                f"{self.url} lists the model {self.model!r} and answers 404 ({words}); "
                "is the address right? base_url usually ends in /v1"
            )
        if known is None:
            return f"{self.url} has no such address ({words}); base_url usually ends in /v1"
        return f"{self.url} does not know the model {self.model!r}; it has: {', '.join([*known][:8]) or 'none'}"


def _context(model: Mapping[str, Any]) -> int | None:
    """The tokens that a model of a list takes, as vLLM and SGLang, OpenRouter and Together, and Mistral call them."""
    told = (model.get(name) for name in ("max_model_len", "context_length", "max_context_length"))
    return next((length for length in told if isinstance(length, int) and length > 0), None)


class Transport(Protocol):
    """How a call gets to a server, and its reply back."""

    client: openai.AsyncOpenAI
    """Who talks to the server."""
    waits: tuple[float, ...]
    """Seconds before each further attempt at a call whose reply makes no sense; up to twice as long."""
    share: float
    """What a call costs this way, as a share of the price."""

    @abstractmethod
    def expect(self, task: asyncio.Task[Any]) -> None:
        """A task has begun that is going to post."""

    @abstractmethod
    async def post(self, call: Call, path: str, body: dict[str, Any]) -> bytes:
        """Make a call.

        Args:
            call: which.
            path: where to.
            body: what is said.

        Raises:
            RefusedError: the server does not answer it.
            EngineError: the server answers none.
            BudgetError: the run may not make it.
        """
        ...


class Direct(Transport):
    """One call at a time, made again where that is worth while."""

    waits = WAITS_FOR_SENSE
    share = 1.0

    def __init__(
        self,
        server: Server,
        client: openai.AsyncOpenAI,
        presence: Presence,
        most: Callable[[Call], Spent],
        max_retries: int | None = None,
    ) -> None:
        """Make calls to a server by one of its clients, which makes none again by itself.

        Args:
            server: who is asked.
            client: by whom.
            presence: what is known of whether it is there.
            most: what a call costs at most: paid for one that was sent and brought nothing back.
            max_retries: how often a call is made again; by default as the options say.
        """
        self.server = server
        self.client = client.with_options(max_retries=0)
        self.presence = presence
        self.most = most
        self.max_retries = server.options.max_retries if max_retries is None else max_retries

    def expect(self, task: asyncio.Task[Any]) -> None:
        """Count the calls under way; none waits for another."""
        self.presence.live += 1
        task.add_done_callback(self._is_over)

    def _is_over(self, _task: asyncio.Task[Any]) -> None:
        self.presence.live -= 1

    async def post(self, call: Call, path: str, body: dict[str, Any]) -> bytes:
        """Make a call, again and again while that may help; see `Transport.post`. Raises FailedError if it does not."""
        failures = 0
        options: Any = {"headers": self.server.headers}

        async def make() -> httpx2.Response:
            budget.check()
            return await attempt(
                lambda: self.client.post(path, cast_to=httpx2.Response, body=body, options=options),
                self.server.options.timeout,
            )

        while True:
            try:
                return (await self.presence.attempt(call.number, make)).content
            except AttemptError as error:
                if error.may_cost:
                    budget.pay(self.most(call))
                if self.presence.is_away:
                    continue  # what fails now says nothing about this call
                failures += 1
                if failures > self.max_retries or error.last:
                    raise self._failure(error) from error
                wait = pause(failures) * random.uniform(0.75, 1.0) if error.wait is None else error.wait
            await asyncio.sleep(wait)

    def _failure(self, error: AttemptError) -> Exception:
        if error.refusal is not None:
            return RefusedError(error.refusal)
        return FailedError(f"{self.server.url} {error}", outage=True, slow=error.why is Lost.SILENT)
