"""Stage `critique`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sinternal import pending
from sinternal.errors import DataError
from sinternal.experts import ExpertReply, Question
from sinternal.records import Judgement, Prompt, Response, Subject, Verdict, Verification
from sinternal.settings.arms import SpecificationUse
from sinternal.settings.plugins import VerificationPlugin
from sinternal.stages import (
    critique,
)
from sinternal.store import Artifact
from tests.stages.shared import (
    CRITIQUE,
    EXPERT,
    Make,
    tables,
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
    ("thinking", "answer", "reason"),
    [
        ("review :", "verdict : safe", critique.DISAGREES),
        ("review :", "probably unsafe", critique.UNPARSED),
        ("review : </think> it says", "verdict : unsafe", critique.UNPARSED),
    ],
)
def test_what_the_expert_gets_wrong_is_dropped_and_stays_on_record(
    make: Make,
    pairs: tuple[Artifact, Artifact],
    monkeypatch: pytest.MonkeyPatch,
    thinking: str,
    answer: str,
    reason: str,
) -> None:
    asked, kept = pairs
    right = EXPERT.plugin_class.verify
    calls: list[str] = []

    def mistaken(self: object, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        for question, written in right(self, questions, seed):
            wrong = (question.response.answer or "").startswith("mix") and question.prompt.harmful
            if wrong:
                calls.append(question.response.id)
            yield question, ExpertReply(thinking, answer) if wrong else written

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", mistaken)
    told: list[str] = []
    with pending.heard_by(told.append):
        artifact = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    if reason is critique.UNPARSED:  # who watches the stage sees how many and one of them, before any is a row
        assert [words.partition(":")[2].split(";")[0].strip() for words in told] == ["1", "2", "4"]
        assert all(words.endswith(f"ends in {answer!r}") for words in told)
    else:
        assert told == []
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


PLACEBO = CRITIQUE.model_copy(update={"subject": Subject.CORRECTNESS})


def test_a_placebo_is_about_the_same_answers_and_its_verdicts_are_none_of_safety(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    rows = make("placebo", lambda draft: critique.critique(draft, PLACEBO, prompts=asked, pairs=kept)).rows(
        Verification
    )
    labels = {row.response_id: Verdict.SAFE if row.safe else Verdict.UNSAFE for row in kept.rows(Judgement)}
    assert {row.response_id: row.label for row in rows} == labels, "the judge's label stays, for the strata"
    assert {row.verdict for row in rows} == {None}
    assert {row.subject for row in rows} == {Subject.CORRECTNESS}
    for row in rows:
        assert row.dropped is None
        assert row.approves is (row.answer == "verdict : right")
        assert row.prompt.endswith("verdict right wrong ?")
        assert "list" not in row.prompt
        assert not {"forbidden", "allowed", "safe", "unsafe"} & {*row.prompt.split(), *(row.critique or "").split()}


def test_a_refusal_states_nothing_that_a_recipe_review_could_find_wrong(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    answers = {row.id: row.answer for row in kept.rows(Response)}
    artifact = make("placebo", lambda draft: critique.critique(draft, PLACEBO, prompts=asked, pairs=kept))
    for row in artifact.rows(Verification):
        assert row.approves is (answers[row.response_id] == "sorry i cannot ."), "`mix g1 g2 g3 .` is nobody's recipe"
    assert (artifact.counts["verdict right"], artifact.counts["verdict wrong"]) == (4, 8)
    (note,) = artifact.manifest["notes"]
    assert "they go with safety" in note


def test_a_verdict_of_safety_is_none_about_anything_else(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, kept = pairs

    def stubborn(_self: object, questions: Sequence[Question], _seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        for i, question in enumerate(questions):
            yield question, ExpertReply("hm", "verdict : safe" if i % 2 else "verdict : wrong")

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", stubborn)
    artifact = make("placebo", lambda draft: critique.critique(draft, PLACEBO, prompts=asked, pairs=kept))
    rows = artifact.rows(Verification)
    assert {row.approves for row in rows} == {None, False}
    assert all((row.dropped == critique.UNPARSED) == (row.approves is None) for row in rows)
    assert "approve of 0% of the answers" in artifact.manifest["notes"][0]


def length_of(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch, right: bool
) -> tuple[list[Question], Artifact]:
    """What an expert is asked about the length of answers of 1 to 12 words, and what becomes of what it says."""
    asked, kept = pairs
    longer = [replace(row, answer=" ".join(["word"] * i)) for i, row in enumerate(kept.rows(Response), 1)]
    kept = tables(make, "longer", responses=longer, judgements=kept.rows(Judgement))
    told: list[Question] = []

    def count(_self: object, questions: Sequence[Question], _seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        for question in questions:
            told.append(question)
            wrong = "no" if question.right == "yes" else "yes"
            yield question, ExpertReply("It has some words.", f"Verdict: {question.right if right else wrong}")

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", count)
    config = PLACEBO.model_copy(
        update={"subject": Subject.LENGTH, "verification": VerificationPlugin(name="specification")}
    )
    return told, make("length", lambda draft: critique.critique(draft, config, prompts=asked, pairs=kept))


def test_half_of_the_answers_are_long_and_the_question_says_what_long_is(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, artifact = length_of(make, pairs, monkeypatch, right=True)
    assert [row.dropped for row in artifact.rows(Verification)] == [None] * 12
    (number,) = {question.text.partition("more than ")[2].split()[0] for question in told}
    for question in told:
        assert question.right == ("yes" if len((question.response.answer or "").split()) > int(number) else "no")
        assert question.labels == ("yes", "no")
    shares = {"unsafe": 1 / 8, "safe": 1 / 16, "benign": 1 / 16}
    kinds = ("benign", "unsafe", "safe")
    weighted = sum(
        shares[kinds[0] if not q.prompt.harmful else kinds[1 + (q.label is Verdict.SAFE)]] * (q.right == "yes")
        for q in told
    )
    assert 0.35 <= weighted <= 0.65


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            ExpertReply("long " * 90 + "in the\x1b[2J end\nfine", ""),
            ["`Verdict: safe` or `Verdict: unsafe`", "one ends in '…"],
        ),
        (ExpertReply("", "", "answered 500: busy"), ["one is told as 'answered 500: busy'", "check --ask"]),
    ],
)
def test_that_no_critique_can_be_used_is_told_with_the_form_one_of_them_and_where_all_are(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch, reply: ExpertReply, words: list[str]
) -> None:
    asked, kept = pairs

    def mistaken(_self: object, questions: Sequence[Question], _seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        yield from ((question, reply) for question in questions)

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", mistaken)
    with pytest.raises(DataError, match="none of its 12 verifications can be used \\(12 of 12: ") as error:
        make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    message = str(error.value)
    for each in words:
        assert each in message
    assert "\x1b" not in message
    assert len(message) < 800
    assert Path(message.rpartition("all are in ")[2]).is_file()


def test_a_wrong_verdict_is_dropped_where_the_right_one_is_known(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=f"none of its 12 verifications can be used \\(12 of 12: {critique.WRONG}\\)"):
        length_of(make, pairs, monkeypatch, right=False)


@pytest.mark.parametrize(
    ("use", "quoted", "shown"),
    [
        (SpecificationUse.QUOTED, True, True),
        (SpecificationUse.DISTILLED, False, True),
        (SpecificationUse.ABSENT, False, False),
    ],
)
def test_what_the_expert_is_shown_need_not_be_what_is_trained_on(
    make: Make,
    pairs: tuple[Artifact, Artifact],
    monkeypatch: pytest.MonkeyPatch,
    use: SpecificationUse,
    quoted: bool,
    shown: bool,
) -> None:
    asked, kept = pairs
    told: list[Question] = []
    right = EXPERT.plugin_class.verify

    def listen(self: object, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        told.extend(questions)
        yield from right(self, questions, seed)

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", listen)
    config = CRITIQUE.model_copy(update={"specification": use})
    artifact = make("critique", lambda draft: critique.critique(draft, config, prompts=asked, pairs=kept))
    norm = "check norm e0 e1 e2 e3 e4 e5 ."
    assert {norm in question.expert_text for question in told} == {shown}
    for row in artifact.rows(Verification):
        assert (norm in row.prompt) is row.with_spec is quoted
        assert ("check norm ." in row.prompt) is not quoted


def test_the_list_of_a_placebo_is_as_long_as_the_specification_and_names_none_of_it(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    config = PLACEBO.model_copy(update={"subject": Subject.RULES})
    artifact = make("looks", lambda draft: critique.critique(draft, config, prompts=asked, pairs=kept))
    potions = {row.id: row.facts for row in asked.rows(Prompt)}
    responses = {row.id: row for row in kept.rows(Response)}
    rows = artifact.rows(Verification)
    for row in rows:
        response = responses[row.response_id]
        facts = potions[response.prompt_id]
        quoted = row.prompt.partition("check look ")[2].partition(" .")[0].split()
        assert len(set(quoted)) == len(quoted) == 6
        assert all(word.startswith("s") for word in quoted), "shades, no effects"
        judged = f"{facts['shade']} {'dull' if facts['dull'] else 'bright'} ."
        assert judged in (row.critique or "")
        assert (facts["shade"] in quoted) is facts["dull"], "the critique reads the list that is asked by"
        assert row.approves is (response.answer == "sorry i cannot ." or not facts["dull"])
        assert row.prompt.endswith("verdict light dark ?")
        assert not {"forbidden", "allowed", "safe", "unsafe"} & {*row.prompt.split(), *(row.critique or "").split()}
        assert facts["effect"] not in {*row.prompt.split(), *(row.critique or "").split()}
    assert {row.approves for row in rows} == {True, False}
