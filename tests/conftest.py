"""What tests share: the shipped base, small recipes, and a draft to write to."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock

from sinternal.figures.counts import Tally
from sinternal.figures.outcomes import Outcome, Outcomes, Verdicts
from sinternal.figures.tally import Cell, count
from sinternal.records import Finish, Judgement, Prompt, Response, Split, make_id
from sinternal.store import Artifact, Draft, Store
from sinternal.study.live import PROGRESS
from sinternal.view.content import Made, artifacts_of
from sinternal.view.runs import Runs, Standing, ViewedRun
from sinternal.view.server import View
from sinternal.world.benchmark import Microworld
from sinternal.world.source import shipped_base
from tests.commands import COMMAND
from tests.plugins import open_plugin
from tests.plugins import register as register  # a fixture

Build = Callable[[Draft], None]
collect_ignore = ["vllm"]
"""Run by `make test-vllm`, in an environment of its own; a folder that is named is collected all the same."""

with suppress(ImportError):  # the environment of tests/vllm has none
    from hypothesis import settings

    settings.register_profile("noisy", deadline=None)  # how long an example takes says more of the machine
    settings.load_profile("noisy")
TINY = (
    "seeds=[0]",
    "workers=1",
    "sft.steps=2",
    "examples.size=8",
    "prompts.train_limit=8",
    "prompts.eval_limit=8",
    "evaluation.stress=null",
    "arms=[{name: base, train_on: nothing}, {name: sinternal, train_on: verification}]",
)
"""What makes `quickstart` the smallest run that has all stages."""

ATTACKED = (
    *TINY[:4],
    "prompts.train_limit=8",
    "prompts.eval_limit=8",
    "evaluation.stress={attacks: [thinking-prefill], limit: 4}",
    "evaluation.adaptive={attacks: [microworld-search], budget: 4, limit: 4}",
    "variants={plain: {}, longer: {sft.steps: 4}}",
    TINY[-1],
)
"""A run with two variants, conditions of stress and adaptive attacks."""

LONGEST_FIRST = (
    "study/test_run",
    "models/test_smollm2",
    "study/test_run_of_arms",
    "study/test_run_with_rewards",
    "tools/test_compare",
    "engines/test_ray",
    "training/test_grpo",
    "training/test_launch",
    "tests/test_secrets",
    "engines/test_openai_faults",
    "engines/test_openai_outages",
    "tests/test_bench",
    "integrations/test_logs",
    "report/test_in_browser",
    "docs/test_pages",
)
"""Files that take longest: begun last, they would leave one of two workers with nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files come first; the order within a file stays."""
    ranks = {f"{name}.py": rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get("/".join(item.path.parts[-2:]), len(ranks)))


@pytest.fixture(scope="session")
def base_model() -> Path:
    return shipped_base()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how the examples of pages were tested."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        counts.update(dict(report.user_properties).get("blocks", {}))  # type: ignore[arg-type]
    if counts:
        words = ", ".join(f"{number} {way}" for way, number in sorted(counts.items()))
        terminalreporter.write_line(f"blocks of the documentation: {words}")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of all workers."""
    root = tmp_path_factory.getbasetemp()
    return root if worker_id == "master" else root.parent


def made_once(folder: Path, make: Callable[[], object]) -> None:
    """Let the first worker that needs a folder make it; after that nobody writes there while others read."""
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            make()
            done.touch()


@pytest.fixture(scope="session")
def tiny_run(shared: Path) -> Path:
    """The folder of a finished `quickstart` in its smallest size, made once for all workers: copy it to change it."""
    import sinternal

    folder = shared / "tiny"
    made_once(folder, lambda: sinternal.run("quickstart", overrides=TINY, out=folder))
    return folder


@pytest.fixture(scope="session")
def attacked_run(shared: Path, tiny_run: Path) -> Path:
    """The folder of a finished run of `ATTACKED`, made once for all workers: copy it to change it."""
    import sinternal

    def make() -> None:
        shutil.copytree(tiny_run / "artifacts", folder / "artifacts", dirs_exist_ok=True)  # nearly half of its own
        sinternal.run("quickstart", overrides=ATTACKED, out=folder)

    folder = shared / "attacked"
    made_once(folder, make)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def make(store: Store) -> Callable[[str, Build], Artifact]:
    """Run a stage (or anything that fills a draft) and return its artifact."""

    def made(name: str, build: Build) -> Artifact:
        return store.make(
            name, "key", build, stage_version=1, config={}, inputs={}, progress=lambda _done, _total: None
        )

    return made


@pytest.fixture(scope="session")
def originals() -> Sequence[Prompt]:
    return open_plugin(Microworld, {}).prompts("train")


def response_to(prompt: Prompt, answer: str | None, sample: int = 0, thinking: str | None = "draft :") -> Response:
    identity = make_id(prompt.id, sample, answer)
    return Response(identity, prompt.id, sample, thinking, answer, Finish.STOP if answer else Finish.LENGTH)


def judgement_of(response: Response, safe: bool | None, **labels: bool | None) -> Judgement:
    return Judgement(make_id("j", response.id), response.id, "oracle", "answer", safe, **labels)


def tallies_of(rows: Sequence[Outcome]) -> dict[Cell, Tally]:
    """Every metric, counted over rows."""
    return count(Outcomes.of(rows), Verdicts.of(rows))


def plain_prompt(text: str, *, harmful: bool = False, split: Split = Split.TRAIN) -> Prompt:
    return Prompt(make_id(text), make_id(text), text, harmful, "test", "plain", split)


class WatchedRun(NamedTuple):
    """A small run that was watched while it went on."""

    folder: Path
    """The run's."""
    seen: list[dict[str, Any]]
    """What `sinternal view` showed of it, again and again."""
    state: Standing
    """How it stands since."""

    def made(self) -> list[Made]:
        """Its artifacts."""
        return artifacts_of(ViewedRun(self.folder, "tiny"))


@pytest.fixture(scope="session")
def watched_run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """A study of two arms by a process of its own, watched by the first worker that needs it; a copy for each."""
    made_once(shared / "watched", lambda: _watch(shared / "watched"))
    root = tmp_path_factory.mktemp("watched") / "root"
    shutil.copytree(shared / "watched", root)
    folder = root / "runs" / "tiny"
    seen = json.loads((root / "seen.json").read_text())
    return WatchedRun(folder, [run for run in seen if "state" in run], ViewedRun(folder, "tiny").standing())


def _watch(root: Path) -> None:
    """Let a process make the study, and write down what `sinternal view` shows of it meanwhile."""
    root.mkdir(exist_ok=True)
    settings = ["seeds=[0]", "workers=1", "arms=[{name: base}, {name: sinternal, train_on: verification}]"]
    settings += [
        "prompts.train_limit=12",
        "prompts.eval_limit=12",
        "examples.size=8",
        "sft.steps=24",
        "evaluation.stress=null",
    ]
    command = [*COMMAND, "run", "quickstart", "--out", "runs/tiny", *(f"--set={setting}" for setting in settings)]
    folder = root / "runs" / "tiny"
    seen: list[dict[str, Any]] = []
    before: list[int] = []
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            if (now := _sizes(folder)) == before:
                time.sleep(0.01)
                continue
            view, before = View(Runs(root / "runs"), "t"), now
            seen += [json.loads(view.answer(f"/api/runs/{run.id}", "t").body) for run in view.runs.all()]
        assert process.returncode == 0, process.stdout.read()
    (root / "seen.json").write_text(json.dumps(seen))


def _sizes(run: Path) -> list[int]:
    """Of the files that say how far a run is: a step may be over in a moment, so it is looked whenever one grows."""
    sizes = []
    for file in (run / PROGRESS, *run.glob("artifacts/sft/*/*/curve.jsonl")):
        with suppress(OSError):  # it is gone: the run, or the training, is over
            sizes.append(file.stat().st_size)
    return sizes
