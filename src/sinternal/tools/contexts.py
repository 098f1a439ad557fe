"""Whether what is asked fits into the models that are asked, with room for what they are to write.

The prompts are those of the recipe, disguises and all, and the longest of them are counted. A model on this disk is
counted by its own tokenizer and by `max_position_embeddings` of its configuration, or less if its engine is told so. A
server says its context in its list of models, if at all; its tokens are estimated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from pathlib import Path
from typing import Any, NamedTuple

from sinternal.benchmarks.hub import HubBenchmark, is_cached
from sinternal.benchmarks.packaged import PackagedBenchmark
from sinternal.engines import Request
from sinternal.errors import DataError, SInternalError
from sinternal.experts.chat import ChatExpert
from sinternal.extras import is_there
from sinternal.judges.guard import Guard
from sinternal.models.presence import find_here
from sinternal.models.resolve import base_folder, tokenizer_folder
from sinternal.models.shape import CONFIG
from sinternal.prompting.question import VerificationTask
from sinternal.records import Prompt
from sinternal.registry import Kind, load, names
from sinternal.settings.arms import SpecificationUse, TrainOn
from sinternal.settings.named_engines import engines_in
from sinternal.settings.plugins import EnginePlugin, ModelSourcePlugin, VerificationPlugin
from sinternal.settings.recipe import Recipe
from sinternal.stages.prompts import PromptsConfig, disguised, originals_of
from sinternal.stages.sample import to_request
from sinternal.study.lengths import CHARACTERS
from sinternal.study.prompts import PromptTasks
from sinternal.study.task import Task
from sinternal.tools.findings import Finding, Mark

ENOUGH = 32
"""Of the prompts, by their characters the longest first, so many in a row have to fit until no more are counted."""
MOST = 200
"""Prompts that are counted at most."""
WINDOWS = ("max_position_embeddings", "n_positions", "max_sequence_length")
"""What configurations of models call the context."""
UNLIMITED = 10**12
"""Tokens of a text, for tokenizers that would warn of long ones: whether they are too long is what is asked."""
LIMITS = ("max_model_len", "context")
"""What options of engines call it."""
HOW = {True: "", False: f" (estimated at {CHARACTERS} characters a token)"}

Count = Callable[[Request], int]


class Reader(NamedTuple):
    """A model that reads."""

    name: str
    """What it is called."""
    window: int
    """Tokens that prompt and text may have together."""
    count: Count
    """The tokens of a request."""
    exact: bool
    """Whether these are counted, not estimated."""
    refuses: bool
    """Whether a request that leaves less room than it asks for is refused; else the text is cut short."""


class Prompts(NamedTuple):
    """Prompts of which the longest are looked at."""

    total: int
    """How many there are."""
    longest: Sequence[Prompt]
    """Those, the longest first."""


@dataclass(frozen=True)
class Question:
    """What a model is asked of each of some prompts."""

    part: str
    """The field of the recipe that says so."""
    what: str
    """What is asked, for messages."""
    prompts: Prompts
    """Of what."""
    ask: Callable[[Prompt], Sequence[Request]]
    """The requests."""
    written: int
    """Tokens that the model may write."""
    limit: str
    """The field that says how many."""
    quoted: int = 0
    """Tokens of an answer that the request quotes at most, which is not known yet."""
    mend: str = ""
    """How to make it shorter."""


def look_at_contexts(recipe: Recipe, told: Mapping[tuple[str, str], int]) -> Iterator[Finding]:
    """Look whether prompts, specification and what is to be written fit.

    Args:
        recipe: of which the parts can be opened; what cannot is left out.
        told: the contexts that servers have told, by the engine's settings (`server_key`) and the model.
    """
    tasks = PromptTasks(recipe, recipe.seeds[0], "")
    with suppress(SInternalError, OSError):  # of data that cannot be read, or is not here yet, others have told
        evaluation = _prompts_of(tasks.evaluation)
        training = _prompts_of(tasks.training) if recipe.trains else Prompts(0, ())
        for engine, model, question in _questions(recipe, evaluation, training):
            reader = _reader_of(engine, model, told)
            if reader is not None:
                yield from _look(reader, question)
        yield from _look_at_rows(recipe, training)


def server_key(engine: str, options: Mapping[str, Any]) -> str:
    """How the settings of a server are recognised."""
    return json.dumps([engine, dict(options)], sort_keys=True, default=str)


def _prompts_of(task: Task) -> Prompts:
    """The prompts of a task, as far as they can be had without a download and without asking a model."""
    config, total = PromptsConfig.model_validate(task.config.model_dump()), 0
    rows: list[Prompt] = []
    for source in config.sources:
        attacks = tuple(each for each in source.attacks if not any(engines_in(each.model_dump(mode="json"))))
        if not attacks or not _is_here(source.benchmark):
            continue
        originals = originals_of(source, config)
        total += len(originals) * len(attacks)
        longest = nlargest(MOST, originals, key=_length)
        rows += disguised(longest, source.model_copy(update={"attacks": attacks}), config)
    return Prompts(total, sorted(rows, key=_length, reverse=True))


def _length(prompt: Prompt) -> int:
    return len(prompt.text.encode())


def _is_here(benchmark: str) -> bool:
    """Whether a benchmark can be read without downloading it."""
    plugin = load(Kind.BENCHMARK, benchmark)
    if isinstance(plugin, HubBenchmark):
        return is_there("datasets") and not plugin.on_github and is_cached(plugin.dataset)
    return not isinstance(plugin, PackagedBenchmark) or plugin.is_here


def _questions(recipe: Recipe, evaluation: Prompts, training: Prompts) -> Iterator[tuple[EnginePlugin, str, Question]]:
    """Who is asked what: target, judges and expert."""
    target, system = recipe.target.model, recipe.target.system
    measured = recipe.evaluation
    quotes = SpecificationUse.QUOTED in measured.specification
    mend = "leave them out, or take a model with a longer context"
    spec = "let verification quote less (options: {sections: relevant}), leave long prompts out, or take another model"

    def responding(prompt: Prompt) -> Sequence[Request]:
        return [to_request(prompt, system)]

    yield (
        recipe.measuring_engine,
        target,
        Question(
            "prompts.eval",
            "evaluation prompts",
            evaluation,
            responding,
            measured.sampling.max_tokens,
            "evaluation.sampling.max_tokens",
            mend=mend,
        ),
    )
    if recipe.sampling is not None:
        yield (
            recipe.engine,
            target,
            Question(
                "prompts.train",
                "training prompts",
                training,
                responding,
                recipe.sampling.max_tokens,
                "sampling.max_tokens",
                mend=mend,
            ),
        )
    yield (
        recipe.measuring_engine,
        target,
        Question(
            "verification",
            "questions whether an answer is safe",
            evaluation,
            _verifying(recipe.verification, with_spec=quotes),
            measured.verification_sampling.max_tokens,
            "evaluation.verification_sampling.max_tokens",
            quoted=measured.sampling.max_tokens,
            mend=spec,
        ),
    )
    for number, plugin in enumerate(recipe.judges):
        judge = plugin.open()
        if isinstance(judge, Guard):
            part = f"judges.{number}"
            yield (
                judge.options.engine,
                judge.options.engine.model,
                Question(
                    part,
                    "questions to the judge",
                    evaluation,
                    partial(_judging, judge),
                    judge.max_tokens,
                    "the judge's reply",
                    quoted=measured.sampling.max_tokens,
                    mend="take a judge with a longer context",
                ),
            )
    if recipe.sampling is None or not any(arm.train_on is TrainOn.VERIFICATION for arm in recipe.arms):
        return
    expert = recipe.writer.open()
    if isinstance(expert, ChatExpert):
        yield (
            expert.options.engine,
            expert.options.engine.model,
            Question(
                "expert",
                "questions to the expert",
                training,
                _verifying(recipe.verification, with_spec=True),
                expert.options.max_tokens,
                "expert.options.max_tokens",
                quoted=recipe.sampling.max_tokens,
                mend="take an expert with a longer context",
            ),
        )


def _judging(judge: Guard, prompt: Prompt) -> Sequence[Request]:
    return judge.ask_all(prompt, "")


def _verifying(plugin: VerificationPlugin, *, with_spec: bool) -> Callable[[Prompt], Sequence[Request]]:
    task: VerificationTask = plugin.open()

    def ask(prompt: Prompt) -> Sequence[Request]:
        return [Request(prompt.id, (("user", task.ask(prompt, "", with_spec=with_spec)),), quotes=True)]

    return ask


def _reader_of(engine: EnginePlugin, model: str, told: Mapping[tuple[str, str], int]) -> Reader | None:
    """What is known of a model's context; None if nothing."""
    if engine.plugin_class.asks_server:
        window = told.get((server_key(engine.name, engine.options), model))
        return None if window is None else Reader(model, window, _estimate, exact=False, refuses=True)
    folder = None
    with suppress(SInternalError):
        folder = _folder_of(model)
    options = _options_of(engine)
    limits = [limit for name in LIMITS if isinstance(limit := options.get(name), int)]
    if folder is not None and (own := _window(folder)) is not None:
        limits.append(own)
    if not limits:
        return None
    counter = _counter(folder, options) if folder is not None and is_there("transformers") else None
    return Reader(model, min(limits), counter or _estimate, exact=counter is not None, refuses=False)


def _folder_of(model: str) -> Path | None:
    if model in names(Kind.MODEL):
        located: Path | None = ModelSourcePlugin(name=model).open().locate()
        return located
    return find_here(model)


def _options_of(engine: EnginePlugin) -> Mapping[str, Any]:
    """Its options; of an engine that runs another one in many copies, those of the other."""
    inner = engine.options.get("worker")
    options = inner.get("options", {}) if isinstance(inner, Mapping) else engine.options
    return options if isinstance(options, Mapping) else {}


def _window(folder: Path) -> int | None:
    """The tokens that a model was made for; None if its configuration does not say."""
    try:
        content = json.loads((base_folder(folder) / CONFIG).read_text())
    except (OSError, ValueError, SInternalError):
        return None
    fields = content.get("text_config", content) if isinstance(content, dict) else {}
    return next((fields[name] for name in WINDOWS if isinstance(fields.get(name), int)), None)


def _counter(folder: Path, options: Mapping[str, Any]) -> Count | None:
    """Counts as the engines do; None if the tokenizer cannot be opened, of which others tell."""
    from sinternal.models.loading import open_tokenizer
    from sinternal.prompting.chat import generation_prompt, with_prefill
    from sinternal.prompting.rendering import set_template_arguments

    try:
        tokenizer = open_tokenizer(tokenizer_folder(folder), model_max_length=UNLIMITED)
        set_template_arguments(tokenizer, options.get("chat_template_kwargs") or {})
    except SInternalError:
        return None

    def count(request: Request) -> int:
        rendered = generation_prompt(tokenizer, request.messages, raw=request.raw, quotes=request.quotes)
        return len(with_prefill(rendered, request.prefill).encode(tokenizer).ids)

    return count


def _estimate(request: Request) -> int:
    return sum(len(content) for _, content in request.messages) // CHARACTERS


class _Longest(NamedTuple):
    """What was counted."""

    tokens: int
    """Of the longest request."""
    unfit: int
    """How many do not fit."""
    all_counted: bool
    """Whether no more can be unfit."""


def _measure(prompts: Prompts, ask: Callable[[Prompt], Sequence[Request]], count: Count, most: int) -> _Longest:
    """Count the longest requests. Of `most` tokens and more each is unfit."""
    longest = unfit = fit = 0
    for number, prompt in enumerate(prompts.longest):
        if fit >= ENOUGH:
            break
        if number >= MOST:
            return _Longest(longest, unfit, all_counted=False)
        try:
            tokens = max(map(count, ask(prompt)), default=0)
        except DataError:  # the template refuses it, which is told of otherwise
            continue
        longest = max(longest, tokens)
        unfit, fit = (unfit + 1, 0) if tokens >= most else (unfit, fit + 1)
    return _Longest(longest, unfit, all_counted=True)


def _look(reader: Reader, question: Question) -> Iterator[Finding]:
    if not question.prompts.total:
        return
    found = _measure(question.prompts, question.ask, reader.count, reader.window)
    reads = f"{reader.name} reads {reader.window:,}"
    how = HOW[reader.exact]
    if found.unfit:
        least = "" if found.all_counted else "at least "
        yield Finding(
            Mark.WRONG,
            question.part,
            f"{least}{found.unfit:,} of {question.prompts.total:,} {question.what} do not fit: the longest has "
            f"{found.tokens:,} tokens{how}, {reads}; {question.mend}",
        )
        return
    room = reader.window - found.tokens
    if room < question.written:
        words = (
            f"the longest of {question.prompts.total:,} {question.what} has {found.tokens:,} tokens{how} and leaves "
            f"room for {room:,} ({reads}), {question.limit} asks for {question.written:,}: "
        )
        if reader.refuses:
            yield Finding(Mark.WRONG, question.part, f"{words}such servers refuse that; lower it")
        else:
            yield Finding(Mark.NOTE, question.part, f"{words}what is written is cut there")
    elif room < question.written + question.quoted:
        yield Finding(
            Mark.NOTE,
            question.part,
            f"the longest of {question.prompts.total:,} {question.what} has {found.tokens:,} tokens{how} without the "
            f"answer; with {question.written:,} for the reply ({question.limit}) there is room for an answer of "
            f"{room - question.written:,} tokens ({reads}), and answers may have {question.quoted:,}: longer ones "
            f"{'are refused' if reader.refuses else 'cut the reply short, or have no room at all'}",
        )


def _look_at_rows(recipe: Recipe, training: Prompts) -> Iterator[Finding]:
    """Whether a question alone is longer than a row of fine-tuning may be: an error, once all before it is paid for."""
    folder = _folder_of(recipe.target.model)
    counter = _counter(folder, {}) if folder is not None and is_there("transformers") else None
    if counter is None or not training.total:
        return
    seen: list[object] = []
    for arm in recipe.arms:
        if arm.train_on is not TrainOn.VERIFICATION:
            continue
        limit = recipe.sft_of(arm).max_length
        plugin = arm.examples.verification or recipe.verification
        quoting = arm.examples.specification is SpecificationUse.QUOTED
        if (limit, plugin, quoting) in seen:
            continue
        seen.append((limit, plugin, quoting))
        found = _measure(training, _verifying(plugin, with_spec=quoting), counter, limit)
        if found.unfit:
            yield Finding(
                Mark.WRONG,
                f"arm {arm.name}",
                f"{found.unfit:,} of {training.total:,} training prompts make a row of more than sft.max_length "
                f"({limit:,}) tokens without any answer (the longest: {found.tokens:,}), at which training stops: "
                "raise sft.max_length, quote less of the specification, or leave them out",
            )
