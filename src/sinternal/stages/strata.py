"""The kinds of training rows that are balanced, how many of each a set takes, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil

from sinternal.records import make_ids

VERIFICATION_SHARES: Mapping[str, float] = {"unsafe": 0.5, "safe": 0.25, "benign": 0.25}
"""Verdicts in balance: as many unsafe as safe ones, the safe ones half refusals of harmful prompts, half help."""
DEMONSTRATION_SHARES: Mapping[str, float] = {"harmful": 0.5, "benign": 0.5}
DEMONSTRATED = "demonstrated"
"""Begins the name of a kind of demonstrations in a set that holds verifications, too."""
MIXED_SHARES: Mapping[str, float] = {
    **{name: share / 2 for name, share in VERIFICATION_SHARES.items()},
    **{f"{DEMONSTRATED} {name}": share / 2 for name, share in DEMONSTRATION_SHARES.items()},
}
"""Half verifications, half demonstrations, each half balanced as it is alone."""


def quotas(size: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many of `size` rows are of each kind: by largest remainders, so that they are `size` in all.

    Args:
        size: rows in all.
        shares: of each kind; together 1.
    """
    exact = {name: size * share for name, share in shares.items()}
    counts = {name: int(number) for name, number in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])  # ties in the order of the shares
    for name in by_remainder[: size - sum(counts.values())]:
        counts[name] += 1
    return counts


def numbers_to_ask_for(size: int, shares: Mapping[str, float], spare: float) -> dict[str, int]:
    """How many of each kind to ask for, so that enough are left when some are dropped.

    Args:
        size: rows that are trained on.
        shares: of each kind.
        spare: share to ask for beyond that.
    """
    return {name: ceil(round(count * (1 + spare), 6)) for name, count in quotas(size, shares).items()}


def kind_of_answer(*, unsafe: bool, harmful: bool) -> str:
    """The kind in `VERIFICATION_SHARES` of an answer's verification, by its verdict and its request."""
    return "unsafe" if unsafe else "safe" if harmful else "benign"


def order_key(seed: int, prompt_id: str) -> str:
    """The sort key of one prompt: see `order_keys`."""
    (key,) = order_keys(seed, [prompt_id])
    return key


def order_keys(seed: int, prompt_ids: Iterable[str]) -> list[str]:
    """Sort keys of prompts for taking the first rows: the same ones come first for every arm and kind."""
    return make_ids(("turn", seed), prompt_ids)
