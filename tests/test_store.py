from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinternal.errors import RecipeError, StoreError
from sinternal.fingerprints import fingerprint
from sinternal.parquet import BATCH, arrow_schema, write_rows
from sinternal.records import Check, Example, Judgement, Prompt, Response, Verdict, Verification, make_id
from sinternal.store import MANIFEST, Artifact, Draft, Store, artifact_key, check_writable
from sinternal.store.files import append
from sinternal.study.execute import discard
from sinternal.tools.diagnosis import load_diagnosis, plan_diagnosis
from tests.conftest import plain_prompt, response_to

PROMPT = plain_prompt("how to brew p5 ?")


def make(store: Store, build, key: str = "k"):  # type: ignore[no-untyped-def]
    return store.make("test", key, build, stage_version=1, config={"a": 1}, inputs={}, progress=lambda *_: None)


def test_rows_come_back_as_they_went_in(store: Store) -> None:
    rows = [response_to(PROMPT, "mix g1 g2 g3 .", i, thinking=None) for i in range(3)]
    artifact = make(store, lambda draft: draft.write(rows, Response))
    assert artifact.rows(Response) == rows
    assert artifact.counts == {"responses": 3}


@pytest.mark.parametrize("row_type", [Prompt, Response, Judgement, Verification, Example])
def test_every_record_has_a_schema_with_all_its_fields(row_type: type) -> None:
    assert arrow_schema(row_type).names == list(row_type.__dataclass_fields__)


def test_the_key_depends_on_everything_that_decides_the_content() -> None:
    keys = {
        artifact_key("sample", 1, {"seed": 0}, {"model": "x"}),
        artifact_key("judge", 1, {"seed": 0}, {"model": "x"}),
        artifact_key("sample", 2, {"seed": 0}, {"model": "x"}),
        artifact_key("sample", 1, {"seed": 1}, {"model": "x"}),
        artifact_key("sample", 1, {"seed": 0}, {"model": "y"}),
    }
    assert len(keys) == 5


def test_a_build_that_fails_leaves_no_artifact(store: Store) -> None:
    def fails(draft: Draft) -> None:
        draft.write([PROMPT], Prompt)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        make(store, fails)
    assert store.find("test", "k") is None
    assert make(store, lambda draft: draft.write([PROMPT], Prompt)).rows(Prompt) == [PROMPT]


def test_an_interrupted_stream_goes_on_and_ends_in_the_same_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinternal.store.draft.ROWS_PER_SHARD", 3)
    everything = [response_to(plain_prompt(f"how to brew p{p} ?"), "ok", s) for p in range(5) for s in range(2)]
    made: list[str] = []

    def build(draft: Draft, stop_after: int | None) -> None:
        def rows(done: frozenset[str]) -> Iterator[Response]:
            for i, row in enumerate(r for r in everything if r.prompt_id not in done):
                if i == stop_after:
                    raise KeyboardInterrupt
                made.append(row.id)
                yield row

        draft.stream(Response, rows, total=10, group=lambda row: row.prompt_id, group_size=2)

    with pytest.raises(KeyboardInterrupt):
        make(store, lambda draft: build(draft, 7))
    first = len(made)
    artifact = make(store, lambda draft: build(draft, None))
    whole = make(store, lambda draft: build(draft, None), key="uninterrupted")
    assert len(made) - first - 10 < 10, "finished groups are not made again"
    files = [a.path / "responses.parquet" for a in (artifact, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(r.id for r in artifact.rows(Response)) == sorted(r.id for r in everything)


def test_two_who_want_the_same_artifact_make_it_once(store: Store) -> None:
    builds: list[int] = []

    def build(draft: Draft) -> None:
        builds.append(1)
        threading.Event().wait(0.2)
        draft.write([PROMPT], Prompt)

    threads = [threading.Thread(target=make, args=(store, build)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1


def test_a_damaged_table_is_named(store: Store) -> None:
    artifact = make(store, lambda draft: draft.write([PROMPT], Prompt))
    (artifact.path / "prompts.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StoreError, match=r"prompts\.parquet: it was damaged or edited .* delete its folder"):
        artifact.rows(Prompt)


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another with --store"):
        make(Store(tmp_path / "file"), lambda _draft: None)


def test_a_changed_model_file_changes_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = fingerprint(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    assert fingerprint(tmp_path) != before


def test_ids_are_stable() -> None:
    assert make_id("prompt", 1, None) == make_id("prompt", 1, None) != make_id("prompt", "1", None)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"stage": "test"}', b"\xff", b"[" * 100_000])
def test_a_broken_manifest_is_told_and_nothing_is_made_in_its_place_unasked(store: Store, damage: bytes) -> None:
    artifact = make(store, lambda draft: draft.write([PROMPT], Prompt))
    (artifact.path / MANIFEST).write_bytes(damage)
    for read in (lambda: Artifact(artifact.path).manifest, lambda: store.find("test", "k")):
        with pytest.raises(StoreError, match=r"manifest\.json: .*delete its folder and run again"):
            read()
    shutil.rmtree(artifact.path)
    assert make(store, lambda draft: draft.write([PROMPT], Prompt)).rows(Prompt) == [PROMPT]


def test_the_manifest_of_another_artifact_is_not_taken(store: Store) -> None:
    artifact = make(store, lambda draft: draft.write([PROMPT], Prompt))
    (artifact.path.parent / "other").mkdir()
    (artifact.path.parent / "other" / MANIFEST).write_bytes((artifact.path / MANIFEST).read_bytes())
    with pytest.raises(StoreError, match=r"other/manifest\.json: it is that of another artifact \(test/k\); delete"):
        store.find("test", "other")


def test_a_table_that_was_edited_is_told_though_it_can_be_read(store: Store) -> None:
    artifact = make(store, lambda draft: draft.write([PROMPT], Prompt))
    other = make(store, lambda draft: draft.write([plain_prompt("how to bake ?")], Prompt), key="other")
    table = artifact.path / "prompts.parquet"
    table.write_bytes((other.path / "prompts.parquet").read_bytes())
    with pytest.raises(StoreError, match=r"prompts\.parquet: it was damaged or edited after it was written; delete"):
        artifact.rows(Prompt)
    table.unlink()
    with pytest.raises(StoreError, match=r"prompts\.parquet: it is missing"):
        artifact.rows(Prompt)


def test_a_table_is_compared_with_its_hash_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make(store, lambda draft: draft.write([PROMPT], Prompt))
    os.utime(artifact.path / "prompts.parquet", (1e9, 1e9))  # a file that was written a moment ago is looked at again
    artifact.rows(Prompt)
    monkeypatch.setattr("sinternal.store.artifact.file_hash", lambda _path: "another")
    assert artifact.rows(Prompt) == [PROMPT]


def test_every_file_of_an_artifact_has_a_hash_and_what_links_lead_to_has_none(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights").write_text("w")

    def build(draft: Draft) -> None:
        draft.write([PROMPT], Prompt)
        draft.write_json("template", {})
        (draft.path / "deep").mkdir()
        (draft.path / "deep" / "x").write_text("x")
        (draft.path / "model").symlink_to(tmp_path / "elsewhere")

    assert set(make(store, build).manifest["files"]) == {"prompts.parquet", "template.json", "deep/x"}


def test_links_that_others_have_put_in_the_way_are_not_followed(store: Store, tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("precious")
    folder.mkdir()
    partial = store.root / "test" / "k.partial"
    partial.parent.mkdir(parents=True)
    partial.symlink_to(folder)

    def build(draft: Draft) -> None:
        for name in ("prompts.tmp", "manifest.tmp", "facts.tmp", "prompts.parquet", "facts.json"):
            (draft.path / name).symlink_to(victim)
        draft.write([PROMPT], Prompt)
        draft.write_json("facts", {})

    assert make(store, build).rows(Prompt) == [PROMPT]
    assert victim.read_text() == "precious"
    assert not list(folder.iterdir())


def test_a_clock_that_goes_back_gives_no_negative_seconds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10_000, 0, -100))
    monkeypatch.setattr("sinternal.store.store.time.time", lambda: float(next(times)))
    artifact = make(store, lambda draft: draft.write([PROMPT], Prompt))
    assert artifact.manifest["seconds"] >= 0


def test_a_full_disk_is_one_line_with_the_mend(store: Store) -> None:
    def fails(_draft: Draft) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="the disk is full; make room, and run again"):
        make(store, fails)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nope", "/dev/null"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write there .*; choose another with --out"):
        check_writable(tmp_path / place, "--out")


def test_what_a_stage_made_can_be_made_again_and_what_was_made_from_it_too(store: Store) -> None:
    plan = plan_diagnosis(load_diagnosis("microworld"))
    for task in plan.tasks:
        store.make(
            task.stage.name,
            task.key,
            lambda draft: draft.write([PROMPT], Prompt),
            stage_version=1,
            config={},
            inputs={},
            progress=lambda *_: None,
        )
    assert discard(plan, store, ["judge"]) == 2
    gone = {task.stage.name for task in plan.tasks if store.find(task.stage.name, task.key) is None}
    assert gone == {"judge", "diagnosis"}
    with pytest.raises(RecipeError, match=r"--again jugde: this run has no such stage; did you mean 'judge'\?"):
        discard(plan, store, ["jugde"])


def test_columns_are_arrays_that_tell_none_from_false(store: Store) -> None:
    first, second = (response_to(PROMPT, answer, i, thinking=None) for i, answer in enumerate(["mix .", None]))
    second = replace(second, tokens=None, prompt_tokens=7)
    labels = [
        Judgement("a", first.id, "oracle", "answer", True, refused=None, checks=Check.ANSWER),
        Judgement("b", second.id, "oracle", "answer", None, refused=False, quoted_controls=3),
    ]
    verified = Verification("v", first.id, "self", True, "?", "c", "a", Verdict.SAFE, p_unsafe=0.25)

    def build(draft: Draft) -> None:
        draft.write([first, second], Response)
        draft.write(labels, Judgement)
        draft.write([verified, replace(verified, id="w", p_unsafe=None, verdict=None)], Verification)

    artifact = make(store, build)
    texts = artifact.columns(Response, "id", "answer", "finish", "sample", "tokens", "prompt_tokens")
    assert texts["id"].tolist() == [first.id, second.id]
    assert texts["answer"].tolist() == ["mix .", None]
    assert texts["finish"].tolist() == ["stop", "length"]
    assert type(texts["finish"][0]) is str
    assert texts["sample"].dtype == np.int64
    assert texts["sample"].tolist() == [0, 1]
    assert texts["tokens"].dtype == np.float64
    assert texts["tokens"][0] == 0
    assert np.isnan(texts["tokens"][1])
    narrow = artifact.columns(Judgement, "safe", "refused", "checks", "quoted_controls")
    assert narrow["safe"].dtype == np.int8
    assert narrow["safe"].tolist() == [1, -1]
    assert narrow["refused"].tolist() == [-1, 0]
    assert narrow["checks"].tolist() == ["answer", None]
    of_verifications = artifact.columns(Verification, "with_spec", "p_unsafe")
    assert of_verifications["with_spec"].dtype == np.bool_
    assert of_verifications["p_unsafe"][0] == 0.25
    assert np.isnan(of_verifications["p_unsafe"][1])


@pytest.mark.parametrize("number", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH])
def test_a_table_in_batches_is_the_same_table(store: Store, number: int) -> None:
    rows = [plain_prompt(f"how to bake b{i} ?") for i in range(number)]
    artifact = make(store, lambda draft: draft.write(iter(rows), Prompt))
    batches = list(artifact.batches(Prompt))
    assert [row for batch in batches for row in batch] == rows == artifact.rows(Prompt)
    assert all(len(batch) <= BATCH for batch in batches)
    assert artifact.columns(Prompt, "text")["text"].tolist() == [row.text for row in rows]
    assert artifact.counts == {"prompts": number}


def test_what_the_making_of_rows_raises_is_not_changed_by_the_writer(store: Store) -> None:
    def rows() -> Iterator[Prompt]:
        yield PROMPT
        raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        make(store, lambda draft: draft.write(rows(), Prompt))


@pytest.mark.parametrize(
    "text", ["a\0b", "x" * 10_000_000, "\u202eabc\u202c \u2067left\u2069", "\ufeff", "🜚" * 1000, ""]
)
def test_hostile_text_survives_a_table(store: Store, text: str) -> None:
    row = replace(PROMPT, text=text)
    artifact = make(store, lambda draft: draft.write([row, PROMPT], Prompt))
    assert artifact.rows(Prompt) == [row, PROMPT]
    assert artifact.columns(Prompt, "text")["text"].tolist() == [text, PROMPT.text]


def test_half_a_character_is_replaced_and_costs_no_row(store: Store) -> None:
    rows = [PROMPT, replace(PROMPT, id="half", text="a\ud800b")]
    made = make(store, lambda draft: draft.write(rows, Prompt))
    assert [row.text for row in made.rows(Prompt)] == [PROMPT.text, "a\ufffdb"]


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats() | st.sampled_from(Verdict),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    max_leaves=8,
)


@given(st.lists(PARTS))
def test_an_id_is_the_hash_of_its_parts_as_json(parts: list[object]) -> None:
    whole = json.dumps(parts, sort_keys=True).encode()
    assert make_id(*parts) == hashlib.sha256(whole).hexdigest()[:16]


def with_model(draft: Draft) -> None:
    (draft.path / "model").mkdir()
    (draft.path / "model" / "weights").write_bytes(bytes(range(256)))
    draft.write_json("training", [{"step": 1, "loss": 0.5}])
    draft.write([PROMPT], Prompt)


EDITS: dict[str, Callable[[Path], object]] = {
    "model/weights": lambda folder: (folder / "model" / "weights").write_bytes(bytes(256)),
    "model/added": lambda folder: (folder / "model" / "added").write_text("{}"),
    "training.json": lambda folder: (folder / "training.json").write_text('[{"step": 1, "loss": 0.4}]'),
    "manifest.json": lambda folder: (folder / MANIFEST).write_text(
        (folder / MANIFEST).read_text().replace('"prompts": 1', '"prompts": 2')
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_whatever_was_edited_in_an_artifact_is_told_by_its_name(store: Store, name: str) -> None:
    artifact = make(store, with_model)
    reads: dict[str, Callable[[Artifact], object]] = {
        "model": lambda read: read.folder("model"),
        "training.json": lambda read: read.json("training"),
        "manifest.json": lambda read: read.counts,
    }
    for read in reads.values():
        read(Artifact(artifact.path))
    EDITS[name](artifact.path)
    with pytest.raises(StoreError, match=f"{name}: it was (damaged or edited|put there)"):
        reads[name.partition("/")[0]](Artifact(artifact.path))


def test_a_file_that_was_put_beside_those_of_an_artifact_is_not_read(store: Store) -> None:
    artifact = make(store, with_model)
    (artifact.path / "facts.json").write_text("{}")
    assert not artifact.has("facts.json")
    with pytest.raises(StoreError, match=r"facts\.json: it was put there after the artifact was written; delete it"):
        artifact.json("facts")


def test_a_model_folder_that_became_a_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    artifact = make(store, with_model)
    shutil.copytree(artifact.path / "model", tmp_path / "other")
    shutil.rmtree(artifact.path / "model")
    (artifact.path / "model").symlink_to(tmp_path / "other")
    with pytest.raises(StoreError, match="model: it is missing"):
        artifact.folder("model")


def test_a_manifest_of_an_earlier_version_is_read_as_it_is(store: Store) -> None:
    artifact = make(store, with_model)
    content = json.loads((artifact.path / MANIFEST).read_text())
    for name in ("format", "sha256"):
        del content[name]
    (artifact.path / MANIFEST).write_text(json.dumps(content))
    read = store.find("test", "k")
    assert read is not None
    assert read.rows(Prompt) == [PROMPT]
    del content["files"]  # and of the first, which hashed nothing
    (artifact.path / MANIFEST).write_text(json.dumps(content))
    assert Artifact(artifact.path).json("training")[0]["loss"] == 0.5
    assert Artifact(artifact.path).folder("model").is_dir()


def test_what_a_later_version_wrote_is_refused_and_never_written_over(store: Store) -> None:
    artifact = make(store, with_model)
    text = (artifact.path / MANIFEST).read_text().replace('"format": 2', '"format": 3')
    (artifact.path / MANIFEST).write_text(text)
    with pytest.raises(StoreError, match=r"a later version of sinternal wrote it .* use that version, or another --st"):
        make(store, with_model)
    assert (artifact.path / MANIFEST).read_text() == text


def test_an_artifact_that_was_whole_but_for_its_name_is_not_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[int] = []

    def build(draft: Draft) -> None:
        builds.append(1)
        (draft.path / "model.checkpoints").mkdir(exist_ok=True)
        draft.scaffolding.append(draft.path / "model.checkpoints")
        with_model(draft)

    with monkeypatch.context() as patch:
        patch.setattr("sinternal.store.store._move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(store, build)
    assert sorted(path.name for path in make(store, build).path.iterdir()) == [
        "manifest.json",
        "model",
        "prompts.parquet",
        "training.json",
    ]
    assert builds == [1]


class Broken(io.RawIOBase):
    """A file on a disk that fails."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_an_error_of_the_disk_while_a_table_is_written_is_told_as_that() -> None:
    with pytest.raises(OSError, match="Input/output error"):
        write_rows(Broken(), [PROMPT], Prompt)


def test_rows_of_unfinished_work_that_were_damaged_are_told(store: Store) -> None:
    def build(draft: Draft) -> None:
        def rows(_: frozenset[str]) -> Iterator[Response]:
            yield response_to(PROMPT, "mix .")
            raise KeyboardInterrupt

        draft.stream(Response, rows, total=2, group=lambda row: row.prompt_id, group_size=1)

    with pytest.raises(KeyboardInterrupt):
        make(store, build)
    (shard,) = store.root.glob("test/k.partial/*.shard")
    content = bytearray(shard.read_bytes())
    content[40] ^= 4
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=r"\.shard: it was damaged .*; delete this file, whose rows are made again"):
        make(store, build)


def test_logs_are_not_written_through_links_of_others(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "log.txt").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        append(tmp_path / "log.txt", "chatter")
    assert victim.read_text() == "precious"


def test_what_cannot_be_removed_is_told_with_its_place(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make(store, with_model)

    def refuses(_folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "weights")

    monkeypatch.setattr(shutil, "rmtree", refuses)
    with pytest.raises(StoreError, match=r"k\.removed: cannot be written: permission denied; make it writable for you"):
        store.forget(artifact)


def test_what_a_network_refuses_is_not_told_of_the_store(store: Store) -> None:
    def build(_draft: Draft) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError) as told:
        make(store, build)
    assert not isinstance(told.value, StoreError)
