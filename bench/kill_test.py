"""The demo, killed again and again at moments that a seed draws, against one that nothing has interrupted.

    python -m bench.kill_test               # 25 kills: about ten minutes on two idle cores
    python -m bench.kill_test --kills 5     # a smaller study

Each kill is a SIGKILL of `sinternal run quickstart`, whose worker then ends by itself; the same command goes on. In the
end each table, model and figure is compared with that of the other run, byte for byte: all but times, and what was
written of them.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.crashes import difference, snapshot
from bench.demo import COMMAND, arguments
from bench.harness import Result, at_most
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
TOLD = ("report.html", "results.json", "results.md", "SHA256SUMS", "log.txt", "workers.log", MANIFEST)
"""Files that tell times; figures are compared apart."""
TIMES = {"timing", "measured", "day", "started", "seconds", "spent"}
"""Fields of results that tell them."""


def start(folder: Path, overrides: Sequence[str]) -> subprocess.Popen[bytes]:
    """Run the demo, in a group of processes of its own."""
    command = [sys.executable, "-c", COMMAND, *arguments(folder, overrides)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(folder: Path, overrides: Sequence[str]) -> float:
    """Run the demo to its end; the seconds that took."""
    began = time.monotonic()
    process = start(folder, overrides)
    _, words = process.communicate()
    if process.returncode:
        sys.exit(words.decode(errors="replace")[-2000:])
    return time.monotonic() - began


def killed(folder: Path, overrides: Sequence[str], kills: int, seconds: float, rng: random.Random) -> int:
    """Kill the demo so many times, and let it go on each time; how often there was something left to kill."""
    real = 0
    for _ in range(kills):
        process = start(folder, overrides)
        try:
            process.wait(rng.uniform(0.02, 2.0) * seconds / kills + rng.uniform(0, 4))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            real += 1
        _, words = process.communicate()
        if process.returncode not in (0, -signal.SIGKILL):
            sys.exit(words.decode(errors="replace")[-2000:])
    finish(folder, overrides)
    return real


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
    parser.add_argument("--small", action="store_true", help="a study of one arm and few steps")
    args = parser.parse_args()
    overrides = SMALL if args.small else ()
    result = Result("kill_test")
    with tempfile.TemporaryDirectory() as name:
        whole, broken = Path(name) / "whole", Path(name) / "broken"
        seconds = finish(whole, overrides)
        kills = killed(broken, overrides, args.kills, seconds, random.Random(args.seed))
        differs = difference(content(whole), content(broken))
        damaged = check(broken / "artifacts").damage
        same = figures(whole) == figures(broken)
        shutil.rmtree(broken)
    for line in filter(None, [differs, *damaged, "" if same else "the figures differ"]):
        print(line, file=sys.stderr)
    wrong = [float(bool(differs) + len(damaged) + (not same))]
    what = f"recipe quickstart{' in a small size' if args.small else ''}, {kills} SIGKILLs, seed {args.seed}"
    result.rows.append(at_most(f"{what}: files, artifacts or figures unlike an uninterrupted run's", "", wrong, 0))
    result.print()


if __name__ == "__main__":
    main()
