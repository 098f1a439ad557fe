"""A log of Inspect as it is written: sample by sample, so that none of them has to be held.

A log is a zip of a header, of summaries and of samples. The header is written by Inspect's `write_eval_log`, and the
JSON of samples and summaries is that of Inspect's own models; what is ours is that they come one by one: Inspect's
writer holds all of them, and looks through them at each.
"""

from __future__ import annotations

import re
import zipfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, NamedTuple, Self

import numpy as np

from sinternal.figures.metric import METRICS, Over
from sinternal.figures.missing import NOTABLE
from sinternal.integrations.logs.archive import Archive
from sinternal.layout import ArmPlace
from sinternal.records import PAIRED_METRICS, make_id
from sinternal.settings.recipe import DEFAULT_VARIANT
from sinternal.store import Artifact

PARENT = "parent"
"""The metadata that our samples hang together by: the prompt that a sample's prompt wraps, or itself."""
SUCCESS, QUERIES = "success", "queries"
"""Scores of adaptive attacks: whether a request was broken, and how many queries that took."""
SCORES = (*PAIRED_METRICS, SUCCESS, QUERIES)
"""In the order in which logs have them."""
_ODD = re.compile(r"[^A-Za-z0-9.-]+")
LONGEST_NAME = 120
"""Characters of a log's name, before what tells it from others."""


class About(NamedTuple):
    """What a log is of."""

    place: ArmPlace
    """The arm, variant and seed."""
    benchmark: str
    """The benchmark, or several."""
    condition: str = ""
    """The condition of stress, or the attack; empty for the evaluation itself."""
    asked: Artifact | None = None
    """The artifact of the responses; None where only what was measured of them is there."""
    judges: Sequence[str] = ()
    """The judges."""


class _Sums:
    """A score's mean, and its standard error by clusters, as samples come."""

    def __init__(self) -> None:
        self.totals, self.sizes = array("d"), array("L")

    def add(self, value: float, cluster: int) -> None:
        new = [0] * (cluster + 1 - len(self.sizes))
        self.totals.extend(new)
        self.sizes.extend(new)
        self.totals[cluster] += value
        self.sizes[cluster] += 1

    @property
    def n(self) -> int:
        return sum(self.sizes)

    @property
    def mean(self) -> float:
        return sum(self.totals) / self.n

    @property
    def stderr(self) -> float:
        """As Inspect's `stderr(cluster=…)`."""
        totals, sizes = np.array(self.totals), np.array(self.sizes)
        groups = int((sizes > 0).sum())
        if groups < 2:
            return 0.0
        off = totals - self.mean * sizes  # 0 in clusters without any
        return float(np.sqrt((off**2).sum() * groups / (groups - 1)) / self.n)

    def figures(self, rows: int | None) -> dict[str, float]:
        """What a header tells of it.

        Of a rate of which samples have no score it tells the bounds, and its mean only where these are few: a report
        may withhold the rate where more are missing.

        Args:
            rows: samples that it concerns; None if it is no rate.
        """
        missing = (rows or self.n) - self.n
        bounds = {
            "lowest": sum(self.totals) / (self.n + missing),
            "highest": (sum(self.totals) + missing) / (self.n + missing),
        }
        told = {"mean": self.mean, "stderr": self.stderr} if missing <= NOTABLE * (self.n + missing) else {}
        return told | (bounds if missing else {})


class Writer:
    """Writes the logs of a run."""

    def __init__(self, folder: Path, run: str) -> None:
        """Write into a folder, of a run with a name that files may have."""
        self.folder, self.run = folder, run
        self.created = datetime.fromtimestamp(0, UTC)
        self.files: list[Path] = []
        self.samples = 0

    def log(self, about: About) -> Log:
        """A log that appears when it is whole."""
        return Log(self, about)


class Log:
    """A log in the making."""

    def __init__(self, writer: Writer, about: About) -> None:
        """Begin it; it is written in a `with`."""
        place = about.place
        self.writer, self.about = writer, about
        variant = [] if place.variant == DEFAULT_VARIANT else [place.variant]
        self.model = "/".join(["sinternal", writer.run, *variant, place.arm])
        self.id = make_id(writer.run, *place, about.benchmark, about.condition)
        parts = [
            *variant,
            place.arm,
            f"seed{place.seed}",
            about.benchmark,
            *([about.condition] if about.condition else []),
        ]
        name = "_".join(_ODD.sub("-", part) for part in parts)
        self.path = writer.folder / f"{name[:LONGEST_NAME]}_{self.id[:8]}.eval"
        self.growing = self.path.with_suffix(".tmp")
        manifest = about.asked.manifest if about.asked else {}
        began = datetime.fromtimestamp(manifest["started"], UTC) if "started" in manifest else writer.created
        self.created = began
        """When the responses were begun."""
        self.completed = began + timedelta(seconds=float(manifest.get("seconds", 0)))
        """When they were there."""
        self.sums: dict[str, _Sums] = defaultdict(_Sums)
        self.sides: Counter[str] = Counter()
        self.clusters: dict[str, int] = {}
        self.ids: dict[str, None] = {}
        self.count = self.failed = self.read = self.written = self.epochs = 0

    def __enter__(self) -> Self:
        self.archive = Archive(self.growing)
        self.summaries: IO[bytes] = TemporaryFile()
        return self

    def add(self, sample: Any) -> None:
        """Take a sample."""
        self.archive.add(f"samples/{sample.id}_epoch_{sample.epoch}.json", _dump(sample))
        self.summaries.write((b"," if self.count else b"[") + _dump(sample.summary()))
        self.ids[sample.id] = None
        self.epochs = max(self.epochs, sample.epoch)
        cluster = self.clusters.setdefault(str(sample.metadata[PARENT]), len(self.clusters))
        self.sides.update(side for side in ("harmful", "helpable") if sample.metadata[side])
        for name, score in (sample.scores or {}).items():
            self.sums[name].add(score.value, cluster)
        for usage in sample.model_usage.values():
            self.read += usage.input_tokens
            self.written += usage.output_tokens
        self.failed += sample.error is not None
        self.count += 1

    def __exit__(self, kind: object, error: object, at: object) -> None:
        try:
            if kind is None:
                self._finish()
            else:
                self.archive.close()
        finally:
            self.summaries.close()
            self.growing.unlink(missing_ok=True)

    def _finish(self) -> None:
        self.summaries.write(b"]" if self.count else b"[]")
        self.summaries.seek(0)
        self.archive.add("summaries.json", self.summaries)
        for name, content in _as_inspect_writes(self._header()):
            self.archive.add(name, content)
        self.archive.close()
        self.growing.rename(self.path)
        self.writer.files.append(self.path)
        self.writer.samples += self.count

    def _rows(self, score: str) -> int | None:
        """How many samples a score concerns; None if it is no rate."""
        name = score.partition(" by ")[0]
        if name not in PAIRED_METRICS:
            return self.count if name == SUCCESS else None
        return self.sides["helpable" if METRICS[name].over[0] is Over.BENIGN else "harmful"]

    def _header(self) -> Any:
        from inspect_ai.log import (
            EvalConfig,
            EvalDataset,
            EvalLog,
            EvalMetric,
            EvalPlan,
            EvalResults,
            EvalScore,
            EvalSpec,
            EvalStats,
        )
        from inspect_ai.model import GenerateConfig, ModelUsage

        about, place = self.about, self.about.place
        manifest = about.asked.manifest if about.asked else {}
        created, completed = (day.isoformat(timespec="seconds") for day in (self.created, self.completed))
        sampling = manifest.get("config", {}).get("sampling", {})
        asked = {name: sampling[name] for name in ("temperature", "top_p", "max_tokens") if name in sampling}
        task = about.benchmark if not about.condition else f"{about.benchmark}, {about.condition}"
        ids = list(self.ids)
        usage = ModelUsage(input_tokens=self.read, output_tokens=self.written, total_tokens=self.read + self.written)
        spec = EvalSpec(
            eval_id=self.id,
            run_id=make_id(self.writer.run, *place),
            created=created,
            task=task,
            task_id=make_id(about.benchmark, about.condition),
            task_args={"benchmark": about.benchmark, **({"condition": about.condition} if about.condition else {})},
            dataset=EvalDataset(name=about.benchmark, samples=len(ids), sample_ids=ids, shuffled=False),
            model=self.model,
            model_args={"arm": place.arm, "variant": place.variant, "seed": place.seed},
            model_generate_config=GenerateConfig(**asked, seed=place.seed),
            config=EvalConfig(epochs=max(1, self.epochs)),
            packages={"sinternal": version("sinternal"), "inspect_ai": version("inspect_ai")},
            tags=["sinternal", place.arm, f"seed {place.seed}"],
            metadata={
                "arm": place.arm,
                "variant": place.variant,
                "seed": place.seed,
                "condition": about.condition,
                "benchmark": about.benchmark,
                "judges": ", ".join(about.judges),
                "cluster": PARENT,
            },
        )
        scores = [
            EvalScore(
                name=name,
                scorer=name,
                scored_samples=one.n,
                unscored_samples=self.count - one.n,
                metrics={
                    metric: EvalMetric(
                        name=metric, value=value, params={"cluster": PARENT} if metric == "stderr" else {}
                    )
                    for metric, value in one.figures(self._rows(name)).items()
                },
            )
            for name, one in sorted(self.sums.items(), key=lambda item: _rank(item[0]))
        ]
        return EvalLog(
            status="success",
            eval=spec,
            plan=EvalPlan(name="sinternal"),
            results=EvalResults(
                total_samples=self.count,
                completed_samples=self.count - self.failed,
                logged_samples=self.count,
                scores=scores,
            ),
            stats=EvalStats(
                started_at=created,
                completed_at=completed,
                model_usage={self.model: usage},
            ),
        )


def _as_inspect_writes(header: Any) -> Iterator[tuple[str, bytes]]:
    """The members of a log without samples that Inspect itself has written."""
    from inspect_ai.log import write_eval_log

    with TemporaryDirectory() as folder:
        path = Path(folder, "header.eval")
        zipfile.ZipFile(path, "w").close()
        write_eval_log(header, str(path), format="eval", header_only=True)
        with zipfile.ZipFile(path) as written:
            yield from ((name, written.read(name)) for name in written.namelist())


def _rank(scorer: str) -> tuple[bool, int, str]:
    metric, by, judge = scorer.partition(" by ")
    return bool(by), SCORES.index(metric), judge


def _dump(model: Any) -> bytes:
    text: str = model.model_dump_json(exclude_none=True, fallback=str)
    return text.encode("utf-8", "replace")
