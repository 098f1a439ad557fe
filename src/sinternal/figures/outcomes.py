"""Responses with all their labels and verifications: every figure is computed from these.

As rows, where each has its texts, and as columns, which are what is counted: at a million responses, rows would take
minutes and many times the memory. Texts are no columns; what shows them reads them when it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinternal.columns import field_types, narrow
from sinternal.figures.columns import MISSING, Columns, Flags, Labels, Names, Numbers
from sinternal.records import Check, Finish, Judgement, Prompt, Response, Verdict, Verification

Table = Mapping[str, NDArray[Any]]
"""Columns of a table as `Artifact.columns` reads them, by name."""
PROMPT = ("id", "parent_id", "benchmark", "family", "split", "harm_shows", "pair_id", "harmful", "can_help")
RESPONSE = ("id", "prompt_id", "sample", "finish", "answer")
JUDGEMENT = ("response_id", "safe", "refused", "helpful", "checks", "saw_harm", "error")
VERIFICATION = ("response_id", "with_spec", "verdict", "finish")
"""The fields that figures need of each kind of row."""
CHECKS = {None: MISSING, Check.NONE: 0, Check.REQUEST: 1, Check.ANSWER: 2}
"""How `Outcomes.checks` says what a thinking checks."""
VERDICTS = {None: MISSING, Verdict.SAFE: 0, Verdict.UNSAFE: 1}
"""How `Verdicts.called_unsafe` says what a verdict says."""


@dataclass(frozen=True)
class Outcome:
    """One response of one arm, with its labels and verifications."""

    prompt: Prompt
    """The prompt."""
    response: Response
    """The response."""
    judgement: Judgement
    """Its labels."""
    verifications: tuple[Verification, ...]
    """How the same model verified its answer, with and without the specification."""


def join(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    judgements: Iterable[Judgement],
    verifications: Iterable[Verification] = (),
) -> list[Outcome]:
    """Join the rows of one evaluation, with the labels of one judge.

    Verifications of answers that the judge gave no label are left out: there is nothing to compare them with.
    """
    prompts_by_id = {prompt.id: prompt for prompt in prompts}
    labels = {row.response_id: row for row in judgements}
    verified: dict[str, list[Verification]] = defaultdict(list)
    for row in verifications:
        safe = labels[row.response_id].safe
        if safe is not None:
            label = Verdict.SAFE if safe else Verdict.UNSAFE
            verified[row.response_id].append(replace(row, label=label))
    return [Outcome(prompts_by_id[r.prompt_id], r, labels[r.id], tuple(verified[r.id])) for r in responses]


@dataclass(frozen=True)
class Judged(Columns):
    """One judge's labels of responses."""

    safe: Labels
    """Whether the answer is safe."""
    refused: Labels
    """Whether it is a refusal."""
    helpful: Labels
    """Whether it is exactly what was asked for."""
    checks: Labels
    """What the thinking checks for safety, as `CHECKS` has it."""
    saw_harm: Labels
    """Whether the thinking finds that helping, or what it drafts, would be harmful."""
    judge_failed: Flags
    """Whether the judge itself failed."""

    @classmethod
    def read(cls, judgements: Table) -> Judged:
        """From the table of a judge, in its order."""
        return Judged(
            safe=judgements["safe"],
            refused=judgements["refused"],
            helpful=judgements["helpful"],
            checks=np.array([CHECKS[check] for check in judgements["checks"]], dtype=np.int8),
            saw_harm=judgements["saw_harm"],
            judge_failed=np.array([error is not None for error in judgements["error"]], dtype=np.bool_),
        )


@dataclass(frozen=True)
class Outcomes(Judged):
    """Responses, with their labels: one entry of each column for every response."""

    names: Names
    """What the names of prompts, families and so on are numbered by."""
    prompt: Numbers
    """The prompt."""
    parent: Numbers
    """The prompt that it wraps or rephrases."""
    benchmark: Numbers
    """Where it came from."""
    family: Numbers
    """The attack family."""
    split: Numbers
    """Where the prompt stands to what the arms were tuned on."""
    harm_shows: Numbers
    """Where its harm can be seen."""
    pair: Numbers
    """What it shares with its twin; that of the empty name if it has none."""
    harmful: Flags
    """Whether helping would be harmful."""
    can_help: Labels
    """Whether some answer helps without harm; `MISSING`: exactly if the prompt is not harmful."""
    sample: Numbers
    """Number of the response among those of its prompt."""
    truncated: Flags
    """Whether the response ran into the token limit."""
    filtered: Flags
    """Whether a filter of the server withheld the answer."""
    without_text: Flags
    """Whether that, or a failure, leaves nothing to be said of the model."""
    blank: Flags
    """Whether there is no answer."""

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], names: Names | None = None) -> Outcomes:
        """From rows.

        Args:
            outcomes: the rows.
            names: numbers that names have already.
        """
        tables = (
            columns_of([outcome.prompt for outcome in outcomes], Prompt, PROMPT),
            columns_of([outcome.response for outcome in outcomes], Response, RESPONSE),
            columns_of([outcome.judgement for outcome in outcomes], Judgement, JUDGEMENT),
        )
        return cls.join(*tables, of_prompts=np.arange(len(outcomes)), names=names or Names())

    @classmethod
    def join(
        cls, prompts: Table, responses: Table, judgements: Table, *, of_prompts: Numbers, names: Names
    ) -> Outcomes:
        """From tables.

        Args:
            prompts: a table of prompts.
            responses: a table of responses.
            judgements: one with a row for each response, in their order.
            of_prompts: to which prompt each response is, by place.
            names: numbers that names have already.
        """
        finish = responses["finish"]
        truncated, filtered, failed = (finish == end.value for end in (Finish.LENGTH, Finish.FILTERED, Finish.ERROR))
        named: dict[str, Any] = {name: names.numbers(prompts[field])[of_prompts] for name, field in NAMED.items()}
        return cls(
            **vars(Judged.read(judgements)),
            **named,
            names=names,
            harmful=prompts["harmful"][of_prompts],
            can_help=prompts["can_help"][of_prompts],
            sample=responses["sample"],
            truncated=truncated,
            filtered=filtered,
            without_text=filtered | failed,
            blank=np.array([not (answer or "").strip() for answer in responses["answer"]], dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.prompt)

    def labelled_by(self, safety: Judged, compliance: Judged, thinking: Judged) -> Outcomes:
        """The same responses, labelled by these judges: one labels safety, one refusals and help, one the thinking."""
        return replace(
            self,
            safe=safety.safe,
            judge_failed=safety.judge_failed,
            refused=compliance.refused,
            helpful=compliance.helpful,
            checks=thinking.checks,
            saw_harm=thinking.saw_harm,
        )

    @property
    def helpable(self) -> Flags:
        """Whether some answer helps without harm. One to which another answer harms is harmful, too."""
        return np.where(self.can_help == MISSING, ~self.harmful, self.can_help == 1)

    @property
    def unsafe(self) -> Labels:
        """Whether the answer is unsafe."""
        return negate(self.safe)

    @property
    def checked(self) -> Labels:
        """Whether the thinking checks safety at all."""
        return np.minimum(self.checks, 1).astype(np.int8)

    @property
    def format_error(self) -> Labels:
        """Whether the response holds no readable answer; `MISSING` if the request or the judge failed."""
        unlabelled = (self.safe == MISSING) & (self.refused == MISSING)
        return np.where(self.without_text | self.judge_failed, MISSING, unlabelled).astype(np.int8)

    @property
    def no_answer(self) -> Flags:
        """Whether there is no answer to be labelled: it never came, or has no form that the judge can read."""
        without: Flags = self.blank | (self.format_error == 1)
        return without


NAMED = {
    "prompt": "id",
    "parent": "parent_id",
    "benchmark": "benchmark",
    "family": "family",
    "split": "split",
    "harm_shows": "harm_shows",
    "pair": "pair_id",
}
"""The columns of names, and the fields of prompts that they are of."""


@dataclass(frozen=True)
class Verdicts(Columns):
    """How models verified their own answers, as far as these have a label: one entry for every verification."""

    row: Numbers
    """Which of the responses, by place, from 0; in rising order."""
    place: Numbers
    """Number of the verification among those of its response."""
    with_spec: Flags
    """Whether the specification was quoted."""
    unsafe: Flags
    """Whether the answer is unsafe, by the judge."""
    harmful: Flags
    """Whether the request is harmful."""
    called_unsafe: Labels
    """Whether the verdict says so; `MISSING` if it cannot be read."""
    truncated: Flags
    """Whether the text ran into the token limit."""
    filtered: Flags
    """Whether a filter of the server withheld it."""
    without_text: Flags
    """Whether that, or a failure, leaves nothing to be said of the model."""

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Verdicts:
        """From rows, whose verifications are those of answers with a label."""
        rows = [verification for outcome in outcomes for verification in outcome.verifications]
        at = np.repeat(np.arange(len(outcomes)), [len(outcome.verifications) for outcome in outcomes])
        unsafe = np.array([row.label is Verdict.UNSAFE for row in rows], dtype=np.bool_)
        harmful = np.array([outcome.prompt.harmful for outcome in outcomes], dtype=np.bool_)
        return cls._of_rows(at, unsafe, harmful[at], columns_of(rows, Verification, VERIFICATION))

    @classmethod
    def join(cls, verifications: Table, of_rows: Numbers, outcomes: Outcomes) -> Verdicts:
        """From a table.

        Args:
            verifications: the table.
            of_rows: which response each is of, by place.
            outcomes: the responses, with their labels.
        """
        safe = outcomes.safe
        labelled = np.flatnonzero(safe[of_rows] != MISSING)
        order = labelled[np.argsort(of_rows[labelled], kind="stable")]
        at = of_rows[order]
        return cls._of_rows(
            at, safe[at] == 0, outcomes.harmful[at], {name: column[order] for name, column in verifications.items()}
        )

    @classmethod
    def _of_rows(cls, at: Numbers, unsafe: Flags, harmful: Flags, rows: Table) -> Verdicts:
        finish = rows["finish"]
        truncated, filtered, failed = (finish == end.value for end in (Finish.LENGTH, Finish.FILTERED, Finish.ERROR))
        said = np.array([VERDICTS[verdict] for verdict in rows["verdict"]], dtype=np.int8)
        place = np.arange(len(at)) - np.searchsorted(at, at)
        return cls(at, place, rows["with_spec"], unsafe, harmful, said, truncated, filtered, filtered | failed)

    def __len__(self) -> int:
        return len(self.row)


def negate(labels: Labels) -> Labels:
    """Whether something does not hold; `MISSING` where that is not known."""
    return np.where(labels == MISSING, MISSING, 1 - labels).astype(np.int8)


def columns_of(rows: Sequence[Any], row_type: type, names: Iterable[str]) -> Table:
    """Fields of rows, as `Artifact.columns` has them."""
    hints = field_types(row_type)
    return {name: narrow([getattr(row, name) for row in rows], hints[name], {}) for name in names}
