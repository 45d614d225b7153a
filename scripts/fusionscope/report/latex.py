"""Tables for papers, in LaTeX."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.report.metric_labels import with_bound

SIGNS = {LEFT: "<", RIGHT: ">", NOT_CENSORED: ""}
DIGITS = 3
MISSING = "--"


def summary_latex(summary: pd.DataFrame, models: Sequence[str], caption: str, label: str) -> str:
    """A LaTeX table (booktabs): metrics down, `models` across, median and range.

    `summary`: as of summary.summary_table. A dash where a model lacks a metric, or no seed has a value.
    """
    cells = summary.assign(cell=[latex_cell(row) for row in summary.itertuples()])
    wide = cells.pivot(index=["space", "metric"], columns="model", values="cell")
    order = cells[["space", "metric"]].drop_duplicates()
    wide = wide.loc[pd.MultiIndex.from_frame(order), list(models)].fillna(MISSING)
    wide.index = [with_bound(metric.replace("_", r"\_"), metric) for _, metric in wide.index]
    wide.columns = [model.replace("_", r"\_") for model in wide.columns]
    return wide.style.to_latex(
        hrules=True, caption=caption, label=label, column_format="l" + "r" * len(models)
    )


def summary_caption(experiment: str) -> str:
    """What the cells of `summary_latex` mean, for people."""
    return (
        experiment.replace("_", r"\_") + ": median and range over seeds, $n$ of them where others have no "
        "value. After $<$ or $>$ stands a bound: a search ended at the end of its range or did not converge."
    )


def latex_cell(row: Any) -> str:
    """Median [low, high] of a row of the summary, the median alone of a single value.

    < or > before what is a bound; n where some seeds have no value.
    """
    if row.n == 0:
        return MISSING
    median = latex_number(row.median, row.median_censored)
    low, high = latex_number(row.low, row.low_censored), latex_number(row.high, row.high_censored)
    text = median if row.n == 1 else f"{median} [{low}, {high}]"
    return f"{text} ($n = {row.n}$)" if row.n_undefined else text


def latex_number(value: float, censored: str) -> str:
    r"""1.5e8, RIGHT -> $>1.5 \cdot 10^{8}$, to three digits; a dash where nothing is known."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    digits, _, exponent = f"{float(f'{value:.{DIGITS}g}'):g}".partition("e")
    power = rf" \cdot 10^{{{int(exponent)}}}" if exponent else ""
    return f"${SIGNS[censored]}{digits}{power}$"
