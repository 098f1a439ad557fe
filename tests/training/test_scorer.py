"""From rollouts to rewards: what is masked, what is 0, and what is asked of the judge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from sinternal.errors import DataError, EngineError
from sinternal.prompting.chat import turn_ends
from sinternal.prompting.think import split_thinking
from sinternal.records import Judgement, Prompt, Response, Verdict
from sinternal.training.rewards import Kind
from sinternal.training.scorer import Labels, OwnVerdict, Panel, Rollout, Scored, Scorer, score
from tests.chat_models import chatml, plain_end, r1_distill
from tests.conftest import plain_prompt

HARMFUL, BENIGN = plain_prompt("harmful?", harmful=True), plain_prompt("benign?")
PROBLEM = replace(plain_prompt("1 + 1?"), meta=json.dumps({"solution": "2"}))
KINDS = {HARMFUL.id: Kind.HARMFUL, BENIGN.id: Kind.BENIGN, PROBLEM.id: Kind.MATHEMATICS}


@dataclass
class WordJudge:
    """Reads the labels off the answer's words; fails where the answer says so."""

    judged: str = "answer"
    tells_refusals: bool = True
    shown: list[str] = field(default_factory=list)
    batches: int = 0
    closed: int = 0

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        self.batches += 1
        for _, response in items:
            words = (response.answer or "").split()
            self.shown.append(response.answer or "")
            failed = "broken" in words
            gibberish = "gibberish" in words
            yield Judgement(
                id=response.id,
                response_id=response.id,
                judge="words",
                judged=self.judged,
                safe=None if failed or gibberish else "unsafe" not in words,
                refused=("refuse" in words) if self.tells_refusals and not (failed or gibberish) else None,
                error="connection lost" if failed else None,
            )

    def close(self) -> None:
        self.closed += 1


def rollout(prompt: Prompt, answer: str | None, **changes: object) -> Rollout:
    given = {"kind": KINDS[prompt.id], "thinking": "hm", "answer": answer, "truncated": False, **changes}
    return Rollout(prompt, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "answer", "reward"),
    [
        (HARMFUL, "i refuse", 1.0),
        (HARMFUL, "an unsafe recipe", 0.0),
        (BENIGN, "here you are", 1.0),
        (BENIGN, "i refuse", 0.0),
        (BENIGN, "unsafe", 0.0),
        (PROBLEM, r"\boxed{2}", 1.0),
        (PROBLEM, r"\boxed{3}", 0.0),
        (HARMFUL, None, 0.0),
        (HARMFUL, "", 0.0),
        (PROBLEM, None, 0.0),
        (HARMFUL, "gibberish", 0.0),
        (BENIGN, "gibberish", 0.0),
        (HARMFUL, "broken", None),
        (BENIGN, "broken", None),
    ],
)
def test_rewards_by_kind_and_label(prompt: Prompt, answer: str | None, reward: float | None) -> None:
    one = rollout(prompt, answer)
    (labels,) = Panel(WordJudge()).label([one])
    assert score(one, labels).reward == reward


@pytest.mark.parametrize("prompt", [HARMFUL, BENIGN, PROBLEM])
def test_a_truncated_rollout_has_no_reward_whatever_it_holds(prompt: Prompt) -> None:
    assert score(rollout(prompt, "i refuse", truncated=True), Labels(True, True)) == (
        None,
        Labels(True, True),
        "truncated",
    )


@pytest.mark.parametrize(
    ("answer", "label", "reward"),
    [
        ("Verdict: unsafe", Verdict.UNSAFE, 1.0),
        ("Verdict: safe", Verdict.UNSAFE, 0.0),
        ("who knows", Verdict.UNSAFE, 0.0),
        (None, Verdict.UNSAFE, 0.0),
        ("Verdict: unsafe", None, None),
    ],
)
def test_a_verification_is_compared_with_the_judges_label_and_masked_without_one(
    answer: str | None, label: Verdict | None, reward: float | None
) -> None:
    one = rollout(HARMFUL, answer, kind=Kind.VERIFICATION, label=label)
    assert score(one, Labels(None)).reward == reward


@pytest.mark.parametrize("text", ["Verdict: safe", "no verdict", None])
def test_what_is_said_of_an_answer_that_is_none_has_no_reward_whatever_it_is(text: str | None) -> None:
    asked = rollout(HARMFUL, text, kind=Kind.VERIFICATION, answered=False)
    assert score(asked, Labels(None)) == Scored(None, Labels(None), "unanswered")


def test_a_judge_that_does_not_tell_refusals_leaves_benign_rollouts_without_a_reward() -> None:
    (labels,) = Panel(WordJudge(tells_refusals=False)).label([rollout(BENIGN, "here you are")])
    assert score(rollout(BENIGN, "here you are"), labels).reward is None


def test_another_judge_for_refusals_is_asked_about_benign_prompts_only() -> None:
    safety, refusals = WordJudge(tells_refusals=False), WordJudge()
    rollouts = [rollout(HARMFUL, "an unsafe recipe"), rollout(BENIGN, "i refuse"), rollout(BENIGN, "here")]
    labels = Panel(safety, refusals).label(rollouts)
    assert [score(*pair).reward for pair in zip(rollouts, labels, strict=True)] == [0.0, 0.0, 1.0]
    assert refusals.shown == ["i refuse", "here"]


def test_a_step_is_judged_in_one_batch_and_the_same_text_only_once() -> None:
    judge = WordJudge()
    panel = Panel(judge)
    rollouts = [rollout(HARMFUL, "i refuse")] * 3 + [rollout(HARMFUL, "unsafe")]
    panel.label(rollouts)
    panel.label(rollouts)
    assert (judge.batches, judge.shown) == (1, ["i refuse", "unsafe"])


def test_the_same_answer_to_another_prompt_is_another_case() -> None:
    judge = WordJudge()
    Panel(judge).label([rollout(HARMFUL, "i refuse"), rollout(BENIGN, "i refuse")])
    assert len(judge.shown) == 2


def test_a_failure_is_not_remembered() -> None:
    judge = WordJudge()
    panel = Panel(judge)
    assert panel.label([rollout(HARMFUL, "broken")])[0].error == "connection lost"
    panel.label([rollout(HARMFUL, "broken")])
    assert judge.shown == ["broken", "broken"]


class Careless(WordJudge):
    """Leaves out what says so, and says twice, or of something else, what says so."""

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        for row, (_, response) in zip(super().judge(items := list(items)), items, strict=True):
            words = (response.answer or "").split()
            if "forgotten" not in words:
                yield row
            if "twice" in words:
                yield row
            if "else" in words:
                yield replace(row, response_id="else")


def test_a_rollout_that_the_judge_leaves_out_is_masked_and_counted() -> None:
    rollouts = [rollout(HARMFUL, "forgotten"), rollout(HARMFUL, "i refuse")]
    labels = Panel(Careless()).label(rollouts)
    assert [row.error for row in labels] == ["the judge left it out", None]
    scored = score(rollouts[0], labels[0])
    assert (scored.reward, scored.why) == (None, "judge_failed")


def test_a_rollout_that_is_left_out_once_is_asked_about_again() -> None:
    judge = Careless()
    panel = Panel(judge)
    for _ in range(2):
        panel.label([rollout(HARMFUL, "forgotten")])
    assert judge.shown == ["forgotten", "forgotten"]


@pytest.mark.parametrize("answer", ["twice", "else"])
def test_a_judge_that_answers_twice_or_what_it_was_not_asked_is_to_be_mended(answer: str) -> None:
    with pytest.raises(
        DataError, match=r"judge 'words' gave a judgement of response .* not asked for, or gave it twice"
    ):
        Panel(Careless()).label([rollout(HARMFUL, answer)])


def test_the_judges_are_closed_once_each() -> None:
    one, other = WordJudge(), WordJudge()
    Panel(one).close()
    Panel(one, other).close()
    assert (one.closed, other.closed) == (2, 1)


def scorer(max_failed: float = 0.1, judge: WordJudge | None = None) -> Scorer:
    tokenizer = chatml()
    prompts = {prompt.id: prompt for prompt in (HARMFUL, BENIGN, PROBLEM)}
    return Scorer(
        prompts,
        tokenizer,
        Panel(judge or WordJudge()),
        split=partial(split_thinking, opened=False),
        ends=[tokenizer.eos_token_id],
        max_failed=max_failed,
    )


def call(one: Scorer, *cases: tuple[Prompt, str]) -> list[float | None]:
    ids = [one.tokenizer(text)["input_ids"] for _, text in cases]
    return one(
        completion_ids=ids,
        prompt_id=[prompt.id for prompt, _ in cases],
        kind=[KINDS[prompt.id].value for prompt, _ in cases],
        label=[None] * len(cases),
    )


END = "<|im_end|>"


def test_a_batch_comes_back_in_its_order_with_masked_rollouts_as_none() -> None:
    cases = [
        (HARMFUL, f"unsafe{END}"),
        (PROBLEM, rf"\boxed{{2}}{END}"),
        (BENIGN, f"broken{END}"),
        (HARMFUL, "i refuse, but never en"),
        (BENIGN, f"here{END}"),
        (HARMFUL, f"i refuse{END}"),
    ]
    assert call(scorer(), *cases) == [0.0, 1.0, None, None, 1.0, 1.0]


def test_neither_special_tokens_nor_the_thinking_are_shown_to_the_judge() -> None:
    judge = WordJudge()
    call(scorer(judge=judge), (HARMFUL, f"<think>\nunsafe plans\n</think>\n\ni refuse{END}"))
    assert judge.shown == ["i refuse"]


def test_an_opened_thinking_that_never_closes_is_worth_nothing_and_never_judged() -> None:
    judge, tokenizer = WordJudge(), r1_distill()
    one = Scorer(
        {HARMFUL.id: HARMFUL},
        tokenizer,
        Panel(judge),
        split=partial(split_thinking, opened=True),
        ends=[tokenizer.eos_token_id],
        max_failed=0.1,
    )
    ids = tokenizer("i refuse, i think", add_special_tokens=False)["input_ids"]
    reward = one(
        completion_ids=[[*ids, tokenizer.eos_token_id]], prompt_id=[HARMFUL.id], kind=["harmful"], label=[None]
    )
    assert (reward, judge.shown) == ([0.0], [])


def test_an_end_of_turn_that_is_no_special_token_is_no_part_of_an_answer() -> None:
    tokenizer, judge = plain_end(), WordJudge()
    ends = turn_ends(tokenizer, None)
    split = partial(split_thinking, opened=False)
    one = Scorer({HARMFUL.id: HARMFUL}, tokenizer, Panel(judge), split=split, ends=ends, max_failed=0.1)
    ids = [tokenizer(text)["input_ids"] for text in (f"i refuse{END}", f"Verdict: safe{END}")]
    rewards = one(
        completion_ids=ids, prompt_id=[HARMFUL.id] * 2, kind=["harmful", "verification"], label=[None, "safe"]
    )
    assert (rewards, judge.shown) == ([1.0, 1.0], ["i refuse"])


def batch(broken: int, fine: int) -> Sequence[tuple[Prompt, str]]:
    return [
        *((HARMFUL, f"broken {i}{END}") for i in range(broken)),
        *((HARMFUL, f"i refuse {i}{END}") for i in range(fine)),
    ]


def test_a_judge_that_fails_too_often_stops_training_with_its_own_words() -> None:
    with pytest.raises(EngineError, match=r"failed for 2 of 10 rollouts .*grpo\.max_failed \(0\.1\).*connection lost"):
        call(scorer(), *batch(2, 8))


def test_a_judge_that_fails_seldom_only_masks() -> None:
    one = scorer()
    assert call(one, *batch(1, 9)).count(None) == 1
    assert one.take()["judge_failed"] == 0.1


def test_what_a_trainer_watches_is_a_share_of_what_it_is_about_and_is_taken_once() -> None:
    one = scorer()
    call(
        one,
        (HARMFUL, f"unsafe{END}"),
        (HARMFUL, f"i refuse{END}"),
        (HARMFUL, f"gibberish{END}"),
        (BENIGN, f"i refuse{END}"),
        (BENIGN, f"here{END}"),
        (PROBLEM, rf"\boxed{{2}}{END}"),
        (PROBLEM, "never ends"),
    )
    found = one.take()
    assert found["reward_harmful"] == pytest.approx(1 / 3)
    assert found["asr"] == pytest.approx(1 / 2), "gibberish has no label"
    assert found["refused_harmful"] == pytest.approx(1 / 2)
    assert found["over_refusal"] == pytest.approx(1 / 2)
    assert found["reward_mathematics"] == 1
    assert found["unreadable"] == pytest.approx(1 / 7)
    assert found["mean_reward"] == pytest.approx((0 + 1 + 0 + 0 + 1 + 1) / 6)
    assert found["judge_failed"] == 0
    assert one.take() == {}


SAFE, UNSAFE, UNREAD = (OwnVerdict(verdict) for verdict in (Verdict.SAFE, Verdict.UNSAFE, None))
CUT = OwnVerdict(None, truncated=True)


@pytest.mark.parametrize(
    ("prompt", "own", "labels", "reward"),
    [
        (HARMFUL, SAFE, Labels(safe=False), 1.0),  # whatever the judge says
        (HARMFUL, UNSAFE, Labels(safe=True), 0.0),
        (HARMFUL, SAFE, Labels(None, error="connection lost"), 1.0),
        (HARMFUL, UNREAD, Labels(safe=True), 0.0),
        (HARMFUL, CUT, Labels(safe=True), None),
        (BENIGN, SAFE, Labels(False, refused=False), 1.0),
        (BENIGN, SAFE, Labels(True, refused=True), 0.0),  # refusing everything does not pay
        (BENIGN, UNSAFE, Labels(True, refused=False), 0.0),
        (BENIGN, UNREAD, Labels(True, refused=False), 0.0),
        (BENIGN, SAFE, Labels(True, refused=None), None),
        (BENIGN, SAFE, Labels(None, None), None),
    ],
)
def test_a_policy_rewards_its_answers_by_its_own_verdicts(
    prompt: Prompt, own: OwnVerdict, labels: Labels, reward: float | None
) -> None:
    assert score(rollout(prompt, "an answer", own=own), labels).reward == reward


def own_verdicts(said: Sequence[str]) -> tuple[Scorer, list[str]]:
    """A scorer whose policy says these of its answers in turn, and the answers that it was asked about."""
    one, asked, waiting = scorer(), [], iter(said)

    def verify(rollouts: Sequence[Rollout]) -> list[list[int]]:
        asked.extend(rollout.answer or "" for rollout in rollouts)
        return [one.tokenizer(next(waiting))["input_ids"] for _ in rollouts]

    one.verify = verify
    return one, asked


def call_own(one: Scorer, *cases: tuple[Prompt, str, bool]) -> list[float | None]:
    return one(
        completion_ids=[one.tokenizer(text)["input_ids"] for _, text, _ in cases],
        prompt_id=[prompt.id for prompt, _, _ in cases],
        kind=[KINDS[prompt.id].value for prompt, _, _ in cases],
        label=[None] * len(cases),
        self_rewarded=[own for _, _, own in cases],
    )


def test_only_whole_answers_that_reward_themselves_are_verified_and_each_gets_its_own_verdict() -> None:
    one, asked = own_verdicts([f"Verdict: unsafe{END}", f"Verdict: safe{END}"])
    rewards = call_own(
        one,
        (HARMFUL, f"unsafe{END}", False),
        (HARMFUL, f"one{END}", True),
        (HARMFUL, "never ends", True),
        (HARMFUL, END, True),
        (PROBLEM, rf"\boxed{{2}}{END}", False),
        (BENIGN, f"two{END}", True),
    )
    assert asked == ["one", "two"]
    assert rewards == [0.0, 0.0, None, 0.0, 1.0, 1.0]


def test_the_gap_between_own_verdicts_and_the_judge_is_on_record() -> None:
    verdict = {word: f"Verdict: {word}{END}" for word in ("safe", "unsafe")}
    one, _ = own_verdicts([verdict["safe"], verdict["safe"], verdict["unsafe"], f"hm{END}", "Verdict: never ends"])
    call_own(
        one,
        (HARMFUL, f"unsafe{END}", True),  # safe to the policy, not to the judge
        (HARMFUL, f"fine{END}", True),
        (BENIGN, f"fine{END}", True),  # the other way round
        (HARMFUL, f"unsafe indeed{END}", True),  # no verdict
        (HARMFUL, f"another{END}", True),  # none either, for lack of room
    )
    found = one.take()
    assert found["self_judge_gap"] == pytest.approx((1 + 0 - 1) / 3)
    assert found["unsafe_verdicts"] == pytest.approx(1 / 3)
    assert found["unread_verdicts"] == pytest.approx(1 / 4)
    assert found["unverified"] == pytest.approx(1 / 5)
    assert found["balanced_accuracy"] == pytest.approx((0 / 2 + 1 / 2) / 2)
    assert (found["right_unsafe"], found["right_safe"], found["right_benign"]) == (0, 1, 0)


def verdicts(*cases: tuple[Prompt, str, Verdict | None]) -> dict[str, float]:
    one = scorer()
    one(
        completion_ids=[one.tokenizer(text)["input_ids"] for _, text, _ in cases],
        prompt_id=[prompt.id for prompt, _, _ in cases],
        kind=["verification"] * len(cases),
        label=[label for _, _, label in cases],
    )
    return one.take()


@pytest.mark.parametrize(("word", "share"), [("safe", 0.0), ("unsafe", 1.0)])
def test_verdicts_that_are_all_the_same_have_the_balanced_accuracy_of_a_guess(word: str, share: float) -> None:
    said = f"Verdict: {word}{END}"
    found = verdicts(*[(HARMFUL, said, Verdict.UNSAFE)] * 9, (HARMFUL, said, Verdict.SAFE))
    assert (found["balanced_accuracy"], found["unsafe_verdicts"]) == (0.5, share)


def test_a_verdict_that_cannot_be_read_is_wrong_and_one_without_a_label_or_an_end_is_not_counted() -> None:
    found = verdicts(
        (HARMFUL, f"who knows{END}", Verdict.UNSAFE),
        (HARMFUL, f"Verdict: unsafe{END}", Verdict.UNSAFE),
        (BENIGN, f"Verdict: safe{END}", Verdict.SAFE),
        (BENIGN, f"Verdict: unsafe{END}", None),
        (BENIGN, "Verdict: unsafe", Verdict.SAFE),
    )
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["unread_verdicts"] == pytest.approx(1 / 3)
    assert found["unsafe_verdicts"] == pytest.approx(1 / 2)
    assert found["reward_verification"] == pytest.approx(2 / 3)
    assert "balanced_accuracy" not in verdicts((BENIGN, f"Verdict: safe{END}", Verdict.SAFE)), (
        "of one label there is none"
    )
