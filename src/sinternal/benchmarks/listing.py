"""What `sinternal list benchmarks` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sinternal.benchmarks.hub import HubBenchmark, Rows, readiness
from sinternal.benchmarks.packaged import PackagedBenchmark
from sinternal.registry import Kind, load, names

NO_JUDGE = "none: the final answer is compared with the solution"
"""What stands for the judge of mathematics problems."""


class ListingRow(NamedTuple):
    """One benchmark, as it is printed; what depends on its options is empty."""

    name: str
    """What recipes call it."""
    data: str
    """Dataset on the hub, or package."""
    size: str
    """Number of prompts."""
    licence: str
    """Its licence."""
    gated: str
    """`yes` if terms must be accepted on the hub."""
    purpose: str
    """`evaluation`, or `training, too`."""
    judge: str
    """The judge that is meant for it."""
    decoding: str
    """The decoding that is meant for it."""
    ready: str
    """Whether it loads now: yes, or no and why. Nothing is downloaded to find out."""
    columns: str
    """What is read: `prompt (eval)`."""
    unconfirmed: str
    """Which of these facts could not be checked."""

    def lines(self) -> list[str]:
        """What is known, line by line; what is not known is left out."""
        size = f"n {self.size}" if self.size else ""
        gated = "gated" if self.gated else ""
        use = f"for {self.purpose}" if self.purpose else ""
        judge = f"judge {self.judge}" if self.judge else ""
        unconfirmed = f"unconfirmed: {self.unconfirmed}" if self.unconfirmed else ""
        parts = (
            (self.data, size, self.licence, gated, use),
            (self.columns,),
            (judge, self.decoding),
            (f"loads now: {self.ready}",),
            (unconfirmed,),
        )
        lines = (" \N{MIDDLE DOT} ".join(part for part in line if part) for line in parts)
        return [line for line in lines if line]


def rows(plugins: Mapping[str, Any] | None = None) -> list[ListingRow]:
    """All benchmarks, by name.

    Args:
        plugins: benchmarks by name; None takes all that are registered.
    """
    benchmarks = {name: load(Kind.BENCHMARK, name) for name in names(Kind.BENCHMARK)} if plugins is None else plugins
    return [_row(name, plugin) for name, plugin in sorted(benchmarks.items())]


def _row(name: str, plugin: Any) -> ListingRow:
    match plugin:
        case HubBenchmark():
            return _entry_row(plugin, plugin.source, readiness(plugin))._replace(
                gated="yes" if plugin.gated else "", columns=_columns(plugin), unconfirmed=plugin.unconfirmed
            )
        case PackagedBenchmark():
            return _entry_row(plugin, f"package {plugin.package or 'sinternal'}", plugin.readiness())
        case _:
            size = "" if plugin.size is None else f"{plugin.size:,}"
            purpose = "" if plugin.evaluation_only is None else _purpose(plugin.evaluation_only)
            return ListingRow(name, "", size, plugin.licence, "", purpose, "", "", "yes", "", "")


def _columns(entry: HubBenchmark) -> str:
    """Part, split and column of each kind of rows."""
    read = (
        f"{part}: {_read(rows)} of {'/'.join(name for name in (rows.config, rows.split) if name)}"
        for part, kinds in entry.parts.items()
        for rows in kinds
    )
    return "; ".join(dict.fromkeys(read))


def _read(rows: Rows) -> str:
    """The columns of request and solution."""
    return f"columns {rows.text!r} and {rows.solution.column!r}" if rows.solution else f"column {rows.text!r}"


def _entry_row(entry: HubBenchmark | PackagedBenchmark, data: str, ready: str) -> ListingRow:
    return ListingRow(
        name=entry.name,
        data=data,
        size=f"{entry.size:,}",
        licence=entry.licence,
        gated="",
        purpose=_purpose(entry.evaluation_only),
        judge=entry.judge or NO_JUDGE,
        decoding=str(entry.decoding),
        ready=ready,
        columns="",
        unconfirmed="",
    )


def _purpose(evaluation_only: bool) -> str:
    return "evaluation only" if evaluation_only else "training, too"
