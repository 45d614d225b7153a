"""The table that sums up an experiment's seeds."""

import math

import pandas as pd

from fusionscope.measurement import NOT_CENSORED
from fusionscope.measures.names import METRICS

SUMMARY_COLUMNS = ["model", "space", "metric", "mean", "std", "n", "censored", "bound"]


def summary_table(measurements: pd.DataFrame, train_size: int) -> pd.DataFrame:
    """Mean and standard deviation over seeds for each model and metric.

    `measurements`: tidy rows (measurement.COLUMNS). `censored`: how many of the n values are bounds. `bound`:
    the mean over seeds of sqrt(value / (m - 1)) with m = `train_size`, for the measures that are made for it.
    """
    rows = []
    for (model, space, metric), group in measurements.groupby(["model", "space", "metric"], sort=False):
        bound = math.nan
        if metric in METRICS and METRICS[metric].bounds_gap:
            bound = (group.value.clip(lower=0) / (train_size - 1)).pow(0.5).mean()
        rows.append(
            {
                "model": model,
                "space": space,
                "metric": metric,
                "mean": group.value.mean(),
                "std": group.value.std(),
                "n": len(group),
                "censored": int((group.censored != NOT_CENSORED).sum()),
                "bound": bound,
            }
        )
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
