"""Files of a store that were damaged: is every change seen, by what reads them and by `sinternal store check`?

    python -m bench.damage                  # 400 flipped bits in each kind of file: about two minutes
    python -m bench.damage --flips 40

Of a finished tiny run, of a model's folder, of unfinished work and of the copies in the run's folder, each kind of file
gets single flipped bits, is cut short, emptied, taken away, and has another put beside it. Whoever reads it afterwards
must get what was written, or one line that names the file.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.crashes import CALLS, PROMPTS, Counting, child, plan, run
from bench.harness import Result, at_most
from sinternal.errors import SInternalError
from sinternal.records import Response
from sinternal.stages.target import MODEL_FOLDER, model_path
from sinternal.store import MANIFEST, Artifact, Draft, Store
from sinternal.store.artifact import REOPENED
from sinternal.store.care import check
from sinternal.store.draft import SHARD
from sinternal.store.sums import SUMS, checked
from sinternal.study.run import ARTIFACTS

CUTS = 20
"""Lengths to which a file is cut."""


class Target(NamedTuple):
    """A kind of file, and who reads it."""

    name: str
    """The kind."""
    file: Path
    """One of it."""
    read: Callable[[], Any]
    """What a stage or report reads of it; raises `SInternalError` if it was damaged."""
    root: Path | None
    """The store that `check` looks at; None if the file is none of a finished artifact."""


def contents(folder: Path) -> dict[str, Any]:
    """All of an artifact, as stages and reports read it."""
    artifact = Artifact(folder)
    artifact.check_identity()
    found: dict[str, Any] = {"manifest": dict(artifact.manifest)}
    for name in artifact.files or ():
        if not name.startswith(f"{MODEL_FOLDER}/"):
            found[name] = artifact.file(name).read_bytes()
    if any(name.startswith(f"{MODEL_FOLDER}/") for name in artifact.files or ()):
        model = model_path(artifact)
        found |= {str(path.relative_to(model)): path.read_bytes() for path in sorted(model.iterdir())}
    return found


def targets(folder: Path) -> Iterator[Target]:
    """One file of each kind."""
    Counting.counter = folder / CALLS
    planned = plan(folder)
    ended = child(lambda: run(planned, folder / "run"), folder)
    assert ended.status == 0, ended.words
    store = Store(folder / "run" / ARTIFACTS)
    seen: set[str] = set()
    for artifact in store.artifacts():
        for name in (MANIFEST, *(artifact.files or ())):
            if name not in seen:
                seen.add(name)
                yield _of_artifact(name, artifact.path, name, store.root)

    def build(draft: Draft) -> None:
        model = draft.path / MODEL_FOLDER
        model.mkdir()
        (model / "model.safetensors").write_bytes(random.Random(0).randbytes(3 << 20))
        (model / "config.json").write_text('{"hidden_size": 8}')
        draft.write_json("training", [{"step": 1, "loss": 0.5}])

    models = Store(folder / "models")
    nothing: dict[str, Any] = {"stage_version": 1, "config": {}, "inputs": {}, "progress": lambda *_: None}
    trained = models.make("sft", "0" * 16, build, **nothing)
    for name in ("model/model.safetensors", "model/config.json", "training.json"):
        yield _of_artifact(f"{name} of a trained model", trained.path, name, models.root)
    for name in sorted(path.name for path in (folder / "run").iterdir() if path.is_file() and path.name != SUMS):
        file = folder / "run" / name
        yield Target(f"{name} in the run's folder", file, lambda file=file: checked(file).read_bytes(), None)  # type: ignore[misc]
    yield _unfinished(folder / "unfinished")


def _of_artifact(kind: str, folder: Path, name: str, root: Path) -> Target:
    return Target(kind, folder / name, lambda: contents(folder), root)


def _unfinished(folder: Path) -> Target:
    """Rows that an interrupted run has left."""
    rows = [Response(f"r{i}", f"p{i}", 0, None, f"mix {i}", "stop") for i in range(PROMPTS)]  # type: ignore[arg-type]

    def stream(draft: Draft, *, stop: bool) -> None:
        def make(finished: frozenset[str]) -> Iterator[Response]:
            yield from (row for row in rows[: 4 if stop else None] if row.prompt_id not in finished)
            if stop:
                raise KeyboardInterrupt

        draft.stream(Response, make, total=len(rows), group=lambda row: row.prompt_id)

    def read() -> Any:
        copied = folder.with_name("unfinished-copy")
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(folder, copied)
        draft = Draft(copied, lambda *_: None)
        stream(draft, stop=False)
        return [replace(row) for row in rows], (copied / "responses.parquet").read_bytes()

    with suppress(KeyboardInterrupt):
        stream(Draft(folder, lambda *_: None), stop=True)
    (file,) = folder.glob(f"*{SHARD}")
    return Target("rows of unfinished work", file, read, None)


class Outcome(NamedTuple):
    """What damages have led to."""

    done: int
    """How many."""
    silent: list[str]
    """Those after which something else was read, or the line did not name the file."""
    unseen: list[str]
    """Those that `check` has not seen."""


def damage(target: Target, flips: int, rng: random.Random) -> Outcome:
    """Damage a file in all ways, one after the other."""
    whole, expected = target.file.read_bytes(), target.read()
    done, silent, unseen = 0, [], []
    for words, content in _damages(whole, flips, rng):
        if content is None:
            target.file.unlink()
        else:
            target.file.write_bytes(content)
        done += 1
        try:
            if target.read() != expected:
                silent.append(f"{target.name}, {words}: something else was read")
        except SInternalError as error:
            if "\n" in str(error) or target.file.name.partition(".")[0] not in str(error):
                silent.append(f"{target.name}, {words}: {error}")
        except Exception as error:
            silent.append(f"{target.name}, {words}: {error!r}")
        if target.root is not None and not check(target.root).damage:
            unseen.append(f"{target.name}, {words}")
        target.file.write_bytes(whole)
    return Outcome(done, silent, unseen)


def _damages(whole: bytes, flips: int, rng: random.Random) -> Iterator[tuple[str, bytes | None]]:
    for _ in range(flips):
        bit = rng.randrange(8 * len(whole))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(changed)
    for _ in range(min(CUTS, flips)):
        length = rng.randrange(len(whole))
        yield f"cut to {length} bytes", whole[:length]
    yield "emptied", b""
    yield "with a byte more", whole + b"x"
    yield "missing", None


def extra(folder: Path) -> list[str]:
    """Put a file into an artifact that was not there; where that is not seen."""
    unseen = []
    stores = (Store(folder / "run" / ARTIFACTS), Store(folder / "models"))
    for store in stores:
        for artifact in store.artifacts():
            for name in ("extra.json", f"{MODEL_FOLDER}/added_tokens.json"):
                file = artifact.path / name
                if file.parent.is_dir():
                    file.write_text("{}")
                    if not any(str(file) in line for line in check(store.root).damage):
                        unseen.append(f"{file}: not seen by check")
                    if file.parent != artifact.path and "added_tokens" not in _error_of(artifact.path):
                        unseen.append(f"{file}: taken as part of the model")
                    file.unlink()
    return unseen


def _error_of(folder: Path) -> str:
    try:
        contents(folder)
    except SInternalError as error:
        return str(error)
    return ""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=400, help="flipped bits in each kind of file")
    parser.add_argument("--seed", type=int, default=0, help="of the bits")
    args = parser.parse_args()
    result, rng = Result("damage"), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = 0
        silent: list[str] = []
        unseen: list[str] = []
        kinds = list(targets(folder))
        for target in kinds:
            if target.file.name != REOPENED:
                outcome = damage(target, args.flips, rng)
                done, silent, unseen = done + outcome.done, silent + outcome.silent, unseen + outcome.unseen
        put = extra(folder)
    for line in (*silent, *unseen, *put):
        print(line)
    what = f"{len(kinds)} kinds of files, {done:,} damages: bits flipped, cut, emptied, longer, missing"
    result.rows += [
        at_most(f"{what}; read as something else, or told without the file's name", "", [float(len(silent))], 0),
        at_most("the same; not seen by `sinternal store check`", "", [float(len(unseen))], 0),
        at_most("a file put into an artifact; taken as a part of it, or not seen", "", [float(len(put))], 0),
    ]
    result.print()


if __name__ == "__main__":
    main()
