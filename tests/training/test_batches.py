from __future__ import annotations

from itertools import islice

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler

from sinternal.training.batches import PASS, cut, draw, share

LENGTHS = [100, 4000, 120, 3900, 90, 4100, 110, 3800, 2000, 80]
ROWS = [3, 9, 1, 5, 0, 7, 2, 8]


def cost(parts: list[list[int]]) -> int:
    return sum(len(part) * max(LENGTHS[row] for row in part) + PASS for part in parts)


def test_every_pass_sees_every_row_once_in_the_order_that_accelerate_would_have_drawn() -> None:
    steps = list(islice(draw(7, 3, seed=5), 6))
    assert [len(step) for step in steps] == [3, 3, 1, 3, 3, 1]
    sampler = SeedableRandomSampler(range(7), data_seed=5)  # type: ignore[no-untyped-call]
    for first in (0, 3):
        assert [row for step in steps[first : first + 3] for row in step] == list(sampler)


def test_a_step_is_cut_where_that_saves_more_than_a_pass_costs() -> None:
    parts = cut(ROWS, LENGTHS)
    assert sorted(row for part in parts for row in part) == sorted(ROWS)
    assert 1 < len(parts) < len(ROWS)
    assert parts[0] == [row for row in ROWS if LENGTHS[row] >= 2000], "the longest first, as they were drawn"
    assert cost(parts) < cost([ROWS])


def test_short_rows_stay_together_in_the_order_in_which_they_were_drawn() -> None:
    """The microworld's batches: their figures are those of before, to the last digit."""
    assert cut(range(32), [60 + row for row in range(32)]) == [list(range(32))]


def test_no_part_has_more_rows_than_a_process_can_take() -> None:
    assert [len(part) for part in cut(range(7), [50] * 7, most=2)] == [1, 2, 2, 2]
    assert [len(part) for part in cut(range(7), [50] * 7, most=2, processes=2)] == [3, 4]


@pytest.mark.parametrize("processes", [1, 2, 3, 16])
def test_processes_share_a_part_without_losing_or_repeating_a_row(processes: int) -> None:
    shares = [share(ROWS, LENGTHS, processes, process) for process in range(processes)]
    learned = [row for rows, idle in shares if not idle for row in rows]
    assert sorted(learned) == sorted(ROWS)
    assert all(rows for rows, _ in shares), "every process has something to compute"
    sizes = [0 if idle else len(rows) for rows, idle in shares]
    assert max(sizes) - min(sizes) <= 1
    longest = [max(LENGTHS[row] for row in rows) for rows, idle in shares if not idle and processes == 2]
    assert not longest or max(longest) - min(longest) < 500


def test_an_order_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = next(draw(50, 50, seed=3))
    torch.manual_seed(2)
    assert next(draw(50, 50, seed=3)) == first
    assert next(draw(50, 50, seed=4)) != first
