"""Text from any OpenAI-compatible server: vLLM, SGLang, llama.cpp, TGI, or a hosted API.

The client is asynchronous and does the retrying of what is worth retrying (429, 5xx, timeouts, broken connections). A
reply that arrives but makes no sense (truncated JSON, no choices) is asked for again, too. Every sample is a call of
its own with its own seed: so each is retried by itself, and none can be taken for another.

What fails is of two kinds. A request that the server refuses is that request's own completion with `error`. A server
that is away would turn all that is left into errors: so failures are held back until a later call succeeds, and if
none does, they are an outage: the engine stops, and the next run asks again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import openai
import stamina
from openai.types import Completion as TextCompletion
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ConfigDict, Field

from sinternal import budget
from sinternal.budget import Spent
from sinternal.engines.base import Completion, Request, Sampling, TokenLogprobs, request_seed
from sinternal.errors import EngineError
from sinternal.records import Finish
from sinternal.registry import read_options
from sinternal.think import Text, split_thinking

OUTAGE = 8
"""Calls, or as many as are under way at once if that is more, that fail one after another, each after all its retries,
until the server counts as away."""
REFUSALS = 20
"""Requests that the server may refuse, one after another from the first on, until all of them count as wrong."""
ATTEMPTS_AT_SENSE = 4
"""How often a call is made whose reply makes no sense."""
NO_KEY = "none"
"""Sent to servers that ask for no key; the client insists on one."""
SEEDS = 2**31
"""Seeds go from 0 up to here: the largest range that all servers take."""


class Prefill(StrEnum):
    """How a server is told to continue an assistant's turn."""

    NO = "no"
    """It cannot: a request with a prefill fails."""
    TRAILING = "trailing"
    """A last message by the assistant is continued as it is (llama.cpp)."""
    CONTINUE = "continue"
    """The same, if asked for with `continue_final_message` (vLLM, SGLang)."""


class Price(BaseModel):
    """What a million tokens cost, in any one currency."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    read: float = Field(ge=0)
    """Tokens of the prompt."""
    written: float = Field(ge=0)
    """Tokens of the completion."""


class OpenAIOptions(BaseModel):
    """Settings of this engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str | None = None
    """Where the server is, for example http://localhost:8000/v1; None: OPENAI_BASE_URL, else OpenAI itself."""
    model: str | None = None
    """The model's name on the server, where it differs from the name that the recipe gives it elsewhere."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key. A server of one's own may ask for none."""
    concurrency: int = Field(32, ge=1)
    """Calls under way at once."""
    timeout: float = Field(600.0, gt=0)
    """Seconds that a call may take."""
    max_retries: int = Field(6, ge=0)
    """How often a failed call is made again, by the client, with growing pauses or as the server asks."""
    prefill: Prefill = Prefill.NO
    """How the server continues an assistant's turn."""
    opens_thinking: bool = False
    """The chat template opens the thinking and no reasoning parser reads it: text without tags is then thinking."""
    price: Price | None = None
    """What tokens cost; without it only tokens are counted."""
    repetition_penalty_field: str = "repetition_penalty"
    """What the server calls the repetition penalty."""
    extra_body: dict[str, Any] = {}
    """Further fields of every call, for example chat_template_kwargs or a grammar."""


@dataclass(frozen=True)
class _Call:
    """One sample to ask for."""

    request: Request
    sample: int
    number: int
    """How many calls were made before it."""


class _FailedError(Exception):
    """A call has no result; `outage` tells whether the server, not the request, may be to blame."""

    def __init__(self, message: str, *, outage: bool) -> None:
        super().__init__(message)
        self.outage = outage


class _NonsenseError(Exception):
    """The reply is no completion."""


class OpenAIEngine:
    """Asks a server. The model behind it is what the server makes of the name: it never changes with training."""

    def __init__(self, model: str, options: dict[str, object]) -> None:
        """Take a model's name on the server, or a model directory if the option `model` says what it is called there.

        Raises:
            EngineError: the key is missing.
        """
        self.options = read_options(OpenAIOptions, options, "engine openai")
        self.model = self.options.model or model
        key = os.environ.get(self.options.api_key_env)
        base_url = self.options.base_url or os.environ.get("OPENAI_BASE_URL")
        self.hosted_by_openai = base_url is None or "api.openai.com" in base_url
        if key is None and self.hosted_by_openai:
            raise EngineError(
                f"engine openai: no key in {self.options.api_key_env}; set it, or name a server of your own in base_url"
            )
        self.key = key or NO_KEY
        self.url = base_url or "https://api.openai.com/v1"

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        samples = ((request, sample) for request in requests for sample in range(sampling.n))
        calls = (_Call(request, sample, number) for number, (request, sample) in enumerate(samples))
        # The loop runs only while this generator waits: all state is on one thread, and closing it cancels the rest.
        with asyncio.Runner() as runner:
            client = openai.AsyncOpenAI(
                base_url=self.url,
                api_key=self.key,
                timeout=self.options.timeout,
                max_retries=self.options.max_retries,
            )
            try:
                yield from self._work_off(runner, client, calls, sampling, seed)
            finally:
                runner.run(client.close())

    def close(self) -> None:
        """Nothing is held between calls of `generate`."""

    def _work_off(
        self, runner: asyncio.Runner, client: openai.AsyncOpenAI, calls: Iterator[_Call], sampling: Sampling, seed: int
    ) -> Iterator[Completion]:
        running: dict[asyncio.Task[Completion], _Call] = {}
        failures = _Failures(self.url, max(OUTAGE, self.options.concurrency))
        calls_made = 0
        stopped: Exception | None = None
        while True:
            if stopped is None:
                try:
                    for call in islice(calls, self.options.concurrency - len(running)):
                        budget.check()
                        task = runner.get_loop().create_task(self._ask(client, call, sampling, seed))
                        running[task] = call
                        calls_made = call.number + 1
                except Exception as error:
                    stopped = error
            if not running:
                break
            for task in runner.run(_first_done(running)):
                call = running.pop(task)
                try:
                    completion = task.result()
                except _FailedError as failure:
                    yield from failures.refused(call, failure, calls_made)
                else:
                    yield from failures.succeeded(call)
                    yield completion
        if stopped is not None:
            raise stopped
        yield from failures.at_the_end(lambda: runner.run(_is_there(client)))

    async def _ask(self, client: openai.AsyncOpenAI, call: _Call, sampling: Sampling, seed: int) -> Completion:
        if call.request.prefill and self.options.prefill is Prefill.NO:
            raise _FailedError(
                "this server is not known to continue an assistant's turn; set the engine's option `prefill`",
                outage=False,
            )
        try:
            async for attempt in stamina.retry_context(on=_NonsenseError, attempts=ATTEMPTS_AT_SENSE, timeout=None):
                with attempt:
                    reply = await self._send(client, call, sampling, seed)
                    return self._read(reply, call, sampling)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EngineError(f"{self.url} refuses the key in {self.options.api_key_env}: {_line(error)}") from error
        except openai.NotFoundError as error:
            raise EngineError(await self._not_found(client, error)) from error
        except openai.APIConnectionError as error:
            reason = "did not answer in time" if isinstance(error, openai.APITimeoutError) else "cannot be reached"
            raise _FailedError(f"{self.url} {reason}", outage=True) from error
        except openai.APIStatusError as error:
            outage = error.status_code == 429 or error.status_code >= 500
            raise _FailedError(f"{self.url} answered {error.status_code}: {_line(error)}", outage=outage) from error
        except _NonsenseError as error:
            raise _FailedError(f"{self.url} sent no completion: {error}", outage=True) from error
        raise AssertionError("a retry context returns or raises")

    async def _send(self, client: openai.AsyncOpenAI, call: _Call, sampling: Sampling, seed: int) -> object:
        request = call.request
        body = dict(self.options.extra_body)
        if sampling.repetition_penalty != 1:
            body[self.options.repetition_penalty_field] = sampling.repetition_penalty
        common: dict[str, Any] = {
            "model": self.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request_seed(seed, request.id, call.sample) % SEEDS,
        }
        try:
            if request.raw:
                ((_, text),) = request.messages
                return await client.completions.create(
                    prompt=text + request.prefill, max_tokens=sampling.max_tokens, extra_body=body, **common
                )
            messages: list[Any] = [{"role": role, "content": content} for role, content in request.messages]
            if request.prefill:
                messages.append({"role": "assistant", "content": request.prefill})
                if self.options.prefill is Prefill.CONTINUE:
                    body |= {"continue_final_message": True, "add_generation_prompt": False}
            limit = "max_completion_tokens" if self.hosted_by_openai else "max_tokens"
            common[limit] = sampling.max_tokens
            if sampling.top_logprobs:
                common |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
            return await client.chat.completions.create(messages=messages, extra_body=body, **common)
        except (ValueError, openai.APIResponseValidationError) as error:  # truncated JSON is a ValueError
            raise _NonsenseError(_line(error)) from error

    def _read(self, reply: object, call: _Call, sampling: Sampling) -> Completion:
        """A reply as a completion. What it cost is paid even if it makes no sense."""
        if not isinstance(reply, ChatCompletion | TextCompletion):
            raise _NonsenseError(f"{str(reply)[:80]!r}")
        usage = reply.usage
        read, written = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
        budget.pay(self._spent(read or 0, sampling.max_tokens if written is None else written))
        if not reply.choices:
            raise _NonsenseError("no choices")
        choice: Any = reply.choices[0]
        read_text = self._chat_text if isinstance(reply, ChatCompletion) else self._raw_text
        text = read_text(choice, call)
        filtered = choice.finish_reason == "content_filter"
        return Completion(
            call.request.id,
            call.sample,
            None if filtered else text.thinking,
            None if filtered else text.answer,
            Finish.ERROR if filtered else Finish.LENGTH if choice.finish_reason == "length" else Finish.STOP,
            error="the server's content filter withheld the text" if filtered else None,
            prompt_tokens=read,
            tokens=written,
            logprobs=_logprobs(choice) if sampling.top_logprobs else None,
        )

    def _chat_text(self, choice: Any, call: _Call) -> Text:
        """Thinking and answer: as the server's reasoning parser gives them, else by the tags in the text."""
        message = choice.message
        if message is None:
            raise _NonsenseError("a choice without a message")
        content = message.content or getattr(message, "refusal", None) or ""
        thinking = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        if thinking:
            # Without content the thinking never closed: there is no answer.
            return Text(thinking.strip(), content.strip() or None)
        # Some servers (llama.cpp) give the prefill back with what they wrote, others (vLLM) do not.
        prefill = "" if content.startswith(call.request.prefill) else call.request.prefill
        return split_thinking(prefill + content, opened=self.options.opens_thinking)

    def _raw_text(self, choice: Any, call: _Call) -> Text:
        return split_thinking(call.request.prefill + (choice.text or ""), opened=False)

    def _spent(self, read: int, written: int) -> Spent:
        price = self.options.price
        cost = (read * price.read + written * price.written) / 1e6 if price else 0.0
        return Spent(1, read, written, cost)

    async def _not_found(self, client: openai.AsyncOpenAI, error: openai.NotFoundError) -> str:
        try:
            known = [model.id async for model in client.models.list()]
        except openai.OpenAIError:
            return f"{self.url} has no such address ({_line(error)}); base_url usually ends in /v1"
        return f"{self.url} does not know the model {self.model!r}; it has: {', '.join(known[:8]) or 'none'}"


def _logprobs(choice: Any) -> tuple[TokenLogprobs, ...] | None:
    """The tokens of a chat reply, if the server tells them. Some count the end of turn, as empty text."""
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content:
        return None
    return tuple(
        TokenLogprobs(token.token, tuple((other.token, other.logprob) for other in token.top_logprobs))
        for token in content
    )


class _Failures:
    """Tells requests that fail from a server that is away.

    A success is evidence only of what failed before its call was made: of several calls under way when a server dies,
    some still succeed after others have failed.
    """

    def __init__(self, url: str, patience: int) -> None:
        """`patience` is the number of failures, none of them lifted by a success, that make an outage."""
        self.url = url
        self.patience = patience
        self.held: list[tuple[int, Completion]] = []
        self.refusals: list[Completion] = []
        self.working = False

    def refused(self, call: _Call, failure: _FailedError, calls_made: int) -> Iterator[Completion]:
        """A call has failed: what can be said of it already. Raises EngineError if it is the server."""
        completion = Completion(
            call.request.id, call.sample, None, None, Finish.ERROR, str(failure), prompt_tokens=None, tokens=None
        )
        if failure.outage:
            self.held.append((calls_made, completion))
            if len(self.held) >= self.patience:
                raise EngineError(f"{failure}, {len(self.held)} calls in a row; start the server again and run again")
        elif self.working:
            yield completion
        else:
            self.refusals.append(completion)
            if len(self.refusals) >= REFUSALS:
                raise EngineError(f"{self.url} refuses every request; the last with: {failure}")

    def succeeded(self, call: _Call) -> Iterator[Completion]:
        """A call has succeeded: what failed before it was made had failed for reasons of its own."""
        self.working = True
        yield from self.refusals
        yield from (completion for calls_made, completion in self.held if call.number >= calls_made)
        self.refusals = []
        self.held = [(calls_made, completion) for calls_made, completion in self.held if call.number < calls_made]

    def at_the_end(self, is_there: Callable[[], bool]) -> Iterator[Completion]:
        """All calls were made. Raises EngineError if the last of them failed and the server is away."""
        if self.held and not is_there():
            raise EngineError(f"{self.held[-1][1].error}; is the server running?")
        yield from (*self.refusals, *(completion for _, completion in self.held))


async def _is_there(client: openai.AsyncOpenAI) -> bool:
    """Whether a server answers at all."""
    try:
        await client.models.list()
    except openai.APIConnectionError:
        return False
    except openai.OpenAIError:
        return True
    return True


async def _first_done(tasks: Iterable[asyncio.Task[Completion]]) -> set[asyncio.Task[Completion]]:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
