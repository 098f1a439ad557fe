"""The demo, killed again and again at moments that a seed draws, against one that nothing has interrupted.

    python -m bench.kill_test               # 25 kills: about ten minutes on two idle cores
    python -m bench.kill_test --kills 5     # fewer
    python -m bench.kill_test --study rewards --kills 8     # reinforcement learning; also spread by ddp, or by fsdp2

Each kill is a SIGKILL of `sinternal run`, or, where rewards are studied, of any process that belongs to it; what is
left then ends by itself, and the same command goes on, after every other kill at once. In the end each table, model and
figure is compared with that of the other run, byte for byte: all but times, and what was written of them; and no
process may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.crashes import difference, snapshot
from bench.demo import COMMAND
from bench.harness import Result, at_most
from bench.on_cpu import FSDP_ON_CPU
from sinternal.store import MANIFEST
from sinternal.store.care import check

KILLS, SEED = 25, 0
SMALL = (
    "seeds=[0]",
    "sft.steps=6",
    "sft.save_steps=2",
    "examples.size=16",
    "prompts.train_limit=16",
    "prompts.eval_limit=16",
    "evaluation.stress=null",
    "arms=[{name: base, train_on: nothing}, {name: sinternal, train_on: verification}]",
)
"""The study of `--small`."""
REWARDS = (
    "seeds=[0]",
    "workers=1",
    "sft.steps=4",
    "sft.save_steps=2",
    "examples.size=16",
    "prompts.train_limit=24",
    "prompts.eval_limit=16",
    "evaluation.stress=null",
    "grpo.steps=4",
    "grpo.prompts=4",
    "grpo.rollouts.n=4",
    "grpo.save_steps=1",
    "grpo.held_out_every=2",
    "arms=[{name: base}, {name: sinternal, train_on: verification}, "
    "{name: sinternal+grpo, start: sinternal, train_on: rewards}, {name: verify-rl, train_on: verify-rl}]",
)
"""Fine-tuning and two kinds of rewards, with a checkpoint at each step or two."""


class Study(NamedTuple):
    """What is killed."""

    recipe: str
    """By its name."""
    overrides: tuple[str, ...] = ()
    """Of its fields."""
    anybody: bool = True
    """Whether every process of the run may be killed, and not its first one alone."""


STUDIES = {
    "demo": Study("quickstart", anybody=False),
    "small": Study("quickstart", SMALL, anybody=False),
    "rewards": Study("microworld-rl", REWARDS),
    "ddp": Study("microworld-rl", (*REWARDS, "launch.processes=2")),
    "fsdp2": Study("microworld-rl", (*REWARDS, "launch={processes: 2, config: fsdp2}")),
}
TOLD = ("report.html", "results.json", "results.md", "SHA256SUMS", "log.txt", "workers.log", MANIFEST)
"""Files that tell times; figures are compared apart."""
TIMES = {"timing", "measured", "day", "started", "seconds", "spent"}
"""Fields of results that tell them."""
LONGEST_END = 90.0
"""Seconds after which a process of a run that was killed counts as left behind."""


@dataclass
class Killing:
    """A study in a folder, and what its kills have shown."""

    study: Study
    """What is run."""
    folder: Path
    """Where to."""
    kills: int = 0
    """How often there was something left to kill."""
    wrong: list[str] = field(default_factory=list)
    """What should not have been."""

    def start(self) -> subprocess.Popen[bytes]:
        """Run it."""
        fields = (f"--set={override}" for override in self.study.overrides)
        command = [sys.executable, "-c", COMMAND, "run", self.study.recipe, "--out", str(self.folder), *fields]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self) -> float:
        """Run it to its end; the seconds that took."""
        began = time.monotonic()
        process = self.start()
        _, words = process.communicate()
        if process.returncode:
            sys.exit(words.decode(errors="replace")[-2000:])
        return time.monotonic() - began

    def kill(self, times: int, seconds: float, rng: random.Random) -> None:
        """Kill it so many times, of the seconds that it takes, and let it go on each time."""
        for number in range(times):
            process = self.start()
            patience = rng.uniform(0.02, 2.0) * seconds / times + rng.uniform(0, 4)
            there: Mapping[int, str] = {}
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                there = {process.pid: _born(process.pid)} | (_below(process.pid) if self.study.anybody else {})
                victim = rng.choice(sorted(there))
                print(f"kill {number}: after {patience:.1f} s, one of {len(there)}: {_words(victim)}", file=sys.stderr)
                os.kill(victim, signal.SIGKILL)
                self.kills += 1
            _, words = process.communicate()
            said = words.decode(errors="replace")
            if process.returncode not in (0, -signal.SIGKILL) and (not self.study.anybody or "error: " not in said):
                self.wrong.append(f"no line for the user: {said[-2000:]}")
            if number % 2:
                self.wait_for(there)
        self.finish()

    def wait_for(self, there: Mapping[int, str]) -> None:
        """Wait until processes have ended; those that do not are wrong."""
        patience = time.monotonic() + LONGEST_END
        while (left := [pid for pid, born in there.items() if _born(pid) == born]) and time.monotonic() < patience:
            time.sleep(0.2)
        self.wrong += [f"a process is left behind: {_words(pid)}" for pid in left]


def _below(parent: int) -> dict[int, str]:
    """The processes that a process has started, and those that these have; each with when it began."""
    below: dict[int, str] = {}
    for child in (path for task in Path(f"/proc/{parent}/task").glob("*/children") for path in _read(task).split()):
        below |= {int(child): _born(int(child)), **_below(int(child))}
    return below


def _born(pid: int) -> str:
    """When a process began, so that no later one of the same number is taken for it; empty for none, or a dead one."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if fields and fields[0] != "Z" else ""


def _words(pid: int) -> str:
    return " ".join(_read(Path(f"/proc/{pid}/cmdline")).split("\0"))[-120:]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def content(folder: Path) -> dict[str, str]:
    """What a run has left, but for times."""
    return {
        name: "there" if name.rpartition("/")[2] in TOLD or name.startswith("artifacts/runs/") else value
        for name, value in snapshot(folder).items()
        if not (name.startswith("artifacts/runs/") and name.endswith(".json"))
    }


def figures(folder: Path) -> Any:
    """The results, but for times."""
    return _without_times(json.loads((folder / "results.json").read_text()))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(inner) for name, inner in value.items() if name not in TIMES}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS, help="how often it is killed")
    parser.add_argument("--seed", type=int, default=SEED, help="of the moments")
    parser.add_argument("--study", choices=STUDIES, default="demo", help="what is killed")
    args = parser.parse_args()
    study, result = STUDIES[args.study], Result("kill_test")
    with tempfile.TemporaryDirectory() as name:
        (site := Path(name) / "site").mkdir()
        (site / "sitecustomize.py").write_text(FSDP_ON_CPU)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
        whole, broken = Killing(study, Path(name) / "whole"), Killing(study, Path(name) / "broken")
        seconds = whole.finish()
        broken.kill(args.kills, seconds, random.Random(args.seed))
        differs = difference(content(whole.folder), content(broken.folder))
        damaged = check(broken.folder / "artifacts").damage
        same = figures(whole.folder) == figures(broken.folder)
        shutil.rmtree(broken.folder)
    for line in filter(None, [*broken.wrong, differs, *damaged, "" if same else "the figures differ"]):
        print(line, file=sys.stderr)
    wrong = [float(len(broken.wrong) + bool(differs) + len(damaged) + (not same))]
    size = {"demo": "", "small": " in a small size"}.get(args.study, f" in a small size, study {args.study}")
    what = f"recipe {study.recipe}{size}, {broken.kills} SIGKILLs, seed {args.seed}"
    left = ", or processes left" if study.anybody else ""
    result.rows.append(
        at_most(f"{what}: files, artifacts or figures unlike an uninterrupted run's{left}", "", wrong, 0)
    )
    result.print()


if __name__ == "__main__":
    main()
