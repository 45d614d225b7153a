"""A small hand-made study: numbers that can be checked by hand."""

import pandas as pd

from fusionscope.measurement import COLUMNS, NOT_CENSORED, RIGHT, Measurement, tidy_rows
from fusionscope.report.correlations import correlation_table

SEEDS = (1, 2, 3, 4, 5)
ACCURACY = {"parent_1": (0.91, 0.95, 0.93, 0.99, 0.97), "naive_fused": (0.3, 0.1, 0.5, 0.2, 0.6)}
TRACE = {"parent_1": (5.0, 3.0, 4.0, 2.0, 2.5), "naive_fused": (70.0, 90.0, 60.0, 95.0, 80.0)}
FLATNESS = {"parent_1": (100.0, 400.0, 900.0, 1600.0, 2500.0), "naive_fused": (-7.0, 1e8, 2.0, 3.0, 4.0)}
GAP = 0.03  # of seed 1; each seed has a little more


def study(experiment: str = "digits", models: tuple[str, ...] = ("parent_1", "naive_fused")) -> pd.DataFrame:
    """Tidy rows of four metrics; the second flatness of naive_fused is a bound."""
    rows = []
    for model in models:
        for i, seed in enumerate(SEEDS):
            gap = GAP + 0.01 * i * (1 if model == "parent_1" else (-1) ** i)
            bound = RIGHT if (model, seed) == ("naive_fused", 2) else NOT_CENSORED
            spaces = {
                "prediction_space": {
                    "accuracy": Measurement(ACCURACY[model][i], 0.01),
                    "generalisation_gap": Measurement(gap),
                },
                "parameter_space": {
                    "hessian_trace": Measurement(TRACE[model][i], 0.5),
                    "flatness_orig": Measurement(FLATNESS[model][i], None, bound),
                },
            }
            for space, measurements in spaces.items():
                where = {"experiment": experiment, "seed": seed, "model": model, "space": space}
                rows += tidy_rows(measurements, **where)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(std_error=pd.to_numeric(table.std_error))  # as from a file


def value(table: pd.DataFrame, **where: object) -> float:
    """The value in the only row that matches."""
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    assert len(table) == 1
    return table.iloc[0]["value"]


def single_models(measurements: pd.DataFrame, accuracy_metric: str = "accuracy") -> pd.DataFrame:
    """Correlations of both models, each by itself, without the pooled block."""
    parts = [part for _, part in measurements.groupby("model", sort=False)]
    return pd.concat([correlation_table(part, accuracy_metric) for part in parts], ignore_index=True)
