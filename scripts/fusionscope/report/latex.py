"""Tables for papers, in LaTeX."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fusionscope.errors import InputError
from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.measures.names import PARENTS, PERCENT, POINTS
from fusionscope.options import short
from fusionscope.report.metric_labels import space_name, unit_of, with_unit

SIGNS = {LEFT: "<", RIGHT: ">", NOT_CENSORED: ""}
MOST_DIGITS, FEWEST_DIGITS = 3, 2  # significant ones, of each number
OF_SPREAD = 2  # significant digits of a range that are shown
UNSCALED = 1e-2, 1e4  # rows whose largest number lies outside are shown in units of a power of ten
ALIKE = 1e5  # times the smallest: where numbers differ by more, no unit fits all
MISSING = "--"
NUMBERS = ["median", "low", "high"]
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "_%&#${}"},
    "\N{NO-BREAK SPACE}": "~", "σ": r"$\sigma$", "α": r"$\alpha$", "′": "$'$",  # noqa: RUF001
}  # fmt: skip

# Scaled down where it would be wider than the page's text, as with many fusions.
TABLE = r"""\begin{{table}}
\centering
\caption{{{caption}}}
\label{{{label}}}
\scriptsize
\setlength{{\tabcolsep}}{{4pt}}
\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{%
\begin{{tabular}}{{{columns}}}
\toprule
{head} \\
{rows}
\bottomrule
\end{{tabular}}}}
\end{{table}}
"""


def summary_latex(summary: pd.DataFrame, models: Sequence[str], caption: str, label: str) -> str:
    """A LaTeX table (booktabs, graphicx): metrics down, a block for each space, `models` across.

    `summary`: as of summary.summary_table. A cell has median and range; a dash where a model lacks a metric,
    or no seed has a value.
    """
    lines = []
    for space, of_space in summary.groupby("space", sort=False):
        lines += [
            r"\midrule",
            rf"\multicolumn{{{1 + len(models)}}}{{l}}{{\emph{{{space_name(str(space))}}}}} \\",
        ]
        lines += [
            rf"{' & '.join(row_of(str(metric), rows, models))} \\"
            for metric, rows in of_space.groupby("metric", sort=False)
        ]
    return TABLE.format(
        caption=caption,
        label=label,
        columns="l" + "r" * len(models),
        head=" & ".join(["", *(latex_text(model.replace("_", " ")) for model in models)]),
        rows="\n".join(lines),
    )


def chosen(summary: pd.DataFrame, metrics: Sequence[str] | None, experiment: str) -> pd.DataFrame:
    """The rows of models with some `metrics`, or all of them: what is said of all parents together has no
    column. Raises InputError for a metric that was not measured of any model.
    """
    summary = summary[summary.model != PARENTS]
    if metrics is None:
        return summary
    known, where = list(summary.metric.unique()), f"config: experiments.{experiment}.table_metrics"
    for metric in metrics:
        if metric not in known:
            raise InputError(
                f"{where}: {short(metric)} is not measured of any model; measured are {', '.join(known)}"
            )
    return summary[summary.metric.isin(metrics)]


def summary_caption(experiment: str) -> str:
    """What the cells of `summary_latex` mean, for people."""
    return (
        latex_text(experiment) + ": median and range over seeds, $n$ of them where others have no "
        "value. After $<$ or $>$ stands a bound: a search ended at the end of its range or did not converge."
    )


def latex_text(text: str) -> str:
    """`text` as LaTeX shows it."""
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def row_of(metric: str, rows: pd.DataFrame, models: Sequence[str]) -> Iterator[str]:
    """The cells of a metric: its name with what its numbers are in units of, and one for each model."""
    in_unit = rows.assign(
        **rows[NUMBERS].astype(float) * (100 if unit_of(metric) in (PERCENT, POINTS) else 1)
    )
    power = power_of_ten(in_unit[NUMBERS].to_numpy())
    scaled = in_unit.assign(**in_unit[NUMBERS] / 10.0**power)
    yield latex_text(with_unit(metric)) + (rf" ($\times 10^{{{power}}}$)" if power else "")
    of_model = {row.model: latex_cell(row) for row in scaled.itertuples()}
    yield from (of_model.get(model, MISSING) for model in models)


def power_of_ten(values: np.ndarray) -> int:
    """By which power all numbers of a row are divided: 0 where they can be read as they are."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(sizes) or UNSCALED[0] <= sizes.max() < UNSCALED[1] or sizes.max() > ALIKE * sizes.min():
        return 0
    return math.floor(math.log10(np.median(sizes)))


def latex_cell(row: Any) -> str:
    """Median [low, high] of a row of the summary, the median alone where all are the same.

    < or > before what is a bound; n where some seeds have no value.
    """
    if row.n == 0:
        return MISSING
    spread = row.high - row.low
    median, low, high = (
        latex_number(getattr(row, name), getattr(row, f"{name}_censored"), spread) for name in NUMBERS
    )
    parts = [] if low == median == high else [f"[{low}, {high}]"]
    parts += [f"$n={row.n}$"] if row.n_undefined else []
    return f"{median} {{\\tiny {' '.join(parts)}}}" if parts else median


def latex_number(value: float, censored: str, spread: float = 0.0) -> str:
    r"""0.97512 with a spread of 0.02 -> $0.975$; 1.5e8, RIGHT -> $>1.5 \cdot 10^{8}$; a dash for NaN.

    Two digits of the `spread` of the numbers beside it, but two to three significant digits of its own.
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    if value == 0:
        return f"${SIGNS[censored]}0$"
    first = exponent_of(value)
    if not -MOST_DIGITS <= first <= MOST_DIGITS:
        digits, _, exponent = f"{value:.{FEWEST_DIGITS}e}".partition("e")
        return rf"${SIGNS[censored]}{float(digits):g} \cdot 10^{{{int(exponent)}}}$"
    last = first - MOST_DIGITS + 1
    if 0 < spread < math.inf:
        last = max(last, min(exponent_of(spread) - OF_SPREAD + 1, first - FEWEST_DIGITS + 1))
    return f"${SIGNS[censored]}{round(value, -last):.{max(0, -last)}f}$"


def exponent_of(value: float) -> int:
    """Of its first significant digit, as it is rounded: 0 for 1 to 9.99, -1 for 0.1."""
    return int(f"{value:.{MOST_DIGITS - 1}e}".partition("e")[2])
