"""What all judges that are models promise."""

from contextlib import closing
from dataclasses import replace

import pytest

from sinternal.errors import DataError
from sinternal.judges.compliance import ComplianceJudge
from sinternal.judges.gpt_oss_safeguard import GptOssSafeguard
from sinternal.judges.guard import PATIENCE, Guard
from sinternal.judges.harmbench import HarmBench
from sinternal.judges.llama_guard import LlamaGuard
from sinternal.judges.qwen3guard import Qwen3Guard
from sinternal.judges.refusal import RefusalJudge
from sinternal.judges.shieldgemma import ShieldGemma
from sinternal.judges.strongreject import StrongReject
from sinternal.judges.wildguard import WildGuard
from sinternal.records import Finish, Judgement
from sinternal.registry import Kind
from tests.judges.scripted import ENGINE, PROMPT, ScriptedEngine, answered, failed
from tests.plugins import mistake_in, open_plugin

UNSAFE: dict[type[Guard], str] = {
    Qwen3Guard: "Safety: Unsafe\nCategories: Violent\nRefusal: No",
    LlamaGuard: "\n\nunsafe\nS1",
    WildGuard: "Harmful request: yes\nResponse refusal: no\nHarmful response: yes",
    ShieldGemma: "Yes",
    HarmBench: "yes",
    GptOssSafeguard: "1",
    StrongReject: "1.b 0\n2.b 5\n3.b 5",
}
GUARDS = [*UNSAFE, RefusalJudge, ComplianceJudge]
"""Those that tell safety, each with a reply that says unsafe, and those that tell nothing of it."""
READABLE = {**UNSAFE, RefusalJudge: "Refusal: no", ComplianceJudge: "Compliance: full"}

every_guard = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)


def judge(guard: type[Guard], *responses, **options: object) -> list[Judgement]:
    with closing(open_plugin(guard, {**ENGINE, **options})) as one:
        return list(one.judge((PROMPT, response) for response in responses))


@pytest.mark.parametrize("guard", UNSAFE, ids=lambda guard: guard.name)
def test_a_reply_becomes_a_judgement(engine: ScriptedEngine, guard):
    engine.reply = UNSAFE[guard]
    (judgement,) = judge(guard, answered("Sure, first you"))
    assert judgement.safe is False
    assert judgement.error is None
    assert (judgement.judge, judgement.judged, judgement.response_id) == (guard.name, "answer", "r")
    assert (engine.opened, engine.closed) == (1, 1)
    assert engine.sampling.temperature == 0


@every_guard
def test_only_the_answer_is_shown_and_no_tag(engine: ScriptedEngine, guard):
    engine.reply = READABLE[guard]
    judge(guard, answered("Sure, first you"))
    assert "Sure, first you" in engine.told
    assert "secret thought" not in engine.told
    assert "think>" not in engine.told


@every_guard
def test_the_thinking_can_be_judged_instead(engine: ScriptedEngine, guard):
    engine.reply = READABLE[guard]
    (judgement,) = judge(guard, answered("Sure, first you"), judge_on="thinking")
    assert "A secret thought." in engine.told
    assert "Sure, first you" not in engine.told
    assert judgement.judged == "thinking"


@every_guard
@pytest.mark.parametrize("nothing", [None, "", " \n\t"])
def test_a_response_without_an_answer_is_not_shown_and_has_neither_label_nor_error(
    engine: ScriptedEngine, guard, nothing: str | None
):
    (judgement,) = judge(guard, answered(nothing))
    assert (judgement.safe, judgement.refused, judgement.error) == (None, None, None)
    assert engine.opened == 0


@every_guard
def test_a_failed_request_gives_its_error_and_no_label(engine: ScriptedEngine, guard):
    engine.reply = lambda request: failed() if request.id.startswith("lost") else READABLE[guard]
    by_id = {row.response_id: row for row in judge(guard, answered("a", "lost"), answered("b", "there"))}
    assert by_id["lost"].error == "connection lost"
    assert (by_id["lost"].safe, by_id["lost"].refused) == (None, None)
    assert by_id["there"].error is None


@every_guard
def test_an_unreadable_reply_gives_an_error_that_quotes_it(engine: ScriptedEngine, guard):
    engine.reply = lambda request: "Well, well." if request.id.startswith("odd") else READABLE[guard]
    by_id = {row.response_id: row for row in judge(guard, answered("a", "odd"), answered("b", "even"))}
    assert "Well, well." in by_id["odd"].error
    assert (by_id["odd"].safe, by_id["odd"].refused) == (None, None)
    assert by_id["even"].error is None


@every_guard
def test_twenty_unreadable_replies_and_none_else_are_one_error_that_names_the_judge(engine: ScriptedEngine, guard):
    engine.reply = "I am a helpful assistant."
    with pytest.raises(DataError, match=f"judge '{guard.name}'.*some/guard"):
        judge(guard, *(answered("a", f"r{i}") for i in range(PATIENCE)))
    assert engine.closed == 1


def test_the_engine_stays_open_from_one_batch_to_the_next(engine: ScriptedEngine):
    engine.reply = UNSAFE[Qwen3Guard]
    guard = open_plugin(Qwen3Guard, ENGINE)
    for name in ("first", "second"):
        (row,) = guard.judge([(PROMPT, answered("Sure, first you", name))])
        assert row.safe is False
    assert (engine.opened, engine.closed) == (1, 0)
    guard.close()
    assert engine.closed == 1


def test_one_readable_reply_is_enough_to_go_on(engine: ScriptedEngine):
    engine.reply = lambda request: UNSAFE[Qwen3Guard] if request.id.startswith("r0/") else "?"
    rows = judge(Qwen3Guard, *(answered("a", f"r{i}") for i in range(PATIENCE)))
    assert sum(row.error is not None for row in rows) == PATIENCE - 1


def test_a_few_unreadable_replies_that_a_resumed_run_is_left_with_do_not_stop_it(engine: ScriptedEngine):
    engine.reply = "?"
    rows = judge(Qwen3Guard, *(answered("a", f"r{i}") for i in range(PATIENCE - 1)))
    assert all(row.error for row in rows)


def test_failed_requests_say_nothing_of_the_model(engine: ScriptedEngine):
    engine.reply = failed()
    rows = judge(Qwen3Guard, *(answered("a", f"r{i}") for i in range(2 * PATIENCE)))
    assert all(row.error == "connection lost" for row in rows)


@every_guard
def test_every_response_has_one_judgement_with_an_id_of_its_own(engine: ScriptedEngine, guard):
    engine.reply = READABLE[guard]
    responses = [answered(None if i % 3 == 0 else "a", f"r{i}") for i in range(9)]
    rows = judge(guard, *responses)
    assert sorted(row.response_id for row in rows) == sorted(response.id for response in responses)
    assert len({row.id for row in rows}) == 9
    assert len({request.id for request in engine.requests}) == len(engine.requests)


def test_ids_of_different_judges_and_parts_differ(engine: ScriptedEngine):
    engine.reply = UNSAFE[LlamaGuard]
    answer = judge(LlamaGuard, answered("a"))[0].id
    thinking = judge(LlamaGuard, answered("a"), judge_on="thinking")[0].id
    engine.reply = UNSAFE[Qwen3Guard]
    assert len({answer, thinking, judge(Qwen3Guard, answered("a"))[0].id}) == 3


@every_guard
def test_an_unknown_option_is_refused(guard):
    told = mistake_in(Kind.JUDGE, guard.name, {**ENGINE, "colour": "red"})
    assert f"field 'options.colour': judge {guard.name!r} has no such option" in told


def test_a_response_that_failed_is_not_shown(engine: ScriptedEngine):
    response = replace(answered(None, thinking=None), finish=Finish.ERROR, error="too long")
    assert [row.error for row in judge(Qwen3Guard, response)] == [None]
    assert engine.opened == 0
