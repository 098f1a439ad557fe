"""What a training set may hold: rows that are drawn by what little decides it, and whose texts are read later.

A source goes through the tables of earlier stages twice: for its candidates without a text, and for the examples that
were drawn from them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from sinternal.records import Example, Prompt, Response, Subject, Verdict, Verification, make_id
from sinternal.settings.arms import ExampleTarget
from sinternal.stages.sample import check_trainable
from sinternal.stages.strata import kind_of_answer
from sinternal.store import Artifact, Lookup, Table


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that may be trained on."""

    id: str
    """Its id in the training set."""
    row_id: str
    """The row that it is made of; the same for all that repeat it."""
    stratum: str
    """What it balances."""
    prompt_id: str
    """The prompt that it leads back to."""
    response_id: str
    """The response that it leads back to."""

    def repeat(self, repetition: int) -> Candidate:
        """The same with an id of its own, which says how often it stood in the set before."""
        identity = make_id("example", self.id, repetition)
        return Candidate(identity, self.row_id, self.stratum, self.prompt_id, self.response_id)


Drawn = Mapping[str, Sequence[Candidate]]
"""Candidates that were drawn, by the rows that they are made of."""


class Source(Protocol):
    """Rows of one kind."""

    @abstractmethod
    def candidates(self) -> Iterator[Candidate]:
        """All of them.

        Raises:
            DataError: a trainer cannot put one as an engine would.
        """
        ...

    @abstractmethod
    def examples(self, wanted: Drawn) -> Iterator[Example]:
        """What was drawn of them, in any order; what was drawn of other sources is passed over."""
        ...


@dataclass(frozen=True)
class Demonstrated(Source):
    """Responses that are to be learned."""

    prompts: Artifact
    """What was asked."""
    responses: Table[Response]
    """The answers; a row without one is none."""
    accepted: Collection[str] | None
    """Ids of those that may be learned; None: all."""
    harmful: Mapping[str, bool] = field(repr=False)
    """Which prompts are harmful, by their ids."""
    system: str
    """System message for prompts that bring none of their own."""
    kind: str = ""
    """What the names of their kinds begin with."""

    def candidates(self) -> Iterator[Candidate]:
        """All of them; see `Source.candidates`."""
        check = trainable(self.prompts)
        for response_id, prompt_id, answer in self.responses.values("id", "prompt_id", "answer"):
            if answer is None or not self.accepts(response_id):
                continue  # the expert could not demonstrate it, or nobody should learn it
            check(prompt_id)
            stratum = self.kind + ("harmful" if self.harmful[prompt_id] else "benign")
            yield Candidate(make_id("example", response_id), response_id, stratum, prompt_id, response_id)

    def accepts(self, response_id: str) -> bool:
        """Whether a response may be learned."""
        return self.accepted is None or response_id in self.accepted

    def examples(self, wanted: Drawn) -> Iterator[Example]:
        """Some of them; see `Source.examples`."""
        prompts = Lookup(self.prompts.table(Prompt), {row.prompt_id for row in chain.from_iterable(wanted.values())})
        for rows in map(self.responses.rows_of, self.responses.with_ids(wanted)):
            for row, prompt in zip(rows, prompts.rows([row.prompt_id for row in rows]), strict=True):
                for candidate in wanted[row.id]:
                    yield Example(
                        id=candidate.id,
                        prompt=prompt.text,
                        thinking=row.thinking or "",
                        answer=row.answer or "",
                        stratum=candidate.stratum,
                        prompt_id=prompt.id,
                        response_id=row.id,
                        system=prompt.system or self.system,
                    )


@dataclass(frozen=True)
class Verified(Source):
    """Verifications of a model's own answers: the method itself."""

    verifications: Artifact
    """What the expert wrote."""
    responses: Artifact
    """The answers that were verified."""
    harmful: Mapping[str, bool] = field(repr=False)
    """Which prompts are harmful, by their ids."""
    target: ExampleTarget
    """What of a verification is trained on."""

    def candidates(self) -> Iterator[Candidate]:
        """All of them; see `Source.candidates`."""
        prompt_of = dict(self.responses.values(Response, "id", "prompt_id"))
        columns = self.verifications.values(Verification, "id", "response_id", "dropped", "subject", "verdict", "label")
        for verification_id, response_id, dropped, subject, verdict, label in columns:
            if dropped is None:
                # By the verdict, which agrees with the judge; of a placebo, by the judge alone.
                unsafe = (verdict if subject == Subject.SAFETY else label) == Verdict.UNSAFE
                prompt_id = prompt_of[response_id]
                stratum = kind_of_answer(unsafe=unsafe, harmful=self.harmful[prompt_id])
                yield Candidate(make_id("example", verification_id), verification_id, stratum, prompt_id, response_id)

    def examples(self, wanted: Drawn) -> Iterator[Example]:
        """Some of them; see `Source.examples`."""
        no_critique, no_verdict = self.target is ExampleTarget.VERDICT, self.target is ExampleTarget.CRITIQUE
        columns = self.verifications.values(Verification, "id", "response_id", "prompt", "critique", "answer")
        for verification_id, response_id, prompt, critique, answer in columns:
            for candidate in wanted.get(verification_id, ()):
                yield Example(
                    id=candidate.id,
                    prompt=prompt,
                    thinking="" if no_critique else critique or "",
                    answer="" if no_verdict else answer or "",
                    stratum=candidate.stratum,
                    prompt_id=candidate.prompt_id,
                    response_id=response_id,
                    verification_id=verification_id,
                    quotes=True,
                )


@dataclass(frozen=True)
class AnswerThenCheck(Source):
    """Draft, critique and verdict as one thinking, then the draft or its replacement.

    After Answer-Then-Check (Cao et al. 2025, arXiv 2509.11629).
    """

    demonstrated: Demonstrated
    """What is said instead of an unsafe draft."""
    verifications: Artifact
    """What the expert wrote of the drafts."""
    responses: Artifact
    """The drafts."""

    def candidates(self) -> Iterator[Candidate]:
        """All of them; see `Source.candidates`."""
        check = trainable(self.demonstrated.prompts)
        drafts = {
            response_id: (prompt_id, bool(answer))
            for response_id, prompt_id, answer in self.responses.values(Response, "id", "prompt_id", "answer")
        }
        replacements = self._replacements()
        columns = self.verifications.values(Verification, "id", "response_id", "dropped", "verdict")
        for verification_id, response_id, dropped, verdict in columns:
            if dropped is not None:
                continue
            prompt_id, is_answer = drafts[response_id]
            unsafe = verdict == Verdict.UNSAFE
            if not (prompt_id in replacements if unsafe else is_answer):
                continue  # the expert could not demonstrate it
            check(prompt_id)
            identity = make_id("example", "answer-then-check", verification_id)
            stratum = kind_of_answer(unsafe=unsafe, harmful=self.demonstrated.harmful[prompt_id])
            yield Candidate(identity, verification_id, stratum, prompt_id, response_id)

    def _replacements(self) -> dict[str, str]:
        """Ids of the responses that can be given instead of an unsafe draft, by prompt: of several, the last."""
        last: dict[str, tuple[str, bool]] = {}
        for response_id, prompt_id, answer in self.demonstrated.responses.values("id", "prompt_id", "answer"):
            if self.demonstrated.accepts(response_id):
                last[prompt_id] = response_id, bool(answer)
        return {prompt_id: response_id for prompt_id, (response_id, is_answer) in last.items() if is_answer}

    def examples(self, wanted: Drawn) -> Iterator[Example]:
        """Some of them; see `Source.examples`."""
        first = {row_id: candidates[0] for row_id, candidates in wanted.items()}
        prompt_ids = {candidate.prompt_id for candidate in first.values()}
        prompts = Lookup(self.demonstrated.prompts.table(Prompt), prompt_ids)
        drafts = Lookup(self.responses.table(Response), {candidate.response_id for candidate in first.values()})
        instead = {key: value for key, value in self._replacements().items() if key in prompt_ids}
        replacements = Lookup(self.demonstrated.responses, instead.values())
        table = self.verifications.table(Verification)
        for rows in map(table.rows_of, table.with_ids(wanted)):
            asked = prompts.rows([first[row.id].prompt_id for row in rows])
            drafted = drafts.rows([row.response_id for row in rows])
            unsafe = [first[row.id].prompt_id for row in rows if row.verdict is Verdict.UNSAFE]
            replies = iter(replacements.rows([instead[prompt_id] for prompt_id in unsafe]))
            for row, prompt, draft in zip(rows, asked, drafted, strict=True):
                reply = next(replies) if row.verdict is Verdict.UNSAFE else draft
                for candidate in wanted[row.id]:
                    yield Example(
                        id=candidate.id,
                        prompt=prompt.text,
                        thinking="\n\n".join(part for part in (draft.answer, row.critique, row.answer) if part),
                        answer=reply.answer or "",
                        stratum=candidate.stratum,
                        prompt_id=prompt.id,
                        response_id=row.response_id,
                        verification_id=row.id,
                        system=prompt.system or self.demonstrated.system,
                    )


def trainable(prompts: Artifact) -> Callable[[str], None]:
    """What makes sure that a trainer can put a prompt as an engine would, by its id: see `check_trainable`."""
    odd = {prompt_id for prompt_id, raw, prefill in prompts.values(Prompt, "id", "raw", "prefill") if raw or prefill}

    def check(prompt_id: str) -> None:
        if prompt_id in odd:
            (prompt,) = Lookup(prompts.table(Prompt), {prompt_id}).rows([prompt_id])
            check_trainable(prompt)

    return check
