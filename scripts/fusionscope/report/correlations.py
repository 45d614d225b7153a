"""The table of correlations: which metric goes with accuracy, over the seeds of a study."""

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd

from fusionscope.report.pooled import ALL_MODELS
from fusionscope.statistics.correlation import correlations

SIGNS = {"generalisation_gap": -1.0}  # of metrics where less is better
CORRELATION_COLUMNS = [
    "experiment", "model", "space", "metric", "coefficient", "value", "p_value", "low", "high", "n", "reason",
]  # fmt: skip


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
    signed = target.value * target.metric.map(lambda metric: SIGNS.get(metric, 1.0))
    points = measurements[~is_target].join(signed.rename("target"), on=keys, how="inner")
    blocks = [] if pooled_as else [group for _, group in points.groupby(["experiment", "model"], sort=False)]
    rows = [row for block in blocks for row in correlation_rows(block, block.model.iloc[0])]
    if pooled_as or points.model.nunique() > 1:
        rows += correlation_rows(points, ALL_MODELS)
    table = pd.DataFrame(rows, columns=CORRELATION_COLUMNS)
    return table.assign(experiment=pooled_as) if pooled_as else table


def correlation_rows(points: pd.DataFrame, model: str) -> list[dict]:
    """Three rows for each metric of `points`, which carry `target`; strata are experiment and model."""
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
