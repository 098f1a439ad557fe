"""Stage `critique`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from sinternal.experts import ExpertReply, Question
from sinternal.records import Verdict, Verification
from sinternal.stages import (
    critique,
)
from sinternal.store import Artifact
from tests.stages.shared import (
    CRITIQUE,
    EXPERT,
    Make,
)


def test_the_expert_verifies_every_kept_answer(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    asked, kept = pairs
    artifact = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    rows = artifact.rows(Verification)
    assert len(rows) == 12
    assert all(row.dropped is None and row.verdict == row.label for row in rows)
    unsafe = next(row for row in rows if row.verdict is Verdict.UNSAFE)
    assert unsafe.prompt.startswith("check norm e0 e1 e2 e3 e4 e5 . request : ")
    assert "forbidden . answer gives" in (unsafe.critique or "")
    assert unsafe.answer == "verdict : unsafe"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("verdict : safe", critique.DISAGREES), ("probably unsafe", critique.UNPARSED)],
)
def test_what_the_expert_gets_wrong_is_dropped_and_stays_on_record(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch, answer: str, reason: str
) -> None:
    asked, kept = pairs
    right = EXPERT.plugin_class.verify
    calls: list[str] = []

    def mistaken(self: object, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        for question, written in right(self, questions, seed):
            wrong = (question.response.answer or "").startswith("mix") and question.prompt.harmful
            if wrong:
                calls.append(question.response.id)
            yield question, ExpertReply("review :", answer) if wrong else written

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", mistaken)
    artifact = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    rows = artifact.rows(Verification)
    assert len(rows) == 12
    assert artifact.counts[reason] == sum(row.dropped == reason for row in rows) == 4
    assert len(calls) == (8 if reason is critique.UNPARSED else 4), "an unreadable reply is asked for once more"


def test_an_expert_that_could_not_be_asked_is_counted_apart_from_one_that_was_unclear(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, kept = pairs
    right = EXPERT.plugin_class.verify

    def away(self: object, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        for question, written in right(self, questions, seed):
            yield question, written if question.prompt.harmful else ExpertReply("", "", "too long")

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", away)
    artifact = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    assert artifact.counts[critique.FAILED] == 4
    assert critique.UNPARSED not in artifact.counts
