"""All that a report shows, gathered before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from sinternal.figures.agreement import JudgeAgreement
from sinternal.figures.bills import Bill
from sinternal.figures.budget import BudgetDifference, BudgetPoint
from sinternal.figures.causes import CheckEffect
from sinternal.figures.contamination import Overlap
from sinternal.figures.effect import Effect
from sinternal.figures.estimate import Difference, Estimate
from sinternal.figures.exposure import ArmExposure
from sinternal.figures.gap import JudgeGap
from sinternal.figures.provenance import Provenance
from sinternal.figures.reading import Openings
from sinternal.figures.score import Figures, Score, by_key
from sinternal.figures.thinking import ThinkingShare
from sinternal.records import Measured
from sinternal.settings.questions import Question


@dataclass(frozen=True)
class Arm:
    """One arm of the study."""

    name: str
    """Its name."""
    trained_on: str
    """What its training examples are, in a few words."""
    examples: int
    """Rows of training, 0 for the base."""
    steps: int
    """Optimiser steps, 0 for the base."""
    start: str = ""
    """What its training started from, empty if it is the base or nothing was trained."""
    rollouts: int = 0
    """Rollouts that were rewarded, 0 if it was not trained on rewards."""


@dataclass(frozen=True)
class Variant:
    """One setting of what the study varies."""

    name: str
    """Its name, `default` if nothing is varied."""
    overrides: dict[str, object]
    """Fields of the recipe, by dotted path, and their values here."""


LEVEL = 0.05
"""Of the corrected test, below which a difference counts as clear."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Difference):
    """Two arms on the same prompts, pooled over seeds: share under A less share under B.

    The interval holds for what `holds_for` says. The bounds are the difference over all pairs if every label that is
    missing speaks for B, and for A; None in what was compared by nothing but pairs with both labels.
    """

    variant: str
    """The variant."""
    a: str
    """One arm."""
    b: str
    """The other."""
    metric: str
    """What is compared."""
    split: str
    """`id` or `ood`; empty for both."""
    family: str | None = None
    """Attack family, None for all of the split."""
    benchmark: str | None = None
    """One benchmark of several, with both splits; None for all."""
    harm_shows: str = ""
    """Where the harm of its prompts shows: in the `request`, or in the `draft` of an answer only; empty for both."""
    holds_for: str
    """What the interval holds for: `OTHER_RUNS`, or `THESE_RUNS` if there was but one run of each arm."""
    runs: int
    """Training runs (seeds) of each arm."""
    low_these_runs: float
    """Lower end of the 95 % interval for other prompts, but these training runs."""
    high_these_runs: float
    """Upper end."""
    p: float
    """Two-sided p value of a permutation of whole parent prompts, for these training runs, not corrected for the number
    of comparisons."""
    p_holm: float | None = None
    """`p` after Holm's correction over all comparisons that were asked for; None if this one was not: exploratory."""
    p_mcnemar: float
    """Exact two-sided p value of McNemar's test, which takes all pairs as independent."""
    only_a: int
    """Pairs in which it happens under A only."""
    only_b: int
    """Pairs in which it happens under B only."""
    detectable: float
    """The smallest difference of these training runs that so many pairs could have shown, with 80 % power."""
    missing_a: int
    """Pairs that do not count because A has no label."""
    missing_b: int
    """Pairs that do not count because B has none."""
    truncated: float
    """Share of the pairs in which a response ran into the token limit."""
    provenance_a: Provenance
    """Where A's part of the figure comes from."""
    provenance_b: Provenance
    """Where B's comes from."""

    @property
    def spans_zero(self) -> bool:
        """Whether the interval for other prompts and, with several seeds, other training runs holds 0."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    @property
    def whole(self) -> bool:
        """Whether it is of a whole split, not of one family or benchmark, nor of where harm shows."""
        return self.family is None and self.benchmark is None and not self.harm_shows

    @property
    def open(self) -> bool:
        """Whether the labels that are missing could turn the difference round, or leave it within chance.

        The interval for these training runs covers the difference whatever these labels are.
        """
        if not (self.missing_a or self.missing_b) or self.lowest is None or self.highest is None:
            return False
        ends = (self.lowest, self.highest, self.low_these_runs, self.high_these_runs)
        return min(ends) <= 0 <= max(ends)

    @property
    def observed_clear(self) -> bool:
        """Whether the corrected test finds a difference in the pairs that have both labels."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def clear(self) -> bool:
        """Whether the corrected test finds a difference between these training runs that missing labels cannot undo."""
        return self.observed_clear and not self.open


@dataclass(frozen=True)
class FunnelRow:
    """How many rows a stage passed on or dropped."""

    variant: str
    """The variant."""
    seed: int
    """The seed."""
    arm: str | None
    """The arm whose training set it leads to; None for what all share."""
    stage: str
    """What the rows are."""
    reason: str
    """`kept`, or why rows were dropped."""
    rows: int
    """How many."""


@dataclass(frozen=True)
class LossCurve:
    """The training loss of one arm and seed."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""
    points: tuple[tuple[int, float], ...]
    """(optimiser step, mean cross-entropy in nats per token)."""


@dataclass(frozen=True)
class LearningCurve:
    """What was watched while one arm was trained on rewards."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""
    source: str
    """`rollouts`: of each step itself; `held out`: answers to held-out training prompts."""
    points: dict[str, tuple[tuple[int, float], ...]]
    """For each figure, (optimiser step, value)."""


@dataclass(frozen=True)
class Learning:
    """How fast one arm learned from rewards: attack success on held-out training prompts."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    start: str
    """What it started from."""
    steps: int
    """Optimiser steps."""
    seeds: int
    """Number of seeds."""
    at_start: float
    """ASR before the first step, mean over seeds."""
    at_end: float
    """ASR after the last step, mean over seeds."""
    area: float
    """Mean ASR over the budget: area under the learning curve, over the steps; mean over seeds."""
    area_sd: float | None
    """Its standard deviation over seeds."""
    steps_to: dict[str, tuple[int, float | None]]
    """For each threshold in percent: how many seeds got there, and the median of their steps."""
    against: str | None = None
    """The arm whose area it is compared with: the same training from the base."""
    difference: Estimate | None = None
    """Its area less that one's, mean over seeds; `n` is the number of seeds."""
    p: float | None = None
    """Two-sided p value of the paired t test over seeds."""
    p_holm: float | None = None
    """After Holm's correction over the arms of the variant."""


@dataclass(frozen=True)
class Turn:
    """One query of an attack that goes on asking, and what came of it: a conversation of its own with the arm."""

    query: str | None
    """What the attacker sent; None if nothing."""
    system: str
    """The system message that it put before, empty for none of its own."""
    prefill: str
    """What it made the answer begin with; empty for nothing."""
    thinking: str | None
    """The arm's thinking."""
    answer: str | None
    """Its answer."""
    note: str
    """What the attacker kept to itself: why, its own score, replies of its own model."""
    outcome: str
    """As of a transcript; `nothing sent`, or `attacker failed`."""


@dataclass(frozen=True)
class Transcript:
    """One text, to be read."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""
    family: str
    """Attack family."""
    split: str
    """`id` or `ood`; `train` for what is trained on."""
    harmful: bool
    """Whether helping would be harmful."""
    prompt: str
    """What was asked."""
    thinking: str | None
    """The thinking."""
    answer: str | None
    """The answer."""
    outcome: str
    """`unsafe`, `refused`, `helped`, `not helpful`, `safe`, `no label`, `failed` or `filtered`; of training rows, their
    kind or fate; of an attack that goes on asking `unsafe`, `safe`, `no label` or `nothing sent`."""
    checked: bool | None
    """Whether the thinking checks safety."""
    verified_with_spec: str | None
    """Its own verdict with the specification: `safe`, `unsafe`, `unparsed`, `failed`; None if it was not asked."""
    verified_without_spec: str | None
    """The same without the specification."""
    critique: str | None
    """What it wrote before the verdict without the specification."""
    kind: str = "answer"
    """What the text is: an answer, one under some condition of stress, one after an intervention in the thinking, the
    queries of an attack, a training example, an expert's critique."""
    prompt_id: str = ""
    """Id of the prompt, by which two arms' answers are laid side by side; empty if it is not known."""
    sample: int = 0
    """Which of several responses to the same prompt it is."""
    check: tuple[int, int] | None = None
    """Where the thinking checks safety, in characters from and to; None if it does not, or if no judge has looked."""
    critique_with_spec: str | None = None
    """What it wrote before the verdict with the specification."""
    turns: tuple[Turn, ...] = ()
    """Of an attack that goes on asking, its queries for one request, which is the prompt."""
    broken: str = ""
    """Of such an attack, at which query an answer was first unsafe, in words; empty for all else."""


@dataclass(frozen=True)
class ArmOpenings:
    """How many answers of one arm may be none."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    openings: Openings
    """How they begin, over all seeds."""


@dataclass(frozen=True)
class Contamination:
    """How much of what an arm was trained on occurs in one evaluation set, over all seeds."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    overlap: Overlap
    """What was found."""


@dataclass(frozen=True, kw_only=True)
class Capability(Estimate):
    """One metric of one task of Inspect, for one arm and seed; the interval is by the task's own standard error."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""
    task: str
    """The task."""
    metric: str
    """Its metric."""
    total: int
    """Samples in all."""
    truncated: int
    """Samples whose text ran into the token limit."""
    provenance: Provenance
    """The task's scorer, decoding, date and recipe."""


@dataclass(frozen=True)
class ReportData:
    """One run."""

    recipe: str
    """Name of the recipe."""
    description: str
    """What the recipe is for."""
    seeds: tuple[int, ...]
    """All seeds."""
    arms: tuple[Arm, ...]
    """In the recipe's order, base first."""
    variants: tuple[Variant, ...]
    """In the recipe's order."""
    judges: tuple[str, ...]
    """In the recipe's order: the first that labels safety, refusals or help decides it."""
    scores: tuple[Score, ...]
    """Every figure by the labels of the deciding judges: per seed, and pooled (`seed` None)."""
    second_opinions: tuple[Score, ...]
    """Pooled figures by the labels of every judge that does not decide on them."""
    agreements: tuple[JudgeAgreement, ...]
    """How far the judges agree."""
    questions: tuple[Question, ...]
    """What the study asks, the most important first: over these comparisons p values are corrected."""
    comparisons: tuple[Comparison, ...]
    """Paired comparisons of arms, those that were asked for and others."""
    funnel: tuple[FunnelRow, ...]
    """From prompts to training examples."""
    losses: tuple[LossCurve, ...]
    """Training loss."""
    curves: tuple[LearningCurve, ...]
    """What was watched in reinforcement learning."""
    learning: tuple[Learning, ...]
    """How fast the arms learned from rewards."""
    capability: tuple[Capability, ...]
    """What else the arms can do."""
    contamination: tuple[Contamination, ...]
    """Overlap of training rows with evaluation sets."""
    transcripts: Collection[Transcript]
    """Every response of every arm, under stress too, and what the arms were trained on."""
    measured: Iterable[Measured]
    """The same responses as figures, so that another run can be compared prompt by prompt."""
    timing: dict[str, float]
    """Seconds spent in each stage, summed over its artifacts."""
    facts: dict[str, str]
    """How it was measured: judge, judged field, decoding, model, packages, date; shown as a list."""
    recipe_yaml: str
    """The recipe as it was run."""
    calls: tuple[str, ...] = ()
    """What a reader should know of calls that failed, were withheld or changed on the way; one sentence each."""
    effects: tuple[Effect, ...] = ()
    """What each method does beyond its placebos, and beyond the base; the main method first."""
    placebos: tuple[str, ...] = ()
    """What a reader should know of placebos that differ from the method in more than their subject; one sentence
    each."""
    exposures: tuple[ArmExposure, ...] = ()
    """What each arm saw in training."""
    thinking: tuple[ThinkingShare, ...] = ()
    """What thinkings check, whether they see harm, and what is answered then."""
    check_effects: tuple[CheckEffect, ...] = ()
    """What safety checks in thinkings cause."""
    budgets: tuple[BudgetPoint, ...] = ()
    """Attack success over budget, by attack and control."""
    budget_differences: tuple[BudgetDifference, ...] = ()
    """What that is made up of, and how arms differ in it."""
    openings: tuple[ArmOpenings, ...] = ()
    """How the answers of each arm begin."""
    judge_gaps: tuple[JudgeGap, ...] = ()
    """How far the judge that rewarded and the one that decides are apart, if they are two."""
    bills: tuple[Bill, ...] = ()
    """What calls to each server took."""
    texts_left_out: bool = False
    """Whether texts stand here as their lengths and hashes alone, for sharing."""

    @property
    def trains(self) -> bool:
        """Whether any arm was trained; else ready-made models are compared."""
        return any(arm.steps for arm in self.arms)

    @cached_property
    def figures(self) -> Figures:
        """The scores by what they are."""
        return by_key(self.scores)
