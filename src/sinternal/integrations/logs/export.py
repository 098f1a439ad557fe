"""A run as logs of Inspect: one for each arm, training run and benchmark, condition of stress, and attack.

`inspect view`, Scout and Viz read these. Samples are written as they come, so that no more of a run is in memory than
its labels: the header, by which Inspect knows a log, is written by Inspect itself, and so is the form of each sample.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sinternal.errors import DataError, StoreError
from sinternal.extras import require
from sinternal.figures.columns import MISSING, Labels, Names
from sinternal.figures.metric import PAIRED
from sinternal.figures.outcomes import JUDGEMENT, PROMPT, RESPONSE, Outcomes, columns_of
from sinternal.figures.outcomes import Table as Columns
from sinternal.figures.searches import searches
from sinternal.figures.without_texts import HiddenRows, Hider, hider_of
from sinternal.integrations.logs.samples import of_measured, of_response, of_search
from sinternal.integrations.logs.write import About, Log, Writer
from sinternal.layout import ArmPlace, ArmRun, Attacked, Place, RunMap
from sinternal.records import Judgement, Measured, Prompt, Response, Verdict, Verification
from sinternal.stages.report import ReportConfig
from sinternal.store import Artifact, Table, check_writable
from sinternal.store.lookup import Index, Lookup
from sinternal.store.sums import checked
from sinternal.study.run import LAST, RECIPE, Run, find_last, no_run
from sinternal.study.sharing import inputs_of
from sinternal.tools.diagnosis import slug

LOGS = "inspect"
"""In a run's folder: its logs, unless they go elsewhere."""
MEASURED = "measured.parquet"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    """Where."""
    logs: tuple[Path, ...]
    """The logs."""
    samples: int
    """Samples in all of them."""
    notes: tuple[str, ...]
    """What was left out, or a reader should know."""


class Chosen(NamedTuple):
    """Which arms are exported; nothing named is all."""

    arms: Collection[str] = ()
    """Their names."""
    seeds: Collection[int] = ()
    """Training runs."""
    variants: Collection[str] = ()
    """Variants."""

    def holds(self, place: ArmPlace) -> bool:
        """Whether an arm is among them."""
        wanted = ((self.arms, place.arm), (self.seeds, place.seed), (self.variants, place.variant))
        return all(not names or own in names for names, own in wanted)

    def check(self, folder: Path, places: Collection[ArmPlace]) -> None:
        """Make sure that what is named is there. Raises DataError."""
        for what, asked in (("arm", self.arms), ("seed", self.seeds), ("variant", self.variants)):
            there = sorted({getattr(place, what) for place in places})
            if (unknown := next((name for name in asked if name not in there), None)) is not None:
                raise DataError(f"{folder} has no {what} {unknown!r}; it has: {', '.join(map(str, there))}")
        if places and not any(map(self.holds, places)):
            raise DataError(f"{folder} has no such arm in that variant and seed; name fewer of them")


class Asked(NamedTuple):
    """One way in which an arm was asked."""

    condition: str
    """The condition of stress; empty for the evaluation itself."""
    prompts: Artifact
    """What was asked."""
    responses: Artifact
    """What it said."""
    judgements: Mapping[str, Artifact]
    """Labels, by judge, the one that decides first."""
    verifications: Artifact | None
    """How it verifies its own answers."""


def export(
    folder: Path,
    out: Path | None = None,
    *,
    arms: Collection[str] = (),
    seeds: Collection[int] = (),
    variants: Collection[str] = (),
    store: Path | None = None,
    redact: bool = False,
) -> Exported:
    """Write a finished run as logs of Inspect.

    Args:
        folder: the run's; of one that was redacted there are no texts to write.
        out: folder of the logs; by default `inspect` in the run's.
        arms: their names; by default all.
        seeds: training runs; by default all.
        variants: of the recipe; by default all.
        store: its folder of artifacts, if that is not inside.
        redact: whether to leave out all texts.

    Raises:
        SInternalError: there is no finished run, artifacts of it are not there, it has no such arm, or nothing can be
            written.
    """
    require("export to Inspect", "inspect_ai")
    if not (folder / MEASURED).is_file():
        raise DataError(no_run(folder, f"no finished run (no {MEASURED})"))
    to = out or folder / LOGS
    without = redact or not (folder / RECIPE).is_file()
    check_writable(to, "--out")
    if any(to.glob("*.eval")):
        raise DataError(f"{to}: there are logs already; delete them, or choose another folder with --out")
    writer, chosen = Writer(to, slug(folder.resolve().name) or "run"), Chosen(arms, seeds, variants)
    hider = hider_of(folder) if (folder / RECIPE).is_file() else None  # a copy without texts has keyed ids already
    notes = list(
        _without_texts(folder, writer, chosen, hider) if without else _whole(Run.open(folder, store), writer, chosen)
    )
    return Exported(to, tuple(writer.files), writer.samples, tuple(notes))


def _without_texts(folder: Path, writer: Writer, chosen: Chosen, hider: Hider | None) -> Iterator[str]:
    """Samples from what was measured of each response alone, arm by arm as they come."""
    measured = Table(checked(folder / MEASURED), Measured)
    there = {ArmPlace(*place) for place in measured.values("variant", "arm", "seed")}
    chosen.check(folder, there)
    rows = HiddenRows(measured, hider) if hider else measured
    for place, own in groupby(rows, lambda row: ArmPlace(row.variant, row.arm, row.seed)):
        if place not in there:
            raise DataError(f"{folder / MEASURED}: rows of arm {place.arm!r} are not together; run it again")
        there.remove(place)
        if not chosen.holds(place):
            continue
        with ExitStack() as open_logs:
            logs = _Logs(writer, open_logs)
            for row in own:
                log = logs.of(About(place, row.benchmark))
                log.add(of_measured(row, log))
    yield (
        "left out: all texts (prompts, system messages, reasoning, answers, critiques), labels of other judges, "
        "conditions of stress, adaptive attacks, and tokens; what was measured of each response by the judge "
        "that decides stays"
    )


class _Logs:
    """The logs of one arm that are being written, by benchmark."""

    def __init__(self, writer: Writer, opened: ExitStack) -> None:
        self._writer, self._opened = writer, opened
        self._logs: dict[str, Log] = {}

    def of(self, about: About) -> Log:
        """The log of a benchmark, begun when it is first asked for."""
        if about.benchmark not in self._logs:
            self._logs[about.benchmark] = self._opened.enter_context(self._writer.log(about))
        return self._logs[about.benchmark]


def _whole(run: Run, writer: Writer, chosen: Chosen) -> Iterator[str]:
    report = find_last(run.store, "report", run.folder, LAST["report"])
    if report is None:
        raise StoreError(
            f"{run.folder}: its artifacts are not in {run.store.root}; name its --store, run it again, or write the "
            "logs without texts with --redact"
        )
    writer.created = datetime.fromtimestamp(report.manifest["started"], UTC)
    config = ReportConfig.model_validate(report.manifest["config"])
    arms = RunMap[Artifact].from_flat(inputs_of(run.store, report, run.folder))
    chosen.check(run.folder, arms.arms())
    deciding = _deciding(run)
    for place in filter(chosen.holds, arms.arms()):
        judges = [entry.name for entry in config.variants[place.variant].judges]
        for asked in _asked(arms, place, judges):
            _write(place, asked, writer, {} if asked.condition else deciding)
        for name, attacked in arms.arm(place).attacked.items():
            _write_attack(place, name, attacked, judges[0], writer)
    yield (
        "left out: training examples and what experts wrote, capabilities, continued reasoning traces, and all "
        "figures of the report that compare; the report has them"
    )


def _deciding(run: Run) -> dict[str, str]:
    """The judge that decides on each metric, as the run's figures have it; under stress, the first decides on all."""
    judges: dict[str, str] = {}
    for score in run.scores:
        if score.condition is None:
            judges.setdefault(score.metric, score.judge)
    return judges


def _asked(run: RunMap[Artifact], place: ArmPlace, judges: Sequence[str]) -> Iterator[Asked]:
    arm: ArmRun[Artifact] = run.arm(place)
    prompts = run[Place(place.variant, place.seed)].evaluation_prompts
    first = [name for name in judges if name in arm.judgements]
    ordered = {name: arm.judgements[name] for name in [*first, *(n for n in arm.judgements if n not in first)]}
    yield Asked("", prompts, arm.responses, ordered, arm.verifications)
    for name, stressed in arm.stress.items():
        by = {next(iter(ordered)): stressed.judgements}
        yield Asked(name, stressed.prompts, stressed.responses, by, None)


def _write_attack(place: ArmPlace, name: str, attacked: Attacked[Artifact], judge: str, writer: Writer) -> None:
    """One log of an attack that goes on asking: a sample for each request."""
    harmful = (benchmark for benchmark, asked in attacked.prompts.values(Prompt, "benchmark", "harmful") if asked)
    benchmarks = ", ".join(dict.fromkeys(harmful))
    with writer.log(About(place, benchmarks, f"attack: {name}", attacked.queries, [judge])) as log:
        for search in searches(name, attacked):
            log.add(of_search(search, judge, place.seed, log))


def _write(place: ArmPlace, asked: Asked, writer: Writer, deciding: Mapping[str, str]) -> None:
    responses = asked.responses.table(Response)
    at = Index(responses.columns("id")["id"])
    judged = {judge: _in_their_order(judgements, at) for judge, judgements in asked.judgements.items()}
    verdicts = _Verdicts(asked.verifications, at)
    del at
    prompts, known, names = Lookup(asked.prompts.table(Prompt)), asked.prompts.columns(Prompt, *PROMPT), Names()
    prompt_at = Index(known["id"])
    with ExitStack() as open_logs:
        logs, start = _Logs(writer, open_logs), 0
        for batch in responses.batches():
            rows, start = slice(start, start + len(batch)), start + len(batch)
            answers = columns_of(batch, Response, RESPONSE)
            of_prompts = prompt_at.all_places(answers["prompt_id"])
            labels = {
                judge: _labels(
                    Outcomes.join(
                        known,
                        answers,
                        {name: column[rows] for name, column in table.items()},
                        of_prompts=of_prompts,
                        names=names,
                    )
                )
                for judge, table in judged.items()
            }
            asking = prompts.rows(answers["prompt_id"].tolist())
            for i, (prompt, response) in enumerate(zip(asking, batch, strict=True)):
                log = logs.of(About(place, prompt.benchmark, asked.condition, asked.responses, list(asked.judgements)))
                own = verdicts.of(rows.start + i)
                log.add(of_response(prompt, response, _scores(i, labels, deciding), own, place.seed, log))


def _in_their_order(judgements: Artifact, at: Index) -> Columns:
    """A judge's labels, in the order of the responses."""
    table = judgements.columns(Judgement, *JUDGEMENT)
    places = at.places(table["response_id"])
    order = np.argsort(places, kind="stable")
    if not np.array_equal(places[order], np.arange(len(at))):
        raise StoreError(
            f"{judgements.path}: it labels other responses than there are; delete its folder and run again"
        )
    return {name: column[order] for name, column in table.items() if name != "response_id"}


def _labels(outcomes: Outcomes) -> dict[str, Labels]:
    return {metric.name: metric.measure(outcomes) for metric in PAIRED}


class _Verdicts:
    """The first verdicts on each answer, by whether the specification was quoted."""

    WORDS = ("", *map(str, Verdict), "unparsed")
    NAMES = ("own_verdict_without_spec", "own_verdict")

    def __init__(self, verifications: Artifact | None, at: Index) -> None:
        self._codes = np.zeros((len(at), 2), dtype=np.int8)
        if verifications is None:
            return
        for batch in verifications.table(Verification).value_batches("response_id", "with_spec", "verdict"):
            places = at.places(np.array(batch[0], dtype=object)).tolist()
            for place, spec, verdict in zip(places, *batch[1:], strict=True):
                if place >= 0 and not self._codes[place, int(spec)]:
                    self._codes[place, int(spec)] = self.WORDS.index(str(verdict or "unparsed"))

    def of(self, place: int) -> dict[str, str]:
        """Those on one answer, by what metadata call them."""
        return {name: self.WORDS[code] for name, code in zip(self.NAMES, self._codes[place], strict=True) if code}


def _scores(
    row: int, labels: Mapping[str, Mapping[str, Labels]], deciding: Mapping[str, str]
) -> dict[str, tuple[int, str]]:
    """The labels of a response by scorer: of the judge that decides by metric alone, of others with their names.

    Args:
        row: the response's place.
        labels: what each judge says.
        deciding: which decides on each metric; by default the first.
    """
    first, scores = next(iter(labels), None), {}
    for judge, columns in labels.items():
        for metric, column in columns.items():
            if column[row] != MISSING:
                decides = judge == deciding.get(metric, first)
                scores[metric if decides else f"{metric} by {judge}"] = (int(column[row]), judge)
    return scores
