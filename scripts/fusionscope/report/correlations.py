"""The table of correlations: which metric goes with the outcome, over the seeds of a study."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from fusionscope.measurement import NOT_CENSORED
from fusionscope.measures.names import ACCURACY, GAP, METRICS, PAIR
from fusionscope.report.pooled import ALL_MODELS
from fusionscope.statistics.correlation import correlations
from fusionscope.statistics.result import Correlation

OUTCOMES = {"accuracy": ACCURACY, "generalisation_gap": GAP}  # metrics -> their names among what is restated
SIGNS = {"generalisation_gap": -1.0}  # of metrics where less is better
CORRELATION_COLUMNS = [
    "experiment", "model", "space", "metric", "coefficient", "value", "p_value", "p_adjusted", "low", "high",
    "n", "n_seeds", "verdict", "reason",
]  # fmt: skip


def correlation_table(
    measurements: pd.DataFrame,
    accuracy_metric: str | Mapping[str, str],
    *,
    pooled_as: str | None = None,
    sweeps: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Each metric's correlation with accuracy over seeds, a row per model, metric and coefficient.

    `accuracy_metric`: 'accuracy', or 'generalisation_gap' whose sign is turned so that more is better;
    one for all experiments, or a dictionary with one for each. A last block of models ALL_MODELS pools
    all points, stratified by experiment and model. With `pooled_as`, only that block is made, under this
    experiment name. `sweeps`: of the experiments that are settings of a sweep, its name; a seed is the same
    in all of them, and permuted in all at once. P-values, intervals and verdicts are of Kendall's tau alone;
    `p_adjusted` is for the metrics of the block that do not restate the outcome (statistics.correlation).
    The pair space is left out: what is said of a pair is no property of one of its models.
    """
    measurements = measurements[measurements.space != PAIR]
    if isinstance(accuracy_metric, Mapping):
        is_target = measurements.metric == measurements.experiment.map(accuracy_metric)
    else:
        is_target = measurements.metric == accuracy_metric
    keys = ["experiment", "seed", "model"]
    target = measurements[is_target].set_index(keys)
    signed = target.value * target.metric.map(lambda metric: SIGNS.get(metric, 1.0))
    outcomes = pd.DataFrame({"target": signed, "outcome": target.metric})
    points = measurements[~is_target].join(outcomes, on=keys, how="inner")
    points["drawn_for"] = points.experiment.replace(dict(sweeps or {}))
    blocks = [] if pooled_as else [group for _, group in points.groupby(["experiment", "model"], sort=False)]
    rows = [row for block in blocks for row in correlation_rows(block, block.model.iloc[0])]
    if pooled_as or points.model.nunique() > 1:
        rows += correlation_rows(points, ALL_MODELS)
    table = pd.DataFrame(rows, columns=CORRELATION_COLUMNS)
    return table.assign(experiment=pooled_as) if pooled_as else table


def correlation_rows(points: pd.DataFrame, model: str) -> list[dict]:
    """Three rows for each metric of `points`, which carry `target`; strata are experiment and model.

    `drawn_for`: the experiment or sweep whose seeds they are.
    """
    if points.empty:
        return []
    named = points.groupby(["space", "metric"], sort=False)
    strata = points.groupby(["experiment", "model"], sort=False)
    seeds = points.groupby(["drawn_for", "seed"])  # sorted: the same draws whatever the order of rows
    places = tuple(groups.ngroup().to_numpy() for groups in (named, strata, seeds))
    values = np.full((named.ngroups, strata.ngroups, seeds.ngroups), np.nan)
    outcome, censored = np.full(values.shape[1:], np.nan), np.full(values.shape, NOT_CENSORED, dtype="<U5")
    values[places], censored[places], outcome[places[1:]] = points.value, points.censored, points.target
    found = correlations(
        values,
        outcome,
        censored=censored,
        restates=[restates(rows.metric.iloc[0], rows.outcome.unique()) for _, rows in named],
        experiments=seeds.drawn_for.first().to_numpy(str),
    )
    shared = {"experiment": points.experiment.iloc[0], "model": model}
    return [
        shared | {"space": space, "metric": metric} | row_of(name, result)
        for ((space, metric), _), of_metric in zip(named, found, strict=True)
        for name, result in of_metric.items()
    ]


def restates(metric: str, outcomes: Iterable[str]) -> bool:
    """Whether `metric` says any of `outcomes` in other words; metrics of one's own never do."""
    said = METRICS[metric].restates if metric in METRICS else ()
    return any(OUTCOMES[outcome] in said for outcome in outcomes)


def row_of(name: str, result: Correlation) -> dict:
    row = asdict(result)
    return row | {"coefficient": name, "value": row["coefficient"]}
