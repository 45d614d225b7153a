"""The table of every number, in the study's own layout."""

import pandas as pd


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
