"""The contract of an engine, with its requests and completions."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from sinternal.models.presence import Presence
from sinternal.prompting.think import Tags
from sinternal.records import Finish
from sinternal.registry import NoOptions
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling


@dataclass(frozen=True)
class Request:
    """One conversation that waits for the assistant's turn."""

    id: str
    """Returned with each completion."""
    messages: tuple[tuple[str, str], ...]
    """(role, content) pairs."""
    prefill: str = ""
    """Text that the assistant's turn is made to begin with, thinking tags spelled out; part of the completion."""
    raw: bool = False
    """Whether the contents of the messages, one after the other, are continued as they are, without any template."""
    quotes: bool = False
    """Whether the messages show text by others, to a verifier, judge, expert or attacker: nothing that is spelled in
    them is then a control token, but in messages of a raw request whose role is `frame`."""


class TokenLogprobs(NamedTuple):
    """One token of a text, and what could have stood in its place."""

    text: str
    """The token as text; where an engine decodes tokens one by one, without what joins it to its neighbours."""
    top: tuple[tuple[str, float], ...]
    """The most probable tokens as text, and their natural log-probabilities."""


@dataclass(frozen=True)
class Completion:
    """One sample for one request."""

    request_id: str
    """The request."""
    sample: int
    """Its number, from 0 to n - 1."""
    thinking: str | None
    """The thinking, split off."""
    answer: str | None
    """The text after it; None if the thinking never closed or the request failed."""
    finish: Finish
    """Why it ended."""
    error: str | None = None
    """What went wrong, if the request failed for good."""
    prompt_tokens: int | None = 0
    """Tokens read; None if the engine does not know."""
    tokens: int | None = 0
    """Tokens written, the end of turn included; None if the engine does not know."""
    logprobs: tuple[TokenLogprobs, ...] | None = None
    """The tokens of the text, without the end of turn, if they were asked for and the engine gives them. Local engines
    give the model's own distribution, before temperature and penalties; servers what they are built to give."""
    left_out: str = ""
    """Settings of the sampling that a server did not take, by name, so that they are as it has them: `top_k, min_p`."""
    quoted_controls: int = 0
    """Control tokens that quoted text spelled, and that were read as plain text."""

    @property
    def whole_answer(self) -> str | None:
        """The answer, if the model ended its turn: the last line of one that was cut short may be anything."""
        return self.answer if self.finish is Finish.STOP else None


class Destination(NamedTuple):
    """A server, and what goes there from the user's environment."""

    address: str
    """Scheme, host and port: `https://api.openai.com`."""
    variables: tuple[str, ...] = ()
    """Variables of the environment whose values are sent."""
    loopback: bool = False
    """Whether it is on this machine."""

    @property
    def is_plain(self) -> bool:
        """Whether it is reached without encryption."""
        return not self.address.startswith("https://")


@dataclass(frozen=True)
class Sight:
    """What a look at an engine's server has shown."""

    words: str = ""
    """In a few words; empty if there is no server."""
    sure: bool = True
    """Whether it lists the model; else only a request can tell."""
    context: int | None = None
    """Tokens that prompt and text may have together, if it says so."""


class Engine(Protocol):
    """Writes text. An engine inherits from this class, and says where it differs from the defaults."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    """Its options; an unknown name or invalid value is an error in the recipe."""
    REACH: ClassVar[frozenset[str]] = frozenset()
    """Options that only say how it is reached: what it writes does not depend on them, and a change of one asks for
    nothing anew."""
    asks_server: ClassVar[bool] = False
    """Whether it asks a server, which can be tried before anything is paid for."""
    runs_one_model: ClassVar[bool] = False
    """Whether it always runs the model that a server or a file has, so that it cannot run what was trained here."""

    @classmethod
    def continues_turns(cls, options: Any) -> bool:
        """Whether, with these options, it can continue a turn of the assistant that has begun: `Request.prefill`."""
        return True

    @classmethod
    def destination(cls, options: Any) -> Destination | None:
        """The server that it asks with these options, and the keys that go there; None if it asks none."""
        return None

    @classmethod
    def window(cls, options: Any) -> str | None:
        """How long a round of calls may take with these options, where that is long: `24h`; None where it is not."""
        return None

    @classmethod
    def find(cls, model: str) -> Presence | None:
        """Look, without loading or downloading anything, where it would open a model from.

        Returns:
            None if that is its own affair, for example a server's.

        Raises:
            ModelError: the model cannot be had.
        """
        return None

    def __init__(self, model: str, options: Any) -> None:
        """Open a model.

        Args:
            model: a directory, a registered source, a Hugging Face id, or a name that the engine's server knows.
            options: an object of `Options`.

        Raises:
            ModelError: the model cannot be used.
            EngineError: the engine cannot work here.
        """

    @abstractmethod
    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times, in any order.

        A request that fails for good comes back as a completion with `error`; it is never left out, and never costs
        its neighbours their results.

        Raises:
            EngineError: the engine as a whole cannot work. Completions that were yielded before stand.
            BudgetError: the run has spent what it was allowed to; requests under way were finished and yielded.
        """
        ...

    def reach(self) -> None:
        """Wait, at no cost and not for long, until the server, if there is one, takes calls: it may be starting.

        Raises:
            EngineError: it does not.
        """

    def try_it(self, request: Request) -> None:
        """Ask the server, if there is one, for a few tokens. Raises EngineError if it is unusable."""

    def look(self) -> Sight:
        """Look, at no cost, whether the server, if there is one, takes the key and lists the model.

        Raises:
            EngineError: it is away, refuses the key, does not list the model, or is at another address.
        """
        return Sight()

    def is_there(self) -> bool:
        """Whether the server, if there is one, accepts connections; costs nothing."""
        return True

    def close(self) -> None:
        """Give back memory, connections and processes; may be called twice. The engine is not used again."""


class TemplateOptions(BaseModel):
    """Options for the chat template, of engines that render it themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chat_template_kwargs: dict[str, Any] = {}
    """Values that the model's chat template asks for, for example `{enable_thinking: false}`."""
    thinking_tags: tuple[str, str] | None = None
    """What the model opens and closes its thinking with; None: as its template and tokens tell."""

    @property
    def tags(self) -> Tags | None:
        """The same, as the reader of model text takes it."""
        return None if self.thinking_tags is None else Tags(*self.thinking_tags)


@contextmanager
def open_engine(plugin: EnginePlugin, model: str) -> Iterator[Engine]:
    """The engine that a recipe names, with a model; closed at the end."""
    engine: Engine = plugin.open(model)
    try:
        yield engine
    finally:
        engine.close()


def request_seed(seed: int, request_id: str, sample: int) -> int:
    """The seed of one sample: a 64-bit number that depends on nothing but the arguments."""
    digest = hashlib.sha256(f"{seed}/{request_id}/{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
