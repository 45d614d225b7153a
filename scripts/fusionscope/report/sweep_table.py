"""The table of a sweep: how good parents and children are at each of its settings."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from fusionscope.measures.names import PARENTS
from fusionscope.report.parents import is_parent

ENSEMBLE = "ensemble"  # of a seed's parents; PARENTS is their mean
# Columns, and what people call them; accuracies are shares.
OUTCOMES = {
    "accuracy": "test accuracy",
    "relative_accuracy": "accuracy less its parents' mean",
    "loss_barrier": "loss barrier",
}
Point = Mapping[str, Any]  # `values`: axis -> text; `fusions`: child -> its `fusion` and `values`


def sweep_table(measurements: pd.DataFrame, points: Mapping[str, Point], axes: Iterable[str]) -> pd.DataFrame:
    """One row for each setting, seed and model: the axes' values, and the outcomes where they are measured.

    `measurements`: tidy rows (measurement.COLUMNS) of all settings, of which each is an experiment; `points`:
    by experiment, the values at which it lies. Models are the children, PARENTS (the mean of a seed's) and
    ENSEMBLE. An axis that is an option of a fusion has values in the rows of its children alone.
    """
    wide = outcomes_of(measurements)
    rows = [row for experiment, point in points.items() for row in rows_of(wide, experiment, point)]
    table = pd.DataFrame(rows)
    columns = [*axes, "experiment", "seed", "model", "fusion", *OUTCOMES]
    return table.reindex(columns=columns)


def outcomes_of(measurements: pd.DataFrame) -> pd.DataFrame:
    """Accuracies and barriers (columns) by experiment, seed and model (index)."""
    wanted = measurements[measurements.metric.isin(["accuracy", "loss_barrier", "parents_ensemble_accuracy"])]
    index = ["experiment", "seed", "model"]
    return wanted.pivot(index=index, columns="metric", values="value").sort_index()


def rows_of(wide: pd.DataFrame, experiment: str, point: Point) -> Iterable[dict[str, Any]]:
    """The rows of one setting."""
    if experiment not in wide.index.get_level_values("experiment"):
        return
    for seed, of_seed in wide.loc[experiment].groupby(level="seed"):
        table = of_seed.droplevel("seed")
        parents = table[[is_parent(str(model)) for model in table.index]].get("accuracy")
        mean = float("nan") if parents is None else parents.mean()
        start = {**point["values"], "experiment": experiment, "seed": seed}
        yield start | {"model": PARENTS, "fusion": PARENTS, "accuracy": mean}
        ensemble = table.get("parents_ensemble_accuracy", pd.Series(dtype=float)).dropna()
        if len(ensemble):
            value = ensemble.iloc[0]
            relative = {"accuracy": value, "relative_accuracy": value - mean}
            yield start | {"model": ENSEMBLE, "fusion": ENSEMBLE} | relative
        for child, of_child in point["fusions"].items():
            if child in table.index:
                found = table.loc[child]
                accuracy = found.get("accuracy", float("nan"))
                outcomes = {
                    "accuracy": accuracy,
                    "relative_accuracy": accuracy - mean,
                    "loss_barrier": found.get("loss_barrier", float("nan")),
                }
                who = {"model": child, "fusion": of_child["fusion"]}
                yield start | of_child["values"] | who | outcomes
