"""The study's own layout."""

import math

import pytest
from scipy import stats
from table_cases import ACCURACY, SEEDS, TRACE, single_models, study

from fusionscope.report.correlations import correlation_table
from fusionscope.report.results import results_table

LAYOUT = ["Model", "Space", "Metric", "Value"]  # the study's


def test_results_have_the_study_s_columns_first_and_none_of_their_cells_is_empty():
    measurements = study()
    table = results_table(measurements, single_models(measurements))
    assert list(table.columns) == [*LAYOUT, "StdError", "Censored", "Reason"]
    assert not table[LAYOUT].isna().any(axis=None)
    assert not (table[LAYOUT].astype(str) == "").any(axis=None)
    first = table.iloc[0]
    assert first.tolist() == ["parent_1_seed1", "prediction_space", "accuracy", 0.91, 0.01, "no", ""]
    assert set(table.Model) == {f"{m}_seed{s}" for m in ACCURACY for s in SEEDS} | set(ACCURACY)
    assert len(table) == 2 * 5 * 4 + 2 * 3 * 3


def test_bounds_and_what_is_undefined_say_so_in_the_results():
    measurements = study()
    lost = (measurements.metric == "hessian_trace") & (measurements.seed == 2)
    measurements.loc[lost, ["value", "std_error", "reason"]] = [math.nan, math.nan, "at chance"]
    table = results_table(measurements, None).set_index(["Model", "Metric"])
    bound = table.loc[("naive_fused_seed2", "flatness_orig")]
    assert (bound.Value, bound.Censored, bound.Reason) == (1e8, "right", "")
    undefined = table.loc[("parent_1_seed2", "hessian_trace")]
    assert math.isnan(undefined.Value)
    assert math.isnan(undefined.StdError)
    assert undefined.Reason == "at chance"
    assert (table.Censored != "no").sum() == 1
    assert table.Value.isna().sum() == 2


def test_correlations_in_the_results_carry_the_model_without_a_seed():
    measurements = study()
    table = results_table(measurements, single_models(measurements))
    rows = table[table.Space == "correlation_space"]
    names = {"hessian_trace", "flatness_orig", "generalisation_gap"}
    expected = {f"{kind}_{name}" for kind in ("kendall", "pearson", "spearman") for name in names}
    assert set(rows.Metric) == expected
    assert set(rows.Model) == set(ACCURACY)
    row = rows[(rows.Model == "parent_1") & (rows.Metric == "kendall_hessian_trace")]
    tau = stats.kendalltau(TRACE["parent_1"], ACCURACY["parent_1"]).statistic
    assert row.Value.tolist() == [pytest.approx(tau)]


def test_correlations_that_do_not_exist_have_no_row_in_the_results():
    measurements = study(models=("parent_1",))
    measurements.loc[measurements.metric == "hessian_trace", "value"] = 7.0
    correlation = correlation_table(measurements, "accuracy")
    missing = correlation[correlation.metric == "hessian_trace"]
    assert missing.value.isna().all()
    assert (missing.reason == "metric is constant").all()
    table = results_table(measurements, correlation)
    assert not table.Metric.str.fullmatch(".*(kendall|pearson|spearman)_hessian_trace").any()
    assert not table.Value.isna().any()


def test_results_without_correlations_are_the_measurements_alone():
    measurements = study()
    table = results_table(measurements, None)
    assert len(table) == len(measurements)
    assert "correlation_space" not in set(table.Space)
