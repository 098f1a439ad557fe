"""Look for inputs that break a reader: `python -m fuzz --minutes 60`, shared out among all targets; `make fuzz`.

Each target runs in a process of its own under atheris, which mutates seeds and keeps what reaches new code; a target
that hangs for a minute or takes 2 GB has a fault, too. What breaks one stands in fuzz/found/TARGET/ afterwards, and
becomes a line of CRASHES in tests/test_fuzz.py. Without atheris (it has no build for every Python) hypothesis makes
the inputs from the same seeds, blindly.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

NAMES = (
    *("recipe", "overrides", "rows", "pairs", "thinking", "verdicts", "critiques", "replies", "batches", "results"),
    "secrets",
)
FOUND = Path(__file__).parent / "found"
HANGS, MEGABYTES, LONGEST = 60, 2048, 4096
"""Seconds, memory and bytes of an input."""


def fuzz(name: str, seconds: float) -> None:
    """Fuzz one target in this process, until the time is over or something breaks."""
    folder = FOUND / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    if find_spec("atheris") is None:
        _by_hypothesis(name, seconds, folder)
        return
    import atheris

    with atheris.instrument_imports(include=["sinternal", "yaml"]):  # what they import is not looked into
        from fuzz.targets import TARGETS, seeds

        for number, seed in enumerate(seeds()[name]):
            (corpus / f"seed-{number}").write_bytes(seed)
            TARGETS[name](seed)  # so that what is imported late takes no time from any input
    limits = [
        f"-max_total_time={seconds:.0f}",
        f"-timeout={HANGS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-max_len={LONGEST}",
    ]
    atheris.Setup(
        [name, *limits, f"-artifact_prefix={folder}/", "-verbosity=1", "-print_final_stats=1", str(corpus)],
        TARGETS[name],
    )
    atheris.Fuzz()


def _by_hypothesis(name: str, seconds: float, folder: Path) -> None:
    from hypothesis import HealthCheck, given, settings

    from fuzz.mutations import inputs
    from fuzz.targets import TARGETS

    last, end = [b""], time.monotonic() + seconds

    @settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs(name))
    def search(data: bytes) -> None:
        last[0] = data
        TARGETS[name](data)

    try:
        while time.monotonic() < end:
            search()
    except BaseException:
        (folder / "crash-hypothesis").write_bytes(last[0])
        raise


def main() -> int:
    """Fuzz every target that is named, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--minutes", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--here", action="store_true", help="in this process: for a single target")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in NAMES]:
        parser.error(f"{', '.join(unknown)}: there are only {', '.join(NAMES)}")
    names = given.names or list(NAMES)
    seconds = 60 * given.minutes / len(names)
    if given.here:
        fuzz(names[0], seconds)
        return 0
    broken = []
    for name in names:
        print(f"== {name}: {seconds:.0f} seconds", flush=True)
        command = [sys.executable, "-m", "fuzz", "--here", "--minutes", str(seconds / 60), name]
        # arro3 panics over damaged Parquet, which is caught; a backtrace of each would take seconds.
        if subprocess.run(command, check=False, env={**os.environ, "RUST_BACKTRACE": "0"}).returncode:
            broken.append(name)
    print(f"broken: {', '.join(broken) or 'none'}; inputs that break a target are in {FOUND}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
