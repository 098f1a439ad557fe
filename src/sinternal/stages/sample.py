"""Stage `sample`: the model's own answers, several to a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sinternal.engines.base import Completion, Engine, Request, Sampling
from sinternal.records import Finish, Prompt, Response, make_id
from sinternal.registry import Kind, load
from sinternal.stages.base import model_path
from sinternal.store import Artifact, Draft

VERSION = 1


class EngineConfig(BaseModel):
    """Who writes the text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "transformers"
    """Name of a registered engine."""
    options: dict[str, object] = {}
    """Its options."""


class SampleConfig(BaseModel):
    """How the answers are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineConfig
    """Who writes."""
    sampling: Sampling
    """How, and how many for each prompt."""
    seed: int
    """Of the draw."""


def sample(draft: Draft, config: SampleConfig, *, prompts: Artifact, model: Artifact) -> None:
    """Write the table `responses`: `sampling.n` rows for each prompt."""
    engine = open_engine(config.engine, model_path(model))
    rows = respond(draft, engine, prompts.rows(Prompt), config.sampling, config.seed)
    draft.counts["truncated"] = sum(row.finish is Finish.LENGTH for row in rows)
    draft.counts["failed"] = sum(row.finish is Finish.ERROR for row in rows)
    draft.counts["tokens"] = sum(row.tokens for row in rows)


def open_engine(config: EngineConfig, model: Path) -> Engine:
    """The engine that a recipe names, with a model."""
    engine: Engine = load(Kind.ENGINE, config.name)(model, config.options)
    return engine


def respond(draft: Draft, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Response]:
    """Let a model respond to prompts, into the table `responses`."""

    def make(done: frozenset[str]) -> Iterator[Response]:
        requests = (Request(p.id, (("user", p.text),)) for p in prompts if p.id not in done)
        return _responses(engine.generate(requests, sampling, seed))

    return draft.stream(
        Response,
        make,
        total=len(prompts) * sampling.n,
        group=lambda row: row.prompt_id,
        group_size=sampling.n,
    )


def _responses(completions: Iterable[Completion]) -> Iterator[Response]:
    for done in completions:
        yield Response(
            id=make_id("response", done.request_id, done.sample, done.thinking, done.answer),
            prompt_id=done.request_id,
            sample=done.sample,
            thinking=done.thinking,
            answer=done.answer,
            finish=done.finish,
            error=done.error,
            prompt_tokens=done.prompt_tokens,
            tokens=done.tokens,
        )
