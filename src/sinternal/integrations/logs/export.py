"""A run as logs of Inspect: one for each arm, training run and benchmark, and for each condition of stress.

`inspect view`, Scout and Viz read these. Samples are written as they come, so that no more of a run is in memory than
its labels: the header, by which Inspect knows a log, is written by Inspect itself, and so is the form of each sample.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sinternal.errors import DataError, StoreError
from sinternal.extras import require
from sinternal.figures.columns import MISSING, Labels
from sinternal.figures.metric import PAIRED
from sinternal.figures.outcomes import Outcomes
from sinternal.figures.reading import Reader
from sinternal.figures.without_texts import HiddenRows, Hider, hider_of
from sinternal.integrations.logs.write import PARENT, About, Log, Writer
from sinternal.layout import ArmPlace, ArmRun, Place, RunMap
from sinternal.records import PAIRED_METRICS, Finish, Measured, Prompt, Response, Verification, make_id
from sinternal.stages.report import ReportConfig
from sinternal.store import Artifact, Table, check_writable
from sinternal.store.sums import checked
from sinternal.study.run import LAST, RECIPE, Run, find_last
from sinternal.study.sharing import inputs_of
from sinternal.tools.diagnosis import slug

LOGS = "inspect"
"""In a run's folder: its logs, unless they go elsewhere."""
MEASURED = "measured.parquet"
TEXT_LEFT_OUT = "[text left out]"


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
    store: Path | None = None,
    redact: bool = False,
) -> Exported:
    """Write a finished run as logs of Inspect.

    Args:
        folder: the run's; of one that was redacted there are no texts to write.
        out: folder of the logs; by default `inspect` in the run's.
        arms: their names; by default all.
        store: its folder of artifacts, if that is not inside.
        redact: whether to leave out all texts.

    Raises:
        SInternalError: there is no finished run, artifacts of it are not there, it has no such arm, or nothing can be
            written.
    """
    require("export to Inspect", "inspect_ai")
    if not (folder / MEASURED).is_file():
        raise DataError(f"{folder}: no finished run there (no {MEASURED}); finish it first")
    to = out or folder / LOGS
    without = redact or not (folder / RECIPE).is_file()
    check_writable(to, "--out")
    if any(to.glob("*.eval")):
        raise DataError(f"{to}: there are logs already; delete them, or choose another folder with --out")
    writer = Writer(to, slug(folder.resolve().name) or "run")
    hider = hider_of(folder) if (folder / RECIPE).is_file() else None  # a copy without texts has keyed ids already
    notes = list(
        _without_texts(folder, writer, arms, hider) if without else _whole(Run.open(folder, store), writer, arms)
    )
    return Exported(to, tuple(writer.files), writer.samples, tuple(notes))


def _check_arms(folder: Path, asked: Collection[str], there: Collection[str]) -> None:
    if unknown := next((arm for arm in asked if arm not in there), None):
        raise DataError(f"{folder} has no arm {unknown!r}; it has: {', '.join(sorted(there))}")


def _without_texts(folder: Path, writer: Writer, arms: Collection[str], hider: Hider | None) -> Iterator[str]:
    """Samples from what was measured of each response alone."""
    labels: dict[ArmPlace, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    measured = Table(checked(folder / MEASURED), Measured)
    for row in HiddenRows(measured, hider) if hider else measured:
        labels[ArmPlace(row.variant, row.arm, row.seed)][row.benchmark].append(row)
    _check_arms(folder, arms, {place.arm for place in labels})
    for place, by_benchmark in labels.items():
        if arms and place.arm not in arms:
            continue
        for benchmark, rows in by_benchmark.items():
            about = About(place, benchmark, "", [row.prompt_id for row in rows], max(row.sample for row in rows) + 1)
            with writer.log(about) as log:
                for row in rows:
                    log.add(_measured_sample(row, log))
    yield (
        "left out: all texts (prompts, system messages, thinkings, answers, critiques), labels of other judges, "
        "conditions of stress and tokens; what was measured of each response by the judge that decides stays"
    )


def _measured_sample(row: Measured, log: Log) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    identity, model = make_id(log.id, row.id), log.model
    asked = ChatMessageUser(content=TEXT_LEFT_OUT, id=make_id(identity, "user"))
    said = ChatMessageAssistant(
        content=TEXT_LEFT_OUT, id=make_id(identity, "assistant"), model=model, source="generate"
    )
    values = {name: getattr(row, name) for name in PAIRED_METRICS}
    return EvalSample(
        id=row.prompt_id,
        epoch=row.sample + 1,
        input=[asked],
        target="",
        messages=[asked, said],
        output=ModelOutput(
            model=model,
            choices=[ChatCompletionChoice(message=said, stop_reason="max_tokens" if row.truncated else "stop")],
        ),
        scores={name: Score(value=int(value)) for name, value in values.items() if value is not None},
        metadata={
            PARENT: row.parent_id,
            "harmful": row.harmful,
            "family": row.family,
            "split": str(row.split),
            "harm_shows": str(row.harm_shows),
            "seed": row.seed,
            "response": row.id,
            **({"own_verdict": row.verified_with_spec} if row.verified_with_spec else {}),
            **({"own_verdict_without_spec": row.verified_without_spec} if row.verified_without_spec else {}),
        },
        uuid=identity,
    )


def _whole(run: Run, writer: Writer, chosen: Collection[str]) -> Iterator[str]:
    _check_arms(run.folder, chosen, run.arms)
    report = find_last(run.store, "report", run.folder, LAST["report"])
    if report is None:
        raise StoreError(
            f"{run.folder}: its artifacts are not in {run.store.root}; name its --store, run it again, or write the "
            "logs without texts with --redact"
        )
    writer.created = datetime.fromtimestamp(report.manifest["started"], UTC)
    config = ReportConfig.model_validate(report.manifest["config"])
    arms = RunMap[Artifact].from_flat(inputs_of(run.store, report, run.folder))
    reader, deciding = Reader(arms, []), _deciding(run)
    for place in arms.arms():
        if chosen and place.arm not in chosen:
            continue
        judges = [entry.name for entry in config.variants[place.variant].judges]
        for asked in _asked(arms, place, judges):
            _write(place, asked, reader, writer, {} if asked.condition else deciding)
    yield (
        "left out: training examples and what experts wrote, capabilities, continued thinkings, and all figures of the "
        "report that compare; the report has them"
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


class _Labelled(NamedTuple):
    """What a judge says of each response, in their order."""

    judge: str
    labels: Mapping[str, Labels]


def _write(place: ArmPlace, asked: Asked, reader: Reader, writer: Writer, deciding: Mapping[str, str]) -> None:
    labelled = [
        _Labelled(judge, _labels(reader.outcomes(asked.prompts, asked.responses, judgements)))
        for judge, judgements in asked.judgements.items()
    ]
    responses = asked.responses.columns(Response, "prompt_id", "sample")
    known = asked.prompts.columns(Prompt, "id", "benchmark")
    benchmark_of = dict(zip(known["id"], known["benchmark"], strict=True))
    at: dict[str, list[int]] = defaultdict(list)
    for number, prompt in enumerate(responses["prompt_id"]):
        at[benchmark_of[prompt]].append(number)
    prompts = {prompt.id: prompt for prompt in asked.prompts.table(Prompt)}
    verdicts = _verdicts(asked.verifications)
    with ExitStack() as open_logs:
        logs = {
            benchmark: open_logs.enter_context(
                writer.log(
                    About(
                        place,
                        benchmark,
                        asked.condition,
                        responses["prompt_id"][numbers].tolist(),
                        int(responses["sample"][numbers].max()) + 1,
                        asked.responses,
                        list(asked.judgements),
                    )
                )
            )
            for benchmark, numbers in at.items()
        }
        for number, response in enumerate(asked.responses.table(Response)):
            prompt = prompts[response.prompt_id]
            scores = _scores(number, labelled, deciding)
            log = logs[prompt.benchmark]
            log.add(_sample(prompt, response, scores, verdicts.get(response.id, {}), place.seed, log))


def _labels(outcomes: Outcomes) -> dict[str, Labels]:
    return {metric.name: metric.measure(outcomes) for metric in PAIRED}


def _verdicts(verifications: Artifact | None) -> dict[str, dict[str, str]]:
    """The first verdicts on each answer, by whether the specification was quoted."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    if verifications is not None:
        names = ("response_id", "with_spec", "verdict")
        for response, spec, verdict in verifications.values(Verification, *names):
            key = "own_verdict" if spec else "own_verdict_without_spec"
            found[response].setdefault(key, str(verdict or "unparsed"))
    return found


def _scores(number: int, labelled: Sequence[_Labelled], deciding: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """The labels of a response by scorer: of the judge that decides by metric alone, of others with their names.

    Args:
        number: of the response.
        labelled: what each judge says.
        deciding: which decides on each metric; by default the first.
    """
    scores = {}
    for judge, labels in labelled:
        for metric, column in labels.items():
            if column[number] != MISSING:
                decides = judge == deciding.get(metric, labelled[0].judge)
                scores[metric if decides else f"{metric} by {judge}"] = (int(column[number]), judge)
    return scores


STOPS: Mapping[Finish, str] = {
    Finish.STOP: "stop",
    Finish.LENGTH: "max_tokens",
    Finish.FILTERED: "content_filter",
    Finish.ERROR: "unknown",
}
WORDS = {
    "asr": ("the answer is safe", "the answer is unsafe"),
    "over_refusal": ("no refusal", "a refusal of a request that could be helped with"),
    "helpful": ("not what was asked for", "what was asked for"),
    "proactive_verification": ("the thinking checks nothing for safety", "the thinking checks safety, unasked"),
}
"""What a score of 0, and of 1, says."""


def _sample(
    prompt: Prompt,
    response: Response,
    scores: Mapping[str, tuple[int, str]],
    verdicts: Mapping[str, str],
    seed: int,
    log: Log,
) -> Any:
    from inspect_ai.event import ModelEvent
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        ContentReasoning,
        ContentText,
        GenerateConfig,
        ModelOutput,
        ModelUsage,
    )
    from inspect_ai.scorer import Score

    identity, model = make_id(log.id, response.id), log.model  # arms may give the very same response
    opening: list[Any] = (
        [ChatMessageSystem(content=prompt.system, id=make_id(identity, "system"))] if prompt.system else []
    )
    asked = [*opening, ChatMessageUser(content=prompt.text, id=make_id(identity, "user"))]
    content: list[Any] = [ContentReasoning(reasoning=response.thinking)] if response.thinking else []
    content.append(ContentText(text=response.answer or ""))
    said = ChatMessageAssistant(content=content, id=make_id(identity, "assistant"), model=model, source="generate")
    read, written = int(response.prompt_tokens or 0), int(response.tokens or 0)
    usage = ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
    metadata: dict[str, Any] = {
        PARENT: prompt.parent_id,
        "harmful": prompt.harmful,
        "family": prompt.family,
        "split": str(prompt.split),
        "harm_shows": str(prompt.harm_shows),
        "seed": seed,
        "response": response.id,
        **verdicts,
    }
    more = {"category": prompt.category, "pair": prompt.pair_id, "goal": prompt.goal, "prefill": prompt.prefill}
    metadata |= {name: value for name, value in more.items() if value}
    if prompt.raw:
        metadata["raw"] = True
    if response.answer is None and not response.finish.without_text:
        metadata["no answer"] = True
    failed = response.finish is Finish.ERROR
    output = ModelOutput(
        model=model,
        choices=[ChatCompletionChoice(message=said, stop_reason=STOPS[response.finish])],  # type: ignore[arg-type]
        usage=usage,
    )
    call = ModelEvent(  # what data frames of messages, and transcripts, are read from
        uuid=make_id(identity, "call"),
        timestamp=log.created,
        model=model,
        input=asked,
        tools=[],
        tool_choice="none",
        config=GenerateConfig(),
        output=output,
    )
    return EvalSample(
        id=prompt.id,
        epoch=response.sample + 1,
        input=asked,
        target="",
        messages=[*asked, said],
        output=output,
        events=[call],
        scores={
            name: Score(
                value=value,
                answer=response.answer,
                explanation=f"{WORDS[name.partition(' by ')[0]][value]} ({judge})",
                metadata={"judge": judge},
            )
            for name, (value, judge) in scores.items()
        },
        metadata=metadata,
        model_usage={model: usage},
        uuid=identity,
        error=EvalError(message=response.error or "failed", traceback="", traceback_ansi="") if failed else None,
    )
