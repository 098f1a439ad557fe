"""How a run was measured, as a list."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sinternal.figures.facts import packages_of


def made_with(**packages: str) -> Any:
    return SimpleNamespace(manifest={"packages": packages})


def test_a_run_that_went_on_after_an_upgrade_names_both_versions() -> None:
    run = [made_with(torch="2.13.0", trl="1.16.0"), made_with(torch="2.14.0", trl="1.16.0"), made_with(vllm="0.32.0")]
    assert packages_of(run) == "torch 2.13.0 and 2.14.0, trl 1.16.0, vllm 0.32.0"
