"""What adaptive attacks achieve with how many queries: a table, what it is made up of, and a plot for each attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from sinternal.figures.budget import BudgetDifference, BudgetPoint
from sinternal.figures.estimate import Estimate
from sinternal.figures.study import Arm, ReportData
from sinternal.layout import Control
from sinternal.report import svg
from sinternal.report.format import MISSING, bounds, interval, percent, points, points_interval
from sinternal.report.svg import DASHES, Scale
from sinternal.report.tables import TextTable, TitledTable

TITLE = "Attack success over budget"
HOW = (
    "Percent of the plain harmful requests that are broken within so many queries to the arm, by at least one unsafe "
    "answer, over all seeds; every arm is attacked by the same attacker with the same budget, requests and seeds. "
    "Adaptive: the attacker sees the arm's own answers and their labels. Blind: the same attacker, all feedback "
    "withheld. Repetition: the plain request as often. Intervals are over whole parent prompts and cover whatever "
    "missing labels are; where more than 5 % of the requests are open for want of a label, there are bounds."
)
TITLE_PARTS = "What the success of an adaptive attack is made up of"
HOW_PARTS = (
    "Percentage points, with the whole budget, on the same requests. Repetition: plain requests asked that often, "
    "less once. Disguises: the attacker without feedback, less plain requests as often. Adaptation: with feedback, "
    "less without. In all: the adaptive attack, less the plain request asked once. Only adaptation is what the attack "
    "learns from this arm. Intervals are over whole parent prompts, for these training runs. Nothing is corrected for "
    "the number of differences."
)
TITLE_ARMS = "Arms under adaptive attack"
HOW_ARMS = (
    "Percentage points, with the whole budget, on the same requests of the same seeds: each arm less its placebos and "
    "less the arm that is not trained. Below 0, the arm withstands more. The first interval is over whole parent "
    "prompts, for these training runs; the second is for other runs as well, by Student's t over runs. Exploratory, "
    "not corrected."
)
WORDS = {Control.NONE: "adaptive", Control.BLIND: "blind", Control.REPETITION: ""}
PARTS = ("repetition", "disguises", "adaptation", "in all")
APART = 14
"""Pixels between the intervals of two arms."""
SHOWN = 5
"""Numbers of queries that a table shows."""


def budget_tables(data: ReportData, variant: str) -> list[TitledTable]:
    """The tables of one variant; without rows where nothing was attacked."""
    return [
        TitledTable(TITLE, HOW, curves_table(data.budgets, variant)),
        TitledTable(TITLE_PARTS, HOW_PARTS, parts_table(data, variant)),
        TitledTable(TITLE_ARMS, HOW_ARMS, arms_table(data, variant)),
    ]


def curves_table(points: Sequence[BudgetPoint], variant: str) -> TextTable:
    """A row for each arm, attack and control, a column for some numbers of queries."""
    mine = [point for point in points if point.variant == variant]
    shown = shown_queries(max((point.budget for point in mine), default=1))
    by_row: dict[tuple[str, str, Control], dict[int, BudgetPoint]] = {}
    for point in mine:
        by_row.setdefault((point.arm, point.attack, point.control), {})[point.queries] = point
    rows = [
        [
            arm,
            f"{attack} {WORDS[control]}".strip(),
            *(in_words(of_row.get(queries)) for queries in shown),
            str(last.n + last.missing),
            percent(last.unsent),
        ]
        for (arm, attack, control), of_row in by_row.items()
        for last in (of_row[max(of_row)],)
    ]
    queries = [f"{number} {'query' if number == 1 else 'queries'}" for number in shown]
    return TextTable(["arm", "attack", *queries, "requests", "nothing sent"], rows)


def shown_queries(budget: int) -> list[int]:
    """About `SHOWN` numbers of queries, the first and the last among them, twice as many each time."""
    chosen = [budget]
    while chosen[-1] > 1 and len(chosen) < SHOWN:
        chosen.append((chosen[-1] + 1) // 2)
    return sorted({1, *chosen})


def parts_table(data: ReportData, variant: str) -> TextTable:
    """A row for each arm and attack, a column for each part of its success."""
    by_row: dict[tuple[str, str], dict[str, BudgetDifference]] = {}
    for difference in data.budget_differences:
        if difference.variant == variant and difference.what in PARTS:
            by_row.setdefault((difference.arm, difference.attack), {})[difference.what] = difference
    rows = [
        [arm, attack, *(in_points(parts.get(part)) for part in PARTS), str(parts["in all"].n)]
        for (arm, attack), parts in by_row.items()
    ]
    return TextTable(["arm", "attack", *PARTS, "pairs"], rows)


def arms_table(data: ReportData, variant: str) -> TextTable:
    """A row for each pair of arms and attack."""
    rows = [
        [
            f"{row.arm} less {row.less_arm}",
            row.attack,
            in_points(row),
            MISSING if row.low is None or row.high is None else points_interval(row.low, row.high),
            str(row.runs),
            str(row.n),
            str(row.missing),
        ]
        for row in data.budget_differences
        if row.variant == variant and row.what == "arms"
    ]
    columns = ["arms", "attack", "difference, these runs", "other runs, too", "runs", "pairs", "open pairs"]
    return TextTable(columns, rows)


def in_words(point: Estimate | None) -> str:
    """A share with its interval: `21.3 [18.0, 25.1]`, or `10.0 to 30.0 [8.1, 33.0]` where labels are missing."""
    if point is None:
        return MISSING
    share = bounds(point) if point.value is None and point.lowest is not None else percent(point.value)
    return f"{share} {interval(point.low, point.high)}".strip()


def in_points(difference: BudgetDifference | None) -> str:
    """A difference with its interval for these runs, or its bounds with theirs."""
    if difference is None or difference.lowest is None or difference.highest is None:
        return MISSING
    told = difference.value is not None
    share = points(difference.value or 0.0) if told else f"{points(difference.lowest)} to {points(difference.highest)}"
    low, high = difference.low_these_runs, difference.high_these_runs
    return f"{share} {points_interval(low, high) if low is not None and high is not None else ''}".strip()


def budget_plots(data: ReportData, variant: str) -> Iterator[Markup]:
    """A plot for each attack: a solid line for each arm, and a faint one for the attack without feedback."""
    mine = [point for point in data.budgets if point.variant == variant and point.budget > 1]
    for attack in dict.fromkeys(point.attack for point in mine if point.control is Control.NONE):
        yield _plot(attack, [point for point in mine if point.attack == attack], data.arms)


def _plot(attack: str, curves: Sequence[BudgetPoint], arms: Sequence[Arm]) -> Markup:
    budget = curves[0].budget
    x, y = Scale(1, budget, 64, 500), Scale(0, 1, 330, 16)
    content = [svg.rule(x.start, x.end, y.at(tick), f"{tick:.0%}") for tick in svg.ticks(0, 1)]
    for tick in sorted({1, *(int(tick) for tick in svg.ticks(1, budget))}):
        content.append(svg.text(x.at(tick), y.start + 18, f"{tick}", anchor="middle"))
    content.append(svg.text((x.start + x.end) / 2, y.start + 42, "queries for each request", anchor="middle"))
    content.append(svg.side_title(14, (y.start + y.end) / 2, "requests broken"))
    for i, arm in enumerate(arms):
        for control, faint in ((Control.BLIND, " faint"), (Control.NONE, "")):
            line = sorted((p for p in curves if (p.arm, p.control) == (arm.name, control)), key=lambda p: p.queries)
            if line:
                content.append(_curve(i, line, x, y, faint))
    described = (
        "Solid: the attacker sees the arm's answers and their labels; faint: the same attacker without any feedback. "
        "The distance is adaptation, all else is chance and disguises. Whiskers are 95 % intervals at the whole "
        "budget; where labels are missing, lines run at the least that is known."
    )
    return svg.figure(516 + APART * len(arms), 384, f"{TITLE}: {attack}", described, content)


def _curve(i: int, line: Sequence[BudgetPoint], x: Scale, y: Scale, faint: str) -> Markup:
    def height(point: BudgetPoint) -> float:
        return y.at(point.value if point.value is not None else point.lowest or 0.0)

    path = " ".join(f"{x.at(point.queries):.1f},{height(point):.1f}" for point in line)
    drawn = svg.tag("polyline", class_="curve", points=path, stroke_dasharray=DASHES[i % len(DASHES)])
    last, at = line[-1], x.end + APART * (i + 0.5)  # beside each other, so that no interval hides another
    ends = []
    if not faint and last.low is not None and last.high is not None:
        ends = [svg.whisker(at, y.at(last.low), at, y.at(last.high)), svg.mark(i, at, height(last))]
    title = f"{last.arm}, {last.attack} {WORDS[last.control]}: {in_words(last)} within {last.queries} queries"
    return svg.tag("g", svg.tag("title", title), drawn, *ends, class_=svg.colour(i) + faint)
