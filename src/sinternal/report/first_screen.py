"""What a report shows before anybody scrolls: one sentence, one picture, and which arms cannot be told apart."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from sinternal.figures.best import Best, best
from sinternal.figures.study import Arm, ReportData
from sinternal.records import Split
from sinternal.report import svg

UNSEEN = {Split.OOD.value: "unseen attack families", Split.ID.value: "known attack families"}


@dataclass(frozen=True)
class ToldApart:
    """Which arms may have the lowest attack success, and which have not."""

    variant: str
    """The variant."""
    where: str
    """On which attacks."""
    alike: tuple[Markup, ...]
    """The arms that cannot be told from the lowest, that one first."""
    apart: tuple[Markup, ...]
    """Those that can."""
    unknown: tuple[str, ...]
    """Of the first, those whose rate has only bounds."""


def told_apart(data: ReportData, variant: str) -> ToldApart | None:
    """The arms of a variant as two sets; None if fewer than two were measured."""
    lowest: Best | None = best(data.scores, data.comparisons, variant)
    if lowest is None:
        return None
    return ToldApart(
        variant,
        UNSEEN[lowest.split],
        tuple(arm_label(data.arms, name) for name in (lowest.arm, *lowest.alike)),
        tuple(arm_label(data.arms, name) for name in lowest.apart),
        lowest.unknown,
    )


def arm_label(arms: tuple[Arm, ...], name: str) -> Markup:
    """An arm's mark and its name."""
    shape = next((i for i, arm in enumerate(arms) if arm.name == name), len(arms))
    mark = svg.tag("svg", svg.mark(shape, 7, 8), class_=svg.colour(shape), width=14, height=16, aria_hidden="true")
    return svg.tag("span", mark, " ", name, class_="arm")
