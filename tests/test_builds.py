"""What is built is the same byte by byte, whoever builds it, where and when, and says what it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

from tests.commands import HANGS

ROOT = Path(__file__).parent.parent
BUILD = "from setuptools import build_meta as b; b.build_wheel({out!r}); b.build_sdist({out!r})"


@pytest.fixture(scope="module")
def setuptools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build takes, in a folder."""
    folder = tmp_path_factory.mktemp("setuptools")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    constraint = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *constraint, "--target", str(folder), "setuptools>=77"], check=True, timeout=HANGS)
    return folder


def build(source: Path, setuptools: Path, *, umask: int, zone: str, time: int) -> dict[str, bytes]:
    """What is built from a copy of the sources in a folder, with files of an age, by name."""
    source.mkdir(parents=True)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for file in source.rglob("*"):
        file.chmod(0o777 & ~umask if file.is_dir() else 0o666 & ~umask)
        os.utime(file, (time, time))
    out = source.parent / f"{source.name}-built"
    environment = {**os.environ, "PYTHONPATH": str(setuptools), "TZ": zone}
    environment.pop("SOURCE_DATE_EPOCH", None)
    subprocess.run(
        [sys.executable, "-c", BUILD.format(out=str(out))],
        cwd=source,
        env=environment,
        umask=umask,
        check=True,
        capture_output=True,
        timeout=HANGS,
    )
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def test_a_wheel_and_an_archive_are_the_same_byte_by_byte_and_hold_a_bill_of_materials(
    setuptools: Path, tmp_path: Path
) -> None:
    first = build(tmp_path / "a", setuptools, umask=0o022, zone="UTC", time=1_700_000_000)
    second = build(tmp_path / "elsewhere" / "b", setuptools, umask=0o077, zone="Asia/Tokyo", time=1_000_000_000)
    assert len(first) == 2
    assert first == second
    wheel = next((tmp_path / "a-built").glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        bill = json.loads(archive.read("sinternal-0.1.0.dist-info/sboms/sinternal.cdx.json"))
        assert (
            "sinternal-0.1.0.dist-info/sboms/sinternal.cdx.json,sha256="
            in archive.read("sinternal-0.1.0.dist-info/RECORD").decode()
        )
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {component["name"]: component["scope"] for component in bill["components"]}
    asked = {re.match(r"[\w.-]+", line)[0].lower(): "extra ==" in line for line in requires("sinternal") or ()}  # type: ignore[index]
    assert set(named) == set(asked) - {"sinternal"}
    assert {name for name, scope in named.items() if scope == "required"} == {
        re.match(r"[\w.-]+", line)[0].lower()  # type: ignore[index]
        for line in requires("sinternal") or ()
        if "extra ==" not in line
    }
    with tarfile.open(next((tmp_path / "a-built").glob("*.tar.gz"))) as archive:
        assert {(member.uid, member.gid, member.uname) for member in archive} == {(0, 0, "")}
        assert any(member.name.endswith("/setup.py") for member in archive)


def test_every_pinned_version_has_the_hashes_of_its_files() -> None:
    pinned = set(re.findall(r"^([\w.-]+==\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    lock = (ROOT / "requirements.lock").read_text()
    hashed = dict(
        re.findall(r"^([\w.-]+==\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.MULTILINE)
    )
    normal = {re.sub(r"[-_.]+", "-", each.lower()) for each in pinned}
    assert {re.sub(r"[-_.]+", "-", each.lower()) for each in hashed} == normal
    assert lock.count("==") == len(pinned)
