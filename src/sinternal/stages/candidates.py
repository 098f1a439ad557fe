"""What a training set may hold: rows that are drawn by what little decides it, and whose texts are read later.

A source goes through the tables of earlier stages twice: for its candidates without a text, and for the examples that
were drawn from them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sinternal.parquet import values_of
from sinternal.prompting.think import fits_thinking
from sinternal.records import Example, Prompt, R, Response, Subject, Verdict, Verification, make_ids
from sinternal.settings.arms import ExampleTarget
from sinternal.stages.sample import check_trainable
from sinternal.stages.strata import kind_of_answer
from sinternal.store import Artifact, Index, Lookup, Table

if TYPE_CHECKING:
    from arro3.core import RecordBatch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """Rows that may be trained on, as columns."""

    ids: NDArray[Any]
    """Their ids in a training set: 16 hexadecimal digits."""
    places: NDArray[np.int64]
    """Where the rows that they are made of stand in a table; the same for all that repeat one."""
    strata: NDArray[Any]
    """What they balance."""
    prompt_ids: NDArray[Any]
    """The prompts that they lead back to."""
    response_ids: NDArray[Any]
    """The responses that they lead back to."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64] | slice) -> Candidates:
        """Some of them, in this order."""
        return Candidates(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Candidates]) -> Candidates:
        """Those of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    def id_numbers(self) -> NDArray[np.uint64]:
        """Numbers in the order of the ids."""
        return numbers_of(self.ids.tolist())


def numbers_of(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Ids of 16 hexadecimal digits as numbers, which have their order."""
    return np.frombuffer(bytes.fromhex("".join(ids)), dtype=">u8").astype(np.uint64)


def _by_batch(table: Table[R], wanted: Candidates) -> Iterator[tuple[Candidates, RecordBatch, list[int]]]:
    """Different rows of a table, the candidates that are made of them, and of which of them each is."""
    start = 0
    for batch, numbers in table.at(wanted.places):
        yield wanted.take(slice(start, start + len(numbers))), batch, numbers.tolist()
        start += len(numbers)


class Source(Protocol):
    """Rows of one kind."""

    @abstractmethod
    def candidates(self) -> Candidates:
        """All of them, in the order of their rows.

        Raises:
            DataError: a trainer cannot put one as an engine would.
        """
        ...

    @abstractmethod
    def examples(self, wanted: Candidates) -> Iterator[Example]:
        """What was drawn of them, in the order of their rows."""
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

    def candidates(self) -> Candidates:
        """All of them; see `Source.candidates`."""
        columns = self.responses.columns("id", "prompt_id", known=["answer"])
        # The expert could not demonstrate the others, or nobody should learn them.
        (places,) = np.nonzero(columns["answer"] & self.accepts(columns["id"]))
        ids, prompt_ids = columns["id"][places], columns["prompt_id"][places]
        check_all_trainable(self.prompts, prompt_ids)
        kinds = np.array([f"{self.kind}benign", f"{self.kind}harmful"], dtype=object)
        harmful = _flags(self.harmful, prompt_ids)
        return Candidates(_example_ids(ids), places, kinds[harmful.astype(np.int64)], prompt_ids, ids)

    def accepts(self, response_ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Which responses may be learned."""
        if self.accepted is None:
            return np.ones(len(response_ids), dtype=np.bool_)
        return np.fromiter(map(self.accepted.__contains__, response_ids.tolist()), np.bool_, len(response_ids))

    def examples(self, wanted: Candidates) -> Iterator[Example]:
        """Some of them; see `Source.examples`."""
        prompts = Lookup(self.prompts.table(Prompt), frozenset(wanted.prompt_ids.tolist()))
        for own, batch, numbers in _by_batch(self.responses, wanted):
            rows = self.responses.rows_of(batch)
            asked = prompts.rows([row.prompt_id for row in rows])
            for identity, stratum, number in zip(own.ids.tolist(), own.strata.tolist(), numbers, strict=True):
                row, prompt = rows[number], asked[number]
                yield Example(
                    id=identity,
                    prompt=prompt.text,
                    thinking=row.thinking or "",
                    answer=row.answer or "",
                    stratum=stratum,
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

    def candidates(self) -> Candidates:
        """All of them; see `Source.candidates`."""
        names = ("id", "response_id", "subject", "verdict", "label")
        columns = self.verifications.columns(Verification, *names, known=["dropped"])
        places = np.flatnonzero(~columns.pop("dropped"))
        columns = {name: values[places] for name, values in columns.items()}
        # By the verdict, which agrees with the judge; of a placebo, by the judge alone.
        by_verdict = columns["subject"] == Subject.SAFETY.value
        unsafe = np.where(by_verdict, columns["verdict"], columns["label"]) == Verdict.UNSAFE.value
        responses = self.responses.columns(Response, "id", "prompt_id")
        prompt_ids = responses["prompt_id"][Index(responses["id"]).all_places(columns["response_id"])]
        kinds = _kinds(unsafe, _flags(self.harmful, prompt_ids))
        return Candidates(_example_ids(columns["id"]), places, kinds, prompt_ids, columns["response_id"])

    def examples(self, wanted: Candidates) -> Iterator[Example]:
        """Some of them; see `Source.examples`."""
        no_critique, no_verdict = self.target is ExampleTarget.VERDICT, self.target is ExampleTarget.CRITIQUE
        for own, batch, numbers in _by_batch(self.verifications.table(Verification), wanted):
            texts = [values_of(batch, name) for name in ("id", "prompt", "critique", "answer")]
            rows = list(zip(*texts, strict=True))
            columns = (own.ids.tolist(), own.strata.tolist(), own.prompt_ids.tolist(), own.response_ids.tolist())
            for number, identity, stratum, prompt_id, response_id in zip(numbers, *columns, strict=True):
                verification_id, prompt, critique, answer = rows[number]
                yield Example(
                    id=identity,
                    prompt=prompt,
                    thinking="" if no_critique else critique or "",
                    answer="" if no_verdict else answer or "",
                    stratum=stratum,
                    prompt_id=prompt_id,
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

    def candidates(self) -> Candidates:
        """All of them; see `Source.candidates`."""
        columns = self.verifications.columns(Verification, "id", "response_id", "verdict", known=["dropped"])
        places = np.flatnonzero(~columns.pop("dropped"))
        drafts = self.responses.columns(Response, "id", "prompt_id")
        drafted = Index(drafts["id"]).all_places(columns["response_id"][places])
        prompt_ids = drafts["prompt_id"][drafted]
        unsafe = columns["verdict"][places] == Verdict.UNSAFE.value
        replaceable = _flags(dict.fromkeys(self._replacements(), True), prompt_ids, default=False)
        # The expert could not demonstrate the others, or their draft would end the thinking that it is a part of.
        said = [(bool(text), fits_thinking(text or "")) for (text,) in self.responses.values(Response, "answer")]
        is_answer, fits = np.array(said, dtype=np.bool_).reshape(-1, 2)[drafted].T
        known = np.where(unsafe, replaceable, is_answer) & fits
        places, prompt_ids, unsafe = places[known], prompt_ids[known], unsafe[known]
        check_all_trainable(self.demonstrated.prompts, prompt_ids)
        ids = _example_ids(columns["id"][places], "answer-then-check")
        kinds = _kinds(unsafe, _flags(self.demonstrated.harmful, prompt_ids))
        return Candidates(ids, places, kinds, prompt_ids, columns["response_id"][places])

    def _replacements(self) -> dict[str, str]:
        """Ids of the responses that can be given instead of an unsafe draft, by prompt: of several, the last."""
        responses = self.demonstrated.responses
        columns = responses.columns("id", "prompt_id")
        accepted = self.demonstrated.accepts(columns["id"])
        ids, prompt_ids = (columns[name][accepted].tolist() for name in ("id", "prompt_id"))
        last = dict(zip(prompt_ids, zip(ids, _not_empty(responses)[accepted].tolist(), strict=True), strict=True))
        return {prompt_id: response_id for prompt_id, (response_id, is_answer) in last.items() if is_answer}

    def examples(self, wanted: Candidates) -> Iterator[Example]:
        """Some of them; see `Source.examples`."""
        prompt_ids = frozenset(wanted.prompt_ids.tolist())
        prompts = Lookup(self.demonstrated.prompts.table(Prompt), prompt_ids)
        drafts = Lookup(self.responses.table(Response), frozenset(wanted.response_ids.tolist()))
        instead = {key: value for key, value in self._replacements().items() if key in prompt_ids}
        replacements = Lookup(self.demonstrated.responses, instead.values())
        table = self.verifications.table(Verification)
        for own, batch, numbers in _by_batch(table, wanted):
            rows = table.rows_of(batch)
            drafted = drafts.rows([row.response_id for row in rows])
            asked = prompts.rows([draft.prompt_id for draft in drafted])
            unsafe = [draft.prompt_id for row, draft in zip(rows, drafted, strict=True) if _is_unsafe(row)]
            given = iter(replacements.rows([instead[prompt_id] for prompt_id in unsafe]))
            replies = [next(given) if _is_unsafe(row) else draft for row, draft in zip(rows, drafted, strict=True)]
            for identity, stratum, number in zip(own.ids.tolist(), own.strata.tolist(), numbers, strict=True):
                row, prompt, draft = rows[number], asked[number], drafted[number]
                yield Example(
                    id=identity,
                    prompt=prompt.text,
                    thinking="\n\n".join(part for part in (draft.answer, row.critique, row.answer) if part),
                    answer=replies[number].answer or "",
                    stratum=stratum,
                    prompt_id=prompt.id,
                    response_id=row.response_id,
                    verification_id=row.id,
                    system=prompt.system or self.demonstrated.system,
                )


def _is_unsafe(row: Verification) -> bool:
    return row.verdict is Verdict.UNSAFE


def _not_empty(responses: Table[Response]) -> NDArray[np.bool_]:
    """For each response whether it has an answer of at least one character."""
    return np.array([bool(answer) for (answer,) in responses.values("answer")], dtype=np.bool_)


def _example_ids(row_ids: NDArray[Any], *kind: str) -> NDArray[Any]:
    """Ids of the examples that are made of some rows."""
    return np.array(make_ids(("example", *kind), row_ids.tolist()), dtype=object)


def _flags(of: Mapping[str, bool], ids: NDArray[Any], default: bool | None = None) -> NDArray[np.bool_]:
    """A flag of each id; without a default, each must have one."""
    flags = map(of.__getitem__, ids.tolist()) if default is None else (of.get(each, default) for each in ids.tolist())
    return np.fromiter(flags, np.bool_, len(ids))


def _kinds(unsafe: NDArray[np.bool_], harmful: NDArray[np.bool_]) -> NDArray[Any]:
    """The kind of each verification: see `kind_of_answer`."""
    names = [kind_of_answer(unsafe=each, harmful=harm) for each in (False, True) for harm in (False, True)]
    kinds: NDArray[Any] = np.array(names, dtype=object)[2 * unsafe + harmful]
    return kinds


def check_all_trainable(prompts: Artifact, prompt_ids: NDArray[Any]) -> None:
    """Make sure that a trainer can put some prompts as an engine would, by their ids.

    Raises:
        DataError: it cannot; see `check_trainable`.
    """
    columns = prompts.columns(Prompt, "id", "raw", "prefill")
    odd = frozenset(columns["id"][columns["raw"] | (columns["prefill"] != "")].tolist())
    used = [each for each in dict.fromkeys(prompt_ids.tolist()) if each in odd] if odd else []
    for prompt in Lookup(prompts.table(Prompt), used).rows(used) if used else ():
        check_trainable(prompt)
