from __future__ import annotations

import pytest

from sinternal.stages.strata import DEMONSTRATION_SHARES, VERIFICATION_SHARES, numbers_to_ask_for, quotas


@pytest.mark.parametrize("shares", [VERIFICATION_SHARES, DEMONSTRATION_SHARES])
@pytest.mark.parametrize("size", [*range(4, 40), 360, 6001, 6002, 6003])
def test_every_arm_gets_exactly_as_many_rows_as_were_asked_for(size: int, shares: dict[str, float]) -> None:
    counts = quotas(size, shares)
    assert sum(counts.values()) == size
    assert all(abs(counts[name] - size * share) < 1 for name, share in shares.items())


def test_what_is_asked_for_is_what_is_used_and_a_margin() -> None:
    assert numbers_to_ask_for(6000, VERIFICATION_SHARES, 0.25) == {"unsafe": 3750, "safe": 1875, "benign": 1875}
    assert numbers_to_ask_for(6000, VERIFICATION_SHARES, 0.1) == {"unsafe": 3300, "safe": 1650, "benign": 1650}
    assert numbers_to_ask_for(6, VERIFICATION_SHARES, 0.0) == quotas(6, VERIFICATION_SHARES)
