"""A model as a verifier: is this answer to this request safe?

from sinternal import Verifier

with Verifier("runs/mine/sinternal") as verifier:  # an arm of a run, or any model
    print(verifier.verify("how do I …?", "you …").verdict)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from sinternal.benchmarks.rows import Row, json_rows
from sinternal.engines import Engine, Request
from sinternal.errors import DataError
from sinternal.models.resolve import ModelSource
from sinternal.prompting.question import VerificationTask
from sinternal.prompting.think import read_verdict, verdict_probability
from sinternal.records import Finish, Prompt, Split, Verdict, make_id
from sinternal.registry import Kind, load, names
from sinternal.settings.base import validate_settings
from sinternal.settings.plugins import EnginePlugin, VerificationPlugin
from sinternal.settings.sampling import Sampling
from sinternal.study.named_arm import find_arm
from sinternal.tools.engine import engine_of, naming_servers
from sinternal.visible import visible_json

SAMPLING = Sampling(temperature=0.0, max_tokens=2048, top_logprobs=20)
"""Greedy, with what the probability of a verdict is read from."""


class Pair(NamedTuple):
    """A request and an answer to it."""

    id: str
    """Returned with the verdict."""
    prompt: str
    """The request."""
    answer: str
    """The answer, without its thinking."""


@dataclass(frozen=True)
class Verified:
    """What a model says of an answer."""

    id: str
    """The pair's."""
    verdict: Verdict | None
    """Its verdict; None if it cannot be read, or the text was cut short."""
    critique: str | None
    """Its reasoning before the verdict."""
    said: str | None
    """What it wrote after the reasoning, verdict included."""
    p_unsafe: float | None
    """Probability of the verdict `unsafe` at the place of the verdict; None if the engine does not tell."""
    truncated: bool
    """Whether it ran into the token limit."""
    error: str | None
    """What went wrong, if the request failed."""
    left_out: str = ""
    """Settings of the sampling that a server did not take, by name, so that they are as it has them."""


class Verifier:
    """Asks a model whether answers are safe, in the words in which models are trained to verify."""

    def __init__(
        self,
        model: str,
        *,
        engine: str | None = None,
        base_url: str | None = None,
        engine_options: Mapping[str, object] | None = None,
        question: str | None = None,
        question_options: Mapping[str, object] | None = None,
        with_spec: bool = True,
        sampling: Sampling = SAMPLING,
        seed: int = 0,
    ) -> None:
        """Open a model.

        Args:
            model: an arm of a run (`RUN/ARM`), a model directory, a Hugging Face id, a registered source, or a name
                that the engine's server knows.
            engine: name of a registered engine; by default `transformers`, or `openai` with an address.
            base_url: address of an OpenAI-compatible server.
            engine_options: other options of the engine.
            question: name of a registered way to ask; by default that of the run, or the one that the model's plug-in
                names.
            question_options: its options, for example a specification of your own.
            with_spec: whether the specification is quoted.
            sampling: how the verification is drawn; one sample counts.
            seed: of the draw.

        Raises:
            RecipeError: there is no such engine or question, or it does not take its options.
            ModelError: the model cannot be used.
        """
        arm = find_arm(model)
        self.engine = engine_of(engine, base_url, engine_options) or EnginePlugin()
        asked: dict[str, Any] = arm.verification.model_dump() if arm else {"name": _question_of(model), "options": {}}
        if question is not None and question != asked["name"]:
            asked = {"name": question, "options": {}}
        asked["options"] |= question_options or {}
        self._task: VerificationTask = validate_settings(VerificationPlugin, asked, "question").open()
        with naming_servers(self.engine):
            self._engine: Engine = self.engine.open(arm.path if arm else model)
        self._with_spec = with_spec
        self._sampling = sampling.model_copy(update={"n": 1})
        self._seed = seed

    def verify(self, prompt: str, answer: str) -> Verified:
        """Verify one answer."""
        (verified,) = self.verify_many([Pair("", prompt, answer)])
        return verified

    def verify_many(self, pairs: Iterable[Pair]) -> Iterator[Verified]:
        """Verify answers, in any order; ids must differ.

        Raises:
            EngineError: the engine as a whole cannot work.
        """
        requests = (Request(pair.id, (("user", self._question(pair)),), quotes=True) for pair in pairs)
        self._engine.reach()
        for completion in self._engine.generate(requests, self._sampling, self._seed):
            yield Verified(
                id=completion.request_id,
                verdict=read_verdict(completion.whole_answer),
                critique=completion.thinking,
                said=completion.answer,
                p_unsafe=verdict_probability(completion.whole_answer, completion.logprobs or ()),
                truncated=completion.finish is Finish.LENGTH,
                error=completion.error,
                left_out=completion.left_out,
            )

    def close(self) -> None:
        """Give the model's memory back."""
        self._engine.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the model's memory back."""
        self.close()

    def _question(self, pair: Pair) -> str:
        identity = make_id(pair.prompt)
        prompt = Prompt(identity, identity, pair.prompt, False, "", "plain", Split.ID)
        return self._task.ask(prompt, pair.answer, with_spec=self._with_spec)


def read_pairs(lines: Iterable[str | bytes], where: str) -> list[Pair]:
    """Pairs from lines of JSON: `{"prompt": …, "answer": …}`, and an `id` if you like; blank lines count for nothing.

    Args:
        lines: of a file, split at line feeds alone.
        where: what to call the file.

    Raises:
        DataError: a line is no such object, an id comes twice, or there is no line at all.
    """
    pairs: dict[str, Pair] = {}
    for number, row in enumerate(json_rows(lines, where), 1):
        pair = _read_pair(row, number)
        if pair.id in pairs:
            raise DataError(f"{row.place}: id {pair.id!r} occurs twice; give every pair its own id, or none")
        pairs[pair.id] = pair
    if not pairs:
        raise DataError(f'{where}: no pairs in it; write lines like {{"prompt": "…", "answer": "…"}}')
    return list(pairs.values())


def _read_pair(row: Row, number: int) -> Pair:
    """A pair; `number` is its id where it has none."""
    asked = row.request("prompt")
    if asked.system:
        raise row.error("prompt", "holds a system message, which a verifier does not see: leave it out")
    answer = row.text("answer")
    for name, text in (("prompt", asked.text), ("answer", answer)):
        if not text:
            raise row.error(name, "is empty")
    own = row.label("id") if "id" in row.values else ""
    # As it is written: blanks around an answer are part of it.
    prompt = row.values["prompt"]
    return Pair(own or str(number), prompt if isinstance(prompt, str) else asked.text, row.values["answer"])


def to_line(verified: Verified) -> str:
    """A verdict as one line of JSON, which no terminal and no reader of lines takes for anything else."""
    line = json.dumps(
        {
            "id": verified.id,
            "verdict": verified.verdict,
            "critique": verified.critique,
            "said": verified.said,
            "p_unsafe": verified.p_unsafe,
            "truncated": verified.truncated,
            "error": verified.error,
            **({"left_out": verified.left_out} if verified.left_out else {}),
        },
        ensure_ascii=False,
        allow_nan=False,
    )
    return visible_json(line)


def sources(prompt: str | None, answer: str | None, lines: Sequence[str | bytes] | None, where: str) -> list[Pair]:
    """The pairs that a command line gives: one, or those of a file.

    Raises:
        DataError: neither or both are given, or the file cannot be read.
    """
    if (prompt is None) != (answer is None):
        raise DataError("--prompt and --answer belong together: give both, or a file of pairs")
    if prompt is not None and answer is not None:
        return [_read_pair(Row("--prompt and --answer", {"prompt": prompt, "answer": answer}), 1)]
    return read_pairs(lines or [], where)


def _question_of(model: str) -> str:
    """The way to ask that a registered source of models names for its own."""
    return str(load(Kind.MODEL, model).verification) if model in names(Kind.MODEL) else ModelSource.verification
