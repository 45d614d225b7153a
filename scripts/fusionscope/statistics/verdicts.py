"""What the p-values of a metric say, in words."""

import itertools
import math
from dataclasses import dataclass

LEVEL = 0.05
RESTATES = "restates the outcome"
NOT_SHOWN = "not shown"
CANNOT = "cannot be shown"


@dataclass(frozen=True)
class Size:
    """How much there is to tell from: seeds of the metric, metrics of its family, experiments."""

    seeds: int
    metrics: int
    experiments: int


def verdict(coefficient: float, p_adjusted: float, best: float, size: Size) -> str:
    """Which way the metric goes with the outcome, or that this is not shown, or that it cannot be.

    `best`: the adjusted p-value of the most telling of all orders of the seeds.
    """
    if p_adjusted < LEVEL:
        way = "higher" if coefficient > 0 else "lower"
        return f"{way} goes with better (adjusted p {p_adjusted:.2g})"
    if best < LEVEL:
        return NOT_SHOWN
    enough = seeds_needed(size.metrics, size.experiments)
    if size.seeds >= enough * size.experiments:
        return f"{CANNOT}: too many values are tied or not known"
    each = " of each experiment" if size.experiments > 1 else ""
    return f"{CANNOT} with {size.seeds} seeds ({enough}{each} would do)"


def over_settings_verdict(low: float, high: float) -> str:
    """The same over the settings of a sweep, from the interval of granulated Kendall for a whole family."""
    if low > 0:
        return "higher goes with better"
    if high < 0:
        return "lower goes with better"
    return NOT_SHOWN


def seeds_needed(metrics: int, experiments: int = 1) -> int:
    """The fewest seeds in each experiment that show a perfect order, in a family of so many metrics.

    Of the n! orders of an experiment's seeds, independent of those of the others, two are perfect. The
    adjusted p-value is at most the number of metrics times the metric's own (Bonferroni), and about that
    where they are independent; where they go together, fewer seeds may do.
    """
    return next(n for n in itertools.count(2) if 2 * metrics < LEVEL * math.factorial(n) ** experiments)
