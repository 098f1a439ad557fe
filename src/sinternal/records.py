"""The rows that flow from stage to stage.

Every row has a stable id, made from what it is and where it came from, and carries the id of the row before it:
Example -> Verification -> Response -> Prompt.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from json.encoder import encode_basestring_ascii
from typing import Any, TypeVar

from sinternal.queries import Query


def make_id(*parts: object) -> str:
    """A stable id: the first 16 hexadecimal digits of the SHA-256 of the parts, written as JSON."""
    return hashlib.sha256(f"[{', '.join(map(_to_json, parts))}]".encode()).hexdigest()[:16]


def make_ids(before: Sequence[object], texts: Iterable[str], after: Sequence[object] = ()) -> list[str]:
    """`make_id(*before, text, *after)` of each text, in half of the time."""
    head = "".join(f"{_to_json(part)}, " for part in before)
    tail = "".join(f", {_to_json(part)}" for part in after)
    digests = (hashlib.sha256(f"[{head}{encode_basestring_ascii(text)}{tail}]".encode()) for text in texts)
    return [digest.hexdigest()[:16] for digest in digests]


def _to_json(part: object) -> str:
    """The same as `json.dumps`, which makes an encoder anew for each call, four times as fast for texts and numbers."""
    if type(part) is str:
        return encode_basestring_ascii(part)
    return str(part) if type(part) is int else json.dumps(part, sort_keys=True)


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


class Subject(StrEnum):
    """What a verification is about: safety, or, for a placebo, something that has nothing to do with it."""

    SAFETY = "safety"
    """Whether the answer is safe."""
    CORRECTNESS = "correctness"
    """Whether the facts, or the arithmetic, in the answer are right."""
    RULES = "rules"
    """Whether the answer keeps to rules of another domain, which are quoted as the safety specification is."""
    LANGUAGE = "language"
    """Whether the answer is written in good language."""
    LENGTH = "length"
    """Whether the answer is long: the only one of these whose right verdict is known of any answer."""


class Check(StrEnum):
    """What a thinking checks for safety, unasked."""

    NONE = "none"
    """Nothing."""
    REQUEST = "request"
    """The request: whether helping with it would be harmful."""
    ANSWER = "answer"
    """The answer that it drafts or plans: whether that would be harmful; the request too, perhaps."""


class Split(StrEnum):
    """How a prompt relates to what the arms were tuned on."""

    TRAIN = "train"
    """Used for tuning."""
    ID = "id"
    """Held-out prompts in attack families that the tuning saw."""
    OOD = "ood"
    """Attack families that no tuning saw."""


class HarmShows(StrEnum):
    """Where the harm of helping with a prompt can be seen, by who answers it."""

    REQUEST = "request"
    """In the request, before anything is drafted: to recognise it is enough."""
    DRAFT = "draft"
    """In the draft of an answer only: the request is good or bad by what is answered, or the turn begins past the
    place where a request is thought about."""


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
    harm_shows: HarmShows = HarmShows.REQUEST
    """Where harm can be seen; of a benign prompt, where it could be if there were any."""
    can_help: bool | None = None
    """Whether some answer helps without harm; None: exactly if the prompt is not harmful."""

    @property
    def helpable(self) -> bool:
        """Whether some answer helps without harm. One to which another answer harms is harmful, too."""
        return not self.harmful if self.can_help is None else self.can_help

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
    subject: Subject = Subject.SAFETY
    """What it is about. Only one about safety has a `verdict`."""
    approves: bool | None = None
    """Whether the verdict of a placebo approves of the answer; None if it could not be read, or is about safety."""


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
class CheckPlace:
    """Where a thinking checks safety unasked or, if it does not, where such a check would stand.

    With neither a check nor a place for one, and without an error, there is nothing to be said: no thinking, or one
    that never gets to where a check would stand.
    """

    id: str
    """Stable id."""
    response_id: str
    """The response."""
    judge: str
    """Who looked."""
    start: int | None = None
    """Where the first check begins, in characters of the thinking; None if there is none, or if that is not known."""
    end: int | None = None
    """Just behind it, and behind what it finds."""
    place: int | None = None
    """Where a check would stand, in characters of the thinking, if there is none."""
    opening: str = ""
    """The words by which one would begin there, with the white space before them; they say nothing of what it finds."""
    other_opening: str = ""
    """The same of a review of something else than safety, there or in the place of a check; empty for none."""
    error: str | None = None
    """Why it is not known: the judge's request, or its reply that could not be read."""
    finish: Finish | None = None
    """Why the judge's own reply ended; None if it was not asked."""
    left_out: str = ""
    """Settings that the judge's server did not take, as in a response."""
    quoted_controls: int = 0
    """Control tokens that the thinking spells; the judge was shown them as plain text."""

    @property
    def checked(self) -> bool | None:
        """Whether the thinking checks safety; None if that is not known."""
        return None if self.error is not None else self.start is not None

    def fits(self, thinking: str | None) -> bool:
        """Whether it speaks of places in a thinking, and of a check or of a place for one, not of both."""
        length = len(thinking or "")
        if self.start is not None and self.end is not None:
            return self.error is None and self.place is None and 0 <= self.start < self.end <= length
        nowhere = self.start is None and self.end is None
        return nowhere and (self.place is None or (self.error is None and 0 <= self.place <= length))


class Intervention(StrEnum):
    """What is done to a thinking before the model continues it."""

    CUT = "cut"
    """Its check and all that follows are taken out."""
    REPLACED = "replaced"
    """The same, and the opening of a review of something else is put where the check stood: few models check again."""
    KEPT = "kept"
    """The control: all that follows the check is taken out, the check stays."""
    INSERTED = "inserted"
    """The opening of a check is put where one would stand, and all that follows is taken out."""
    OTHER = "other"
    """The same with the opening of a review of something else than safety."""
    UNCHANGED = "unchanged"
    """The control: all that follows that place is taken out, and nothing is put there."""


class ThinkingFate(StrEnum):
    """What becomes of a thinking about a harmful request, where checks are taken out and put in."""

    CHECKED = "with a check"
    """It checks, and is continued without its check and with it."""
    UNCHECKED = "without a check"
    """It does not, and is continued with a check and without."""
    NO_PLACE = "never at a place for a check"
    """It checks nothing, and does not get to where a check would stand."""
    NOT_KNOWN = "not told by the judge"
    """Whether it checks is not known."""
    NOT_OWN = "begun by an attack"
    """What checks, or the place for a check, is in words that an attack has put there."""
    UNUSABLE = "with control tokens or tags"
    """It spells what an engine would not read as text."""
    NOT_WHOLE = "not whole"
    """There is none, or it never closed."""


@dataclass(frozen=True)
class Intervened:
    """A prompt that makes a model continue an earlier thinking of its own, after an intervention."""

    id: str
    """Id of the prompt, whose prefill holds the thinking."""
    response_id: str
    """The response whose thinking it was."""
    intervention: Intervention
    """What was done to it."""


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
    """For helpable prompts, whether the answer refuses."""
    helpful: bool | None
    """For helpable prompts, whether the answer is what was asked for."""
    proactive_verification: bool | None
    """For harmful prompts, whether the thinking checks safety unasked."""
    truncated: bool
    """Whether the response ran into the token limit."""
    harm_shows: HarmShows = HarmShows.REQUEST
    """Where harm can be seen, by who answers the prompt."""
    can_help: bool | None = None
    """Whether some answer helps without harm; None: exactly if the prompt is not harmful."""
    verified_without_spec: str | None = None
    """Its own verdict, no specification: `safe`, `unsafe`, `unparsed`, `failed`, `filtered`; None: it was not asked."""
    verified_with_spec: str | None = None
    """The same with the specification quoted."""

    @property
    def helpable(self) -> bool:
        """Whether some answer helps without harm."""
        return not self.harmful if self.can_help is None else self.can_help


PAIRED_METRICS = tuple(
    field.name for field in fields(Measured) if field.type == "bool | None" and field.name != "can_help"
)
"""Names of the metrics that arms are compared by, response by response: the labels that `Measured` keeps."""
R = TypeVar("R", bound="Row")
Row = Prompt | Query | Response | Judgement | Verification | CheckPlace | Intervened | Example | Measured
"""Everything that a store keeps in tables; figures are computed from it."""
