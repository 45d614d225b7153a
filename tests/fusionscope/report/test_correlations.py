"""The table of correlations of a small study."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from table_cases import ACCURACY, FLATNESS, TRACE, single_models, study, value

from fusionscope.measures.names import PAIR, PARENTS
from fusionscope.report.correlations import CORRELATION_COLUMNS, correlation_table
from fusionscope.report.pooled import ALL_MODELS


def test_correlations_match_seeds_not_rows():
    # the same rows in any order are the same study
    measurements = study(models=("parent_1",))
    expected = correlation_table(measurements, "accuracy")
    shuffled = correlation_table(measurements.sample(frac=1, random_state=0), "accuracy")
    for name in ("hessian_trace", "flatness_orig"):
        columns = {"kendall": stats.kendalltau, "pearson": stats.pearsonr, "spearman": stats.spearmanr}
        for kind, function in columns.items():
            values = (TRACE if name == "hessian_trace" else FLATNESS)["parent_1"]
            truth = function(values, ACCURACY["parent_1"]).statistic
            assert value(expected, metric=name, coefficient=kind) == pytest.approx(truth)
            assert value(shuffled, metric=name, coefficient=kind) == pytest.approx(truth)


def test_a_seed_without_accuracy_does_not_count():
    measurements = study(models=("parent_1",))
    measurements = measurements[(measurements.metric != "accuracy") | (measurements.seed != 4)]
    table = correlation_table(measurements, "accuracy")
    assert (table.n == 4).all()
    kept = [0, 1, 2, 4]
    truth = stats.pearsonr(*(np.array(c["parent_1"])[kept] for c in (TRACE, ACCURACY))).statistic
    assert value(table, metric="hessian_trace", coefficient="pearson") == pytest.approx(truth)


def test_what_is_measured_of_pairs_changes_no_correlation_and_has_none():
    measurements = study()
    of_pairs = measurements[measurements.metric == "hessian_trace"].assign(space=PAIR, metric="parents_cka")
    with_pairs = pd.concat([measurements, of_pairs, of_pairs.assign(model=PARENTS)])
    found, expected = (correlation_table(table, "accuracy") for table in (with_pairs, measurements))
    pd.testing.assert_frame_equal(found, expected)


def test_bounds_reach_the_correlations():
    table = single_models(study())
    rows = table[(table.model == "naive_fused") & (table.metric == "flatness_orig")]
    assert dict(zip(rows.coefficient, rows.n, strict=True)) == {"kendall": 5, "pearson": 4, "spearman": 4}
    # at least 1e8 is above all others, wherever it is
    assert rows.value.iloc[0] == pytest.approx(
        stats.kendalltau(FLATNESS["naive_fused"], ACCURACY["naive_fused"]).statistic
    )


def test_the_sign_of_the_gap_is_turned_so_that_more_is_better():
    measurements = study(models=("parent_1",))
    gaps = measurements[measurements.metric == "generalisation_gap"].value
    table = correlation_table(measurements, "generalisation_gap")
    assert set(table.metric) == {"accuracy", "hessian_trace", "flatness_orig"}
    for kind, function in (("kendall", stats.kendalltau), ("pearson", stats.pearsonr)):
        found = value(table, metric="hessian_trace", coefficient=kind)
        assert found == pytest.approx(-function(TRACE["parent_1"], gaps).statistic)
        assert abs(found) > 0.1


def test_each_experiment_may_have_its_own_target():
    both = pd.concat([study("one", ("parent_1",)), study("two", ("parent_1",))], ignore_index=True)
    mixed = correlation_table(both, {"one": "accuracy", "two": "generalisation_gap"})
    apart = {"one": "accuracy", "two": "generalisation_gap"}
    for experiment, metric in apart.items():
        alone = correlation_table(study(experiment, ("parent_1",)), metric)
        found = mixed[(mixed.experiment == experiment) & (mixed.model == "parent_1")]
        assert set(found.metric) == set(alone.metric)
        for row in alone.itertuples():
            where = {"metric": row.metric, "coefficient": row.coefficient}
            assert value(found, **where) == pytest.approx(row.value, nan_ok=True)


def test_all_models_together_are_stratified_by_model():
    # between models trace and accuracy go opposite ways by a large margin: none of that may count
    table = correlation_table(study(), "accuracy")
    assert list(table.columns) == CORRELATION_COLUMNS
    assert list(dict.fromkeys(table.model)) == ["parent_1", "naive_fused", ALL_MODELS]
    own = [stats.pearsonr(TRACE[model], ACCURACY[model]).statistic for model in ACCURACY]
    where = {"model": ALL_MODELS, "metric": "hessian_trace"}
    assert value(table, **where, coefficient="pearson") == pytest.approx(np.mean(own))
    pooled = table[(table.model == ALL_MODELS) & (table.metric == "hessian_trace")]
    assert (pooled.n == 10).all()


def test_one_model_has_no_pooled_block():
    assert set(correlation_table(study(models=("parent_1",)), "accuracy").model) == {"parent_1"}


def test_pooled_experiments_are_one_block_under_one_name():
    both = pd.concat([study("one"), study("two")], ignore_index=True)
    table = correlation_table(both, "accuracy", pooled_as="all_experiments")
    assert set(table.experiment) == {"all_experiments"}
    assert set(table.model) == {ALL_MODELS}
    assert len(table) == 9
    assert table[table.metric == "hessian_trace"].n.tolist() == [20] * 3
    # two copies of a study say what one says
    where = {"model": ALL_MODELS, "metric": "hessian_trace", "coefficient": "kendall"}
    single = value(correlation_table(study("one"), "accuracy"), **where)
    assert value(table, **where) == pytest.approx(single)


def line(table, **where):
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    (found,) = table.itertuples()
    return found


def test_a_metric_that_restates_the_outcome_has_a_coefficient_and_no_p_value():
    table = correlation_table(study(), "accuracy")
    gap = line(table, model=ALL_MODELS, metric="generalisation_gap", coefficient="kendall")
    assert gap.verdict == "restates the outcome"
    assert not np.isnan(gap.value)
    assert np.isnan([gap.p_value, gap.p_adjusted, gap.low, gap.high]).all()
    trace = line(table, model=ALL_MODELS, metric="hessian_trace", coefficient="kendall")
    assert 0 < trace.p_value <= trace.p_adjusted <= 1
    assert trace.low <= trace.value <= trace.high


def test_the_family_are_the_predictors_of_one_row_of_models():
    # the flatness cannot help being tested too; accuracy_barrier restates, and costs nothing
    whole = correlation_table(study(models=("parent_1",)), "accuracy")
    measurements = study(models=("parent_1",))
    barrier = measurements[measurements.metric == "accuracy"].assign(metric="accuracy_barrier")
    more = correlation_table(pd.concat([measurements, barrier], ignore_index=True), "accuracy")
    alone = correlation_table(measurements[measurements.metric != "flatness_orig"], "accuracy")
    trace = {"metric": "hessian_trace", "coefficient": "kendall"}
    assert line(more, **trace)[1:] == line(whole, **trace)[1:]
    assert line(alone, **trace).p_adjusted == line(alone, **trace).p_value == line(whole, **trace).p_value
    assert line(whole, **trace).p_adjusted > line(whole, **trace).p_value


def test_whole_seeds_are_permuted_for_all_models_of_an_experiment():
    # perfect order in both models, of which no order of the seeds turns both round: one of 3!, or of (3!)^2
    measurements = study(models=("parent_1", "naive_fused"))
    measurements = measurements[measurements.seed < 4]
    perfect = measurements[measurements.metric == "accuracy"].assign(metric="my_own")
    one = pd.concat([measurements, perfect], ignore_index=True)
    where = {"model": ALL_MODELS, "metric": "my_own", "coefficient": "kendall"}
    assert line(correlation_table(one, "accuracy"), **where).p_value == pytest.approx(1 / 6)
    two = pd.concat([one, one.assign(experiment="other")], ignore_index=True)
    pooled = correlation_table(two, "accuracy", pooled_as="all_experiments")
    assert line(pooled, **where).p_value == pytest.approx(1 / 36)
    assert line(pooled, **where).n_seeds == 6


def test_every_kendall_row_with_a_coefficient_has_a_verdict_and_no_other_has_one():
    table = correlation_table(study(), "accuracy")
    assert ((table.verdict != "") == (table.coefficient == "kendall")).all()
    assert (
        table[table.coefficient != "kendall"][["p_value", "p_adjusted", "low", "high"]].isna().all(axis=None)
    )


@pytest.mark.slow
def test_a_large_study_takes_seconds():
    stream, rows = np.random.default_rng(0), []
    for model in (f"m{number}" for number in range(10)):
        for seed in range(20):
            numbers = stream.normal(size=61)
            names = ["accuracy", *(f"metric_{number}" for number in range(60))]
            rows += [["e", seed, model, "s", *pair, "no", ""] for pair in zip(names, numbers, strict=True)]
    columns = ["experiment", "seed", "model", "space", "metric", "value", "censored", "reason"]
    start = time.perf_counter()
    table = correlation_table(pd.DataFrame(rows, columns=columns), "accuracy")
    assert time.perf_counter() - start < 30
    assert len(table) == 11 * 60 * 3


def test_seeds_of_a_sweep_are_permuted_in_all_settings_at_once():
    """Two settings with the very same seeds tell no more than one; two experiments do."""
    names = "first", "second"
    both = pd.concat([study(name, ("parent_1",)) for name in names])
    alone = correlation_table(study("first", ("parent_1",)), "accuracy", pooled_as="all")
    sweep = dict.fromkeys(names, "sweep")
    as_sweep = correlation_table(both, "accuracy", pooled_as="all", sweeps=sweep)
    apart = correlation_table(both, "accuracy", pooled_as="all")
    tau = [table[table.coefficient == "kendall"] for table in (alone, as_sweep, apart)]
    assert tau[0].p_value.notna().any()
    pd.testing.assert_series_equal(tau[0].p_value, tau[1].p_value)
    assert (tau[1].n_seeds == tau[0].n_seeds).all()
    assert (tau[2].p_value.dropna() < tau[1].p_value.dropna()).any()
