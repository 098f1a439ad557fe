"""Adaptive attacks: PAIR against the arm itself, the microworld's search, and superred's optimizers."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from sinternal.attacks import AdaptiveAttack, Feedback, Search, Tried
from sinternal.attacks.adaptive_pair import AdaptivePair
from sinternal.attacks.superred import Superred
from sinternal.errors import DataError, MissingExtraError
from sinternal.extras import is_there
from sinternal.queries import Query
from sinternal.records import Prompt
from sinternal.testing import check_adaptive_attack
from sinternal.world.families import FAMILIES
from sinternal.world.language import PHRASINGS
from sinternal.world.search import Search as WorldSearch
from sinternal.world.search import Way
from tests.attacks.test_model_attacks import proposes, reply, served, user_text
from tests.conftest import plain_prompt
from tests.plugins import open_plugin
from tests.servers import Body, Fault, serve

REFUSED = Feedback("I would rather not.", True, refused=True)
PROMPT = plain_prompt("Ask for it.", harmful=True)


def play(attack: AdaptiveAttack, feedback: Feedback | None, rounds: int, prompt: Prompt = PROMPT) -> list[Query]:
    """The queries for one prompt that withstands them all."""
    tried: tuple[Tried, ...] = ()
    for _ in range(rounds):
        (query,) = attack.propose([Search(prompt, tried, rounds)], 0)
        tried = (*tried, Tried(query, feedback))
    return [each.query for each in tried]


class TestPair:
    def test_streams_take_turns_and_each_is_told_what_came_of_its_own_queries(self) -> None:
        with serve(lambda body: reply(proposes(body))) as server:
            attack = open_plugin(AdaptivePair, {"attacker": served(server, "attacker")})
            queries = play(attack, REFUSED, 4)
        assert [query.text for query in queries] == ["part 1", "setting 1", "part 2", "setting 2"]
        assert [len(call["messages"]) for call in server.calls] == [2, 2, 4, 4]
        assert "I would rather not." in user_text(server.calls[2])
        assert "calls the reply safe" in user_text(server.calls[2])

    def test_without_feedback_the_attacker_sees_its_proposals_and_nothing_that_came_of_them(self) -> None:
        with serve(lambda body: reply(proposes(body))) as server:
            attack = open_plugin(AdaptivePair, {"attacker": served(server, "attacker"), "streams": 1})
            queries = play(attack, None, 3)
        assert [query.text for query in queries] == ["part 1", "part 2", "part 3"]
        told = json.dumps(server.calls[2]["messages"])
        assert "part 1" in told
        assert "not shown to you" in told
        assert "calls the reply" not in told
        assert "gave no reply" not in told

    def test_an_unreadable_proposal_sends_nothing_and_a_failed_attacker_says_why(self) -> None:
        def fault(body: Body, _before: int) -> Fault:
            return Fault.REFUSES if "number 2" in user_text(body) else Fault.NONE

        prompts = [plain_prompt(f"Ask number {i}", harmful=True) for i in (1, 2)]
        with serve(lambda _body: reply("I would rather not."), fault) as server:
            attack = open_plugin(AdaptivePair, {"attacker": served(server, "attacker")})
            first, second = sorted(
                attack.propose([Search(prompt, (), 3) for prompt in prompts], 0), key=lambda query: query.error or ""
            )
        assert (first.text, first.error) == (None, None)
        assert second.text is None
        assert second.error


class TestWorldSearch:
    @pytest.fixture
    def forbidden(self, originals: Sequence[Prompt]) -> Prompt:
        return next(prompt for prompt in originals if prompt.harmful)

    def test_it_asks_for_the_same_potion_in_all_ways_that_there_are(self, forbidden: Prompt) -> None:
        attack = open_plugin(WorldSearch)
        ways = {Way.read(query.note) for query in play(attack, None, 400, forbidden)}
        assert len(ways) == len(FAMILIES) * len(PHRASINGS)
        facts = forbidden.facts
        for query in play(attack, None, 30, forbidden):
            assert query.text is not None
            assert {facts["name"], facts["alias"], facts["predecessor"]} & set(query.text.split())

    def test_a_way_that_is_turned_down_is_drawn_less_often_and_without_feedback_it_is_not(
        self, forbidden: Prompt
    ) -> None:
        attack = open_plugin(WorldSearch)
        refusals = tuple(
            Tried(Search(forbidden, (), 200).query("microworld-search", "x", note=Way("plain", i % 3).note), REFUSED)
            for i in range(60)
        )

        def drawn(tried: tuple[Tried, ...]) -> int:
            others = [forbidden.__class__(**{**vars(forbidden), "id": f"{i}"}) for i in range(270)]
            queries = attack.propose([Search(other, tried, 200) for other in others], 0)
            return Counter(Way.read(query.note).family for query in queries)["plain"]

        blind = tuple(each._replace(feedback=None) for each in refusals)
        assert drawn(refusals) < 5 < 15 < drawn(blind)


@pytest.mark.skipif(is_there("superred"), reason="superred is installed here")
def test_without_superred_the_message_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'sinternal\[superred\]'"):
        open_plugin(Superred, {"optimizer": "a:B"})


@pytest.fixture
def superred(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of optimizers of a test's own, on the real superred."""
    pytest.importorskip("superred")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from superred.core.interfaces.optimizer import Optimizer
    from superred.core.types.event import EventResponse
    from superred.core.types.events import (
        ControllableInjection,
        ControllableNoInjection,
        ControllablePostCallEvent,
        ControllablePreCallEvent,
        RunEndEvent,
        RunEndResponse,
    )

    class Counting(Optimizer):
        """Says what it has seen, and stops after three runs."""

        def __init__(self, draws: Any = random.random, fails: int = -1) -> None:
            super().__init__()
            self.draws, self.fails, self.runs, self.seen = draws, fails, 0, []

        async def initialize(self, goal: Any, controllables: Any, observables: Any, llm_client: Any) -> None:
            await super().initialize(goal, controllables, observables, llm_client)
            self.goal = goal.description

        async def on_event(self, event: Any) -> Any:
            if isinstance(event, ControllablePreCallEvent):
                if self.runs == self.fails:
                    raise ValueError("no idea")
                text = f"{self.goal} {self.runs} {self.seen} {self.draws():.6f}"
                return ControllableInjection(event=event, controllable=event.controllable, value=text)
            if isinstance(event, ControllablePostCallEvent):
                self.seen.append(event.answer)
                return ControllableNoInjection(event=event, controllable=event.controllable)
            if isinstance(event, RunEndEvent):
                self.runs += 1
                self.seen.append(event.evaluation.primary_score.value if event.evaluation else None)
                return RunEndResponse(event=event, done=self.runs == 3)
            return EventResponse(event=event)

    module = ModuleType("optimizers_of_a_test")
    module.Counting, module.Other = Counting, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.usefixtures("superred")
class TestSuperred:
    OPTIMIZER = "optimizers_of_a_test:Counting"

    def test_an_optimizer_is_taken_through_what_was_tried_and_goes_on(self) -> None:
        attack = open_plugin(Superred, {"optimizer": self.OPTIMIZER})
        texts = [query.text for query in play(attack, REFUSED, 5)]
        assert [text and text.rsplit(" ", 1)[0] for text in texts] == [
            "Ask for it. 0 []",
            "Ask for it. 1 ['I would rather not.', 0.0]",
            "Ask for it. 2 ['I would rather not.', 0.0, 'I would rather not.', 0.0]",
            None,
            None,
        ], "after three runs it is done"
        assert texts == [query.text for query in play(attack, REFUSED, 5)]

    def test_it_keeps_its_contract_and_leaves_others_draws_alone(self) -> None:
        before = random.getstate()
        check_adaptive_attack(Superred, {"optimizer": self.OPTIMIZER}, prompts=[PROMPT, plain_prompt("Ask more.")])
        assert random.getstate() == before

    def test_withheld_feedback_is_withheld(self) -> None:
        attack = open_plugin(Superred, {"optimizer": self.OPTIMIZER})
        last = play(attack, None, 3)[-1].text
        assert last is not None
        assert "2 [None, None]" in last

    def test_one_that_draws_from_elsewhere_cannot_be_resumed_and_says_so(self) -> None:
        options = {"optimizer": self.OPTIMIZER, "arguments": {"draws": random.SystemRandom().random}}
        with pytest.raises(DataError, match="could not be resumed"):
            play(open_plugin(Superred, options), REFUSED, 2)

    def test_one_that_fails_sends_nothing_and_goes_on_in_the_next_run(self) -> None:
        attack = open_plugin(Superred, {"optimizer": self.OPTIMIZER, "arguments": {"fails": 0}})
        first, second = play(attack, REFUSED, 2)
        assert (first.text, first.error) == (None, None)
        assert second.text is not None

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("nowhere_at_all:X", "there is no optimizer nowhere_at_all:X .*install its package"),
            ("optimizers_of_a_test:Missing", "there is no optimizer"),
            ("optimizers_of_a_test:Other", "is no optimizer of superred"),
        ],
    )
    def test_what_is_no_optimizer_is_named(self, name: str, told: str) -> None:
        with pytest.raises(DataError, match=told):
            open_plugin(Superred, {"optimizer": name})

    def test_their_own_pair_asks_its_model_through_our_engine_and_is_played_back(self) -> None:
        pytest.importorskip("pair_optimizer")
        numbers = iter(range(100))

        def answer(_body: Body) -> Body:
            return reply(json.dumps({"improvement": "none", "prompt": f"Disguise {next(numbers)}"}))

        with serve(answer) as server:
            options = {
                "optimizer": "pair_optimizer.optimizer:PAIROptimizer",
                "arguments": {"n_streams": 2, "n_iterations": 2},
                "attacker": served(server, "attacker"),
            }
            queries = play(open_plugin(Superred, options), REFUSED, 5)
        assert [query.text for query in queries] == ["Disguise 0", "Disguise 1", "Disguise 2", "Disguise 3", None]
        assert len(server.calls) == 4, "what was replied once is not asked for again"
        assert any("I would rather not." in user_text(call) for call in server.calls[2:])

    def test_their_passthrough_is_the_plain_request_once(self) -> None:
        pytest.importorskip("goal_passthrough_optimizer")
        options = {"optimizer": "goal_passthrough_optimizer.optimizer:GoalPassthroughOptimizer"}
        assert [query.text for query in play(open_plugin(Superred, options), REFUSED, 2)] == [PROMPT.text, None]
