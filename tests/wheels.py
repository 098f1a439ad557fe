"""Builds archive and wheel, installs the wheel in a clean environment of each Python, and smokes it there.

    python tests/wheels.py python3.11 python3.12 python3.13
    python tests/wheels.py --extra train,math python3.12     # and a small study, with torch: minutes, and GBs

The wheel is built from the archive of sources. `make test-wheel` calls it. A Python that is not on this machine is
named at the end; if none is there, or one fails, the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta as b; print(b.build_sdist({out!r}))"


def call(*command: str | Path, cwd: Path, **variables: str) -> str:
    """What a command prints; whatever it has to say of its failure is shown."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(work: Path) -> Path:
    """The wheel, built from the archive of sources, as an index would build it."""
    tools = work / "tools"
    venv.create(tools, with_pip=True)
    python = tools / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", "setuptools>=77", cwd=work)
    sources = work / "sources"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, files)):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, sources / name)
    call(python, "-c", BUILD.format(out=str(work)), cwd=sources)
    archive = next(work.glob("*.tar.gz"))
    call(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", work, archive, cwd=work)
    wheel = next(work.glob("*.whl"))
    print(f"{archive.name} {archive.stat().st_size / 1e6:.1f} MB, {wheel.name} {wheel.stat().st_size / 1e6:.1f} MB")
    return wheel


def smoke(python: str, wheel: Path, work: Path, extra: str) -> None:
    """Install the wheel in a clean environment, and use it there."""
    folder = work / Path(python).name
    call(python, "-m", "venv", folder / "venv", cwd=work)
    inside = folder / "venv" / "bin" / "python"
    target = f"{wheel}[{extra}]" if extra else str(wheel)
    call(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", target, cwd=work)
    shutil.copytree(ROOT / "tests", folder / "smoke" / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    arguments = ["train"] if "train" in extra else []
    printed = call(inside, "-m", "tests.smoke", *arguments, cwd=folder / "smoke")
    size = sum(file.lstat().st_blocks for file in (folder / "venv").rglob("*")) * 512 / 2**20
    print(
        f"{call(inside, '--version', cwd=work).strip()}: passed; {size:,.0f} MB; {printed.strip().splitlines()[-1]}",
        flush=True,
    )


def main() -> None:
    """Do all that, and say what was not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="+")
    parser.add_argument("--extra", default="")
    given = parser.parse_args()
    there = {python: place for python in given.pythons if (place := _find(python))}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for python, place in there.items():
            try:
                smoke(place, wheel, Path(folder), given.extra)
            except RuntimeError as error:
                failed.append(python)
                print(f"{python}: FAILED\n{error}", flush=True)
    for python in given.pythons:
        if python not in there:
            print(f"{python}: not on this machine, so not tested")
    sys.exit(bool(failed) or not there)


def _find(python: str) -> str | None:
    """Where a Python is that runs: on the path, or among pyenv's versions, of which the path knows one only."""
    versions, name = Path.home() / ".pyenv" / "versions", Path(python).name
    for place in (python, *map(str, sorted(versions.glob(f"{name.removeprefix('python')}*/bin/{name}")))):
        if (
            shutil.which(place)
            and not subprocess.run([place, "--version"], capture_output=True, check=False).returncode
        ):
            return place
    return None


if __name__ == "__main__":
    main()
