"""Metrics as people read them: names, units, and values in those units."""
# ruff: noqa: RUF002  (Greek letters are meant)

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fusionscope.measures.names import METRICS, PERCENT, POINTS


def metric_name(metric: str) -> str:
    """'pac_bayes_sigma' -> 'PAC-Bayes σ'; of one's own, 'my_norm' -> 'my norm'.

    What bounds its name's meaning by definition says so: 'sharpness α (upper bound)'.
    """
    if metric not in METRICS:
        return metric.replace("_", " ")
    return with_bound(METRICS[metric].label, metric)


def with_bound(name: str, metric: str) -> str:
    """`name` of a metric, and on which side it bounds what it says, if it does so by definition."""
    bound = METRICS[metric].bound if metric in METRICS else None
    return f"{name} ({bound} bound)" if bound and "bound" not in name else name


def predictor_name(row: Mapping[Hashable, Any]) -> str:
    """What a row of the table of predictors is about: 'parameter norm (parents' mean)'.

    What is said of a pair, or of an alignment, says so by its name.
    """
    name = metric_name(str(row["metric"]))
    return name if row["of"] in ("pair", "alignment") else f"{name} ({row['of']})"


def unit_of(metric: str) -> str | None:
    """None for numbers without a unit, and for metrics of one's own."""
    return METRICS[metric].unit if metric in METRICS else None


def with_unit(metric: str) -> str:
    """'accuracy' -> 'test accuracy (%)'"""
    unit = unit_of(metric)
    return f"{metric_name(metric)} ({unit})" if unit else metric_name(metric)


def axis_label(metric: str) -> str:
    """'accuracy' -> 'Test accuracy (%)', as an axis or a panel is headed."""
    return capitalised(with_unit(metric))


def capitalised(words: str) -> str:
    """'log Frobenius product' -> 'Log Frobenius product'"""
    return words[:1].upper() + words[1:]


def space_name(space: str) -> str:
    """'input_space' -> 'input space'"""
    return space.removesuffix("_space") + " space"


def shown_values(measurements: pd.DataFrame) -> pd.DataFrame:
    """Values as an axis shows them: shares in per cent, NaN for what is infinite."""
    percent = measurements.metric.map(unit_of).isin([PERCENT, POINTS])
    values = measurements.value.astype(float).where(~percent, 100 * measurements.value)
    return measurements.assign(value=values.where(np.isfinite(values)))
