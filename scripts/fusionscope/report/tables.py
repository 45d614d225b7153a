"""From one CSV per model and space to the study's tables: results, summary, correlations, LaTeX."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from fusionscope.measurement import NOT_CENSORED

ALL_MODELS = "all_models"  # correlations over all models of an experiment, one stratum a model
ALL_EXPERIMENTS = "all_experiments"

# value -> sqrt(value / (m - 1)) bounds the gap for these measures (Jiang et al. 2019, section C)
BOUNDED_METRICS = tuple(
    f"{kind}_{origin}"
    for kind in ("flatness", "flatness_mag", "sharpness", "sharpness_mag")
    for origin in ("init", "orig")
)
SIGNS = {"generalisation_gap": -1.0}  # of metrics where less is better
SUMMARY_COLUMNS = ["model", "space", "metric", "mean", "std", "n", "censored", "bound"]
CORRELATION_COLUMNS = [
    "experiment", "model", "space", "metric", "coefficient", "value", "p_value", "low", "high", "n", "reason",
]  # fmt: skip


def read_tables(paths: Iterable[str | Path]) -> pd.DataFrame:
    """The rows of many CSV files of the same columns, in the order of `paths`."""
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """CSV with all digits, no index, Unix line ends: the same bytes everywhere."""
    table.to_csv(path, index=False, lineterminator="\n")


def correlation_table(
    measurements: pd.DataFrame,
    accuracy_metric: str | Mapping[str, str],
    *,
    pooled_as: str | None = None,
) -> pd.DataFrame:
    """Each metric's correlation with accuracy over seeds, a row per model, metric and coefficient.

    `accuracy_metric`: 'accuracy', or 'generalisation_gap' whose sign is turned so that more is better;
    one for all experiments, or a dictionary with one for each. A last block of models ALL_MODELS pools
    all points, stratified by experiment and model. With `pooled_as`, only that block is made, under this
    experiment name.
    """
    if isinstance(accuracy_metric, Mapping):
        is_target = measurements.metric == measurements.experiment.map(accuracy_metric)
    else:
        is_target = measurements.metric == accuracy_metric
    keys = ["experiment", "seed", "model"]
    target = measurements[is_target].set_index(keys)
    sign = target.metric.map(lambda metric: SIGNS.get(metric, 1.0))
    target, others = target.value * sign, measurements[~is_target]
    points = others.join(target.rename("target"), on=keys, how="inner")
    blocks = [] if pooled_as else [group for _, group in points.groupby(["experiment", "model"], sort=False)]
    rows = [row for block in blocks for row in correlation_rows(block, block.model.iloc[0])]
    if pooled_as or points.model.nunique() > 1:
        rows += correlation_rows(points, ALL_MODELS)
    table = pd.DataFrame(rows, columns=CORRELATION_COLUMNS)
    return table.assign(experiment=pooled_as) if pooled_as else table


def correlation_rows(points: pd.DataFrame, model: str) -> list[dict]:
    """Three rows for each metric of `points`, which carry `target`; strata are experiment and model."""
    from fusionscope.statistics.correlation import correlations  # here: SciPy's statistics are slow to import

    rows = []
    for (space, metric), group in points.groupby(["space", "metric"], sort=False):
        strata = group.experiment + "/" + group.model
        found = correlations(group.value, group.target, group.censored, strata)
        for name, result in found.items():
            row = asdict(result)
            row |= {"experiment": group.experiment.iloc[0], "model": model, "space": space}
            row |= {"metric": metric, "value": row.pop("coefficient"), "coefficient": name}
            rows.append(row)
    return rows


def results_table(measurements: pd.DataFrame, correlation: pd.DataFrame | None) -> pd.DataFrame:
    """The study's layout, Model,Space,Metric,Value; correlations that do not exist have no row."""
    table = pd.DataFrame(
        {
            "Model": measurements.model + "_seed" + measurements.seed.astype(str),
            "Space": measurements.space,
            "Metric": measurements.metric,
            "Value": measurements.value,
        }
    )
    if correlation is None:
        return table
    found = correlation[correlation.value.notna()]
    extra = pd.DataFrame(
        {
            "Model": found.model,
            "Space": "correlation_space",
            "Metric": found.coefficient + "_" + found.metric,
            "Value": found.value,
        }
    )
    return pd.concat([table, extra], ignore_index=True)


def summary_table(measurements: pd.DataFrame, train_size: int) -> pd.DataFrame:
    """Mean and standard deviation over seeds for each model and metric.

    `censored`: how many of the n values are bounds. `bound`: the mean over seeds of
    sqrt(value / (m - 1)) with m = `train_size`, for the measures that are made for it.
    """
    rows = []
    for (model, space, metric), group in measurements.groupby(["model", "space", "metric"], sort=False):
        bound = math.nan
        if metric in BOUNDED_METRICS:
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


def summary_latex(summary: pd.DataFrame, models: Sequence[str], caption: str, label: str) -> str:
    """A LaTeX table (booktabs): metrics down, `models` across, mean +- standard deviation."""
    cells = summary.assign(cell=[latex_cell(row) for row in summary.itertuples()])
    wide = cells.pivot(index=["space", "metric"], columns="model", values="cell")
    order = cells[["space", "metric"]].drop_duplicates()
    wide = wide.loc[pd.MultiIndex.from_frame(order), list(models)].fillna("--")
    wide.index = [metric.replace("_", r"\_") for _, metric in wide.index]
    wide.columns = [model.replace("_", r"\_") for model in wide.columns]
    return wide.style.to_latex(
        hrules=True, caption=caption, label=label, column_format="l" + "r" * len(models)
    )


def latex_cell(row) -> str:
    """$mean \\pm std$ to four figures; a star where some of the values are bounds."""
    star = r"{}^{*}" if row.censored else ""
    if math.isnan(row.std):
        return f"${latex_number(row.mean)}{star}$"
    return rf"${latex_number(row.mean)} \pm {latex_number(row.std)}{star}$"


def latex_number(value: float) -> str:
    text = f"{value:.4g}"
    if "e" not in text:
        return text
    digits, exponent = text.split("e")
    return rf"{digits} \cdot 10^{{{int(exponent)}}}"
