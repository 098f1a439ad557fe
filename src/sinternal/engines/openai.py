"""Text from any OpenAI-compatible server: vLLM, SGLang, llama.cpp, TGI, or a hosted API.

The client is asynchronous and does the retrying of what is worth retrying (429, 5xx, timeouts, broken connections). A
reply that arrives but makes no sense (truncated JSON, no choices) is asked for again, too. Every sample is a call of
its own with its own seed: so each is retried by itself, and none can be taken for another.

What fails is of two kinds. A request that the server refuses is that request's own completion with `error`. A server
that is away would turn all that is left into errors: so failures are held back until a later call succeeds, and if
none does, they are an outage: the engine stops, and the next run asks again.

A field that a server refuses is left out from then on (`openai_fields`); what a reply holds is looked at type by type
(`openai_replies`).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import httpx2
import openai

from sinternal import budget
from sinternal.budget import Spent
from sinternal.engines import Completion, Engine, Request, request_seed
from sinternal.engines.openai_failures import OUTAGE, Call, FailedError, Failures
from sinternal.engines.openai_fields import Dialect, as_text, first_dialect
from sinternal.engines.openai_options import REACH, OpenAIOptions, Prefill, find_address, is_loopback
from sinternal.engines.openai_replies import (
    FINISHES,
    ErrorInReplyError,
    NonsenseError,
    Refusal,
    Reply,
    Usage,
    line,
    read_refusal,
    read_reply,
    read_usage,
)
from sinternal.errors import EngineError
from sinternal.prompting.think import KNOWN_TAGS, Text, split_thinking
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling

WAITS_FOR_SENSE = (0.1, 0.2, 0.4)
"""Seconds before a call is made again whose reply makes no sense; up to twice as long, so that calls spread out."""
NO_KEY = "none"
"""Sent to servers that ask for no key; the client insists on one."""
SEEDS = 2**31
"""Seeds go from 0 up to here: the largest range that all servers take."""
CONNECTING = 10.0
"""Seconds to wait for a connection: an address where nobody is."""
GRACE = 30.0
"""Seconds that calls under way are waited for when a run stops: their replies are paid for."""
TEMPLATE = 64
"""Tokens that a chat template may write around a message, where a bound is needed."""


class OpenAIEngine(Engine):
    """Asks a server. The model behind it is what the server makes of the name: it never changes with training."""

    Options = OpenAIOptions
    REACH = REACH
    asks_server = True
    runs_one_model = True

    @classmethod
    def continues_turns(cls, options: OpenAIOptions) -> bool:
        """Whether the server is known to; see `Engine.continues_turns`."""
        return options.prefill is not Prefill.NO

    def __init__(self, model: str, options: OpenAIOptions, key: str | None = None) -> None:
        """Take a model's name on the server, or a model directory if the option `model` says what it is called there.

        Args:
            model: its name.
            options: where the server is, and how it is asked.
            key: the server's key; by default what the option `api_key_env` names.

        Raises:
            EngineError: the key is missing, or the address is none.
        """
        self.options = options
        self.model = self.options.model or model
        key = key or os.environ.get(self.options.api_key_env)
        self.address = find_address(self.options, key)
        self.url = self.address.url
        self.hosted_by_openai = self.address.host == "api.openai.com"
        self.has_key = bool(key)
        if not key and self.hosted_by_openai and not self.address.brings_a_key:
            raise EngineError(
                f"engine openai: {self.options.api_key_env} is not set; set it, or name a server of your own in "
                "base_url"
            )
        self.key = key or NO_KEY
        self.dialect = first_dialect(
            self.options.fields, stream=self.options.stream, hosted_by_openai=self.hosted_by_openai
        )
        self.reached = False

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        samples = ((request, sample) for request in requests for sample in range(sampling.n))
        calls = (Call(request, sample, number) for number, (request, sample) in enumerate(samples))
        # The loop runs only while this generator waits: all state is on one thread, and closing it cancels the rest.
        with asyncio.Runner() as runner:
            client = self._client()
            running: dict[asyncio.Task[Completion], Call] = {}
            try:
                yield from self._completions(runner, client, calls, running, sampling, seed)
            finally:
                runner.run(_cancel(running))
                runner.run(client.close())

    def try_it(self, request: Request) -> None:
        """Ask one request, for a few tokens, and pay for it.

        Neither an unreadable reply nor a server that hangs up on this one request is a reason to stop.

        Raises:
            EngineError: the server is away, too slow, out of order, refuses the key or the request, or does not know
                the model.
        """
        with asyncio.Runner() as runner:
            client = self._client(max_retries=1)
            try:
                if not runner.run(self._is_there(client)):
                    raise EngineError(f"{self.url} cannot be reached; is the server running?")
                runner.run(self._ask(client, Call(request, 0, 0), TINY, 0))
            except FailedError as failure:
                if failure.slow:
                    raise EngineError(f"{failure}: 1 of 1 calls; raise the engine's option timeout") from failure
                if failure.status is not None and not ("token" in str(failure) and failure.status == 400):
                    raise EngineError(str(failure)) from failure
            finally:
                runner.run(client.close())

    def is_there(self) -> bool:
        """Whether the server takes connections at all, whatever it says; see `Engine.is_there`."""
        with asyncio.Runner() as runner:
            client = self._client(max_retries=0)
            try:
                return runner.run(self._is_there(client))
            finally:
                runner.run(client.close())

    def close(self) -> None:
        """Nothing is held between calls of `generate`."""

    def _client(self, max_retries: int | None = None) -> openai.AsyncOpenAI:
        timeout = httpx2.Timeout(self.options.timeout, connect=min(CONNECTING, self.options.timeout))
        settings: dict[str, Any] = {"timeout": timeout}
        if is_loopback(self.address.host):
            # A proxy cannot lead to this machine: whatever the environment says of proxies is not for this address.
            settings |= {"trust_env": False, "verify": httpx2.create_ssl_context()}
        if self.address.headers:
            settings["follow_redirects"] = False  # to another host, keys in headers would go along
        try:
            return openai.AsyncOpenAI(
                base_url=self.url,
                api_key=self.key,
                default_query=dict(self.address.query),
                max_retries=self.options.max_retries if max_retries is None else max_retries,
                http_client=openai.DefaultAsyncHttpxClient(**settings),
                timeout=timeout,
            )
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise EngineError(
                f"{self.url} cannot be asked: {self._clean(str(error))}; see the proxy variables"
            ) from error

    def _options(self) -> Any:
        """What every call is sent with."""
        headers: dict[str, Any] = dict(self.address.headers)
        if self.address.brings_a_key and not any(name.lower() == "authorization" for name in headers):
            headers["Authorization"] = openai.Omit()
        return {"headers": headers}

    def _completions(
        self,
        runner: asyncio.Runner,
        client: openai.AsyncOpenAI,
        calls: Iterator[Call],
        running: dict[asyncio.Task[Completion], Call],
        sampling: Sampling,
        seed: int,
    ) -> Iterator[Completion]:
        failures = Failures(self.url, max(OUTAGE, self.options.concurrency))
        stopped: Exception | None = None
        deadline: float | None = None
        while True:
            if stopped is None:
                try:
                    for call in islice(calls, self.options.concurrency - len(running)):
                        self._check(runner, client)
                        task = runner.get_loop().create_task(self._ask(client, call, sampling, seed))
                        running[task] = call
                        failures.calls_made = call.number + 1
                except Exception as error:
                    stopped = error
            if not running:
                break
            for task in runner.run(_first_finished(running, deadline)):
                try:
                    yield from failures.result(running.pop(task), task)
                except EngineError as error:
                    stopped = stopped or error
                    # What is under way is paid for: it gets a little time, and the rest is asked for by the next run.
                    deadline = deadline or runner.get_loop().time() + GRACE
            if deadline is not None and runner.get_loop().time() >= deadline:
                break
        if stopped is not None:
            raise stopped
        yield from failures.at_the_end(lambda: runner.run(self._is_there(client)))

    def _check(self, runner: asyncio.Runner, client: openai.AsyncOpenAI) -> None:
        """Make sure that another call may be made and, before the first, that somebody listens."""
        budget.check()
        if not self.reached and not runner.run(self._is_there(client)):
            raise EngineError(f"{self.url} cannot be reached; is the server running?")
        self.reached = True

    async def _ask(self, client: openai.AsyncOpenAI, call: Call, sampling: Sampling, seed: int) -> Completion:
        if call.request.prefill and self.options.prefill is Prefill.NO:
            raise FailedError("set the engine's option `prefill`, if this server can continue a turn", outage=False)
        dialect = self.dialect
        while True:
            fields = dialect.write(
                sampling, request_seed(seed, call.request.id, call.sample) % SEEDS, chat=not call.request.raw
            )
            try:
                completion = await self._try(client, call, dialect, fields, sampling)
            except (openai.APIStatusError, ErrorInReplyError) as error:
                refusal = self._refusal(error)
                if refusal.filtered:
                    return self._filtered_completion(call, refusal)
                # A server that has learnt no word of another call in the meantime is asked in the words known by now.
                other = dialect.after(refusal, fields) if refusal.status not in (401, 429) else None
                if other is None:
                    raise await self._failure(client, error, refusal) from error
                dialect = other
            else:
                if dialect != self.dialect and completion.finish is not Finish.FILTERED:
                    self.dialect = dialect.merge(self.dialect)
                return completion

    async def _try(
        self, client: openai.AsyncOpenAI, call: Call, dialect: Dialect, fields: dict[str, Any], sampling: Sampling
    ) -> Completion:
        """Make a call, and make it again if its reply makes no sense."""
        path, body = self._body(call.request, dialect.rename(fields))
        waits = iter(WAITS_FOR_SENSE)
        try:
            while True:
                response = await client.post(path, cast_to=httpx2.Response, body=body, options=self._options())
                try:
                    return self._completion(response.content, call, sampling, dialect)
                except (NonsenseError, ErrorInReplyError) as error:
                    wait = next(waits, None)
                    if wait is None or (isinstance(error, ErrorInReplyError) and error.refusal.filtered):
                        raise
                await asyncio.sleep(wait * (1 + random.random()))
        except UnicodeEncodeError as error:
            raise FailedError(f"the prompt holds half of a character ({error.reason})", outage=False) from error
        except openai.APIConnectionError as error:
            slow = isinstance(error, openai.APITimeoutError) and not isinstance(error.__cause__, httpx2.ConnectTimeout)
            reason = f"timed out after {self.options.timeout:g} s" if slow else "cannot be reached"
            raise FailedError(f"{self.url} {reason}", outage=True, slow=slow) from error
        except (NonsenseError, openai.APIResponseValidationError) as error:
            words = self._clean(str(error))
            raise FailedError(f"{self.url} sent no completion: {words}", outage=True, status=200) from error

    def _body(self, request: Request, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Path and body of a call."""
        body: dict[str, Any] = {"model": self.model, **fields}
        texts, _ = as_text(request)
        if request.raw:
            text = "".join(content for _, content in texts)
            return "/completions", {**body, "prompt": text + request.prefill, **self.options.extra_body}
        messages: list[Any] = [{"role": role, "content": content} for role, content in texts]
        if request.prefill:
            messages.append({"role": "assistant", "content": request.prefill})
            if self.options.prefill is Prefill.CONTINUE:
                body |= {"continue_final_message": True, "add_generation_prompt": False}
        if self.options.chat_template_kwargs:
            body["chat_template_kwargs"] = self.options.chat_template_kwargs
        return "/chat/completions", {**body, "messages": messages, **self.options.extra_body}

    def _completion(self, body: bytes, call: Call, sampling: Sampling, dialect: Dialect) -> Completion:
        """A reply as a completion. What it cost is paid even if it makes no sense."""
        try:
            reply = read_reply(body, chat=not call.request.raw)
        except NonsenseError:
            self._pay(call.request, sampling, read_usage(body))
            raise
        self._pay(call.request, sampling, reply.usage)
        usage = reply.usage
        finish = self._finish(reply, sampling)
        text = Text(None, None)
        if not finish.without_text:
            text = self._text(reply, call.request)
        return Completion(
            call.request.id,
            call.sample,
            text.thinking,
            text.answer,
            finish,
            error="a content filter of the server withheld the text" if finish is Finish.FILTERED else None,
            prompt_tokens=usage.read,
            tokens=usage.written,
            logprobs=reply.logprobs if sampling.top_logprobs and not finish.without_text else None,
            left_out=dialect.left_out(sampling),
            quoted_controls=as_text(call.request)[1],
        )

    def _finish(self, reply: Reply, sampling: Sampling) -> Finish:
        """Why a text ended. Raises FailedError at a word that is not known: it may be half a text."""
        word = reply.finish or "null"
        finish = self.options.finish_reasons.get(word) or FINISHES.get(word.lower())
        if finish is None:
            raise FailedError(
                f"{self.url} ended a text by finish_reason {line(word, 40)!r}, which is not known to mean that it is "
                "whole; the option finish_reasons can say so",
                outage=False,
            )
        written = reply.usage.written
        if finish is Finish.STOP and written is not None and written >= sampling.max_tokens:
            # Some servers call every end `stop`. Where the limit is not for the thinking, more may be written.
            of_answer_alone = written > sampling.max_tokens > written - reply.usage.thought
            return Finish.STOP if of_answer_alone else Finish.LENGTH
        return finish

    def _text(self, reply: Reply, request: Request) -> Text:
        """Thinking and answer: as the server's reasoning parser gives them, else by the tags in the text."""
        if reply.thinking:
            # Without content the thinking never closed: there is no answer.
            return Text(reply.thinking.strip(), reply.content.strip() or None)
        # Some servers (llama.cpp) give the prefill back with what they wrote, others (vLLM) do not.
        prefill = "" if not request.raw and reply.content.startswith(request.prefill) else request.prefill
        tags = KNOWN_TAGS if self.options.tags is None else (self.options.tags,)
        opened = self.options.opens_thinking and not request.raw
        return split_thinking(prefill + reply.content, opened=opened, tags=tags)

    def _pay(self, request: Request, sampling: Sampling, usage: Usage) -> None:
        """Pay what the server reports, else the most that it can be: a token is at least one byte of its text."""
        read, written, price = usage.read, usage.written, self.options.price
        if read is None:
            read = sum(len(text.encode("utf-8", "replace")) + TEMPLATE for _, text in request.messages)
        written = sampling.max_tokens if written is None else written
        cost = (read * price.read + written * price.written) / 1e6 if price else 0.0
        budget.pay(Spent(1, read, written, cost))

    def _filtered_completion(self, call: Call, refusal: Refusal) -> Completion:
        words = f"a content filter of the server refused the request: {self._clean(refusal.words)}"
        return Completion(
            call.request.id, call.sample, None, None, Finish.FILTERED, words, prompt_tokens=None, tokens=None
        )

    def _refusal(self, error: openai.APIStatusError | ErrorInReplyError) -> Refusal:
        if isinstance(error, ErrorInReplyError):
            return error.refusal
        try:
            body = error.response.content
        except httpx2.HTTPError:
            body = b""
        return read_refusal(error.status_code, body)

    async def _failure(
        self, client: openai.AsyncOpenAI, error: openai.APIStatusError | ErrorInReplyError, refusal: Refusal
    ) -> Exception:
        """What a refusal means for the call, or for the whole engine."""
        words, status = self._clean(refusal.words), refusal.status
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return EngineError(self._about_the_key(status, words))
        if isinstance(error, openai.NotFoundError):
            return EngineError(await self._not_found(client, words))
        if isinstance(error, ErrorInReplyError):
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
        known = await self._models(client)
        if known is None:
            return f"{self.url} has no such address ({words}); base_url usually ends in /v1"
        return f"{self.url} does not know the model {self.model!r}; it has: {', '.join(known[:8]) or 'none'}"

    async def _models(self, client: openai.AsyncOpenAI) -> list[str] | None:
        """The names of the server's models; None if it does not tell."""
        try:
            response = await client.get("/models", cast_to=httpx2.Response, options=self._options())
            return [self._clean(str(model["id"]))[:80] for model in response.json()["data"]]
        except (openai.OpenAIError, ValueError, LookupError, TypeError, RecursionError):
            return None

    async def _is_there(self, client: openai.AsyncOpenAI) -> bool:
        """Whether the server takes connections at all, whatever it says."""
        asking = client.with_options(max_retries=1, timeout=CONNECTING)
        try:
            await asking.get("/models", cast_to=httpx2.Response, options=self._options())
        except openai.APIConnectionError as error:
            return not isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
        except openai.OpenAIError:
            return True
        return True

    def _clean(self, text: str) -> str:
        """A server's words without what could steer a terminal, and without the secrets that it was sent."""
        for secret in self.address.secrets:
            text = text.replace(secret, "***")
        return line(text)


TINY = Sampling(max_tokens=16)
"""For trial requests: hosted APIs take no smaller limit."""


async def _first_finished(
    tasks: Iterable[asyncio.Task[Completion]], deadline: float | None
) -> set[asyncio.Task[Completion]]:
    left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
    finished, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    return finished


async def _cancel(running: Iterable[asyncio.Task[Completion]]) -> None:
    """Cancel the running calls and collect their results: asyncio prints every error that is never retrieved."""
    tasks = list(running)
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
