"""Intervals and tests, thin over numpy; `bench/coverage.py` measures whether they hold."""

from sinternal.figures.statistics.agreement import bounded_kappa, kappa
from sinternal.figures.statistics.bootstrap import Interval, Statistic, smooth, table_interval, tails
from sinternal.figures.statistics.bounded import BoundedDifference, bounded_difference
from sinternal.figures.statistics.calibration import Calibration, calibrated_error, calibration
from sinternal.figures.statistics.learning import MeanDifference, learning_area, over_seeds, steps_to
from sinternal.figures.statistics.paired import (
    PairedDifference,
    holm,
    mcnemar,
    paired_difference,
    sign_flip,
    smallest_difference,
)
from sinternal.figures.statistics.proportions import (
    ONE_SIDED,
    Accuracy,
    Bounded,
    Corrected,
    bounded_wilson,
    clustered_wilson,
    effective_size,
    rogan_gladen,
    wilson,
)
from sinternal.figures.statistics.tables import bounded_table

__all__ = [
    "ONE_SIDED",
    "Accuracy",
    "Bounded",
    "BoundedDifference",
    "Calibration",
    "Corrected",
    "Interval",
    "MeanDifference",
    "PairedDifference",
    "Statistic",
    "bounded_difference",
    "bounded_kappa",
    "bounded_table",
    "bounded_wilson",
    "calibrated_error",
    "calibration",
    "clustered_wilson",
    "effective_size",
    "holm",
    "kappa",
    "learning_area",
    "mcnemar",
    "over_seeds",
    "paired_difference",
    "rogan_gladen",
    "sign_flip",
    "smallest_difference",
    "smooth",
    "steps_to",
    "table_interval",
    "tails",
    "wilson",
]
