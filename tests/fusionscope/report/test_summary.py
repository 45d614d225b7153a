"""Means and spreads by hand."""

import math

import pandas as pd
import pytest
from table_cases import study

from fusionscope.measurement import Measurement, tidy_rows
from fusionscope.report.summary import summary_table


def test_summary_by_hand():
    table = summary_table(study(), train_size=101).set_index(["model", "metric"])
    row = table.loc[("parent_1", "hessian_trace")]
    assert row["mean"] == pytest.approx((5 + 3 + 4 + 2 + 2.5) / 5)
    squares = sum((x - 3.3) ** 2 for x in (5, 3, 4, 2, 2.5))
    assert row["std"] == pytest.approx(math.sqrt(squares / 4))  # of a sample of seeds
    assert (row["space"], row["n"], row["censored"]) == ("parameter_space", 5, 0)
    assert math.isnan(row["bound"])  # the trace bounds nothing
    # sqrt(v / 100) of 100, 400, 900, 1600, 2500: 1 to 5
    assert table.loc[("parent_1", "flatness_orig"), "bound"] == pytest.approx(3)
    fused = table.loc[("naive_fused", "flatness_orig")]
    assert fused["censored"] == 1
    # a measure below zero bounds the gap by zero
    expected = (0 + 1000 + math.sqrt(0.02) + math.sqrt(0.03) + math.sqrt(0.04)) / 5
    assert fused["bound"] == pytest.approx(expected)


def test_only_the_eight_measures_with_initial_or_original_weights_are_bounds():
    kinds = ("flatness", "flatness_mag", "sharpness", "sharpness_mag")
    bounds = {f"{kind}_{origin}" for kind in kinds for origin in ("init", "orig")}
    others = {"pac_bayes_flatness", "sharpness_mag_flat", "pac_bayes_sigma", "accuracy"}
    rows = tidy_rows(
        {name: Measurement(4.0) for name in sorted(bounds | others)},
        experiment="e", seed=1, model="m", space="s",
    )  # fmt: skip
    table = summary_table(pd.DataFrame(rows), train_size=5)
    assert set(table[table.bound.notna()].metric) == bounds
    assert table.bound.dropna().unique().tolist() == [1.0]
