"""Text from any OpenAI-compatible server: vLLM, SGLang, llama.cpp, TGI, or a hosted API.

What is worth retrying is retried (429, 5xx, timeouts, broken connections: `openai_server`). A reply that arrives but
makes no sense (truncated JSON, no choices) is asked for again, too. Every sample is a call of its own with its own
seed: so each is retried by itself, and none can be taken for another.

What fails is of two kinds. A request that the server refuses is that request's own completion with `error`. A server
that is away would turn all that is left into errors: so calls wait for it (`openai_presence`), and failures are held
back until a later call succeeds (`openai_failures`). If none does, the engine stops, and the next run asks again.

A field that a server refuses is left out from then on (`openai_fields`); what a reply holds is looked at type by type
(`openai_replies`). Calls can be handed in as batches instead, for less money and up to a day (`openai_batch`): what
becomes of each is decided here all the same.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import openai

from sinternal import budget
from sinternal.budget import Spent
from sinternal.engines import Completion, Destination, Engine, Request, Sight, request_seed
from sinternal.engines.openai_batch import Batches
from sinternal.engines.openai_batch_files import identity_of
from sinternal.engines.openai_failures import OUTAGE, Call, FailedError, Failures, cancel
from sinternal.engines.openai_fields import Dialect, as_text, first_dialect
from sinternal.engines.openai_options import REACH, OpenAIOptions, Prefill, find_destination
from sinternal.engines.openai_presence import SILENCE, Presence
from sinternal.engines.openai_replies import (
    FINISHES,
    ErrorInReplyError,
    NonsenseError,
    Refusal,
    RefusedError,
    Reply,
    Usage,
    line,
    read_reply,
    read_usage,
)
from sinternal.engines.openai_server import Direct, Server, Transport
from sinternal.errors import BudgetError, EngineError
from sinternal.prompting.think import KNOWN_TAGS, Text, split_thinking
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling

SEEDS = 2**31
"""Seeds go from 0 up to here: the largest range that all servers take."""
GRACE = 30.0
"""Seconds that calls under way are waited for when a run stops: their replies are paid for."""
TEMPLATE = 64
"""Tokens that a chat template may write around a message, where a bound is needed."""


@dataclass(frozen=True)
class _Work:
    """One call of `generate`."""

    runner: asyncio.Runner
    """Where its calls run."""
    direct: Direct
    """How they are made one by one."""
    batches: Batches | None
    """How they are handed in as batches, if they are to be."""
    at_once: int
    """Calls under way at once."""
    sampling: Sampling
    """How the texts are drawn."""
    seed: int
    """From which seed."""
    running: dict[asyncio.Task[Completion], Call] = field(default_factory=dict)
    """The calls under way."""


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

    @classmethod
    def destination(cls, options: OpenAIOptions) -> Destination:
        """The server, and the keys that go there; see `Engine.destination`."""
        return find_destination(options)

    @classmethod
    def window(cls, options: OpenAIOptions) -> str | None:
        """How long a batch may take, if calls are handed in as batches; see `Engine.window`."""
        return None if options.batch is None else options.batch.window

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
        self.server = Server(options, self.model, key)
        self.url = self.server.url
        self.dialect = self._first_dialect(stream=options.stream)
        self.reached = False

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        samples = ((request, sample) for request in requests for sample in range(sampling.n))
        calls = (Call(request, sample, number) for number, (request, sample) in enumerate(samples))
        # The loop runs only while this generator waits: all state is on one thread, and closing it cancels the rest.
        with asyncio.Runner() as runner:
            client = self.server.client()
            batches = self._batches(client, sampling, seed)
            at_once = self.options.concurrency if batches is None else sys.maxsize
            work = _Work(
                runner, self._direct(client, sampling, self.server.presence(client)), batches, at_once, sampling, seed
            )
            try:
                yield from self._completions(work, calls)
            finally:
                runner.run(cancel(work.running))
                if batches is not None:
                    runner.run(batches.close())
                runner.run(client.close())
            if batches is not None:
                batches.forget_what_is_delivered()

    def reach(self) -> None:
        """Wait until the server takes calls, for `OpenAIOptions.first_patience` at most; see `Engine.reach`."""
        self.server.look_by(lambda client: self.server.presence(client, self.options.first_patience).expect())

    def try_it(self, request: Request) -> None:
        """Ask one request, for a few tokens, and pay for it.

        Neither an unreadable reply nor a server that hangs up on this one request is a reason to stop.

        Raises:
            EngineError: the server is away, too slow, out of order, refuses the key or the request, or does not know
                the model.
        """
        with asyncio.Runner() as runner:
            client = self.server.client()
            presence = self.server.presence(client, self.options.first_patience)
            direct = self._direct(client, TINY, presence, max_retries=1)
            try:
                runner.run(direct.presence.expect())
                runner.run(self._ask(direct, Call(request, 0, 0), TINY, 0))
            except FailedError as failure:
                if failure.slow:
                    raise EngineError(f"{failure}: 1 of 1 calls; raise the engine's option timeout") from failure
                if failure.status is not None and not ("token" in str(failure) and failure.status == 400):
                    raise EngineError(str(failure)) from failure
            finally:
                runner.run(client.close())

    def look(self) -> Sight:
        """Look at the list of its models, which costs nothing; see `Engine.look`."""
        sight: Sight = self.server.look_by(self.server.look)
        return sight

    def is_there(self) -> bool:
        """Whether the server takes connections at all, whatever it says; see `Engine.is_there`."""
        return self.server.look_by(self.server.why_away) is None

    def close(self) -> None:
        """Nothing is held between calls of `generate`."""

    def _first_dialect(self, *, stream: bool) -> Dialect:
        return first_dialect(self.options.fields, stream=stream, hosted_by_openai=self.server.hosted_by_openai)

    def _direct(
        self, client: openai.AsyncOpenAI, sampling: Sampling, presence: Presence, max_retries: int | None = None
    ) -> Direct:
        """What makes calls one by one."""

        def most(call: Call) -> Spent:
            return self._cost(call.request, sampling, Usage(None, None, 0), 1.0)

        return Direct(self.server, client, presence, most, max_retries)

    def _batches(self, client: openai.AsyncOpenAI, sampling: Sampling, seed: int) -> Batches | None:
        """What hands calls in as batches, if that is how they are to be made."""
        options = self.options
        if options.batch is None:
            return None
        share = 1.0 if options.price is None else options.price.batch
        # The words that a server takes are learnt anew by each run: what a call is known by does not depend on them.
        words = self._first_dialect(stream=False)

        def identify(call: Call) -> str:
            own = request_seed(seed, call.request.id, call.sample)
            fields = words.write(sampling, own % SEEDS, chat=not call.request.raw)
            path, body = self._body(call.request, words.rename(fields))
            return identity_of(self.url, path, body, call.request.id, call.sample, own)

        def most(call: Call) -> Spent:
            return self._cost(call.request, sampling, Usage(None, None, 0), share)

        patience = max(OUTAGE, options.concurrency)
        return Batches(self.server, client, options.batch, share, identify=identify, most=most, patience=patience)

    def _completions(self, work: _Work, calls: Iterator[Call]) -> Iterator[Completion]:
        failures = Failures(self.url, max(OUTAGE, work.at_once))
        presence = work.direct.presence
        if work.batches is not None:
            calls = yield from self._ask_first(work, work.batches, calls, failures)
        stopped: Exception | None = None
        deadline: float | None = None
        times_away = 0
        clock = work.runner.get_loop().time
        while True:
            if stopped is None:
                stopped = self._begin(work, calls, failures)
            if not work.running:
                break
            finished = work.runner.run(self._first_finished(work, deadline))
            if presence.times_away > times_away:
                times_away = presence.times_away
                calls = chain(failures.take_back(), calls)
            # Of calls that end together, those that succeeded say that the server works.
            for task in sorted(finished, key=_has_failed):
                try:
                    yield from failures.result(work.running.pop(task), task)
                except (EngineError, BudgetError) as error:
                    stopped = stopped or error
                    # What is under way is paid for: it gets a little time, and the rest is asked for by the next run.
                    deadline = deadline or clock() + GRACE
            if deadline is not None and clock() >= deadline:
                break
        if stopped is not None:
            raise stopped
        yield from failures.at_the_end(lambda: work.runner.run(self.server.why_away(work.direct.client)) is None)

    async def _first_finished(self, work: _Work, deadline: float | None) -> set[asyncio.Task[Completion]]:
        """The calls that are over, once there are any; none at a deadline."""
        while True:
            left = SILENCE if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
            finished, _ = await asyncio.wait(work.running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if finished or deadline is not None:
                return finished
            if work.batches is None:
                await work.direct.presence.look_after_silence()

    def _begin(self, work: _Work, calls: Iterator[Call], failures: Failures) -> Exception | None:
        """Begin as many calls as may be under way; what stops the engine, if anything does."""
        transport: Transport = work.batches or work.direct
        try:
            for call in islice(calls, work.at_once - len(work.running)):
                self._check(work)
                again = replace(call, number=failures.calls_made)
                transport.expect(self._start(work, transport, again, failures))
        except Exception as error:
            return error
        return None

    def _ask_first(
        self, work: _Work, batches: Batches, calls: Iterator[Call], failures: Failures
    ) -> Generator[Completion, None, Iterator[Call]]:
        """Ask the first call by itself: what the server refuses is learnt before a batch is refused for it.

        Returns:
            The calls that are left.
        """
        first = next(calls, None)
        if first is None or batches.knows(first):
            return calls if first is None else chain([first], calls)
        self._check(work)
        task = self._start(work, work.direct, first, failures)
        work.runner.run(self._first_finished(work, None))
        del work.running[task]
        failure = task.exception()
        if isinstance(failure, FailedError) and failure.outage:  # a batch has limits of its own
            return chain([first], calls)
        yield from failures.result(first, task)
        return calls

    def _start(self, work: _Work, transport: Transport, call: Call, failures: Failures) -> asyncio.Task[Completion]:
        task = work.runner.get_loop().create_task(self._ask(transport, call, work.sampling, work.seed))
        work.running[task] = call
        failures.calls_made = call.number + 1
        return task

    def _check(self, work: _Work) -> None:
        """Make sure that another call may be made and, before the first, that somebody listens."""
        budget.check()
        if not self.reached:
            work.runner.run(work.direct.presence.expect())
        self.reached = True

    async def _ask(self, transport: Transport, call: Call, sampling: Sampling, seed: int) -> Completion:
        if call.request.prefill and self.options.prefill is Prefill.NO:
            raise FailedError("set the engine's option `prefill`, if this server can continue a turn", outage=False)
        dialect = self.dialect
        while True:
            fields = dialect.write(
                sampling, request_seed(seed, call.request.id, call.sample) % SEEDS, chat=not call.request.raw
            )
            try:
                completion = await self._try(transport, call, dialect, fields, sampling)
            except RefusedError as error:
                refusal = error.refusal
                if refusal.filtered:
                    return self._filtered_completion(call, refusal)
                # A server that has learnt no word of another call in the meantime is asked in the words known by now.
                other = dialect.after(refusal, fields) if refusal.status not in (401, 429) else None
                if other is None:
                    raise await self.server.failure(transport.client, refusal) from error
                dialect = other
            else:
                if dialect != self.dialect and completion.finish is not Finish.FILTERED:
                    self.dialect = dialect.merge(self.dialect)
                return completion

    async def _try(
        self, transport: Transport, call: Call, dialect: Dialect, fields: dict[str, Any], sampling: Sampling
    ) -> Completion:
        """Make a call, and make it again if its reply makes no sense."""
        path, body = self._body(call.request, dialect.rename(fields))
        waits = iter(transport.waits)
        try:
            while True:
                content = await transport.post(call, path, body)
                try:
                    return self._completion(content, call, sampling, dialect, transport.share)
                except (NonsenseError, ErrorInReplyError) as error:
                    wait = next(waits, None)
                    if wait is None or (isinstance(error, ErrorInReplyError) and error.refusal.filtered):
                        raise
                await asyncio.sleep(wait * (1 + random.random()))
        except UnicodeEncodeError as error:
            raise FailedError(f"the prompt holds half of a character ({error.reason})", outage=False) from error
        except NonsenseError as error:
            words = self.server.clean(str(error))
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

    def _completion(self, body: bytes, call: Call, sampling: Sampling, dialect: Dialect, share: float) -> Completion:
        """A reply as a completion. What it cost is paid even if it makes no sense."""
        try:
            reply = read_reply(body, chat=not call.request.raw)
        except NonsenseError:
            budget.pay(self._cost(call.request, sampling, read_usage(body), share))
            raise
        budget.pay(self._cost(call.request, sampling, reply.usage, share))
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

    def _cost(self, request: Request, sampling: Sampling, usage: Usage, share: float) -> Spent:
        """What the server reports, else the most that it can be: a token is at least one byte of its text."""
        read, written, price = usage.read, usage.written, self.options.price
        told = read is not None and written is not None
        if read is None:
            read = sum(len(text.encode("utf-8", "replace")) + TEMPLATE for _, text in request.messages)
        written = sampling.max_tokens if written is None else written
        cost = share * (read * price.read + written * price.written) / 1e6 if price else 0.0
        return Spent(1, read, written, cost, 0 if told else 1)

    def _filtered_completion(self, call: Call, refusal: Refusal) -> Completion:
        words = f"a content filter of the server refused the request: {self.server.clean(refusal.words)}"
        return Completion(
            call.request.id, call.sample, None, None, Finish.FILTERED, words, prompt_tokens=None, tokens=None
        )


TINY = Sampling(max_tokens=16)
"""For trial requests: hosted APIs take no smaller limit."""


def _has_failed(task: asyncio.Task[Completion]) -> bool:
    return task.exception() is not None
