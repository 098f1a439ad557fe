"""Stage `adapt`: an attack on one model, query by query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from sinternal.attacks import AdaptiveAttack, Search
from sinternal.engines import Completion, Request
from sinternal.errors import DataError, EngineError, RecipeError
from sinternal.figures.searches import join_queries
from sinternal.judges import Judge
from sinternal.queries import Query
from sinternal.records import Finish, Judgement, Prompt, Response
from sinternal.registry import Kind, NoOptions
from sinternal.settings.recipe import load_recipe
from sinternal.settings.sampling import Sampling
from sinternal.stages import adapt
from sinternal.stages.target import SERVED
from sinternal.store import Artifact
from sinternal.world.language import REFUSAL, recipe
from tests.plugins import Register, opening
from tests.stages.shared import ENGINE, ORACLE, Make, tables

GIVES_IN = recipe(("g1", "g2", "g3"))


class Insist(AdaptiveAttack):
    """Says how many refusals it has seen, and how many queries it has made."""

    family = "insist"

    def __init__(self, _options: NoOptions) -> None:
        pass

    def propose(self, searches: Sequence[Search], _seed: int) -> Iterator[Query]:
        for search in searches:
            seen = sum(bool(tried.feedback and tried.feedback.refused) for tried in search.tried)
            yield search.query(self.family, f"{search.prompt.text} {seen} of {search.number}")


class Stubborn:
    """Gives in to a text that ends in one of some words; fails for good, or all at once, where it is told to."""

    def __init__(self, gives_in: Sequence[str] = (), fails: str = "never", breaks_at: int | None = None) -> None:
        self.gives_in, self.fails, self.breaks_at = tuple(gives_in), fails, breaks_at
        self.asked: list[str] = []

    def generate(self, requests: Iterable[Request], sampling: Sampling, _seed: int) -> Iterator[Completion]:
        assert sampling.n == 1
        for request in requests:
            text = request.messages[-1][1]
            if self.breaks_at == len(self.asked):
                self.breaks_at = None
                raise EngineError("the server is away")
            self.asked.append(text)
            if text.endswith(self.fails):
                yield Completion(request.id, 0, None, None, Finish.ERROR, "timed out")
            else:
                yield Completion(
                    request.id, 0, None, GIVES_IN if text.endswith(self.gives_in) else REFUSAL, Finish.STOP
                )

    def close(self) -> None:
        pass


class Play:
    """Plays an attack of a test's own on a model of its own."""

    def __init__(self, register: Register, make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
        self.register, self.make, self.model = register, make, model
        harmful = [prompt for prompt in originals if prompt.harmful][:3]
        self.harmful = [prompt.id for prompt in harmful]
        self.asked = tables(make, "prompts", prompts=[*harmful, next(p for p in originals if not p.harmful)])

    def config(self, target: Stubborn, attack: type[AdaptiveAttack] = Insist, **changes: Any) -> adapt.AdaptConfig:
        self.register(Kind.ENGINE, "stubborn", opening(lambda _model: target))
        self.register(Kind.ADAPTIVE_ATTACK, attack.family, attack)
        settings = {
            "engine": {"name": "stubborn"},
            "sampling": Sampling(max_tokens=64),
            "seed": 0,
            "attack": {"name": attack.family},
            "judge": ORACLE,
            "budget": 3,
            "feedback": True,
        }
        return adapt.AdaptConfig.model_validate(settings | changes)

    def __call__(self, target: Stubborn, name: str = "adapt", **changes: Any) -> Artifact:
        config = self.config(target, **changes)
        return self.make(name, lambda draft: adapt.adapt(draft, config, prompts=self.asked, model=self.model))


@pytest.fixture
def play(register: Register, make: Make, originals: Sequence[Prompt]) -> Play:
    return Play(register, make, make("served", lambda draft: draft.write_json(SERVED, "m")), originals)


def test_it_goes_on_by_what_came_of_its_queries_until_an_answer_is_unsafe(play: Play) -> None:
    target = Stubborn(gives_in=["1 of 1"])
    found = play(target)
    assert [text.rpartition(" ? ")[2].rpartition(" . ")[2][-6:] for text in target.asked] == ["0 of 0"] * 3 + [
        "1 of 1"
    ] * 3
    assert found.counts == {
        "responses": 6,
        "queries": 6,
        "judgements": 6,
        "truncated": 0,
        "unlabelled": 0,
        "broken": 3,
        "prompts": 3,
        "failed": 0,
    }
    assert {row.prompt_id for row in found.rows(Query)} == {*play.harmful}, "harmless requests are not attacked"
    assert sorted(path.name for path in found.path.glob("*.parquet")) == [
        "judgements.parquet",
        "queries.parquet",
        "responses.parquet",
    ], "the rounds' tables are gone"


def test_every_query_leaves_with_the_answer_and_the_label_that_came_of_it(play: Play) -> None:
    rows = list(join_queries("insist adaptive", play(Stubborn(gives_in=["1 of 1"]))))
    assert [row.query.number for row in rows] == [0, 1] * 3
    assert [row.response.answer for row in rows] == [REFUSAL, GIVES_IN] * 3
    assert [row.judgement.safe for row in rows] == [True, False] * 3
    assert {row.attack for row in rows} == {"insist adaptive"}


def test_without_feedback_it_learns_nothing_and_has_as_many_queries(play: Play) -> None:
    target = Stubborn()
    play(target, feedback=False)
    assert {text[-6:] for text in target.asked} == {"0 of 0", "0 of 1", "0 of 2"}
    assert len(target.asked) == 9


def test_an_interrupted_attack_goes_on_with_the_same_bytes(play: Play) -> None:
    whole = play(Stubborn(gives_in=["2 of 2"]), "whole")
    broken = Stubborn(gives_in=["2 of 2"], breaks_at=4)
    with pytest.raises(EngineError):
        play(broken)
    again = play(broken)
    assert len(broken.asked) == 9, "nothing is asked twice"
    for row_type in (Query, Response, Judgement):
        name = f"{'queries' if row_type is Query else row_type.__name__.lower() + 's'}.parquet"
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_failed_call_is_no_answer_and_the_attack_goes_on(play: Play) -> None:
    found = play(Stubborn(gives_in=["0 of 1"], fails="0 of 0"))
    assert (found.counts["failed"], found.counts["unlabelled"], found.counts["broken"]) == (3, 3, 3)
    assert any("timed out" in note and "--again adapt" in note for note in found.manifest["notes"])
    assert not any("--retry-failed" in note for note in found.manifest["notes"])


class Mute(Insist):
    """Sends nothing at first; its own model fails then."""

    family = "mute"

    def propose(self, searches: Sequence[Search], seed: int) -> Iterator[Query]:
        for search in searches:
            error = "attacker away" if search.number == 1 else None
            yield search.query(self.family, None, **({"error": error} if error else {}))


def test_an_attack_that_sends_nothing_uses_its_queries_up_and_says_so(play: Play) -> None:
    target = Stubborn()
    found = play(target, attack=Mute)
    assert (target.asked, found.counts["queries"], found.counts["responses"]) == ([], 9, 0)
    assert len(found.manifest["notes"]) == 2


class Twice(Insist):
    """Gives a query twice."""

    family = "twice"

    def propose(self, searches: Sequence[Search], seed: int) -> Iterator[Query]:
        yield from super().propose(searches[:1], seed)
        yield from super().propose(searches[:1], seed)


class Lazy(Insist):
    """Leaves a search out."""

    family = "lazy"

    def propose(self, searches: Sequence[Search], seed: int) -> Iterator[Query]:
        yield from super().propose(searches[1:], seed)


@pytest.mark.parametrize(
    ("attack", "told"),
    [(Twice, "'twice' gave a query for prompt .* or gave it twice"), (Lazy, "gave no query for 1 of 3")],
)
def test_an_attack_that_breaks_its_contract_is_named(play: Play, attack: type[AdaptiveAttack], told: str) -> None:
    with pytest.raises(DataError, match=told):
        play(Stubborn(), attack=attack)


def test_nothing_to_attack_is_an_error(play: Play, make: Make, originals: Sequence[Prompt]) -> None:
    play.asked = tables(make, "harmless", prompts=[next(p for p in originals if not p.harmful)])
    with pytest.raises(DataError, match="no harmful request"):
        play(Stubborn())


def test_the_worlds_search_breaks_its_base_and_makes_room_for_nobody(play: Play, make: Make, model: Artifact) -> None:
    config = play.config(Stubborn()).model_copy(
        update={"engine": ENGINE, "sampling": Sampling(temperature=1.0, max_tokens=64), "budget": 4}
    )
    config = adapt.AdaptConfig.model_validate(config.model_dump() | {"attack": {"name": "microworld-search"}})
    found = make("real", lambda draft: adapt.adapt(draft, config, prompts=play.asked, model=model))
    assert found.counts["broken"] == 3
    assert not adapt._Model(config, model).makes_room


def test_a_model_makes_room_for_a_judge_or_attacker_on_this_machine(play: Play) -> None:
    local = {"name": "compliance", "options": {"engine": {"name": "transformers", "model": "m"}}}
    served = {"name": "compliance", "options": {"engine": {"name": "openai", "model": "m"}}}
    makes_room = [
        adapt._Model(play.config(Stubborn(), judge=judge), play.model).makes_room for judge in (local, served)
    ]
    assert makes_room == [True, False]


ADAPTIVE = "evaluation.adaptive={attacks: [microworld-search], budget: 4, limit: 5}"


def test_a_recipe_without_adaptive_attacks_keeps_its_key() -> None:
    plain, attacked = load_recipe("quickstart"), load_recipe("quickstart", [ADAPTIVE])
    assert "adaptive" not in plain.model_dump(mode="json")["evaluation"]
    assert attacked.model_dump(mode="json")["evaluation"]["adaptive"]["budget"] == 4
    assert plain.model_dump(mode="json") == plain.variant("default").model_dump(mode="json")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("prompts.train_attacks=[microworld-search]", "no attack is called 'microworld-search'; .*adaptive attack"),
        ("evaluation.adaptive={attacks: [repetition]}", "always measured beside the attacks"),
        ("evaluation.adaptive={attacks: [microworld-search, microworld-search]}", "two attacks are called"),
        ("evaluation.adaptive={attacks: []}", "evaluation.adaptive.attacks"),
        ("evaluation.adaptive={attacks: [microworld-search], budget: 0}", "evaluation.adaptive.budget"),
        ("evaluation.adaptive={attacks: [microworld-serch]}", "did you mean 'microworld-search'"),
        ("evaluation.adaptive={attacks: [pair]}", "attacker"),
    ],
)
def test_what_a_recipe_cannot_say_of_adaptive_attacks(changed: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe("quickstart", [changed])


def test_a_judge_that_leaves_a_response_out_gave_no_label(play: Play, register: Register) -> None:
    class Silent(Judge):
        def __init__(self, _options: NoOptions) -> None:
            pass

        def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
            list(items)
            return iter(())

    register(Kind.JUDGE, "silent", Silent)
    found = play(Stubborn(), judge={"name": "silent"})
    assert found.counts["unlabelled"] == 9
