"""The table of every number, in the study's own layout."""

import math

import pandas as pd

from fusionscope.measurement import NOT_CENSORED


def results_table(measurements: pd.DataFrame, correlation: pd.DataFrame | None) -> pd.DataFrame:
    """The study's layout, Model,Space,Metric,Value, and then StdError, Censored and Reason.

    Measurements without a value keep their row, and say why in Reason; correlations that do not exist have
    no row.
    """
    table = pd.DataFrame(
        {
            "Model": measurements.model + "_seed" + measurements.seed.astype(str),
            "Space": measurements.space,
            "Metric": measurements.metric,
            "Value": measurements.value,
            "StdError": measurements.std_error.astype(float),
            "Censored": measurements.censored,
            "Reason": measurements.reason.fillna("").astype(str),
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
            "StdError": math.nan,
            "Censored": NOT_CENSORED,
            "Reason": "",
        }
    )
    return pd.concat([table, extra], ignore_index=True)
