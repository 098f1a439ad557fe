"""What a report shows before anybody scrolls: one sentence, one picture, and which arms cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from markupsafe import Markup

from sinternal.figures.best import Best, best
from sinternal.figures.study import Arm, ReportData
from sinternal.records import Split
from sinternal.report import svg
from sinternal.report.effect_words import FEW_RUNS

UNSEEN = {Split.OOD.value: "unseen attack families", Split.ID.value: "known attack families"}


@dataclass(frozen=True)
class ToldApart:
    """Which arms may have the lowest attack success, and which have not."""

    variants: tuple[str, ...]
    """The variants of which this holds."""
    where: str
    """On which attacks."""
    alike: tuple[Markup, ...]
    """The arms that cannot be told from the lowest, that one first."""
    apart: tuple[Markup, ...]
    """Those that can."""
    unknown: tuple[str, ...]
    """Of the first, those whose rate has only bounds."""
    between: tuple[tuple[str, str], ...]
    """Of the first, pairs that can be told from each other, though not from the lowest."""


def told_apart(data: ReportData, variant: str) -> ToldApart | None:
    """The arms of a variant as two sets; None if fewer than two were measured."""
    lowest: Best | None = best(data.scores, data.comparisons, variant)
    if lowest is None:
        return None
    return ToldApart(
        (variant,),
        UNSEEN[lowest.split],
        tuple(arm_label(data.arms, name) for name in (lowest.arm, *lowest.alike)),
        tuple(arm_label(data.arms, name) for name in lowest.apart),
        lowest.unknown,
        lowest.between,
    )


def told_alike(sets: Iterable[ToldApart | None]) -> list[ToldApart]:
    """The same with a line for all variants that agree, the most common first.

    Args:
        sets: of each variant.
    """
    by_content: dict[ToldApart, list[str]] = {}
    for row in sets:
        if row is not None:
            by_content.setdefault(replace(row, variants=()), []).extend(row.variants)
    order = sorted(by_content.items(), key=lambda item: -len(item[1]))
    return [replace(row, variants=tuple(names)) for row, names in order]


def how_sure(seeds: int, *, trains: bool = True, of_variants: bool = False) -> str:
    """What the intervals of the first screen hold for, and what so few or so many training runs can tell.

    Args:
        seeds: training runs of each arm.
        trains: whether arms were trained; else a seed is another draw of answers.
        of_variants: whether the picture shows the differences of all variants, and not the arms of one.
    """
    if not trains:
        drawn = "once" if seeds == 1 else f"by {seeds} seeds"
        return f"Nothing was trained. Answers were drawn {drawn}; intervals hold for other prompts."
    if seeds <= 1:
        return (
            "One training run of each arm (1 seed): intervals hold for other prompts alone, and nothing can be told "
            "about other training runs."
        )
    runs = f"{seeds} training runs of each arm ({seeds} seeds)"
    if of_variants:
        wide = ", which so few make very wide" if seeds <= FEW_RUNS else ""
        return f"{runs}: intervals hold for other prompts and other training runs{wide}."
    if seeds <= FEW_RUNS:
        return (
            f"{runs}: intervals hold for other prompts and these runs alone; so few tell next to nothing about other "
            "training runs, for which five seeds or more are needed."
        )
    return (
        f"{runs}: the differences beneath the panels hold for other prompts and other training runs, the bars of "
        "single arms for these runs."
    )


def arm_label(arms: tuple[Arm, ...], name: str) -> Markup:
    """An arm's mark and its name."""
    shape = next((i for i, arm in enumerate(arms) if arm.name == name), len(arms))
    mark = svg.tag("svg", svg.mark(shape, 7, 8), class_=svg.colour(shape), width=14, height=16, aria_hidden="true")
    return svg.tag("span", mark, " ", name, class_="arm")
