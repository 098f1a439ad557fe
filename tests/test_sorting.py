"""Tables that are written as their rows come: in any order, with any interruption, the same file."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinternal.parquet import to_batches
from sinternal.records import Example, Response, make_id
from sinternal.store import Draft, Lookup, Table
from sinternal.store.sorting import in_order
from tests.commands import HANGS
from tests.conftest import plain_prompt, response_to

SAMPLES = 3


@contextmanager
def small_pieces(shard: int = 4, run: int = 8, batch: int = 4) -> Iterator[Path]:
    """A folder, and limits that a few rows reach."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("sinternal.store.draft.ROWS_PER_SHARD", shard)
        patch.setattr("sinternal.store.sorting.RUN_ROWS", run)
        patch.setattr("sinternal.store.sorting.BATCH", batch)
        patch.setattr("sinternal.parquet.BATCH", batch)
        yield Path(folder)


def responses(prompts: int) -> list[Response]:
    asked = [plain_prompt(f"how to bake b{number} ?") for number in range(prompts)]
    return [response_to(prompt, f"mix {sample} ." * 3, sample) for prompt in asked for sample in range(SAMPLES)]


def stream(
    folder: Path, rows: Sequence[Response], stop_after: int | None = None, groups: set[str] | None = None
) -> int:
    """Make rows in their order and perhaps stop; how many were made."""
    made = 0

    def make(complete: frozenset[str]) -> Iterator[Response]:
        nonlocal made
        for row in rows:
            if row.prompt_id not in complete:
                if made == stop_after:
                    raise KeyboardInterrupt
                made += 1
                yield row

    draft = Draft(folder, lambda *_: None)
    draft.stream(Response, make, total=len(rows), group=lambda row: row.prompt_id, group_size=SAMPLES, groups=groups)
    assert draft.counts == {"responses": len(rows)}
    return made


@given(st.integers(0, 20), st.lists(st.integers(0, 60), max_size=4), st.randoms(), st.integers(1, 20))
@settings(max_examples=12)
def test_neither_order_nor_interruptions_show(prompts: int, stops: list[int], rng: random.Random, run: int) -> None:
    rows = responses(prompts)
    with small_pieces(run=run) as folder:
        stream(folder / "whole", rows)
        for stop in stops:
            try:
                stream(folder / "broken", rng.sample(rows, len(rows)), stop)
            except KeyboardInterrupt:
                continue
        stream(folder / "broken", rng.sample(rows, len(rows)))
        files = [sorted((folder / name).glob("*.parquet")) for name in ("whole", "broken")]
        assert [[file.name for file in each] for each in files] == [["responses.parquet"]] * 2
        assert files[0][0].read_bytes() == files[1][0].read_bytes()
        assert list(Table(files[0][0], Response)) == sorted(rows, key=lambda row: row.id)


@given(st.integers(1, 12), st.integers(0, 36), st.randoms())
@settings(max_examples=20)
def test_complete_groups_are_kept_and_those_that_nobody_wants_are_forgotten(
    prompts: int, stop: int, rng: random.Random
) -> None:
    rows = responses(prompts)
    with small_pieces() as folder:
        first = rng.sample(rows, len(rows))
        try:
            stream(folder / "k", first, stop)
        except KeyboardInterrupt:
            pass
        else:
            return
        wanted = [row for row in rows if int(row.prompt_id, 16) % 3]
        groups = {row.prompt_id for row in wanted}
        sizes = [sum(row.prompt_id == group for row in first[:stop]) for group in groups]
        made = stream(folder / "k", wanted, groups=groups)
        assert made == len(wanted) - SAMPLES * sizes.count(SAMPLES)
        assert list(Table(folder / "k" / "responses.parquet", Response)) == sorted(wanted, key=lambda row: row.id)


def test_a_kill_while_shards_are_thinned_out_doubles_nothing() -> None:
    rows = responses(10)
    with small_pieces(shard=2) as folder:
        stream(folder / "whole", rows)
        with pytest.raises(KeyboardInterrupt):
            stream(folder / "k", random.Random(0).sample(rows, len(rows)), 25)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sinternal.store.draft.write_table", kill_after(3))
            with pytest.raises(SystemExit):
                stream(folder / "k", rows)
        stream(folder / "k", rows)
        whole, other = (folder / name / "responses.parquet" for name in ("whole", "k"))
        assert whole.read_bytes() == other.read_bytes()


def kill_after(writes: int) -> Callable[..., int]:
    from sinternal.store.tables import write_table

    left = writes

    def write(*args: object, **options: object) -> int:
        nonlocal left
        if not left:
            raise SystemExit
        left -= 1
        return write_table(*args, **options)  # type: ignore[arg-type]

    return write


def test_shards_that_outlived_the_table_are_no_part_of_the_artifact() -> None:
    rows = responses(4)
    with small_pieces() as folder:
        stream(folder, rows)
        for shard in sorted(folder.glob("*.shard"))[1:]:  # as an earlier version was killed while it removed them
            shard.unlink()
        assert stream(folder, rows) == 0
        draft = Draft(folder, lambda *_: None)
        draft.stream(Response, lambda _: [], total=len(rows), group=lambda row: row.prompt_id, group_size=SAMPLES)
        assert {*folder.iterdir()} - {*draft.scaffolding} == {folder / "responses.parquet"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99))), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=30)
def test_rows_of_one_id_stay_in_the_order_in_which_they_came(keys: list[tuple[int, int]], run: int, batch: int) -> None:
    rows = [Example(f"id{key}", "?", "", str(number), "safe", "p", "r") for key, number in keys]
    with small_pieces(run=run, batch=batch) as folder:
        batches = list(in_order(to_batches(rows, Example), folder / "runs"))
        made = [row for each in batches for row in Table(folder / "-", Example).rows_of(each)]
        assert made == sorted(rows, key=lambda row: row.id)
        assert all(each.num_rows == batch for each in batches[:-1])
        assert not (folder / "runs").exists()


@given(st.permutations(range(25)))
@settings(max_examples=20)
def test_rows_can_be_sorted_by_ranks(order: list[int]) -> None:
    rows = [Example(make_id(number), "?", "", str(number), "safe", "p", "r") for number in range(25)]
    with small_pieces() as folder:
        draft = Draft(folder, lambda *_: None)
        draft.write_sorted(iter(rows), Example, ranks={rows[number].id: rank for rank, number in enumerate(order)})
        assert [int(row.answer) for row in Table(folder / "examples.parquet", Example)] == order


def test_a_lookup_gives_rows_in_the_order_of_the_ids() -> None:
    rows = responses(9)
    with small_pieces() as folder:
        draft = Draft(folder, lambda *_: None)
        draft.write(rows, Response)
        table = Table(folder / "responses.parquet", Response)
        wanted = random.Random(1).choices(rows, k=40)
        ids = [row.id for row in wanted]
        assert Lookup(table).rows(ids) == wanted == Lookup(table, ids).rows(ids)
        assert Lookup(table).rows([]) == []
        with pytest.raises(KeyError):
            Lookup(table, ids[:1]).rows(["another"])


def test_runs_are_deleted_when_nobody_reads_on() -> None:
    with small_pieces(run=4, batch=2) as folder:
        rows = [Example(f"{number:02}", "?", "", "", "safe", "p", "r") for number in range(16)]
        sorted_batches = in_order(to_batches(rows, Example), folder / "runs")
        next(sorted_batches)
        assert len(list((folder / "runs").iterdir())) == 4
        sorted_batches.close()
        assert not (folder / "runs").exists()


PEAK = """
import hashlib, resource, sys
from pathlib import Path
from sinternal.records import Finish, Response
from sinternal.store import Draft
number, folder = int(sys.argv[1]), Path(sys.argv[2])

def rows(_complete):
    for i in range(number):
        name = hashlib.sha256(str(i).encode()).hexdigest()
        yield Response(name[:16], name[16:32], 0, None, name * 40, Finish.STOP)

table = Draft(folder, lambda *_: None).stream(Response, rows, total=number, group=lambda row: row.id)
table.columns("finish")
assert sum(map(len, table.batches())) == number
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_the_memory_of_a_stream_grows_far_slower_than_its_rows(tmp_path: Path) -> None:
    few, many = 40_000, 160_000  # below, one run or two are all that there is
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(number), str(tmp_path / str(number))],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=HANGS,
            ).stdout
        )
        for number in (few, many)
    ]
    assert peaks[1] < 1.5 * peaks[0], "four times the rows"
