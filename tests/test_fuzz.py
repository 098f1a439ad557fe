"""What `python -m fuzz` looks for in an hour, for seconds: no input breaks a reader; and what once did."""

from __future__ import annotations

import pytest
from fuzz.mutations import ODD, inputs
from fuzz.targets import TARGETS, seeds
from hypothesis import HealthCheck, given, settings

CRASHES = [
    ("secrets", b"[\t"),
    ("results", b"[" * 100_000),
    ("recipe", b"seeds: [0x" + b"f" * 5_000 + b"]"),
    ("pairs", b'{"prompt": "How?", "\\nswer": "So."}'),
]
"""Inputs that have broken a target: they must not again."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_reader(name: str) -> None:
    slow = name in ("recipe", "overrides")

    @settings(
        max_examples=10 if slow else 80,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(inputs(name))
    def search(data: bytes) -> None:
        TARGETS[name](data)

    search()
    for data in (*seeds()[name], *(ODD[::5] if slow else ODD), b""):
        TARGETS[name](data)


@pytest.mark.parametrize(("name", "data"), CRASHES)
def test_what_broke_a_reader_breaks_it_no_more(name: str, data: bytes) -> None:
    TARGETS[name](data)
