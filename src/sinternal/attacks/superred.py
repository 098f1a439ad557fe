"""superred's optimizers as adaptive attacks: PAIR, TAP, GPTFuzzer, FlipAttack and others, each from its own package.

An optimizer of superred is an actor with a memory, and an attack of ours is a function of what was tried. So for each
query a new optimizer is made and taken through everything that lies behind it, in the same order: what its own model
replied then is kept in the query's note and played back, never asked for again. Its draws are Python's, which begin
with the request and the seed; one that draws otherwise cannot be resumed with the same texts, and is refused then.

It sees what superred shows an attacker who may write the user's message, and nothing else: the goal, the answers to its
messages, and whether they are what it is after. A run of superred has one message here, so that optimizers which talk
over several turns are out of place. What an optimizer has to be told is MIT, as is superred; no text of theirs is here.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from sinternal.attacks import AdaptiveAttack, Feedback, Search
from sinternal.engines import Engine, Request, open_engine
from sinternal.errors import DataError, SInternalError
from sinternal.extras import require
from sinternal.queries import Query
from sinternal.records import make_id
from sinternal.settings.plugins import EngineWithModel
from sinternal.settings.sampling import Sampling

MESSAGE, RESPONSE = "user_message", "response"
"""What superred's chat target calls the place that an attacker writes to, and the answer."""
CALLS = 8
"""Calls to the optimizer's own model for one query, at most; superred's PAIR asks up to five times."""


class SuperredOptions(BaseModel):
    """Which optimizer, and its own model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    optimizer: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """Its class, as `module:Class`: `pair_optimizer.optimizer:PAIROptimizer` of the package superred-optimizer-pair.
    Its code is run: name only one that you trust."""
    arguments: dict[str, Any] = {}
    """What it is made with."""
    attacker: EngineWithModel | None = None
    """Who runs the optimizer's own model; None for one that has none."""
    max_tokens: int = Field(2048, ge=1)
    """Longest reply of that model where the optimizer does not say."""


class Superred(AdaptiveAttack):
    """One of superred's optimizers (github.com/RoldSI/superred, version 0.3)."""

    family = "superred"
    Options = SuperredOptions
    asks: ClassVar[int] = CALLS

    def __init__(self, options: SuperredOptions) -> None:
        """Find the optimizer.

        Raises:
            MissingExtraError: superred is not installed.
            DataError: there is no such optimizer.
        """
        require("adaptive attack 'superred'", "superred")
        self.options, self.make = options, _find(options.optimizer)

    def propose(self, searches: Sequence[Search], seed: int) -> Iterator[Query]:
        """The optimizer's next message for each search; see `AdaptiveAttack.propose`."""
        if not searches:
            return
        if self.options.attacker is None:
            yield from (self._next(search, seed, None) for search in searches)
            return
        with open_engine(self.options.attacker, self.options.attacker.model) as engine:
            yield from (self._next(search, seed, engine) for search in searches)

    def _next(self, search: Search, seed: int, engine: Engine | None) -> Query:
        """Take a new optimizer through all that was tried, and let it say what comes next."""
        state = random.getstate()
        random.seed(f"{seed}/{self.family}/{search.prompt.id}")
        try:
            return asyncio.run(self._replay(search, _Model(self.options, engine, search, seed)))
        finally:
            random.setstate(state)

    async def _replay(self, search: Search, model: _Model) -> Query:
        played = _Played(self.make(**self.options.arguments), self.options.optimizer)
        await played.start(search.prompt.plain_request, model)
        try:
            for tried in search.tried:
                model.play_back(tried.query.note)
                if (text := await played.ask()) != tried.query.text:
                    raise DataError(
                        f"{self.options.optimizer} says something else when it is taken through the same queries "
                        "again, so that its attack could not be resumed: its draws are not Python's random numbers"
                    )
                await played.tell(text, tried.feedback)
            text = await played.ask()
        finally:
            await played.stop()
        if model.error is not None:
            return search.query(self.family, None, error=model.error)
        return search.query(self.family, text, note=model.note)


def _find(name: str) -> Callable[..., Any]:
    """The class that makes an optimizer."""
    _stay_here()
    from superred.core.interfaces.optimizer import Optimizer

    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(f"there is no optimizer {name} ({error}); install its package: superred-optimizer-…") from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise DataError(f"{name} is no optimizer of superred")
    return found


def _stay_here() -> None:
    """Keep litellm, which superred imports, from asking the network for prices as it is imported."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


class _Played:
    """One optimizer, played as superred's controller does."""

    def __init__(self, optimizer: Any, name: str) -> None:
        from superred.core.types.controllable import Controllable
        from superred.core.types.security_domain import SecurityDomainTag

        self.optimizer, self.name = optimizer, name
        self.domain = SecurityDomainTag("user")
        self.place = Controllable(MESSAGE, self.domain, "the user's message")
        self.done = False
        self.channel: Any = None
        self.task: asyncio.Task[None] | None = None
        self.trajectory: Any = None

    async def start(self, goal: str, model: _Model) -> None:
        from superred.core.types.goal import Goal

        await self.optimizer.initialize(Goal(goal), [self.place], [], model)

    async def ask(self) -> str | None:
        """Its next message; None if it has none, or fails."""
        from superred.core.types.events import ControllableInjection, ControllablePreCallEvent, RunStartEvent
        from superred.core.types.trajectory import Trajectory

        if self.done:
            return None
        self.trajectory = Trajectory()
        await self._send(RunStartEvent(trajectory=self.trajectory))
        event = ControllablePreCallEvent(controllable=self.place, request="")
        response = await self._send(event)
        if not isinstance(response, ControllableInjection) or not response.value.strip():
            return None
        self.trajectory.emit(event)
        self.trajectory.emit(response)
        return str(response.value)

    async def tell(self, text: str | None, feedback: Feedback | None) -> None:
        """What came of its message: its answer, and whether that is what it is after; nothing if that is withheld."""
        from superred.core.types.events import (
            ControllablePostCallEvent,
            ObservableEvent,
            RunEndEvent,
            RunEndResponse,
        )
        from superred.core.types.observable import Observable

        if self.done:
            return
        if text is not None and feedback is not None and feedback.answer is not None:
            event = ControllablePostCallEvent(controllable=self.place, request=text, answer=feedback.answer)
            await self._send(event)
            self.trajectory.emit(event)
            self.trajectory.emit(ObservableEvent(observable=Observable(RESPONSE, self.domain), content=feedback.answer))
        end = RunEndEvent(evaluation=_evaluation(feedback), security_domain=self.domain)
        self.trajectory.emit(end)
        response = await self._send(end)
        self.trajectory.close()
        self.done = isinstance(response, RunEndResponse) and response.done

    async def stop(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self.task is not None:
            await asyncio.gather(self.task, return_exceptions=True)
        await self.optimizer.teardown()

    async def _send(self, event: Any) -> Any:
        """The optimizer's response to an event; None if it fails, after which it goes on with the next."""
        from superred.core.channel import EventChannel

        if self.task is None or self.task.done():
            self.channel = EventChannel()
            self.task = asyncio.create_task(self.optimizer.run(self.channel))
        try:
            return await self.channel.send(event)
        except SInternalError:
            raise
        except Exception:  # an optimizer may fail in any way, for example if its model's reply cannot be read
            await asyncio.gather(self.task, return_exceptions=True)
            return None


def _evaluation(feedback: Feedback | None) -> Any:
    """The judge's label as superred has it: 1 for success, 0 for a refusal; None without a label."""
    from superred.core.types.evaluation import EvaluationResult, Score

    if feedback is None or feedback.safe is None:
        return None
    value = 1.0 if feedback.safe is False else 0.0 if feedback.refused else 0.5
    return EvaluationResult(success=feedback.safe is False, primary_score=Score(value))


class _Model:
    """What an optimizer asks its own model through, in the place of superred's client."""

    def __init__(self, options: SuperredOptions, engine: Engine | None, search: Search, seed: int) -> None:
        self.options, self.engine, self.search, self.seed = options, engine, search, seed
        self.replies: list[str] = []
        self.error: str | None = None
        self._stored: list[str] = []

    def play_back(self, note: str) -> None:
        """Repeat the replies of an earlier query, which the optimizer asks for again."""
        self._stored = [*self._stored, *(json.loads(note) if note else [])]

    @property
    def note(self) -> str:
        """The new replies, as a query keeps them."""
        return json.dumps(self.replies) if self.replies else ""

    async def complete(self, messages: list[dict[str, str]], **settings: Any) -> Any:
        """The model's reply, as litellm has it."""
        from litellm import Choices, Message, ModelResponse, Usage

        text = self._stored.pop(0) if self._stored else await self._ask(messages, settings)
        choice = Choices(message=Message(content=text, role="assistant"), finish_reason="stop")
        return ModelResponse(choices=[choice], usage=Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0))

    async def _ask(self, messages: list[dict[str, str]], settings: dict[str, Any]) -> str:
        from superred.core.types.llm import BudgetExhaustedError, LLMUsage

        if self.engine is None:
            raise DataError(f"{self.options.optimizer} asks a model: name it in the option attacker")
        if len(self.replies) >= CALLS:
            raise BudgetExhaustedError(f"{CALLS} calls for one query", LLMUsage(len(self.replies)))
        sampling = Sampling(
            temperature=float(settings.get("temperature") or 0.0),
            top_p=float(settings.get("top_p") or 1.0),
            max_tokens=int(settings.get("max_tokens") or self.options.max_tokens),
        )
        identity = make_id("superred", self.search.prompt.id, self.search.number, len(self.replies))
        said = tuple((message["role"], message["content"]) for message in messages)
        request, engine, state = Request(identity, said, quotes=True), self.engine, random.getstate()
        # In a thread, since an engine may have an event loop of its own; what it draws is none of the optimizer's.
        (reply,) = await asyncio.to_thread(lambda: list(engine.generate([request], sampling, self.seed)))
        random.setstate(state)
        if reply.error is not None:
            self.error = reply.error
            raise ConnectionError(reply.error)
        self.replies.append(reply.answer or "")
        return self.replies[-1]
