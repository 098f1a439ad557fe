"""What `sinternal plan --hardware` prints: memory, tokens, hours and prices, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinternal.budget import money
from sinternal.cli.output import MISSING, emit, out, print_note, print_table
from sinternal.errors import SInternalError

if TYPE_CHECKING:
    from sinternal.settings.launch import Launch
    from sinternal.study.cost import Lessons, Row
    from sinternal.study.forecast import Forecast, Work
    from sinternal.study.formulas import Figure
    from sinternal.study.reach import Reach

GIGA = 1e9
HOUR = 3600


@dataclass(frozen=True)
class PlannedMachine:
    """What a user says of the machine that he plans for."""

    hardware: str | None
    """Its name; None: nothing is forecast."""
    configs: dict[str, Path]
    """Files that describe models, by the models' names."""
    mean_tokens: int | None
    """Mean length of a text; None: the usual one."""

    def forecast(self, rows: Sequence[Row], launch: Launch | None) -> Forecast | None:
        """What a plan takes of it, if trainings are spread so. Raises SInternalError."""
        from sinternal.study.forecast import forecast
        from sinternal.study.hardware import read_hardware
        from sinternal.study.lengths import Lengths

        if self.hardware is None:
            return None
        lengths = Lengths() if self.mean_tokens is None else Lengths(text=self.mean_tokens)
        return forecast(rows, read_hardware(self.hardware), configs=self.configs, lengths=lengths, launch=launch)


def read_configs(given: Iterable[str], target: str) -> dict[str, Path]:
    """The files of `--model-config`, by the models' names.

    Args:
        given: `FILE`, for the target, or `MODEL=FILE`.
        target: name of the target.

    Raises:
        SInternalError: there is no such file.
    """
    configs = {}
    for text in given:
        model, equals, name = text.rpartition("=")
        file = Path(name).expanduser()
        if not file.is_file():
            raise SInternalError(f"--model-config {text}: there is no file {file}; name a model's config.json")
        configs[model if equals else target] = file
    return configs


def print_forecast(forecast: Forecast, workers: int, *, explain: bool) -> None:
    """Print memory and time of what is done here, what servers cost, the totals and what does not fit."""
    if forecast.works:
        where = "this machine" if forecast.hardware.is_cpu else f"each GPU of {forecast.hardware.name}"
        out.print(f"\nmemory of {where}, GB, at the longest texts that are allowed", soft_wrap=True)
        _print_memory(forecast.works)
        request, text = forecast.lengths.request, forecast.lengths.text
        out.print(f"\nhours, if requests have {request:,} tokens and texts {text:,} or their limit (--mean-tokens)")
        _print_time(forecast.works)
    if explain:
        for line in _explanations(forecast):
            out.print(line, soft_wrap=True)
    if any(asked.cost for asked in forecast.asked):
        out.print("\ncost of servers at most, by the standard price and by that of a batch endpoint")
        _print_cost(forecast)
    for line in _totals(forecast):
        out.print(line, soft_wrap=True)
    for sentence in forecast.misfits:
        print_note(sentence)
    for note in forecast.notes:
        print_note(note)
    if workers > 1 and not forecast.hardware.is_cpu and forecast.works:
        print_note(f"workers {workers}: so many artifacts are made at once, and their memory adds up on one GPU")


def print_json(
    rows: Sequence[Row],
    forecast: Forecast | None,
    notes: Sequence[str],
    reach: Reach,
    trainings: Sequence[Lessons],
    *,
    explain: bool,
) -> None:
    """Print the whole plan as JSON."""
    content: dict[str, Any] = {
        "artifacts": [
            {
                "label": row.task.label,
                "stage": row.task.stage.name,
                "key": row.task.key,
                "cached": row.cached,
                **row.costs._asdict(),
            }
            for row in rows
        ],
        "trainings": [training._asdict() for training in trainings],
        "forecast": None if forecast is None else _as_json(forecast, explain=explain),
        "reach": {
            "servers": [{"address": each.address, "keys": list(each.variables)} for each in reach.servers],
            "files": list(reach.files),
            "commands": list(reach.commands),
        },
        "notes": list(notes),
    }
    emit(content)


def _as_json(forecast: Forecast, *, explain: bool) -> dict[str, Any]:
    from sinternal.study.forecast import EFFICIENCY

    kind = forecast.hardware.accelerator
    return {
        "hardware": {
            "name": forecast.hardware.name,
            "count": forecast.hardware.count,
            "memory_bytes": kind.memory,
            "bandwidth_bytes_per_second": kind.bandwidth,
            "flops": kind.flops,
            "source": kind.source,
        },
        "assumptions": {
            "request_tokens": forecast.lengths.request,
            "text_tokens": forecast.lengths.text,
            "efficiency": EFFICIENCY,
        },
        "work": [_work_as_json(work, explain=explain) for work in forecast.works],
        "servers": [
            {
                "label": asked.task.label,
                "key": asked.task.key,
                "calls": asked.calls,
                "read": asked.read,
                "written": asked.written,
                "cost": asked.cost,
                "batch_cost": asked.batch_cost,
            }
            for asked in forecast.asked
        ],
        "totals": {
            "least_hours": forecast.least_hours,
            "hours": forecast.hours,
            "gpu_hours": forecast.gpu_hours,
            "cost": forecast.cost,
            "batch_cost": forecast.batch_cost,
        },
        "misfits": forecast.misfits,
        "notes": list(forecast.notes),
    }


def _work_as_json(work: Work, *, explain: bool) -> dict[str, Any]:
    content: dict[str, Any] = {
        "label": work.task.label,
        "stage": work.task.stage.name,
        "key": work.task.key,
        "model": work.model,
        "gpus": work.gpus,
        "memory": {item.name: item.figure.value for item in work.items},
        "needed_bytes": work.needed,
        "room_bytes": work.room,
        "fits": not work.mend,
        "mend": work.mend,
        "read": work.read,
        "written": work.written,
        "learned": work.learned,
        "least_hours": work.least_hours,
        "hours": work.hours,
    }
    if explain:
        content["explanations"] = {name: figure.explanation for name, figure in _figures(work)}
    return content


def _print_memory(works: Sequence[Work]) -> None:
    """A line for each kind of work that has the same memory."""
    parts = ("weights", "gradients", "optimiser", "activations", "KV cache", "other")
    titles = ("stage", "n", "model", "GPUs", "weights", "gradients", "AdamW", "activ.", "KV", "other", "peak", "of")
    lines = []
    for same in _alike(works):
        first = same[0]
        sums = dict.fromkeys(parts, 0.0)
        for item in first.items:
            sums[PARTS.get(item.name, "other")] += item.figure.value
        lines.append(
            [
                first.task.stage.name,
                str(len(same)),
                first.model.rpartition("/")[2],
                str(first.gpus),
                *(_giga(value) for value in sums.values()),
                _giga(first.needed),
                _giga(first.room) + ("" if not first.mend else " !"),
            ]
        )
    print_table(None, titles, lines, left=3, dispensable=["n", "gradients", "AdamW", "activ.", "KV", "other"])


PARTS = {
    "weights": "weights",
    "adapter": "weights",
    "bfloat16 copies": "weights",
    "gradients": "gradients",
    "optimiser": "optimiser",
    "checkpoints": "activations",
    "activations": "activations",
    "backward": "activations",
    "logits": "activations",
    "gathered weights": "weights",
    "rollouts: gathered weights": "weights",
    "gradient buckets": "gradients",
    "gathered gradients": "gradients",
    "first pass": "activations",
    "rollouts: first pass": "activations",
    "KV cache": "KV cache",
    "rollouts: KV cache": "KV cache",
    "vLLM": "KV cache",
}
"""The column of each part of memory."""


def _alike(works: Iterable[Work]) -> Iterator[list[Work]]:
    """Works that have the same memory, in the order of their first."""
    groups: dict[Any, list[Work]] = {}
    for work in works:
        numbers = tuple((item.name, item.figure.value) for item in work.items)
        groups.setdefault((work.task.stage.name, work.model, work.gpus, numbers), []).append(work)
    yield from groups.values()


def _print_time(works: Sequence[Work]) -> None:
    lines = [
        [
            work.task.label,
            *(f"{tokens:,}" if tokens else MISSING for tokens in (work.read, work.written, work.learned)),
            *(_hours(value) if value else MISSING for value in (work.least_hours, work.hours)),
        ]
        for work in works
    ]
    titles = ("artifact", "read", "written", "learned", "hours ≥", "hours ≈")
    print_table(None, titles, lines, dispensable=["read", "learned"])


def _print_cost(forecast: Forecast) -> None:
    lines = [
        [
            asked.task.label,
            *(f"{amount:,}" for amount in (asked.calls, asked.read, asked.written)),
            *map(money, (asked.cost, asked.batch_cost)),
        ]
        for asked in forecast.asked
        if asked.cost
    ]
    titles = ("artifact", "calls ≤", "read ≤", "written ≤", "cost ≤", "in batches ≤")
    print_table(None, titles, lines, dispensable=["read ≤", "written ≤"])


def _totals(forecast: Forecast) -> Iterator[str]:
    if forecast.works:
        least, expected, gpus = map(_hours, (forecast.least_hours, forecast.hours, forecast.gpu_hours))
        yield f"in all at least {least} hours, expected {expected}, one artifact after another ({gpus} GPU hours)"
    else:
        yield "no local model is used"
    if forecast.cost:
        yield (
            f"servers cost at most {money(forecast.cost)}, or {money(forecast.batch_cost)} if all of them have a batch "
            "endpoint at half the price"
        )


def _explanations(forecast: Forecast) -> Iterator[str]:
    """A line for each number, once for works that have the same."""
    kind = forecast.hardware.accelerator
    abilities = f"{kind.memory:,.6g} bytes, {kind.bandwidth:,.6g} bytes/s, {kind.flops:,.6g} FLOP/s"
    yield f"\n{kind.name}: {abilities}; {kind.source}"
    for same in _alike(forecast.works):
        yield f"{same[0].task.label}" + (f" and {len(same) - 1} more" if len(same) > 1 else "")
        for name, figure in _figures(same[0]):
            unit = "h" if name.startswith("hours") else "GB"
            yield f"  {name}: {figure.value / (HOUR if unit == 'h' else GIGA):,.4g} {unit} = {figure.explanation}"


def _figures(work: Work) -> Iterator[tuple[str, Figure]]:
    yield from ((item.name, item.figure) for item in work.items)
    for sign, figures in (("≥", work.least), ("≈", work.expected)):
        yield from ((f"hours of {name} {sign}", figure) for name, figure in figures.items())


def _giga(value: float) -> str:
    return MISSING if not value else f"{value / GIGA:,.1f}" if value >= GIGA / 10 else f"{value / GIGA:.1g}"


def _hours(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.005 or not value else f"{value:.1g}"
