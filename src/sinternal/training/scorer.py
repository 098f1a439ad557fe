"""From rollouts to rewards: reads what the policy wrote, asks the judge, and counts what a trainer must watch.

A rollout that ran into the token limit, or for which the judge failed, has no reward: it is masked, and it is counted.
Nobody's failure is ever turned into a number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from sinternal.benchmarks.mathematics import SOLUTION
from sinternal.errors import DataError, EngineError
from sinternal.judges import Judge, label_each
from sinternal.prompting.chat import visible_text, without_end
from sinternal.prompting.think import Text, read_verdict
from sinternal.records import Finish, Judgement, Prompt, Response, Verdict, make_id
from sinternal.training import rewards
from sinternal.training.rewards import Kind

FEWEST = 8
"""Judged rollouts below which a share of failures says nothing."""


class Labels(NamedTuple):
    """What is known of one answer."""

    safe: bool | None
    """Whether it is safe; None if nobody could tell."""
    refused: bool | None = None
    """Whether it refuses; None if nobody could tell."""
    error: str | None = None
    """Why a judge gave no label, if it failed."""


class OwnVerdict(NamedTuple):
    """What the policy itself says of one of its answers."""

    verdict: Verdict | None
    """The verdict; None if it cannot be read."""
    truncated: bool = False
    """Whether it ran into the token limit before it said any."""


@dataclass(frozen=True)
class Rollout:
    """One answer of the policy."""

    prompt: Prompt
    """What was asked; for a verification, the request beneath it."""
    kind: Kind
    """What it is rewarded for."""
    thinking: str | None
    """The thinking."""
    answer: str | None
    """The answer; None if the thinking never closed."""
    truncated: bool
    """Whether it ran into the token limit."""
    label: Verdict | None = None
    """For a verification: the judge's label of the answer that is verified; None if the judge failed."""
    own: OwnVerdict | None = None
    """For an answer that the policy rewards itself: its verdict."""
    answered: bool = True
    """For a verification: whether the answer that is verified is a whole one; of another, the judge was not asked."""

    @property
    def readable(self) -> bool:
        """Whether the thinking is closed and an answer is there."""
        return bool(self.answer)

    @property
    def whole(self) -> bool:
        """Whether it is an answer, to its end: no other is shown to the judge, or verified."""
        return self.readable and not self.truncated

    def as_response(self) -> Response:
        """The row that a judge labels; the same text always has the same id."""
        identity = make_id("rollout", self.prompt.id, self.thinking, self.answer)
        return Response(identity, self.prompt.id, 0, self.thinking, self.answer, Finish.STOP)


class Panel:
    """The judge, another one for refusals if the first does not label them, and all their labels so far."""

    def __init__(self, judge: Judge, refusals: Judge | None = None) -> None:
        """Ask `judge`; ask `refusals` about benign prompts if it is given."""
        self.judges = {"safe": judge, "refused": refusals or judge}
        self._known: dict[tuple[int, str], Judgement] = {}
        """Labels so far, by the judge's identity and the text's id."""

    def label(self, rollouts: Sequence[Rollout]) -> list[Labels]:
        """Labels of each rollout, in their order. All that is new is judged in one batch."""
        asked = [(rollout.prompt, rollout.as_response()) for rollout in rollouts]
        safe = refused = self._ask("safe", asked)
        if self.judges["refused"] is not self.judges["safe"]:
            refused = self._ask("refused", [case for case in asked if not case[0].harmful])
        return [_labels(safe[row.id], refused.get(row.id)) for _, row in asked]

    def _ask(self, what: str, asked: Iterable[tuple[Prompt, Response]]) -> dict[str, Judgement]:
        judge = self.judges[what]
        cases = {row.id: (prompt, row) for prompt, row in asked}
        new = [case for name, case in cases.items() if (id(judge), name) not in self._known]
        labels = {row.response_id: row for row in label_each(judge, "", new)} if new else {}
        answers = {name: labels.get(name) or self._known[id(judge), name] for name in cases}
        # A failure is asked for again when the same text comes back.
        self._known |= {(id(judge), name): row for name, row in labels.items() if row.error is None}
        return answers

    def close(self) -> None:
        """Close the judges."""
        for judge in {id(judge): judge for judge in self.judges.values()}.values():
            judge.close()


def _labels(safe: Judgement, refused: Judgement | None) -> Labels:
    refusal = refused or safe
    return Labels(safe.safe, refusal.refused, safe.error or refusal.error)


class Scored(NamedTuple):
    """What a rollout is worth."""

    reward: float | None
    """0 to 1; None: it is masked."""
    labels: Labels
    """What the judge said."""
    why: str | None = None
    """`truncated`, `unreadable`, `judge_failed`, `unanswered` if there was no whole answer to verify, or, if the policy
    never came to a verdict, `unverified`."""


def score(rollout: Rollout, labels: Labels) -> Scored:
    """Reward one rollout; see `sinternal.training.rewards`.

    An answer that the judge has looked at and has no label for is no answer in the judge's language, and unreadable.
    """
    if rollout.truncated or not rollout.answered:
        return Scored(None, labels, "truncated" if rollout.truncated else "unanswered")
    if not rollout.readable:
        return Scored(0.0, labels, "unreadable")
    if rollout.kind is Kind.MATHEMATICS:
        return Scored(rewards.mathematics(rollout.answer or "", str(rollout.prompt.facts[SOLUTION])), labels)
    if rollout.kind is Kind.VERIFICATION:
        if rollout.label is None:
            return Scored(None, labels, "judge_failed")
        return Scored(rewards.verification(read_verdict(rollout.answer), rollout.label), labels)
    if rollout.own is not None:
        return _score_by_own_verdict(rollout, rollout.own, labels)
    if labels.error is None and labels.safe is None and labels.refused is None:
        return Scored(0.0, labels, "unreadable")
    if labels.safe is None or (rollout.kind is Kind.BENIGN and labels.refused is None):
        return Scored(None, labels, "judge_failed")
    if rollout.kind is Kind.HARMFUL:
        return Scored(rewards.harmful(safe=labels.safe), labels)
    return Scored(rewards.benign(safe=labels.safe, refused=bool(labels.refused)), labels)


def _score_by_own_verdict(rollout: Rollout, own: OwnVerdict, labels: Labels) -> Scored:
    """Of the judge's labels only that of a refusal counts, and only for a benign prompt."""
    if own.truncated:
        return Scored(None, labels, "unverified")
    safe = own.verdict is Verdict.SAFE
    if rollout.kind is Kind.HARMFUL:
        return Scored(rewards.harmful(safe=safe), labels)
    if labels.refused is None:
        return Scored(None, labels, "judge_failed")
    return Scored(rewards.benign(safe=safe, refused=labels.refused), labels)


class Scorer:
    """The reward function that TRL's trainer calls, and the counters of what happened since they were last taken."""

    __name__ = "reward"

    def __init__(
        self,
        prompts: Mapping[str, Prompt],
        tokenizer: PreTrainedTokenizerBase,
        panel: Panel,
        *,
        split: Callable[[str], Text],
        ends: Sequence[int],
        max_failed: float,
    ) -> None:
        """Score the policy's answers.

        Args:
            prompts: every prompt that can be asked, by its id.
            tokenizer: of the policy.
            panel: who labels.
            split: takes thinking and answer of a turn apart.
            ends: the tokens that end a turn.
            max_failed: share of judged rollouts for which the judge may fail.
        """
        self.prompts, self.tokenizer, self.panel = prompts, tokenizer, panel
        self.split, self.ends, self.max_failed = split, frozenset(ends), max_failed
        self.verify: Callable[[Sequence[Rollout]], Sequence[Sequence[int]]] | None = None
        """Lets the policy verify answers, as tokens; needed if it rewards itself. Called for no answers, too: where
        many processes train, the others may have some."""
        self.gather: Callable[[list[dict[str, float]]], list[dict[str, float]]] = list
        """Brings together what every process that trains has counted."""
        self.rewards: list[float | None] = []
        """Those of the last batch of this process."""
        self._counts: defaultdict[str, float] = defaultdict(float)

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        prompt_id: Sequence[str],
        kind: Sequence[str],
        label: Sequence[str | None],
        self_rewarded: Sequence[bool] | None = None,
        answered: Sequence[bool] | None = None,
        counted: Sequence[bool] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """Rewards of a batch of completions, None for those that are masked.

        Args:
            completion_ids: tokens of each completion, its end of turn included.
            prompt_id: the prompt of each.
            kind: its `Kind`.
            label: for a verification, the judge's `Verdict` on the answer that is verified; None if the judge failed.
            self_rewarded: whether the policy's own verdict rewards it; None: none of them.
            answered: for a verification, whether there is a whole answer to verify; None: for all of them.
            counted: whether it is one of those that are watched; None: all of them.

        Raises:
            EngineError: the judge fails for more than the allowed share.
        """
        rollouts = [
            self.read(ids, self.prompts[name], Kind(what), Verdict(verdict) if verdict else None)
            for ids, name, what, verdict in zip(completion_ids, prompt_id, kind, label, strict=True)
        ]
        if answered is not None:
            rollouts = [replace(each, answered=there) for each, there in zip(rollouts, answered, strict=True)]
        if self_rewarded is not None and (self.verify is not None or any(self_rewarded)):
            rollouts = self._with_own_verdicts(rollouts, self_rewarded)
        scored = self.score(rollouts)
        watched = [True] * len(rollouts) if counted is None else counted
        self._watch(compress(zip(rollouts, scored, strict=True), watched))
        self.rewards = [row.reward for row in scored]
        return list(self.rewards)

    def read(self, ids: Sequence[int], prompt: Prompt, kind: Kind, label: Verdict | None = None) -> Rollout:
        """Tokens as a rollout: thinking and answer apart, without special tokens."""
        body = without_end(ids, self.ends)
        thinking, answer = self.split(visible_text(self.tokenizer, body))
        return Rollout(prompt, kind, thinking, answer, len(body) == len(ids), label)

    def _with_own_verdicts(self, rollouts: Sequence[Rollout], wanted: Sequence[bool]) -> list[Rollout]:
        """Let the policy say of each answer that it wants to reward itself whether it is safe."""
        assert self.verify is not None  # set by the trainer, which has the policy
        verified = [rollout for rollout, own in zip(rollouts, wanted, strict=True) if own and _is_judged(rollout)]
        texts = iter(self.verify(verified))
        return [
            replace(rollout, own=self._own_verdict(next(texts), rollout)) if own and _is_judged(rollout) else rollout
            for rollout, own in zip(rollouts, wanted, strict=True)
        ]

    def _own_verdict(self, ids: Sequence[int], rollout: Rollout) -> OwnVerdict:
        written = self.read(ids, rollout.prompt, Kind.VERIFICATION)
        return OwnVerdict(None if written.truncated else read_verdict(written.answer), written.truncated)

    def score(self, rollouts: Sequence[Rollout]) -> list[Scored]:
        """Rewards of rollouts, in their order. Raises EngineError if the judge fails too often."""
        labels = self.label([rollout for rollout in rollouts if _is_judged(rollout)])
        remaining = iter(labels)
        return [score(rollout, next(remaining) if _is_judged(rollout) else Labels(None)) for rollout in rollouts]

    def label(self, rollouts: Sequence[Rollout]) -> list[Labels]:
        """The panel's labels of answers. Raises EngineError if it fails for more than the allowed share."""
        labels = self.panel.label(rollouts)
        errors = [row.error for row in labels if row.error is not None]
        if len(labels) >= FEWEST and len(errors) > self.max_failed * len(labels):
            raise EngineError(
                f"the judge failed for {len(errors)} of {len(labels)} rollouts of one step, more than "
                f"grpo.max_failed ({self.max_failed:g}) allows; the last time: {errors[-1]}; fix the judge and run "
                "again: training resumes from its last checkpoint"
            )
        return labels

    def take(self) -> dict[str, float]:
        """Mean rewards and shares since the last call, by name; a name is left out if nothing was counted."""
        counts: defaultdict[str, float] = defaultdict(float)
        for counted in self.gather([dict(self._counts)]):
            for name, number in counted.items():
                counts[name] += number
        self._counts.clear()
        shares = {}
        for name in counts:
            over, _, what = name.partition(":")
            if what != "n":
                shares[what] = counts[name] / counts[f"{over}:n"]
        recalls = [recall for label in Verdict if (recall := shares.pop(f"recall_{label}", None)) is not None]
        if len(recalls) == len(Verdict):
            shares["balanced_accuracy"] = sum(recalls) / len(recalls)
        return shares

    def _watch(self, scored: Iterable[tuple[Rollout, Scored]]) -> None:
        """Count one batch. A counter is named `denominator:name`."""
        for rollout, row in scored:
            kind = rollout.kind.value
            values: dict[str, float | bool | None] = {
                "rewards:mean_reward": row.reward,
                f"{kind} rewards:reward_{kind}": row.reward,
                "rollouts:unreadable": row.why == "unreadable",
            }
            if rollout.kind in (Kind.HARMFUL, Kind.BENIGN):
                values["judged:judge_failed"] = row.why == "judge_failed" if _is_judged(rollout) else None
                values[f"{kind} refusals:{_REFUSALS[rollout.kind]}"] = row.labels.refused
                values |= _watch_own_verdict(rollout, row)
            if rollout.kind is Kind.HARMFUL:
                values["harmful labels:asr"] = None if row.labels.safe is None else not row.labels.safe
            if rollout.kind is Kind.VERIFICATION:
                values["judged:judge_failed"] = row.why == "judge_failed" if rollout.answered else None
                if row.reward is not None and rollout.label is not None:
                    values |= _watch_verdict(read_verdict(rollout.answer), rollout.label, rollout.prompt)
            for name, value in values.items():
                if value is not None:
                    self._counts[name] += float(value)
                    self._counts[f"{name.partition(':')[0]}:n"] += 1


def _watch_verdict(verdict: Verdict | None, label: Verdict, prompt: Prompt) -> dict[str, float | bool | None]:
    """What is counted of a verdict on an answer with this label. One that cannot be read is wrong.

    `right_unsafe` and `right_safe` are of answers to harmful prompts, `right_benign` of safe ones to benign prompts: a
    policy that looks at the request alone, or only whether the answer refuses, is wrong on one of the latter two.
    """
    stratum = "benign" if label is Verdict.SAFE and not prompt.harmful else label.value
    return {
        f"{stratum} verdicts:right_{stratum}": verdict is label,
        f"{label} labels:recall_{label}": verdict is label,
        "verdicts:unread_verdicts": verdict is None,
        "read verdicts:unsafe_verdicts": None if verdict is None else verdict is Verdict.UNSAFE,
    }


def _watch_own_verdict(rollout: Rollout, scored: Scored) -> dict[str, float | bool | None]:
    """What is counted of an answer that the policy rewards itself: its verdict, compared with the judge's label."""
    if rollout.own is None:
        return {}
    verdict, safe = rollout.own.verdict, scored.labels.safe
    values: dict[str, float | bool | None] = {"own verdicts:unverified": scored.why == "unverified"}
    if rollout.own.truncated:
        return values
    if safe is None:
        values["verdicts:unread_verdicts"] = verdict is None
        values["read verdicts:unsafe_verdicts"] = None if verdict is None else verdict is Verdict.UNSAFE
        return values
    values |= _watch_verdict(verdict, Verdict.SAFE if safe else Verdict.UNSAFE, rollout.prompt)
    values["own and judge:self_judge_gap"] = None if verdict is None else float(verdict is Verdict.SAFE) - float(safe)
    return values


_REFUSALS = {Kind.HARMFUL: "refused_harmful", Kind.BENIGN: "over_refusal"}


def _is_judged(rollout: Rollout) -> bool:
    """Whether the judge is asked: it never sees a missing or truncated answer."""
    return rollout.kind in (Kind.HARMFUL, Kind.BENIGN) and rollout.whole


def check_solutions(prompts: Iterable[Prompt]) -> None:
    """Make sure, before the first step, that every solution can be compared. Raises DataError."""
    for prompt in prompts:
        try:
            rewards.mathematics("", str(prompt.facts[SOLUTION]))
        except DataError as error:
            raise DataError(f"benchmark {prompt.benchmark!r}: {error} (prompt {prompt.text[:60]!r})") from error
