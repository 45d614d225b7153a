"""Tables for papers, in LaTeX."""

import math
from collections.abc import Sequence

import pandas as pd


def summary_latex(summary: pd.DataFrame, models: Sequence[str], caption: str, label: str) -> str:
    """A LaTeX table (booktabs): metrics down, `models` across, mean +- standard deviation.

    `summary`: as of summary.summary_table. A dash where a model lacks a metric.
    """
    rows = zip(summary["mean"], summary["std"], summary["censored"] > 0, strict=True)
    cells = summary.assign(cell=[latex_cell(*row) for row in rows])
    wide = cells.pivot(index=["space", "metric"], columns="model", values="cell")
    order = cells[["space", "metric"]].drop_duplicates()
    wide = wide.loc[pd.MultiIndex.from_frame(order), list(models)].fillna("--")
    wide.index = [metric.replace("_", r"\_") for _, metric in wide.index]
    wide.columns = [model.replace("_", r"\_") for model in wide.columns]
    return wide.style.to_latex(
        hrules=True, caption=caption, label=label, column_format="l" + "r" * len(models)
    )


def latex_cell(mean: float, std: float, has_bounds: bool) -> str:
    """$mean \\pm std$ to four figures; a star where some of the values are bounds."""
    star = r"{}^{*}" if has_bounds else ""
    if math.isnan(std):
        return f"${latex_number(mean)}{star}$"
    return rf"${latex_number(mean)} \pm {latex_number(std)}{star}$"


def latex_number(value: float) -> str:
    """1.5e8 -> 1.5 \\cdot 10^{8}, for math mode; to four figures."""
    text = f"{value:.4g}"
    if "e" not in text:
        return text
    digits, exponent = text.split("e")
    return rf"{digits} \cdot 10^{{{int(exponent)}}}"
