"""`sinternal store check`, `gc` and `size`: what is damaged, what no run needs, what takes the room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sinternal.cli.store import _stores
from sinternal.errors import StoreError
from sinternal.records import Prompt
from sinternal.store import Artifact, Draft, Store
from sinternal.store.care import Why, check, collect, garbage, needed_by, shares
from sinternal.store.runs import in_use, noted_runs
from sinternal.store.sums import SUMS, checked, write_sums
from tests.commands import in_process
from tests.conftest import plain_prompt

PROMPT = plain_prompt("how to brew p5 ?")
ROOT = Path(__file__).parents[1]


def fill(store: Store, *keys: str, inputs: dict[str, str] | None = None) -> list[Artifact]:
    def build(draft: Draft) -> None:
        draft.write([PROMPT], Prompt)

    return [
        store.make(*key.split("/"), build, stage_version=1, config={}, inputs=inputs or {}, progress=lambda *_: None)
        for key in keys
    ]


def of_run(store: Store, folder: Path, *needs: str) -> None:
    """Let a run take place that needs some artifacts."""
    folder.mkdir(exist_ok=True)
    with in_use(store.root, folder, frozenset(needs)):
        fill(store, *(need for need in needs if store.find(*need.split("/")) is None))


def names(store: Store) -> set[str]:
    return {f"{artifact.path.parent.name}/{artifact.path.name}" for artifact in store.artifacts()}


def removable(store: Store, **options: bool) -> dict[str, Why]:
    return {f"{each.stage}/{each.path.name}": each.why for each in garbage(store.root, **options)}


def test_what_a_run_that_is_there_needs_is_never_removed(store: Store, tmp_path: Path) -> None:
    of_run(store, tmp_path / "a", "prompts/k1", "sample/k2")
    of_run(store, tmp_path / "b", "prompts/k1", "sample/k3")
    assert removable(store) == {}
    shutil.rmtree(tmp_path / "b")
    assert removable(store) == {"sample/k3": Why.UNNEEDED}
    assert collect(store.root).garbage
    assert names(store) == {"prompts/k1", "sample/k2", "sample/k3"}, "it only says so"
    freed = collect(store.root, delete=True)
    assert [each.path.name for each in freed.garbage] == ["k3"]
    assert names(store) == {"prompts/k1", "sample/k2"}
    assert len(noted_runs(store.root)) == 1, "a run of which nothing is left is forgotten"


def test_another_plan_in_the_same_folder_frees_what_only_the_first_needed(store: Store, tmp_path: Path) -> None:
    of_run(store, tmp_path / "a", "prompts/k1", "sample/k2")
    of_run(store, tmp_path / "a", "prompts/k1", "sample/k3")
    assert removable(store) == {"sample/k2": Why.UNNEEDED}
    of_run(store, tmp_path / "a", "prompts/k1", "sample/k2")
    assert removable(store) == {"sample/k3": Why.UNNEEDED}


def test_an_interrupted_plan_takes_nothing_from_the_one_before(store: Store, tmp_path: Path) -> None:
    of_run(store, tmp_path / "a", "prompts/k1", "sample/k2")
    with pytest.raises(KeyboardInterrupt), in_use(store.root, tmp_path / "a", frozenset({"sample/k3"})):
        raise KeyboardInterrupt
    assert removable(store) == {}


def test_of_unknown_runs_and_unfinished_work_nothing_goes_unless_told(store: Store, tmp_path: Path) -> None:
    fill(store, "prompts/old")
    of_run(store, tmp_path / "a", "prompts/k1")
    with in_use(store.root, tmp_path / "a", frozenset({"prompts/k1", "sample/k2"})):
        (store.root / "sample" / "k2.partial").mkdir(parents=True)
    (store.root / "prompts" / "k9.removed").mkdir()
    (store.root / "prompts" / "k9.lock").touch()
    assert removable(store) == {"prompts/k9.removed": Why.LEFT_OVER}
    assert removable(store, unknown=True, unfinished=True) == {
        "prompts/k9.removed": Why.LEFT_OVER,
        "prompts/old": Why.UNKNOWN,
        "sample/k2.partial": Why.UNFINISHED,
    }


@contextmanager
def elsewhere(code: str) -> Iterator[None]:
    """Something goes on in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}\n    print('there', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    yield
    process.communicate(b"\n")


def test_what_another_process_is_at_stays(store: Store, tmp_path: Path) -> None:
    of_run(store, tmp_path / "gone", "prompts/k1", "sample/k2")
    (tmp_path / "gone").rmdir()
    lock = store.root / "prompts" / "k1.lock"
    with elsewhere(f"from filelock import FileLock\nwith FileLock({str(lock)!r}):"):
        freed = collect(store.root, delete=True)
        assert [path.name for path in freed.in_use] == ["k1"]
    assert names(store) == {"prompts/k1"}
    note = "from pathlib import Path\nfrom sinternal.store.runs import in_use\n"
    run = f"with in_use(Path({str(store.root)!r}), Path({str(tmp_path / 'gone')!r}), frozenset({{'prompts/k1'}})):"
    with elsewhere(note + run):
        assert removable(store, unknown=True, unfinished=True) == {}, "its folder is gone, and it goes on"
    assert removable(store) == {"prompts/k1": Why.UNNEEDED}


def test_an_artifact_needs_all_that_it_was_made_from(store: Store) -> None:
    fill(store, "prompts/k1", "prompts/k4")
    fill(store, "sample/k2", inputs={"prompts": "k1"})
    (report,) = fill(store, "report/k3", inputs={"a/responses": "k2"})
    assert needed_by(store.root, report) == {"report/k3", "sample/k2", "prompts/k1"}


def test_a_run_that_was_moved_with_its_store_keeps_all_that_it_needs(tmp_path: Path) -> None:
    of_run(Store(tmp_path / "a" / "artifacts"), tmp_path / "a", "prompts/k1", "sample/k2")
    (tmp_path / "a").rename(tmp_path / "b")
    assert removable(Store(tmp_path / "b" / "artifacts")) == {}


def test_in_a_folder_that_is_no_store_nothing_is_removed(tmp_path: Path) -> None:
    for name in ("photos/holiday", "work/draft.partial", "work/old.removed", "code/project"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "precious.txt").write_text("precious")
    (tmp_path / "code/project/manifest.json").write_text('{"name": "an app", "stage": "code", "key": "project"}')
    before = sorted(tmp_path.rglob("*"))
    assert collect(tmp_path, unknown=True, unfinished=True, delete=True).garbage == []
    left = [path for path in sorted(tmp_path.rglob("*")) if path.parts[len(tmp_path.parts)] != "runs"]
    assert left == before


def test_a_damaged_note_of_a_run_stops_the_removal(store: Store, tmp_path: Path) -> None:
    of_run(store, tmp_path / "a", "prompts/k1")
    noted_runs(store.root)[0].file.write_text("{")
    with pytest.raises(StoreError, match="this is no note of a run; delete it, and run that run again before"):
        collect(store.root, delete=True)


def test_a_store_that_cannot_be_written_is_read_all_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, "prompts/k1")
    monkeypatch.setattr("sinternal.store.runs.os.access", lambda *_: False)
    of_run(store, tmp_path / "a", "prompts/k1")
    assert not (store.root / "runs").exists()


def test_check_reads_every_byte_whatever_was_read_before(store: Store) -> None:
    (artifact,) = fill(store, "prompts/k1")
    assert check(store.root).damage == []
    file = artifact.path / "prompts.parquet"
    times = file.stat()
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    (line,) = check(store.root).damage
    assert line == f"{file}: it was damaged or edited after it was written; delete its folder and run again"


def test_the_commands_say_what_is_there_and_what_is_wrong(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    inside = Store(run / "artifacts")
    run.mkdir(parents=True)
    of_run(inside, run, "prompts/k1", "sample/k2")
    of_run(inside, run, "prompts/k1", "sample/k3")
    done = in_process("store", "check", cwd=tmp_path)
    assert done.returncode == 0
    assert "runs/mine/artifacts: 3 of 3 artifacts as they were written" in done.stdout
    done = in_process("store", "size", str(run), cwd=tmp_path)
    assert [line.split()[:2] for line in done.stdout.splitlines()[2:]] == [
        ["sample", "2"],
        ["prompts", "1"],
        ["all", "3"],
    ]
    done = in_process("store", "gc", str(run), cwd=tmp_path)
    assert "no run needs it any more" in done.stdout
    assert "; --yes deletes" in done.stdout
    assert len(names(inside)) == 3
    assert "freed" in in_process("store", "gc", str(run), "--yes", cwd=tmp_path).stdout
    assert names(inside) == {"prompts/k1", "sample/k3"}
    (inside.root / "sample" / "k3" / "prompts.parquet").write_bytes(b"")
    done = in_process("store", "check", str(inside.root), cwd=tmp_path)
    assert done.returncode == 2
    assert "damaged: " in done.stderr
    assert "sample/k3/prompts.parquet: it was damaged or edited" in done.stderr
    assert "error: 1 of 2 artifacts are damaged" in done.stderr
    done = in_process("store", "size", "nowhere", cwd=tmp_path)
    assert (done.returncode, "nowhere: there is no store" in done.stderr) == (2, True)


def test_sizes_are_of_what_deleting_would_free(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "weights"
    elsewhere.write_bytes(b"x" * 1_000_000)

    def build(draft: Draft) -> None:
        os.link(elsewhere, draft.path / "model.gguf")
        (draft.path / "link").symlink_to(elsewhere)
        (draft.path / "own").write_bytes(b"x" * 5000)

    store.make("target", "k", build, stage_version=1, config={}, inputs={}, progress=lambda *_: None)
    (share,) = shares(store.root)
    assert (share.stage, share.artifacts) == ("target", 1)
    assert 5000 < share.size < 10_000


def test_copies_in_a_runs_folder_have_hashes_that_others_can_check(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    assert checked(tmp_path / "results.json").read_text() == "{}", "those of earlier versions have none"
    write_sums(tmp_path, ["results.json"])
    assert subprocess.run(["sha256sum", "--check", SUMS], cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "results.json").write_text("{ }")
    with pytest.raises(StoreError, match=r"results\.json: it was damaged or edited .* run its recipe again"):
        checked(tmp_path / "results.json")


def test_a_store_to_which_several_runs_lead_is_looked_after_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "common").mkdir()
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "artifacts").symlink_to("../../common", target_is_directory=True)
    assert [path.resolve() for path in _stores(None)] == [tmp_path / "common"]
    assert len(_stores([Path("runs/a"), Path("runs/b"), Path("common")])) == 1
