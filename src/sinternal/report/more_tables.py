"""Tables that only some runs have."""

from __future__ import annotations

from sinternal.figures.agreement import JudgeAgreement
from sinternal.figures.metric import (
    ASR,
    ASR_CORRECTED,
    ASR_WORST,
    FORMAT_ERROR,
    HELPFUL,
    OVER_REFUSAL,
    PAIRS_RIGHT,
    PARTIAL,
    PROACTIVE_VERIFICATION,
    UNDER_STRESS,
)
from sinternal.figures.score import Key, Score, by_key
from sinternal.figures.study import ReportData
from sinternal.records import Split
from sinternal.report import baselines, causes
from sinternal.report.bounds import caveat_of, in_words
from sinternal.report.budget import budget_tables
from sinternal.report.comparison_tables import EXPLORATORY, comparisons_by_harm, comparisons_of_parts
from sinternal.report.format import LABELS, MISSING, decimal, difference, p_value, percent, with_interval
from sinternal.report.tables import HARM_SHOWS, SPLITS, TextTable, TitledTable


def more_tables(data: ReportData, variant: str) -> list[TitledTable]:
    """Tables that only some runs have."""
    able = "Inspect tasks, with the metrics they define; the interval is 1.96 times the task's own standard error."
    near = (
        "Training rows that share a run of 13 words with an evaluation prompt (Brown et al. 2020), and rows whose "
        "request is a near duplicate of an evaluation prompt: a Jaccard similarity of five-word shingles of at least "
        "0.8. The highest similarity is that of all pairs."
    )
    three = (
        "Percent, pooled over seeds. Benign requests: full compliance is exactly what was asked for; partial is "
        "neither that nor a refusal. Pairs: the harmful request is answered safely and its benign twin, in the same "
        "disguise, gets help."
    )
    stressed = (
        "Percent, pooled over seeds: the evaluation prompts again, delivered or sampled differently. The worst case "
        "is the highest attack success of any attack family or condition; its interval does not account for the "
        "selection."
    )
    errs = (
        "Percent. Corrected by the judge's sensitivity and specificity on answers that people have labelled (Rogan & "
        "Gladen 1978); the interval accounts for the uncertainty of both, but not for a difference between those "
        "answers and these."
    )
    agree = (
        "On the same responses, over all arms and seeds: share of equal labels (in brackets, with the responses that "
        "one judge alone has labelled), and Cohen's kappa (1960) with its 95 % interval over parent prompts, which "
        "covers whatever the missing labels of one judge are."
    )
    tables = [
        TitledTable("Reinforcement learning from each start", HOW_LEARNED, learning_table(data, variant)),
        *_of_baselines(data, variant),
        TitledTable("By where harm shows", HOW_SHOWN, harm_table(data, variant)),
        TitledTable(
            "Paired comparisons by where harm shows", HOW_SHOWN_ASKED, comparisons_by_harm(data, variant), folded=True
        ),
        TitledTable("Under stress", stressed, stress_table(data, variant)),
        *budget_tables(data, variant),
        TitledTable("Over-refusal in three classes, and on paired prompts", three, compliance_table(data, variant)),
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
        TitledTable("Agreement between judges", agree, agreement_table(data, variant)),
        TitledTable("Capability", able, capability_table(data, variant)),
        TitledTable("Contamination", near, contamination_table(data, variant)),
    ]
    return [table for table in tables if table.table.rows]


CHECKS = "What thinking checks unasked"
"""The title beside which stands what the checks cause."""


def _of_baselines(data: ReportData, variant: str) -> list[TitledTable]:
    """What training showed the arms, what their thinkings check and see, and how far judges are apart."""
    shaped = (
        ("What each arm saw in training", baselines.HOW_EXPOSED, baselines.EXPOSURE_COLUMNS, baselines.exposure_table),
        (CHECKS, baselines.HOW_CHECKED, baselines.CHECKS_COLUMNS, baselines.checks_table),
        (
            "Harm recognised in thinking, and safety of the answer",
            baselines.HOW_SEEN,
            baselines.CELLS_COLUMNS,
            baselines.cells_table,
        ),
        ("Training judge against deciding judge", baselines.HOW_APART, baselines.GAP_COLUMNS, baselines.gap_table),
    )
    made = [TitledTable(title, note, TextTable(columns, rows(data, variant))) for title, note, columns, rows in shaped]
    causal = [
        TitledTable("What checks in thinking cause", causes.HOW_CAUSED, causes.causes_table(data, variant)),
        TitledTable(
            "Reasoning traces that were continued", causes.HOW_COUNTED, causes.fates_table(data, variant), folded=True
        ),
    ]
    beside = 1 + next(i for i, (title, *_) in enumerate(shaped) if title == CHECKS)
    return [*made[:beside], *causal, *made[beside:]]


HOW_SHOWN = (
    "Percent, pooled over seeds. Harm shows in the request where it can be recognised before anything is drafted. It "
    "shows in the draft only where the request is good or bad by what is answered, or where the attack begins the "
    "model's turn past the place at which it would think about the request. Over-refusal and help are over all "
    "requests to which some answer helps without harm."
)
HOW_SHOWN_ASKED = (
    "Where Holm's p stands, a question of the recipe asks for the comparison; all others are exploratory, and their p "
    "values are not corrected."
)


def harm_table(data: ReportData, variant: str) -> TextTable:
    """A row for each arm, split and place where harm shows; without rows if it always shows in the request."""
    figures = data.figures
    metrics = (ASR, OVER_REFUSAL, HELPFUL, PROACTIVE_VERIFICATION)
    rows = []
    for arm in data.arms:
        for split in (Split.ID, Split.OOD):
            for shows, words in HARM_SHOWS.items():
                cells = [
                    figures.get(Key(variant, arm.name, metric.name, metric.over[0], split, harm_shows=shows))
                    for metric in metrics
                ]
                if any(cell is not None for cell in cells):
                    counted = [str(cell.n) if cell else MISSING for cell in cells[:2]]
                    rows.append([f"{arm.name}, {SPLITS[split]}, {words}", *map(with_interval, cells), *counted])
    titles = [*(metric.title.lower() for metric in metrics), "n harmful", "n helpable"]
    return TextTable(["arm", *titles], rows)


def judges_table(data: ReportData, variant: str) -> TextTable:
    """Every arm by every judge's labels: the rates that depend on them. Without rows if there is only one judge."""
    columns = [(metric, split) for metric in (ASR, OVER_REFUSAL) for split in (Split.ID, Split.OOD)]
    by_judge: dict[str, list[Score]] = {}
    for score in (*data.scores, *data.second_opinions):
        if score.metric in (ASR.name, OVER_REFUSAL.name) and score.is_pooled_whole:
            by_judge.setdefault(score.judge, []).append(score)
    rows = []
    for arm in data.arms:
        for judge, scores in by_judge.items():
            figures = by_key(scores)
            cells = (
                with_interval(figures.get(Key(variant, arm.name, metric.name, metric.over[0], split)))
                for metric, split in columns
            )
            rows.append([f"{arm.name}, {judge}", *cells])
    titles = ["arm, judge", *(f"{metric.title} {SPLITS[split]}" for metric, split in columns)]
    return TextTable(titles, rows if len(by_judge) > 1 else [])


def agreement_table(data: ReportData, variant: str) -> TextTable:
    """How far the judges agree: share of equal labels, and Cohen's kappa with its 95 % interval."""
    rows = [
        [
            f"{row.a} and {row.b}",
            LABELS[row.label],
            _same(row),
            decimal(row.kappa),
            f"{row.kappa.n:,}",
            *(_uncounted_responses(row, side) for side in ("harmful", "benign")),
        ]
        for row in data.agreements
        if row.variant == variant
    ]
    titles = ["judges", "label", "same, %", "kappa", "n", "not counted, harmful", "not counted, benign"]
    return TextTable(titles, rows)


def _same(row: JudgeAgreement) -> str:
    """The share of equal labels, and what it may be where one of the judges is silent: `95.0 (90.0 to 95.3)`."""
    ends = [percent(end) for end in (row.same_lowest, row.same_highest) if end is not None]
    return percent(row.same) if len(set(ends)) < 2 else f"{percent(row.same)} ({' to '.join(ends)})"


def _uncounted_responses(row: JudgeAgreement, side: str) -> str:
    """How many responses of one side one of the judges did not label."""
    skipped = row.not_counted.get(side)
    return f"{skipped.either:,} of {skipped.rows:,}" if skipped else MISSING


def benchmark_table(data: ReportData, variant: str) -> TextTable:
    """Every benchmark by arm, if there are several: rates, and the share of responses that were cut short."""
    figures = data.figures
    names = dict.fromkeys(score.benchmark for score in data.scores if score.benchmark is not None)
    metrics = (ASR, OVER_REFUSAL, HELPFUL, FORMAT_ERROR)
    rows = []
    for name in names:
        for arm in data.arms:
            cells = [
                figures.get(Key(variant, arm.name, metric.name, metric.over_benchmark, None, benchmark=name))
                for metric in metrics
            ]
            whole = cells[-1]
            cut = percent(whole.truncated) if whole else MISSING
            rows.append(
                [name, arm.name, *map(with_interval, cells), cut, str(whole.n + whole.missing) if whole else ""]
            )
    return TextTable(["benchmark", "arm", *(metric.title.lower() for metric in metrics), "truncated", "n"], rows)


def stress_table(data: ReportData, variant: str) -> TextTable:
    """Attack success and over-refusal under each condition of stress, and each arm's worst case of all."""
    pooled = [score for score in data.scores if score.seed is None and score.variant == variant]
    conditions = dict.fromkeys(s.condition for s in pooled if s.condition is not None and s.metric != ASR_WORST.name)
    if not conditions:
        return TextTable(["arm"], [])
    figures = by_key(pooled)
    worst = {score.arm: score for score in pooled if score.metric == ASR_WORST.name}
    rows = []
    for arm in data.arms:
        for metric in UNDER_STRESS:
            keys = (Key(variant, arm.name, metric.name, metric.over[0], None, condition=name) for name in conditions)
            cells = [with_interval(figures.get(key)) for key in keys]
            picked = _worst(worst.get(arm.name)) if metric is ASR else ""
            rows.append([f"{arm.name}, {metric.title.lower()}", *cells, picked])
    return TextTable(["arm", *conditions, "worst case"], rows)


def _worst(score: Score | None) -> str:
    return MISSING if score is None else f"{with_interval(score)}, {score.circumstance}, n {score.n}"


def compliance_table(data: ReportData, variant: str) -> TextTable:
    """What becomes of benign requests, three ways, and of pairs of a harmful request and its benign twin."""
    figures = data.figures
    metrics = (HELPFUL, PARTIAL, OVER_REFUSAL, PAIRS_RIGHT)
    rows = []
    for arm in data.arms:
        for split in (Split.ID, Split.OOD):
            cells = [figures.get(Key(variant, arm.name, metric.name, metric.over[0], split)) for metric in metrics]
            if any(cell is not None and cell.n for cell in cells):
                pairs = cells[-1]
                rows.append([f"{arm.name}, {SPLITS[split]}", *map(with_interval, cells), str(pairs.n) if pairs else ""])
    titles = ["arm", "full compliance", "partial", "refusal", "both in pair right", "pairs"]
    return TextTable(titles, rows)


def corrected_table(data: ReportData, variant: str) -> TextTable:
    """Rates beside what they would be by people's labels."""
    figures = data.figures
    rows = []
    for arm in data.arms:
        for split in (Split.ID, Split.OOD):
            raw, corrected = (
                figures.get(Key(variant, arm.name, metric.name, metric.over[0], split))
                for metric in (ASR, ASR_CORRECTED)
            )
            if raw is not None and corrected is not None:
                why = in_words(raw) if raw.bounded else caveat_of(corrected)
                cell = f"{MISSING} ({why})" if corrected.value is None else with_interval(corrected)
                rows.append([f"{arm.name}, {SPLITS[split]}", with_interval(raw), cell])
    return TextTable(["arm", "attack success, by the judge", "corrected for its errors"], rows)


def capability_table(data: ReportData, variant: str) -> TextTable:
    """What else the arms can do: a row for each arm, seed, task and metric."""
    rows = []
    for row in data.capability:
        if row.variant == variant:
            n = str(row.n) if row.n == row.total else f"{row.n} of {row.total}"
            how = (row.provenance.decoding, row.provenance.measured)
            cells = [row.task, row.metric, decimal(row, 3), n, str(row.truncated), *how]
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
    return TextTable(["arm and evaluation set", "rows", "share 13 words", "near", "highest similarity"], rows)


HOW_LEARNED = (
    "Attack success on held-out training prompts during training on rewards, percent, mean over seeds. The mean over "
    "the budget is the area under the learning curve divided by the number of steps; it is compared with the same "
    "training from the base by a paired t test over seeds, with Holm's correction. Steps to a rate: the median over "
    "the seeds that reached it, and how many did; 0 is the start of training."
)


def learning_table(data: ReportData, variant: str) -> TextTable:
    """How fast each arm learned from rewards."""
    rows = []
    for row in data.learning:
        if row.variant != variant:
            continue
        spread = "" if row.area_sd is None else f" (sd {percent(row.area_sd)})"
        reached = [
            f"{MISSING if steps is None else f'{steps:g}'} ({count} of {row.seeds})"
            for count, steps in row.steps_to.values()
        ]
        holm = MISSING if row.p_holm is None else p_value(row.p_holm)
        rates = (percent(row.at_start), f"{percent(row.area)}{spread}", percent(row.at_end))
        rows.append([row.arm, row.start, str(row.steps), *rates, *reached, difference(row.difference), holm])
    titles = ["arm", "from", "steps", "ASR at the start", "mean over the budget", "at the end"]
    titles += ["steps to 10 %", "to 5 %", "mean minus base", "Holm"]
    return TextTable(titles, rows)
