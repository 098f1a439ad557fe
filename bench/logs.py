"""Do comparisons of logs hold? Coverage of the interval, and how often p < 0.05 where nothing differs.

    python -m bench.logs            # some minutes

Two models answer the same questions, which hang together in clusters; each question has a difficulty, each cluster an
effect of its own on the difference, and scores are right or wrong, graded in halves, or any number. The truth is the
mean difference over all clusters that there could be.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.statistics import numeric
from sinternal.figures.statistics.numeric import numeric_difference

Draw = NDArray[np.float64]
Kind = Callable[[Draw, np.random.Generator], Draw]


def right_or_wrong(ability: Draw, random: np.random.Generator) -> Draw:
    """1 or 0, with the chance that the ability gives."""
    return (random.random(len(ability)) < np.clip(ability, 0, 1)).astype(np.float64)


def in_halves(ability: Draw, random: np.random.Generator) -> Draw:
    """0, 0.5 or 1, with the same mean."""
    return (right_or_wrong(ability, random) + right_or_wrong(ability, random)) / 2


def graded(ability: Draw, random: np.random.Generator) -> Draw:
    """Any number, with the same mean."""
    return ability + random.normal(0, 0.3, len(ability))


KINDS: dict[str, Kind] = {"right or wrong": right_or_wrong, "in halves": in_halves, "any number": graded}


def simulate(kind: Kind, effect: float, clusters: int, each: int, times: int, seed: int = 0) -> tuple[float, float]:
    """Share of intervals that hold the truth, and of p values below 0.05.

    Args:
        kind: of score.
        effect: mean difference.
        clusters: how many.
        each: questions in each.
        times: comparisons.
        seed: of the simulation.
    """
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(clusters), each)
    runs = np.zeros(len(groups))
    held = small = 0
    for _ in range(times):
        shared = random.uniform(0.3, 0.7, len(groups))
        own = random.uniform(-0.2, 0.2, clusters)[groups]  # by which a cluster's difference is another than the mean
        a, b = kind(shared + (effect + own) / 2, random), kind(shared - (effect + own) / 2, random)
        row = numeric_difference(a, b, groups, runs)
        held += row.low <= effect <= row.high
        small += row.p < 0.05
    return held / times, small / times


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=400)
    times = parser.parse_args().times
    numeric.FEW_DRAWS = numeric.DRAWS = 1_999  # p values near 0.05 take no more
    print("| scores | clusters x questions | holds 0.1 | holds 0 | p < 0.05 of nothing | p < 0.05 of 0.1 |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, kind in KINDS.items():
        for clusters, each in ((10, 4), (40, 1), (40, 4), (200, 2)):
            held, power = simulate(kind, 0.1, clusters, each, times)
            held_none, wrong = simulate(kind, 0.0, clusters, each, times, seed=1)
            print(
                f"| {name} | {clusters} x {each} | {held:.3f} | {held_none:.3f} | {wrong:.3f} | {power:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
