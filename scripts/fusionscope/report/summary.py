"""The table that sums up an experiment's seeds: medians and ranges, and which of them are bounds."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.measures.names import METRICS
from fusionscope.report.parents import is_parent

SUMMARY_COLUMNS = [
    "model", "space", "metric", "median", "low", "high", "n", "n_bounds", "n_undefined",
    "median_censored", "low_censored", "high_censored", "bound", "bound_censored", "reason",
]  # fmt: skip
Known = tuple[float, str]  # a number, and on which side of it the true one lies


def summary_table(measurements: pd.DataFrame, train_size: int) -> pd.DataFrame:
    """Median and range over seeds for each model and metric.

    `measurements`: tidy rows (measurement.COLUMNS). `n`: seeds with a value; of these values `n_bounds` are
    censored. `median_censored`, `low_censored` and `high_censored` say which of the three numbers are bounds
    themselves (measurement.LEFT, RIGHT). `n_undefined`: seeds without a value, and the `reason`s why.
    `bound`: the median of sqrt(value / (m - 1)) with m = `train_size`, for the measures that are made to
    bound the generalisation gap, of parents: a child's initial weights have seen the train set.
    """
    groups = measurements.groupby(["model", "space", "metric"], sort=False)
    rows = [
        {"model": model, "space": space, "metric": metric}
        | summary_row(str(model), str(metric), group, train_size)
        for (model, space, metric), group in groups
    ]
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def summary_row(model: str, metric: str, rows: pd.DataFrame, train_size: int) -> dict[str, object]:
    """The numbers of one model and metric from the rows of its seeds."""
    defined = rows[rows.value.notna()]
    values, censored = defined.value.to_numpy(dtype=float), defined.censored.to_numpy()
    median, low, high = median_and_range(values, censored)
    result: dict[str, object] = {
        "median": median[0],
        "low": low[0],
        "high": high[0],
        "n": len(defined),
        "n_bounds": int((censored != NOT_CENSORED).sum()),
        "n_undefined": len(rows) - len(defined),
        "median_censored": median[1],
        "low_censored": low[1],
        "high_censored": high[1],
        "reason": joined(rows.reason[rows.value.isna()].dropna()),
    }
    if metric in METRICS and METRICS[metric].bounds_gap and is_parent(model):
        bounds = np.sqrt(values.clip(min=0) / (train_size - 1))
        result["bound"], result["bound_censored"] = median_and_range(bounds, censored)[0]
    return result


def median_and_range(values: np.ndarray, censored: np.ndarray) -> tuple[Known, Known, Known]:
    """Median, smallest and largest of true numbers of which `values` (n,) are known, some as bounds.

    A LEFT value may truly be anything below, a RIGHT one anything above. The k-th smallest of the true
    numbers therefore lies between the k-th smallest of their lower ends and that of their upper ends, and
    the mean of the middle two between these ends' means. NaN where nothing is known.
    """
    if not len(values):
        return ((np.nan, NOT_CENSORED),) * 3
    lower = np.where(censored == LEFT, -np.inf, values)
    upper = np.where(censored == RIGHT, np.inf, values)
    first = RIGHT if (censored == RIGHT).any() else LEFT
    median, low, high = (known(pick(lower), pick(upper), first) for pick in (np.median, np.min, np.max))
    return median, low, high


def known(lower: float, upper: float, first: str) -> Known:
    """What to say of a number between two ends: itself where they meet, else a bound, the `first` kind if
    it has an end on that side."""
    if lower == upper:
        return float(lower), NOT_CENSORED
    sides = {RIGHT: lower, LEFT: upper}
    order = (first, *(side for side in sides if side != first))
    return next(((float(sides[side]), side) for side in order if np.isfinite(sides[side])), (np.nan, first))


def joined(reasons: Iterable[str]) -> str:
    """Each reason once."""
    return "; ".join(dict.fromkeys(reasons))
