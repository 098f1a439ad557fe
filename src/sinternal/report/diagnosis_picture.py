"""The pictures of a diagnosis: how well a model's verdicts fit its own answers, and what these answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from markupsafe import Markup

from sinternal.figures.diagnosis import Figure
from sinternal.figures.metric import (
    ASR,
    OVER_REFUSAL,
    VERIFICATION_BALANCED_ACCURACY,
    VERIFICATION_FALSE_SAFE,
    VERIFICATION_UNPARSED,
    Metric,
    Over,
)
from sinternal.report.diagnosis_tables import answer_lines
from sinternal.report.dot_plot import Dot, Line, Panel, Plot, draw
from sinternal.report.first_picture import counted, highest_of, rate_dot
from sinternal.report.format import percent

OF_VERDICTS = {
    VERIFICATION_BALANCED_ACCURACY: (VERIFICATION_BALANCED_ACCURACY.title, "further right is better"),
    VERIFICATION_FALSE_SAFE: (VERIFICATION_FALSE_SAFE.short, "unsafe answers called safe"),
    VERIFICATION_UNPARSED: (VERIFICATION_UNPARSED.short, "no readable verdict"),
}
"""What is drawn of verdicts, with its heading and a line beneath."""
WAYS = {False: "no spec", True: "with spec"}
"""How answers are verified, in as few letters as a telephone has room for."""
SHAPES = {False: 2, True: 1}
"""The marks of verdicts without the specification and with it; answers have the first."""
ALIKE = 0.005
"""How far guesses may differ that are drawn as one line."""
MOST_FAMILIES = 12
"""That are drawn; the table has all."""


def pictures(figures: Sequence[Figure]) -> list[Markup]:
    """How well the model knows its own answers, and what these are; what was not measured is not drawn."""
    return [picture for picture in (_of_verdicts(figures), _of_answers(figures)) if picture is not None]


def _of_verdicts(figures: Sequence[Figure]) -> Markup | None:
    """A row for each way to ask, on answers to harmful requests where these stand apart."""
    harmful = any(figure.score.over is Over.OWN_HARMFUL for figure in figures)
    over = Over.OWN_HARMFUL if harmful else Over.OWN_ANSWERS
    found = {(f.score.metric, bool(f.score.spec)): f for f in figures if f.score.over is over}
    panels = []
    for metric in OF_VERDICTS:
        rows = {how: found[metric.name, spec] for spec, how in WAYS.items() if (metric.name, spec) in found}
        if panel := _panel(metric, rows):
            panels.append(panel)
    shown = {name for panel in panels for name in panel.dots}
    if not any(panel.title == VERIFICATION_BALANCED_ACCURACY.title for panel in panels):
        return None
    return draw(
        Plot(
            "Its verdicts on its own answers to harmful requests" if harmful else "Its verdicts on its own answers",
            "Bars: 95 % intervals. Dashed line, or small points: what guessing gives. Verdicts that know something of "
            "the answers are to the right of it in the first panel, and to the left of it in the second. Spec: whether "
            "the question quotes the specification.",
            [Line(how, SHAPES[spec]) for spec, how in WAYS.items() if how in shown],
            panels,
            0.0,
            1.0,
            counts=("n",),
        )
    )


def _panel(metric: Metric, rows: Mapping[str, Figure]) -> Panel | None:
    """One figure of verdicts; what guessing gives is a line, or a small point in each row where rows differ in it."""
    dots = _dots(rows)
    guesses = {name: figure.guess for name, figure in rows.items() if name in dots and figure.guess is not None}
    alike = bool(guesses) and max(guesses.values()) - min(guesses.values()) < ALIKE
    if not alike:
        dots = {name: replace(dot, single=(guesses[name],)) if name in guesses else dot for name, dot in dots.items()}
    title, subtitle = OF_VERDICTS[metric]
    words = "; ".join(f"guessing gives {percent(guess)} % {name}" for name, guess in guesses.items())
    line = next(iter(guesses.values())) if alike else None
    return Panel(title, subtitle, dots, line, counts=counted(dots), words=words) if dots else None


def _of_answers(figures: Sequence[Figure]) -> Markup | None:
    """A row for each attack family, and one for all of them."""
    lines = answer_lines(figures, (ASR, OVER_REFUSAL))
    if len(lines) > MOST_FAMILIES:
        lines = [line for line in lines if line.name == "all"]
    attacks, refusals = (_dots({line.name: line.cells[column] for line in lines}) for column in (0, 1))
    if not attacks:
        return None
    panels = [Panel("Unsafe answers", "to harmful requests", attacks, counts=counted(attacks))]
    if refusals:
        own = highest_of(refusals.values())
        panels.insert(0, Panel("Refuses benign", "", refusals, counts=counted(refusals), high=own, mirrored=True))
    dotted = any(dot.value is None for dots in (attacks, refusals) for dot in dots.values())
    return draw(
        Plot(
            "Its answers, by attack family",
            "Further left is safer; mirrored, at the left: benign requests refused. Bars: 95 % intervals."
            + (" Dotted bars: bounds, as labels are missing." if dotted else ""),
            [Line(line.name, SHAPES[False]) for line in lines if line.name in {**attacks, **refusals}],
            panels,
            0.0,
            1.0,
            counts=("n",),
        )
    )


def _dots(figures: Mapping[str, Figure | None]) -> dict[str, Dot]:
    known = {name: figure.score for name, figure in figures.items() if figure is not None}
    return {name: rate_dot(name, score) for name, score in known.items() if score.value is not None or score.bounded}
