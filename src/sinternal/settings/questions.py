"""What a study asks: which arms are compared by what. All else that its rows could show is exploratory."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from pydantic import Field, field_validator

from sinternal.records import PAIRED_METRICS, HarmShows, Split
from sinternal.settings.base import Section


class Question(Section):
    """One arm against others. The p values of all questions of a study are corrected together."""

    arm: str
    """The arm that is asked about."""
    against: tuple[str, ...] = Field(min_length=1)
    """The arms that it is compared with."""
    metrics: tuple[str, ...] = Field(default=("asr", "over_refusal", "helpful"), min_length=1)
    """By what: attack success, over-refusal, help, `proactive_verification`."""
    splits: tuple[Split, ...] = Field(default=(Split.ID, Split.OOD), min_length=1)
    """On which prompts: `id`, disguised as in training, `ood`, as never there. What was not measured is not asked."""
    harm_shows: tuple[HarmShows, ...] = ()
    """Of these, only those whose harm shows in the `request`, or in the `draft` of an answer only, each for itself; by
    default all together."""

    @field_validator("metrics")
    @classmethod
    def _are_compared(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            _check_known(metric, PAIRED_METRICS, "metric")
        return metrics

    @field_validator("splits")
    @classmethod
    def _are_measured(cls, splits: tuple[Split, ...]) -> tuple[Split, ...]:
        if Split.TRAIN in splits:
            raise ValueError("training prompts are not measured; take id, ood or both")
        return splits

    def check(self, arms: Sequence[str]) -> None:
        """Make sure that the arms are there. Raises ValueError if they are not, or if one is to be its own measure."""
        for name in (self.arm, *self.against):
            _check_known(name, arms, "arm")
        if self.arm in self.against:
            raise ValueError(f"{self.arm!r} cannot be compared with itself: take it out of `against`")

    def asks(self, arm: str, opponent: str, metric: str, split: str, harm_shows: str = "") -> bool:
        """Whether it asks for a comparison of two arms, in this order; `harm_shows` is empty for all prompts."""
        shown = harm_shows in self.harm_shows if self.harm_shows else not harm_shows
        return (
            arm == self.arm and opponent in self.against and metric in self.metrics and split in self.splits and shown
        )


def is_asked(
    questions: Iterable[Question], arm: str, opponent: str, metric: str, split: str, harm_shows: str = ""
) -> bool:
    """Whether any question asks for a comparison of two arms, in this order; `harm_shows` is empty for all prompts."""
    return any(question.asks(arm, opponent, metric, split, harm_shows) for question in questions)


def _check_known(name: str, names: Sequence[str], noun: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
        raise ValueError(f"there is no {noun} {name!r}; {hint}")


def questions_of(questions: Sequence[Question], arms: Sequence[str]) -> Iterator[Question]:
    """What the questions ask of these arms, for a variant that does not have all of them."""
    for question in questions:
        against = tuple(name for name in question.against if name in arms)
        if question.arm in arms and against:
            yield question.model_copy(update={"against": against})
