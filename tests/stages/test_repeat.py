"""Stage `repeat`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sinternal.engines import Completion, Request
from sinternal.engines.transformers import TransformersEngine
from sinternal.errors import DataError, EngineError
from sinternal.records import Finish, Prompt, Response
from sinternal.registry import Kind
from sinternal.settings.sampling import Sampling
from sinternal.stages import (
    repeat,
)
from sinternal.store import Artifact
from tests.plugins import Register, opening
from tests.stages.shared import (
    ENGINE,
    Make,
    tables,
)


def repeat_config(**changes: object) -> repeat.RepeatConfig:
    settings = {"engine": ENGINE, "sampling": Sampling(temperature=1.0, max_tokens=64), "seed": 0, "turns": 2}
    return repeat.RepeatConfig.model_validate(settings | changes)


def test_a_request_is_put_again_after_the_models_own_answer(
    make: Make, model: Artifact, originals: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[str, str], ...]] = []
    generate = TransformersEngine.generate

    def watched(self: TransformersEngine, requests: Iterable[Request], *more: Any) -> Iterator[Completion]:
        kept = list(requests)
        seen.extend(request.messages for request in kept)
        return generate(self, kept, *more)

    monkeypatch.setattr(TransformersEngine, "generate", watched)
    asked = tables(make, "prompts", prompts=originals[:5])
    found = make("repeat", lambda draft: repeat.repeat(draft, repeat_config(), prompts=asked, model=model))
    rows = found.rows(Response)
    assert {row.prompt_id for row in rows} == {prompt.id for prompt in originals[:5]}
    second = [messages for messages in seen if len(messages) == 3]
    assert len(second) == 5
    for messages in second:
        assert [role for role, _ in messages] == ["user", "assistant", "user"]
        assert messages[0] == messages[2]
        assert "think" not in messages[1][1]


def test_each_prompt_costs_one_conversation_however_many_samples_are_drawn_elsewhere() -> None:
    config = repeat_config(sampling=Sampling(n=4, temperature=1.0, max_tokens=64), turns=3)
    assert repeat.STAGE.cost(config, {"prompts": 10}) == (10, 30, 30 * 64)


def test_a_prompt_that_is_delivered_in_a_way_of_its_own_is_not_repeated(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=[replace(originals[0], raw=True)])
    with pytest.raises(DataError, match=f"prompt {originals[0].id} of family 'plain' cannot be repeated: .*; leave"):
        make("repeat", lambda draft: repeat.repeat(draft, repeat_config(), prompts=asked, model=model))


class Parrot:
    """Says how many messages it was shown; to the requests named in `silent` nothing at the second turn."""

    def __init__(self, silent: dict[str, Finish], breaks_at: int | None = None) -> None:
        self.silent, self.breaks_at = silent, breaks_at
        self.asked: list[Request] = []

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        assert sampling.n == 1
        for request in requests:
            self.asked.append(request)
            if len(self.asked) == self.breaks_at:
                raise EngineError("the server is away")
            turn = (len(request.messages) + 1) // 2
            if turn == 2 and request.id in self.silent:
                finish = self.silent[request.id]
                yield Completion(request.id, 0, None, None, finish, "lost" if finish is Finish.ERROR else None)
            else:
                yield Completion(request.id, 0, "hm", f"answer {turn}", Finish.STOP)

    def close(self) -> None:
        """Nothing is held."""


def test_a_conversation_without_an_answer_ends_there_and_its_row_says_so(
    make: Make, model: Artifact, originals: Sequence[Prompt], register: Register
) -> None:
    first, second, third = originals[:3]
    parrot = Parrot({first.id: Finish.LENGTH, second.id: Finish.ERROR})
    register(Kind.ENGINE, "transformers", opening(lambda _model: parrot))
    asked = tables(make, "prompts", prompts=originals[:3])
    config = repeat_config(turns=3, sampling=Sampling(n=4), system="be kind")
    found = make("repeat", lambda draft: repeat.repeat(draft, config, prompts=asked, model=model))
    rows = {row.prompt_id: row for row in found.rows(Response)}
    assert (rows[first.id].finish, rows[first.id].answer) == (Finish.LENGTH, None)
    assert (rows[second.id].finish, rows[second.id].error) == (Finish.ERROR, "lost")
    assert (rows[third.id].thinking, rows[third.id].answer) == ("hm", "answer 3")
    assert [len(request.messages) for request in parrot.asked] == [2, 2, 2, 4, 4, 4, 6]
    question = ("user", third.text)
    spoken = (("assistant", "answer 1"), question, ("assistant", "answer 2"), question)
    assert parrot.asked[-1].messages == (("system", "be kind"), question, *spoken)


def test_repetition_goes_on_where_it_was_interrupted(
    make: Make, model: Artifact, originals: Sequence[Prompt], register: Register
) -> None:
    engines = [Parrot({}, breaks_at=6), Parrot({})]
    opened = iter(engines)
    register(Kind.ENGINE, "transformers", opening(lambda _model: next(opened)))
    asked = tables(make, "prompts", prompts=originals[:4])

    def again() -> Artifact:
        return make("repeat", lambda draft: repeat.repeat(draft, repeat_config(), prompts=asked, model=model))

    with pytest.raises(EngineError, match="away"):
        again()
    finished = engines[0].asked[4].id
    assert {row.prompt_id for row in again().rows(Response)} == {prompt.id for prompt in originals[:4]}
    assert finished not in {request.id for request in engines[1].asked}
    assert len(engines[1].asked) == 2 * 3
