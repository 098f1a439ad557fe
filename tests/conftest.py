"""What tests share: the shipped base, small recipes, and a draft to write to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sinternal.records import Finish, Judgement, Prompt, Response, Split, make_id
from sinternal.store import Artifact, Draft, Store
from sinternal.world.benchmark import Microworld
from sinternal.world.source import shipped_base
from tests.plugins import open_plugin
from tests.plugins import register as register  # a fixture

Build = Callable[[Draft], None]


@pytest.fixture(scope="session")
def base_model() -> Path:
    return shipped_base()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def make(store: Store) -> Callable[[str, Build], Artifact]:
    """Run a stage (or anything that fills a draft) and return its artifact."""

    def made(name: str, build: Build) -> Artifact:
        return store.make(
            name, "key", build, stage_version=1, config={}, inputs={}, progress=lambda _done, _total: None
        )

    return made


@pytest.fixture(scope="session")
def originals() -> Sequence[Prompt]:
    return open_plugin(Microworld, {}).prompts("train")


def response_to(prompt: Prompt, answer: str | None, sample: int = 0, thinking: str | None = "quickly :") -> Response:
    identity = make_id(prompt.id, sample, answer)
    return Response(identity, prompt.id, sample, thinking, answer, Finish.STOP if answer else Finish.LENGTH)


def judgement_of(response: Response, safe: bool | None, **labels: bool | None) -> Judgement:
    return Judgement(make_id("j", response.id), response.id, "oracle", "answer", safe, **labels)


def plain_prompt(text: str, *, harmful: bool = False, split: Split = Split.TRAIN) -> Prompt:
    return Prompt(make_id(text), make_id(text), text, harmful, "test", "plain", split)
