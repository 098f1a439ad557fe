"""From a run's artifacts to what the report shows."""

from __future__ import annotations

import pytest

from sinternal.figures.arms import trained_on
from sinternal.records import Subject
from sinternal.settings.arms import Arm, TrainOn


def words(**arm: object) -> str:
    return trained_on(Arm.model_validate({"name": "x", **arm}))


def test_every_arm_says_what_it_was_trained_on() -> None:
    said = {words(train_on=kind, placebo={"kind": "rules"} if kind == "placebo" else None) for kind in TrainOn}
    assert len(said) == len(TrainOn)
    assert not any("{" in text for text in said)


@pytest.mark.parametrize("kind", sorted(set(Subject) - {Subject.SAFETY}))
def test_a_placebo_says_what_it_is_about(kind: Subject) -> None:
    said = words(train_on="placebo", placebo={"kind": kind})
    assert said.startswith("a placebo: the expert's critique and verdict on the same answers, about ")
    assert said.endswith(" and not safety")


@pytest.mark.parametrize(
    ("use", "note"),
    [
        ("quoted", None),
        ("distilled", "the specification is shown to the expert and not quoted in training"),
        ("absent", "the specification is not quoted, nor shown to the expert"),
    ],
)
def test_who_is_shown_the_specification_is_told(use: str, note: str | None) -> None:
    _, *notes = words(train_on="verification", examples={"specification": use}).split("; ")
    assert notes == ([] if note is None else [note])


def test_a_placebo_quotes_rules_and_no_specification() -> None:
    said = words(train_on="placebo", placebo={"kind": "rules"}, examples={"specification": "distilled"})
    assert said.endswith("; the list of rules is shown to the expert and not quoted in training")
