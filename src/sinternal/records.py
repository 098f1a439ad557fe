"""The rows that flow from stage to stage.

Every row has a stable id, made from what it is and where it came from, and carries the id of the row before it:
Example -> Verification -> Response -> Prompt.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypeVar


def make_id(*parts: object) -> str:
    """A stable id: the first 16 hexadecimal digits of the SHA-256 of the parts, written as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Finish(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    """The model ended its turn."""
    LENGTH = "length"
    """It ran into the token limit: the text is truncated."""
    ERROR = "error"
    """The request failed for good; there is no text."""
    FILTERED = "filtered"
    """A content filter of the server withheld the text, or would not read the request: neither a failure nor a refusal
    by the model."""

    @property
    def without_text(self) -> bool:
        """Whether nothing can be said of what the model would have written."""
        return self in (Finish.ERROR, Finish.FILTERED)


class Verdict(StrEnum):
    """What a verification concludes about an answer."""

    SAFE = "safe"
    """The answer follows the specification."""
    UNSAFE = "unsafe"
    """It does not."""


class Check(StrEnum):
    """What a thinking checks for safety, unasked."""

    NONE = "none"
    """Nothing."""
    REQUEST = "request"
    """The request: whether helping with it would be harmful."""
    ANSWER = "answer"
    """The answer that it drafts or plans: whether that would be harmful; the request too, perhaps."""


class Split(StrEnum):
    """Where a prompt stands to what the arms were tuned on."""

    TRAIN = "train"
    """Used for tuning."""
    ID = "id"
    """Held-out prompts in attack families that the tuning saw."""
    OOD = "ood"
    """Attack families that no tuning saw."""


@dataclass(frozen=True)
class Prompt:
    """What is asked of a model."""

    id: str
    """Stable id."""
    parent_id: str
    """The prompt that this one wraps or rephrases; its own id if it is an original. Splits keep parents together."""
    text: str
    """The user's message."""
    harmful: bool
    """Whether helping would be harmful."""
    benchmark: str
    """Where it came from."""
    family: str
    """The attack family, `plain` if none."""
    split: Split
    """Training, in-distribution or out-of-distribution."""
    meta: str = "{}"
    """JSON that only the benchmark's own judge and expert read."""
    goal: str = ""
    """The plain request beneath a disguise; empty if `text` itself is plain."""
    system: str = ""
    """The system message that is sent before the user's; empty for none."""
    prefill: str = ""
    """Text that the assistant's turn is made to begin with, thinking tags spelled out; empty for none."""
    raw: bool = False
    """Whether `text` is sent as it is, without any chat template."""
    category: str = ""
    """The benchmark's own name for the kind of harm; empty if it gives none."""
    pair_id: str = ""
    """What a harmful prompt and its benign twin share; empty if it has no twin."""

    @property
    def plain_request(self) -> str:
        """What is asked for, without disguise."""
        return self.goal or self.text

    @property
    def facts(self) -> Mapping[str, Any]:
        """`meta`, parsed."""
        return typing.cast(Mapping[str, Any], json.loads(self.meta))


@dataclass(frozen=True)
class Response:
    """What a model, or an expert, said to a prompt."""

    id: str
    """Stable id."""
    prompt_id: str
    """The prompt."""
    sample: int
    """Number of this sample among those of its prompt, from 0."""
    thinking: str | None
    """The text of the thinking; None if there was none."""
    answer: str | None
    """The text after the thinking; None if the thinking never closed or the request failed."""
    finish: Finish
    """Why it ended."""
    error: str | None = None
    """What went wrong, if the request failed."""
    prompt_tokens: int | None = 0
    """Tokens read; None if the engine was not told."""
    tokens: int | None = 0
    """Tokens written; None if the engine was not told."""
    left_out: str = ""
    """Settings of the sampling that a server did not take, by name, so that they are as it has them."""


@dataclass(frozen=True)
class Judgement:
    """One judge's labels of one response. None means that the judge gave no answer; it never enters a rate."""

    id: str
    """Stable id."""
    response_id: str
    """The response."""
    judge: str
    """Name of the judge."""
    judged: str
    """What was judged: `answer`, `full` or `thinking`."""
    safe: bool | None
    """Whether the answer is safe."""
    refused: bool | None = None
    """Whether it is a refusal."""
    helpful: bool | None = None
    """Whether it is exactly what was asked for."""
    checks: Check | None = None
    """What the thinking checks for safety."""
    saw_harm: bool | None = None
    """Whether the thinking finds that helping, or what it drafts, would be harmful."""
    error: str | None = None
    """Why the judge itself gave no label, if it failed: its request, or its reply that could not be read."""
    finish: Finish | None = None
    """Why the judge's own reply ended; None if it was not asked, or has no such end."""
    left_out: str = ""
    """Settings that the judge's server did not take, as in a response."""
    quoted_controls: int = 0
    """Control tokens that the text spelled which the judge was shown; it was shown them as plain text."""

    @property
    def checked(self) -> bool | None:
        """Whether the thinking checks safety at all."""
        return None if self.checks is None else self.checks is not Check.NONE


@dataclass(frozen=True)
class Verification:
    """A critique of a response and its verdict, by the expert or by a model under test."""

    id: str
    """Stable id."""
    response_id: str
    """The response that was verified."""
    verifier: str
    """Who wrote it."""
    with_spec: bool
    """Whether the specification was quoted in the prompt."""
    prompt: str
    """What the verifier was asked."""
    critique: str | None
    """The reasoning, without the verdict."""
    answer: str | None
    """What followed the reasoning, as written."""
    verdict: Verdict | None
    """The verdict; None if it could not be read."""
    label: Verdict | None = None
    """The judge's label of the same response."""
    dropped: str | None = None
    """Why it is not used for training, if it is not."""
    sample: int = 0
    """Number of this sample among those of its question, from 0."""
    p_unsafe: float | None = None
    """Probability of the verdict `unsafe` at the place of the verdict; None if the engine did not tell."""
    finish: Finish | None = None
    """Why the text ended; None if that is not told. What was cut short has no verdict."""
    left_out: str = ""
    """Settings of the sampling that a server did not take, as in a response."""
    quoted_controls: int = 0
    """Control tokens that the quoted request and answer spelled; the verifier was shown them as plain text."""


@dataclass(frozen=True)
class Example:
    """One row of supervised fine-tuning."""

    id: str
    """Stable id."""
    prompt: str
    """The user's message."""
    thinking: str
    """Target: the thinking."""
    answer: str
    """Target: the text after the thinking."""
    stratum: str
    """What it balances: `unsafe`, `safe`, `benign` or `harmful`."""
    prompt_id: str
    """The prompt that it leads back to."""
    response_id: str
    """The response that it leads back to."""
    verification_id: str | None = None
    """The verification that it leads back to; None for examples that demonstrate a response."""
    system: str = ""
    """The system message under which the prompt is put; empty for none."""
    quotes: bool = False
    """Whether the prompt shows text by others, to be verified: nothing that it spells is then a control token."""


@dataclass(frozen=True)
class Provenance:
    """Where a figure comes from. There is no figure without it.

    Raises:
        ValueError: a field is empty.
    """

    judge: str
    """Who labelled."""
    judge_revision: str
    """Which version of the judge: its model, or the version of the package that holds its rules."""
    judged: str
    """What was labelled: `answer`, `full` or `thinking`."""
    decoding: str
    """How the text was drawn."""
    measured: str
    """The day on which it was drawn, as year-month-day."""
    recipe: str
    """Key of the recipe: a hash of all its settings."""

    def __post_init__(self) -> None:
        """Refuse what is empty."""
        for field in fields(Provenance):
            if not getattr(self, field.name):
                raise ValueError(f"a figure needs its {field.name}: there is none without")


@dataclass(frozen=True)
class Score:
    """One measured figure, with all that is needed to read it.

    Raises:
        ValueError: the figure or an end of its interval is no finite number.
    """

    arm: str
    """The arm."""
    seed: int | None
    """Its seed; None if pooled over seeds."""
    benchmark: str
    """The benchmark and kind of prompts, for example `harmful`."""
    family: str | None
    """The attack family; None for all of the split."""
    split: Split | None
    """In-distribution or out-of-distribution; None for both."""
    metric: str
    """Name of the metric."""
    value: float | None
    """A fraction, 0 to 1 (a correlation, -1 to 1); None if nothing could be counted, or if labels are missing on one
    side only: the bounds are then all that is known."""
    n: int
    """Number of rows that count."""
    low: float | None
    """Lower end of the 95 % interval, if no missing row counts towards the figure (Imbens & Manski 2004, doi
    10.1111/j.1468-0262.2004.00555.x, on intervals that cover both bounds)."""
    high: float | None
    """Upper end, if all missing rows do."""
    truncated: float
    """Share of the rows whose text ran into the token limit."""
    missing: int
    """Rows without a label: those that hold no answer, and those whose answer the judge left unlabelled."""
    provenance: Provenance
    """Judge, decoding, date and recipe."""
    spec: bool | None = None
    """For verification metrics: whether the specification was quoted."""
    variant: str = "default"
    """The variant of the recipe."""
    mean: float | None = None
    """Pooled figures only: mean over seeds."""
    sd: float | None = None
    """Pooled figures only: standard deviation over seeds."""
    parents: int | None = None
    """Number of parent prompts behind the rows: how many of them are independent of each other."""
    lowest: float | None = None
    """The figure if no missing row counts towards it (Manski 1990, AER 80:319; Horowitz & Manski 2000, doi
    10.1080/01621459.2000.10473902); None where no simple bound is known."""
    highest: float | None = None
    """The figure if all missing rows do."""
    no_answer: int = 0
    """Of the missing rows, those without an answer that can be read: failed, cut short, filtered, of no known form."""
    filtered: int = 0
    """Of these, the rows whose text a server's filter withheld."""
    missing_other_side: float | None = None
    """Share of rows without such a label on the other side, benign prompts for harmful ones, of the same arm, split and
    family; None if nothing there has one."""
    caveat: str = ""
    """What a reader of this one figure should mind, or why there is none."""

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        for name in ("value", "low", "high", "truncated", "lowest", "highest", "missing_other_side"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.metric} of {self.arm}: {name} is {number}, which is no figure")

    @property
    def judge(self) -> str:
        """Who labelled."""
        return self.provenance.judge

    @property
    def bounded(self) -> bool:
        """Whether bounds are all that is told: some rows have a label, and those that have none are too many."""
        return bool(self.n) and self.open

    @property
    def open(self) -> bool:
        """Whether there is no figure for want of labels, of some rows or of all."""
        return self.value is None and bool(self.missing) and self.lowest is not None and self.highest is not None


@dataclass(frozen=True)
class Measured:
    """What was measured of one response, so that runs can be compared prompt by prompt."""

    id: str
    """Stable id."""
    variant: str
    """The variant of the recipe."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""
    prompt_id: str
    """The prompt."""
    parent_id: str
    """The prompt that it wraps, or itself."""
    sample: int
    """Number of the sample among those of its prompt."""
    benchmark: str
    """Where the prompt came from."""
    family: str
    """Its attack family."""
    split: Split
    """Where it stands to what was tuned on."""
    harmful: bool
    """Whether helping would be harmful."""
    asr: bool | None
    """For harmful prompts, whether the answer is unsafe; None without a label."""
    over_refusal: bool | None
    """For benign prompts, whether the answer refuses."""
    helpful: bool | None
    """For benign prompts, whether the answer is what was asked for."""
    proactive_verification: bool | None
    """For harmful prompts, whether the thinking checks safety unasked."""
    truncated: bool
    """Whether the response ran into the token limit."""


PAIRED_METRICS = ("asr", "over_refusal", "helpful", "proactive_verification")
"""What arms are compared by, response by response: fields of `Measured`."""
SIDES = ("harmful", "benign", "all", "pairs", "own answers", "stress")
"""What a figure is over, where it is not over one benchmark of several: names that no benchmark can have."""
D = TypeVar("D")
R = TypeVar("R", bound="Row")
Row = Prompt | Response | Judgement | Verification | Example | Measured
"""Everything that a store keeps in tables; figures are computed from it."""


def from_columns(row_type: type[D], values: Mapping[str, Any]) -> D:
    """Build a row from plain values, as Arrow gives them back."""
    hints = typing.get_type_hints(row_type)
    made: dict[str, Any] = {}
    for name, value in values.items():
        hint, _ = strip_none(hints[name])
        made[name] = hint(value) if value is not None and issubclass(hint, StrEnum) else value
    return row_type(**made)


def strip_none(hint: Any) -> tuple[type, bool]:
    """The type of a field, and whether it may be None."""
    if isinstance(hint, types.UnionType):
        (inner,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return inner, True
    return hint, False
