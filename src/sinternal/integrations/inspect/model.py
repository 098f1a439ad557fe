"""Our engines as a model provider of Inspect: `--model sinternal/<model> -M engine=<engine> -M <option>=…`."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from sinternal.engines import Completion, Engine, Request
from sinternal.errors import DataError, EngineError
from sinternal.records import Finish, make_id
from sinternal.redaction import unseal
from sinternal.settings.base import validate_settings
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling
from sinternal.study.named_arm import find_arm

AT_ONCE = 256
"""Requests that Inspect may have under way: engines are quickest with many."""
GATHER_SECONDS = 0.05
"""How long a first request waits for others to go with it."""
LOOK_SECONDS = 0.01
NO_ANSWER = "no answer"
"""Marks an output whose thinking never closed: that is not the same as an empty answer."""
NOT_DONE = (
    *("stop_seqs", "best_of", "num_choices", "top_k", "frequency_penalty", "presence_penalty", "logit_bias"),
    *("logprobs", "prompt_logprobs", "response_schema", "modalities"),
)
"""What Inspect can ask for and our engines cannot do."""
LETTERS_A_TOKEN = 4
"""For Inspect's estimates of length. Its own counting would download a file."""


class _PendingRequest(NamedTuple):
    request: Request
    sampling: Sampling
    seed: int
    done: Future[Completion]


class _Batches:
    """Hands requests that arrive one by one to an engine together, in a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.waiting: queue.Queue[_PendingRequest] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            batch = [self.waiting.get()]
            threading.Event().wait(GATHER_SECONDS)
            while not self.waiting.empty():
                batch.append(self.waiting.get())
            for sampling, seed in dict.fromkeys((pending.sampling, pending.seed) for pending in batch):
                self._answer(
                    [pending for pending in batch if (pending.sampling, pending.seed) == (sampling, seed)],
                    sampling,
                    seed,
                )

    def _answer(self, batch: Sequence[_PendingRequest], sampling: Sampling, seed: int) -> None:
        by_id = {pending.request.id: pending.done for pending in batch}
        try:
            for completion in self.engine.generate((pending.request for pending in batch), sampling, seed):
                by_id.pop(completion.request_id).set_result(completion)
            failure: Exception = EngineError("the engine left this request out")
        except Exception as error:  # whatever it is, it belongs to the samples that wait for it
            failure = error
        for future in by_id.values():
            future.set_exception(failure)


class SinternalAPI(ModelAPI):
    """One of our engines with a model."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - Inspect's own signature
        engine: str | None = None,
        system: str = "",
        repetition_penalty: float = 1.0,
        **options: Any,
    ) -> None:
        """Open it.

        Args:
            model_name: an arm of a run (`RUN/ARM`), a model directory, a Hugging Face id, a registered source, or a
                server's name for it.
            base_url: address of a server; the engine is then `openai` unless it is named.
            api_key: not used: keys come from the environment, see the engine's option `api_key_env`.
            config: of Inspect.
            engine: name of a registered engine.
            system: system message, for conversations that bring none.
            repetition_penalty: see `Sampling`; Inspect itself has no word for it.
            options: the engine's.
        """
        super().__init__(model_name=model_name, base_url=base_url, api_key=api_key, api_key_vars=[], config=config)
        if base_url:
            options["base_url"] = base_url
        arm = find_arm(model_name)
        name = engine or ("openai" if base_url else "transformers")
        plugin = validate_settings(EnginePlugin, {"name": name, "options": unseal(options)}, "engine")
        opened = plugin.open(arm.path if arm else model_name)
        self.batches = _Batches(opened)
        self.seen: Counter[str] = Counter()
        self.system, self.repetition_penalty = system, repetition_penalty

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's own name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """One answer. A request that fails is an error of its sample, never an empty answer."""
        if tools:
            raise DataError("the engines of sinternal call no tools: choose a task without tools")
        if odd := next((part.type for part in _parts(input) if part.type not in ("text", "reasoning")), None):
            raise DataError(f"the engines of sinternal read text only, not {odd}: choose another task")
        messages = tuple((message.role, message.text) for message in input)
        if self.system and not any(role == "system" for role, _ in messages):
            messages = (("system", self.system), *messages)
        identity = make_id(messages)
        self.seen[identity] += 1  # an epoch puts the same question again and wants another sample
        request = Request(f"{identity}/{self.seen[identity]}", messages)
        done: Future[Completion] = Future()
        sampling = _sampling(config, self.repetition_penalty)
        self.batches.waiting.put(_PendingRequest(request, sampling, config.seed or 0, done))
        while not done.done():
            await anyio.sleep(LOOK_SECONDS)
        completion = done.result()
        if completion.error is not None and completion.finish is not Finish.FILTERED:
            raise EngineError(completion.error)
        return _output(self.model_name, completion)

    async def count_text_tokens(self, text: str) -> int:
        """An estimate."""
        return len(text) // LETTERS_A_TOKEN + 1

    def max_connections(self) -> int:
        """How many requests may be under way."""
        return AT_ONCE


@modelapi(name="sinternal")
def sinternal() -> type[ModelAPI]:
    """The provider."""
    return SinternalAPI


def _parts(messages: list[ChatMessage]) -> Iterator[Content]:
    for message in messages:
        yield from message.content if isinstance(message.content, list) else ()


def _sampling(config: GenerateConfig, repetition_penalty: float) -> Sampling:
    """Greedy and 2,048 tokens, unless Inspect says otherwise.

    Raises:
        DataError: Inspect asks for what our engines cannot do; to leave it out would be another measurement.
    """
    if asked := [name for name in NOT_DONE if getattr(config, name, None) not in (None, False, 1)]:
        raise DataError(f"the engines of sinternal have no {', '.join(asked)}: leave it out, or take another provider")
    named: dict[str, Any] = {"temperature": config.temperature, "top_p": config.top_p, "max_tokens": config.max_tokens}
    given = {name: value for name, value in named.items() if value is not None}
    return Sampling(**given, repetition_penalty=repetition_penalty)


STOP_REASONS: dict[Finish, StopReason] = {
    Finish.STOP: "stop",
    Finish.LENGTH: "max_tokens",
    Finish.FILTERED: "content_filter",
    Finish.ERROR: "unknown",
}
"""What Inspect calls the ends of a text."""


def _output(model: str, completion: Completion) -> ModelOutput:
    content: list[Any] = []
    if completion.thinking:
        content.append(ContentReasoning(reasoning=completion.thinking))
    content.append(ContentText(text=completion.answer or ""))
    read, written = completion.prompt_tokens or 0, completion.tokens or 0
    return ModelOutput(
        model=model,
        choices=[
            ChatCompletionChoice(
                message=ChatMessageAssistant(content=content, model=model, source="generate"),
                stop_reason=STOP_REASONS[completion.finish],
            )
        ],
        usage=ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
        metadata={NO_ANSWER: True} if completion.answer is None else None,
    )
