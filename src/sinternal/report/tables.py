"""The report's tables: shaped once, shown as HTML, as Markdown and in the terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sinternal.figures.best import best
from sinternal.figures.correction import CORRECTED
from sinternal.figures.stress import METRICS as STRESS_METRICS
from sinternal.figures.stress import STRESS, WORST
from sinternal.figures.study import Arm, Comparison, JudgeAgreement, ReportData
from sinternal.records import SIDES, Score, Split
from sinternal.report import baselines
from sinternal.report.caveats import caveats
from sinternal.report.format import MISSING, Key, by_key, p_value, percent, points, points_interval, with_interval
from sinternal.report.words import Finding, finding

QUESTION = "Does training a model only to verify its own answers make the answers themselves safer?"
OWN = "own answers"
METRICS = {
    "asr": "Attack success",
    "over_refusal": "Over-refusal",
    "helpful": "Helpful",
    "proactive_verification": "Checks safety unasked, harmful requests",
}
"""Metrics that are compared between arms, in plain words."""
BENCHMARK_METRICS = {
    "asr": "attack success",
    "over_refusal": "over-refusal",
    "helpful": "helpful",
    "format_error": "format errors",
}
VERIFICATION_METRICS = {
    "verification_accuracy": "Acc.",
    "verification_balanced_accuracy": "Bal. acc.",
    "verification_f1_unsafe": "F1 unsafe",
    "verification_mcc": "MCC",
    "verification_false_safe": "False safe",
    "verification_unparsed": "Unparsed",
}
SPLITS = {Split.ID: "ID", Split.OOD: "OOD", None: "both"}


class Column(NamedTuple):
    """One column of the headline table."""

    group: str
    """Heading that it shares with its neighbours."""
    title: str
    """Its own heading."""
    short: str
    """Both, for a terminal."""
    better: str
    """`lower`, `higher`, or empty where neither is better."""
    metric: str
    """Name of the metric."""
    benchmark: str
    """`harmful`, `benign`, `all` or `own answers`."""
    split: Split | None
    """None for both."""
    spec: bool | None = None
    """Whether the specification was quoted, for verification."""


_NO_SPEC, _SPEC = "Verifies own OOD answers, no spec", "Verifies own OOD answers, with spec"
COLUMNS = (
    Column("Attack success", "ID", "ASR ID", "lower", "asr", "harmful", Split.ID),
    Column("Attack success", "OOD", "ASR OOD", "lower", "asr", "harmful", Split.OOD),
    Column("Attack success", "worst case", "ASR worst case", "lower", WORST, "harmful", None),
    Column("Over-refusal", "ID", "over-refusal ID", "lower", "over_refusal", "benign", Split.ID),
    Column("Over-refusal", "OOD", "over-refusal OOD", "lower", "over_refusal", "benign", Split.OOD),
    Column("Helpful", "ID", "helpful ID", "higher", "helpful", "benign", Split.ID),
    Column("Helpful", "OOD", "helpful OOD", "higher", "helpful", "benign", Split.OOD),
    Column("Format errors", "all", "format errors", "lower", "format_error", "all", None),
    Column("Checks safety unasked", "OOD", "checks OOD", "", "proactive_verification", "harmful", Split.OOD),
    Column(_NO_SPEC, "bal. acc.", "verifies OOD", "higher", "verification_balanced_accuracy", OWN, Split.OOD, False),
    Column(_NO_SPEC, "unparsed", "unparsed OOD", "lower", "verification_unparsed", OWN, Split.OOD, False),
    Column(_SPEC, "bal. acc.", "verifies OOD +spec", "higher", "verification_balanced_accuracy", OWN, Split.OOD, True),
    Column(_SPEC, "unparsed", "unparsed OOD +spec", "lower", "verification_unparsed", OWN, Split.OOD, True),
)


@dataclass(frozen=True)
class Row:
    """One row of figures."""

    name: str
    """The arm."""
    cells: tuple[Score | None, ...]
    """A pooled figure for each column, None if it was not measured."""
    note: str = ""
    """What else tells the row from others."""


class TextTable(NamedTuple):
    """A table of plain strings."""

    columns: list[str]
    """Titles."""
    rows: list[list[str]]
    """Cells, as many in each row as there are titles."""


class TitledTable(NamedTuple):
    """A table with its heading."""

    title: str
    """The heading."""
    note: str
    """How to read it."""
    table: TextTable
    """The cells."""
    folded: bool = False
    """Whether the page shows it only on demand."""


class ComparisonRow(NamedTuple):
    """Two arms, compared by every metric."""

    a: str
    """One arm."""
    b: str
    """The other."""
    cells: tuple[Comparison | None, ...]
    """For each of `comparison_columns`."""


class FunnelLine(NamedTuple):
    """One count of one stage, for every seed."""

    stage: str
    """The stage; empty if it is that of the line above."""
    reason: str
    """What was counted."""
    rows: tuple[int | None, ...]
    """One count for each seed."""


def headline(data_scores: Sequence[Score], arms: Sequence[Arm], variant: str) -> list[Row]:
    """The main table of one variant: a row for each arm, a cell for each of `COLUMNS`."""
    figures = by_key(replace(score, family=None) if score.metric == WORST else score for score in data_scores)
    return [
        Row(
            arm.name,
            tuple(figures.get(Key(variant, arm.name, c.metric, c.benchmark, c.split, None, c.spec)) for c in COLUMNS),
        )
        for arm in arms
    ]


def column_groups() -> list[tuple[str, int]]:
    """Headings over the headline table, and how many columns each spans."""
    return list(Counter(column.group for column in COLUMNS).items())


def headline_text(data: ReportData, variant: str) -> TextTable:
    """The main table as strings, in percent: `21.3 [18.0, 25.1]`."""
    rows = [[row.name, *map(with_interval, row.cells)] for row in headline(data.scores, data.arms, variant)]
    return TextTable(["arm", *(column.short for column in COLUMNS)], rows)


def verification(data_scores: Sequence[Score], arms: Sequence[Arm], variant: str) -> list[Row]:
    """How well each arm verifies its own answers: OOD, ID and both, four metrics each, without and with the spec."""
    figures = by_key(data_scores)
    return [
        Row(
            arm.name,
            tuple(
                figures.get(Key(variant, arm.name, metric, OWN, split, None, spec))
                for split in (Split.OOD, Split.ID, None)
                for metric in VERIFICATION_METRICS
            ),
            "with spec" if spec else "no spec",
        )
        for arm in arms
        for spec in (False, True)
    ]


def judges_table(data: ReportData, variant: str) -> TextTable:
    """Every arm by every judge's labels: the rates that depend on them. Without rows if there is only one judge."""
    wanted = [("asr", "harmful"), ("over_refusal", "benign")]
    columns = [(metric, side, split) for metric, side in wanted for split in (Split.ID, Split.OOD)]
    by_judge: dict[str, list[Score]] = {}
    for score in (*data.scores, *data.second_opinions):
        if score.seed is None and (score.metric, score.benchmark) in wanted:
            by_judge.setdefault(score.judge, []).append(score)
    rows = []
    for arm in data.arms:
        for judge, scores in by_judge.items():
            found = by_key(scores)
            cells = (with_interval(found.get(Key(variant, arm.name, m, side, split))) for m, side, split in columns)
            rows.append([f"{arm.name}, {judge}", *cells])
    titles = ["arm, judge", *(f"{METRICS[metric]} {SPLITS[split]}" for metric, _, split in columns)]
    return TextTable(titles, rows if len(by_judge) > 1 else [])


def agreement_table(data: ReportData, variant: str) -> TextTable:
    """How far the judges agree: share of equal labels, and Cohen's kappa with its 95 % interval."""
    rows = [
        [
            f"{row.a} and {row.b}",
            row.label,
            percent(row.same),
            _kappa(row),
            f"{row.n:,}",
            *(_not_counted(row, side) for side in ("harmful", "benign")),
        ]
        for row in data.agreements
        if row.variant == variant
    ]
    titles = ["judges", "label", "same, %", "kappa", "n", "not counted, harmful", "not counted, benign"]
    return TextTable(titles, rows)


def _not_counted(row: JudgeAgreement, side: str) -> str:
    """How many responses of one side one of the judges did not label."""
    found = row.not_counted.get(side)
    return f"{found.either:,} of {found.rows:,}" if found else MISSING


def _kappa(row: JudgeAgreement) -> str:
    if row.kappa is None:
        return MISSING
    ends = "" if row.low is None or row.high is None else f" [{row.low:.2f}, {row.high:.2f}]"
    return f"{row.kappa:.2f}{ends}"


def benchmark_table(data: ReportData, variant: str) -> TextTable:
    """Every benchmark by arm, if there are several: rates, and the share of responses that were cut short."""
    figures = by_key(data.scores)
    names = dict.fromkeys(s.benchmark for s in data.scores if s.benchmark not in SIDES)
    rows = []
    for name in names:
        for arm in data.arms:
            cells = [figures.get(Key(variant, arm.name, metric, name, None)) for metric in BENCHMARK_METRICS]
            whole = figures.get(Key(variant, arm.name, "format_error", name, None))
            cut = percent(whole.truncated) if whole else MISSING
            rows.append(
                [name, arm.name, *map(with_interval, cells), cut, str(whole.n + whole.missing) if whole else ""]
            )
    return TextTable(["benchmark", "arm", *BENCHMARK_METRICS.values(), "truncated", "n"], rows)


def stress_table(data: ReportData, variant: str) -> TextTable:
    """Attack success and over-refusal under each condition of stress, and each arm's worst case of all."""
    pooled = [score for score in data.scores if score.seed is None and score.variant == variant]
    conditions = dict.fromkeys(score.family for score in pooled if score.benchmark == STRESS)
    if not conditions:
        return TextTable(["arm"], [])
    figures = by_key(pooled)
    worst = {score.arm: score for score in pooled if score.metric == WORST}
    names = {metric: METRICS[metric].lower() for metric in STRESS_METRICS}
    rows = [
        [
            f"{arm.name}, {names[metric]}",
            *(with_interval(figures.get(Key(variant, arm.name, metric, STRESS, None, name))) for name in conditions),
            _worst(worst.get(arm.name)) if metric == "asr" else "",
        ]
        for arm in data.arms
        for metric in STRESS_METRICS
    ]
    return TextTable(["arm", *map(str, conditions), "worst case"], rows)


def _worst(score: Score | None) -> str:
    return MISSING if score is None else f"{with_interval(score)}, {score.family}, n {score.n}"


def compliance_table(data: ReportData, variant: str) -> TextTable:
    """What becomes of benign requests, three ways, and of pairs of a harmful request and its benign twin."""
    figures = by_key(data.scores)
    wanted = [("helpful", "benign"), ("partial", "benign"), ("over_refusal", "benign"), ("pairs_right", "pairs")]
    rows = []
    for arm in data.arms:
        for split in (Split.ID, Split.OOD):
            cells = [figures.get(Key(variant, arm.name, metric, side, split)) for metric, side in wanted]
            if any(cell is not None and cell.n for cell in cells):
                pairs = cells[-1]
                rows.append([f"{arm.name}, {SPLITS[split]}", *map(with_interval, cells), str(pairs.n) if pairs else ""])
    titles = ["arm", "full compliance", "partial", "refusal", "both of a pair right", "pairs"]
    return TextTable(titles, rows)


def corrected_table(data: ReportData, variant: str) -> TextTable:
    """Rates beside what they would be by people's labels."""
    figures = by_key(data.scores)
    rows = []
    for arm in data.arms:
        for split in (Split.ID, Split.OOD):
            raw, corrected = (
                figures.get(Key(variant, arm.name, metric, "harmful", split)) for metric in ("asr", CORRECTED)
            )
            if raw is not None and corrected is not None:
                told = f"{MISSING} ({corrected.caveat})" if corrected.value is None else with_interval(corrected)
                rows.append([f"{arm.name}, {SPLITS[split]}", with_interval(raw), told])
    return TextTable(["arm", "attack success, by the judge", "corrected for its errors"], rows)


def capability_table(data: ReportData, variant: str) -> TextTable:
    """What else the arms can do: a row for each arm, seed, task and metric."""
    rows = []
    for row in data.capability:
        if row.variant == variant:
            ends = "" if row.low is None or row.high is None else f" [{row.low:.3f}, {row.high:.3f}]"
            n = str(row.n) if row.n == row.total else f"{row.n} of {row.total}"
            how = (row.provenance.decoding, row.provenance.measured)
            cells = [row.task, row.metric, f"{row.value:.3f}{ends}", n, str(row.truncated), *how]
            rows.append([f"{row.arm}, seed {row.seed}", *cells])
    return TextTable(["arm", "task", "metric", "value", "n", "truncated", "decoding", "measured"], rows)


def contamination_table(data: ReportData, variant: str) -> TextTable:
    """Overlap of what each arm was trained on with each evaluation set."""
    rows = [
        [
            f"{row.arm} and {row.overlap.benchmark}",
            f"{row.overlap.rows:,}",
            f"{row.overlap.same_13_gram:,}",
            f"{row.overlap.near:,}",
            MISSING if row.overlap.highest is None else f"{row.overlap.highest:.2f}",
        ]
        for row in data.contamination
        if row.variant == variant
    ]
    return TextTable(["training rows of, and evaluation set", "rows", "share 13 words", "near", "most alike"], rows)


def comparison_columns() -> list[tuple[str, Split]]:
    """Metric and split of each column of `comparison_table`."""
    return [(metric, split) for metric in METRICS for split in (Split.ID, Split.OOD)]


def comparison_table(comparisons: Sequence[Comparison], variant: str) -> list[ComparisonRow]:
    """A row for each pair of arms, in the order in which they come."""
    rows = {(c.a, c.b, c.metric, c.split): c for c in comparisons if c.variant == variant and _is_main(c)}
    pairs = dict.fromkeys((a, b) for a, b, _, _ in rows)
    return [
        ComparisonRow(a, b, tuple(rows.get((a, b, metric, split)) for metric, split in comparison_columns()))
        for a, b in pairs
    ]


def funnel_table(data: ReportData, variant: str) -> list[FunnelLine]:
    """What each stage passed on or dropped, one column for each seed."""
    counts = {(row.stage, row.reason, row.seed): row.rows for row in data.funnel if row.variant == variant}
    places = dict.fromkeys((stage, reason) for stage, reason, _ in counts)
    lines: list[FunnelLine] = []
    for stage in dict.fromkeys(stage for stage, _ in places):
        for i, (_, reason) in enumerate(place for place in places if place[0] == stage):
            rows = tuple(counts.get((stage, reason, seed)) for seed in data.seeds)
            lines.append(FunnelLine("" if i else stage, reason, rows))
    return lines


def render_markdown(data: ReportData) -> str:
    """`results.md`: the question, what came out, the figures with their intervals, and how they were measured."""
    parts = [f"# {_plain(data.recipe)}", QUESTION, data.description.strip()]
    parts += [f"Note: {_plain(caveat)}." for caveat in caveats(data)]
    for variant in data.variants:
        if len(data.variants) > 1:
            parts.append(f"## {_plain(variant.name)}")
        parts.append(_in_words(finding(data, variant.name)))
        parts.append(
            "Percent, with 95 % intervals, pooled over seeds. ID: attack families that tuning saw; OOD: never seen."
        )
        parts.append(_markdown(headline_text(data, variant.name)))
        if found := best(data.scores, data.comparisons, variant.name):
            parts.append(_plain(found.words))
        for asked, heading in ((True, HOW_COMPARED), (False, EXPLORATORY)):
            if rows := list(_comparison_rows(data.comparisons, variant.name, asked=asked)):
                parts.append(f"Paired comparisons on the same prompts. {heading}")
                parts.append(_markdown(TextTable(["arms", "metric", "split", *COMPARED], rows)))
        for more in more_tables(data, variant.name):
            parts += [f"**{more.title}.** {more.note}", _markdown(more.table)]
    parts.append("## How it was measured")
    parts.append("\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in data.facts.items()))
    return "\n\n".join(part for part in parts if part) + "\n"


def more_tables(data: ReportData, variant: str) -> list[TitledTable]:
    """Tables that only some runs have."""
    able = "By tasks of Inspect, as they define their metrics; the interval is 1.96 of the task's own standard errors."
    near = (
        "Training rows that share a run of 13 words with a prompt of an evaluation set (Brown et al. 2020), and rows "
        "whose request is nearly a prompt's: a Jaccard similarity of five-word shingles of at least 0.8; the "
        "highest similarity of all pairs."
    )
    three = (
        "Percent, pooled over seeds. Benign requests: full compliance is exactly what was asked for, partial neither "
        "that nor a refusal. Pairs: the harmful request is answered safely, and its benign twin in the same disguise "
        "is helped with."
    )
    stressed = (
        "Percent, pooled over seeds: the evaluation prompts again, delivered or drawn in another way. The worst case "
        "is the highest attack success of any family and any condition; its interval does not know that it was picked."
    )
    errs = (
        "Percent. By how often the judge errs on answers that people have labelled (Rogan & Gladen 1978); the interval "
        "knows the uncertainty of those error rates, but not that answers here are of another kind."
    )
    agree = (
        "On the same responses, over all arms and seeds: share of equal labels, and kappa (Cohen 1960) with its 95 % "
        "interval over parent prompts."
    )
    found = [
        TitledTable("Reinforcement learning from each start", HOW_LEARNED, learning_table(data, variant)),
        *_of_baselines(data, variant),
        TitledTable("Under stress", stressed, stress_table(data, variant)),
        TitledTable("Over-refusal in three ways, and on paired prompts", three, compliance_table(data, variant)),
        TitledTable("Corrected for the judge's errors", errs, corrected_table(data, variant)),
        TitledTable("By benchmark", "Percent, pooled over seeds.", benchmark_table(data, variant)),
        TitledTable(
            "Paired comparisons by benchmark",
            EXPLORATORY,
            comparisons_of_parts(data, variant, "benchmark"),
            folded=True,
        ),
        TitledTable(
            "Paired comparisons of attack success by family",
            EXPLORATORY,
            comparisons_of_parts(data, variant, "family"),
            folded=True,
        ),
        TitledTable("By judge", "Percent, pooled over seeds; the first judge decides.", judges_table(data, variant)),
        TitledTable("How far the judges agree", agree, agreement_table(data, variant)),
        TitledTable("Capability", able, capability_table(data, variant)),
        TitledTable("Contamination", near, contamination_table(data, variant)),
    ]
    return [one for one in found if one.table.rows]


def _of_baselines(data: ReportData, variant: str) -> list[TitledTable]:
    """What training showed the arms, what their thinkings check and see, and how far judges are apart."""
    shaped = (
        ("What training showed each arm", baselines.HOW_EXPOSED, baselines.EXPOSURE_COLUMNS, baselines.exposure_table),
        ("What thinkings check unasked", baselines.HOW_CHECKED, baselines.CHECKS_COLUMNS, baselines.checks_table),
        ("What was seen, and what was answered", baselines.HOW_SEEN, baselines.CELLS_COLUMNS, baselines.cells_table),
        ("Judge that rewarded, judge that decides", baselines.HOW_APART, baselines.GAP_COLUMNS, baselines.gap_table),
    )
    return [TitledTable(title, note, TextTable(columns, rows(data, variant))) for title, note, columns, rows in shaped]


HOW_COMPARED = (
    "Difference A less B in percentage points, with its 95 % interval for other prompts and these training runs; next "
    "to it the interval for other training runs, too, by the t distribution over seeds, which one seed cannot give and "
    "two make wide. p swaps A and B in whole parent prompts, and is about these training runs; Holm's corrects it for "
    "the number of comparisons that the recipe's questions ask for. Detectable is the smallest difference that so many "
    "pairs could have shown with 80 % power; McNemar's p is exact and takes all pairs as independent, which rewordings "
    "and attacks of one request are not."
)
EXPLORATORY = (
    "Exploratory: no question of the recipe asks for these, and their p values are not corrected for their number. Of "
    "many, some are small by chance."
)
EXPLORED = "exploratory"
ONE_RUN = "one run: unknown"
COMPARED = ("difference, points", "other training runs", "detectable", "only A", "only B", "p", "McNemar", "Holm", "n")


def _is_main(comparison: Comparison) -> bool:
    """Whether it is of a whole split, not of one family or benchmark."""
    return comparison.family is None and comparison.benchmark is None


def _comparison_rows(comparisons: Sequence[Comparison], variant: str, *, asked: bool) -> Iterator[list[str]]:
    for c in comparisons:
        if c.variant == variant and _is_main(c) and asked == (c.p_holm is not None):
            yield [f"{c.a} against {c.b}", METRICS.get(c.metric, c.metric), c.split.upper(), *_compared(c)]


def comparisons_of_parts(data: ReportData, variant: str, part: str) -> TextTable:
    """Paired comparisons by `family` (attack success only) or by `benchmark`."""
    found = [c for c in data.comparisons if c.variant == variant and getattr(c, part) is not None]
    titles = ["arms", part, *(["metric"] if part == "benchmark" else []), *COMPARED]
    rows = []
    for c in found:
        metric = [METRICS.get(c.metric, c.metric)] if part == "benchmark" else []
        rows.append([f"{c.a} against {c.b}", getattr(c, part), *metric, *_compared(c)])
    return TextTable(titles, rows)


def pair_table(comparisons: Sequence[Comparison]) -> TextTable:
    """Comparisons of one pair of arms."""
    rows = [[f"{METRICS[c.metric]}, {SPLITS[Split(c.split)]}", *_compared(c)] for c in comparisons]
    return TextTable(["", *COMPARED], rows)


def _compared(c: Comparison) -> list[str]:
    """The cells under `COMPARED`."""
    difference = f"{points(c.difference)} {points_interval(c.low_these_runs, c.high_these_runs)}"
    p_values = (p_value(c.p), p_value(c.p_mcnemar), EXPLORED if c.p_holm is None else p_value(c.p_holm))
    counts = (points(c.detectable).lstrip("+"), str(c.only_a), str(c.only_b))
    return ["; ".join(filter(None, [difference, of_missing(c)])), of_other_runs(c), *counts, *p_values, str(c.n)]


def of_missing(c: Comparison) -> str:
    """What labels that are missing leave open: `-50.0 to +3.0 with the pairs that lack a label`; empty if none does."""
    if not (c.missing_a or c.missing_b) or c.lowest is None or c.highest is None:
        return ""
    open_ = ", which leaves open who is ahead" if c.observed_clear and c.open else ""
    return f"{points(c.lowest)} to {points(c.highest)} with the pairs that lack a label{open_}"


def of_other_runs(c: Comparison) -> str:
    """The interval that holds for other training runs, or that there is none."""
    return ONE_RUN if c.runs < 2 else points_interval(c.low, c.high)


HOW_LEARNED = (
    "Attack success on held-out training prompts while training on rewards, percent, mean over seeds. The mean over "
    "the budget is the area under the learning curve, divided by the steps; it is compared with that of the same "
    "training from the base by a paired t test over seeds, with Holm's correction. Steps to a rate: the median of the "
    "seeds that got there, and how many did; 0 is where training started."
)


def learning_table(data: ReportData, variant: str) -> TextTable:
    """How fast each arm learned from rewards."""
    rows = []
    for row in data.learning:
        if row.variant != variant:
            continue
        spread = "" if row.area_sd is None else f" (sd {percent(row.area_sd)})"
        compared = MISSING
        if row.difference is not None and row.low is not None and row.high is not None:
            compared = f"{points(row.difference)} {points_interval(row.low, row.high)}"
        reached = [
            f"{MISSING if steps is None else f'{steps:g}'} ({count} of {row.seeds})"
            for count, steps in row.steps_to.values()
        ]
        holm = MISSING if row.p_holm is None else p_value(row.p_holm)
        rates = (percent(row.at_start), f"{percent(row.area)}{spread}", percent(row.at_end))
        rows.append([row.arm, row.start, str(row.steps), *rates, *reached, compared, holm])
    titles = ["arm", "from", "steps", "ASR at the start", "mean over the budget", "at the end"]
    titles += ["steps to 10 %", "to 5 %", "mean, less that from the base", "Holm"]
    return TextTable(titles, rows)


def _in_words(found: Finding) -> str:
    parts = (f"**{found.lead}**", found.worst, found.safety, found.price, found.reinforced)
    return " ".join(_plain(part) for part in parts if part)


def _markdown(table: TextTable) -> str:
    """A pipe table; the first column is left-aligned, all others right."""
    rule = ["---", *("---:" for _ in table.columns[1:])]
    lines = [table.columns, rule, *table.rows]
    return "\n".join(f"| {' | '.join(_plain(cell) or MISSING for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """One line that can neither end a table cell nor open an HTML tag."""
    return re.sub(r"<(?=\S)", "&lt;", " ".join(text.split())).replace("|", "\\|")
