"""The table of predictors of a study made by hand, whose truth is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusionscope.measurement import COLUMNS, LEFT, NOT_CENSORED, RIGHT, Measurement, tidy_rows
from fusionscope.report.predictors import (
    MEAN,
    OF_ALIGNMENT,
    OF_PAIR,
    SIGNS,
    WORST,
    mean_of,
    predictor_table,
    worst_of,
)

WIDTHS, DECAYS = ("16", "32", "64"), ("0", "0.001", "0.01")
CHILD = "naive_fused"


def rows(experiment: str, seed: int, model: str, space: str, **metrics: float) -> list[dict]:
    measurements = {name: Measurement(value) for name, value in metrics.items()}
    return tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space=space)


def study(experiment: str, seeds: int, rng: np.random.Generator, level: float = 0.0) -> list[dict]:
    """Children are as good as the pair's distance is small; the parents' norms say nothing of them."""
    found = []
    for seed in range(1, seeds + 1):
        distance = rng.normal() + level
        parents = 0.9 + 0.01 * rng.normal(size=2)
        for number, accuracy in enumerate(parents, start=1):
            name, space = f"parent_{number}", "prediction_space"
            found += rows(experiment, seed, name, space, accuracy=accuracy, test_loss=1 - accuracy)
            found += rows(experiment, seed, name, "parameter_space", parameter_norm=rng.normal())
        pair = {"parents_weight_distance": distance, "parents_loss_difference": rng.normal()}
        found += rows(experiment, seed, "parents", "pair_space", **pair)
        child = parents.mean() - 0.1 - 0.02 * distance
        outcome = {"accuracy": child, "parents_ensemble_accuracy": parents.max() + 0.01}
        found += rows(experiment, seed, CHILD, "prediction_space", **outcome)
        found += rows(experiment, seed, CHILD, "connectivity_space", loss_barrier=distance)
        found += rows(experiment, seed, CHILD, "pair_space", matching_cost_after=rng.normal())
    return found


def tidy(found: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(found, columns=COLUMNS)
    return table.assign(value=pd.to_numeric(table.value), std_error=pd.to_numeric(table.std_error))


def point(**values: str) -> dict:
    return {"values": values, "fusions": {CHILD: {"fusion": CHILD, "values": {}}}}


def of_one(seeds: int = 8, seed: int = 0) -> pd.DataFrame:
    measurements = tidy(study("one", seeds, np.random.default_rng(seed)))
    return predictor_table(measurements, {"one": point()}, "one")


def of_sweep(seeds: int = 5) -> pd.DataFrame:
    rng, points, found = np.random.default_rng(0), {}, []
    for width, decay in itertools.product(WIDTHS, DECAYS):
        name = f"s.width~{width}_weight_decay~{decay}"
        points[name] = point(width=width, weight_decay=decay)
        found += study(name, seeds, rng, level=-WIDTHS.index(width) * 5.0)
    return predictor_table(tidy(found), points, "s")


def row(table: pd.DataFrame, outcome: str, of: str, metric: str) -> pd.Series:
    chosen = table[(table.outcome == outcome) & (table.of == of) & (table.metric == metric)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_what_makes_the_outcome_is_found_and_ranked_first():
    table = of_one()
    for outcome in ("relative_accuracy", "loss_barrier"):
        best = table[table.outcome == outcome].iloc[0]
        assert (best.metric, best.of) == ("parents_weight_distance", OF_PAIR)
        assert best.tau == pytest.approx(-1)
        assert best.verdict.startswith("lower goes with better")
    assert row(table, "accuracy", MEAN, "parameter_norm").verdict == "not shown"


def test_tau_over_seeds_is_scipys():
    table, measurements = of_one(), tidy(study("one", 8, np.random.default_rng(0)))
    wide = measurements.pivot(index="seed", columns=["model", "metric"], values="value")
    outcome = wide[(CHILD, "accuracy")]
    for of, metric, values in (
        (
            MEAN,
            "parameter_norm",
            (wide[("parent_1", "parameter_norm")] + wide[("parent_2", "parameter_norm")]) / 2,
        ),
        (WORST, "accuracy", wide[[("parent_1", "accuracy"), ("parent_2", "accuracy")]].min(axis=1)),
        (OF_ALIGNMENT, "matching_cost_after", wide[(CHILD, "matching_cost_after")]),
    ):
        assert row(table, "accuracy", of, metric).tau == pytest.approx(
            stats.kendalltau(values, outcome).statistic
        )


def test_partial_tau_is_that_of_the_three_pairwise_ones():
    table, measurements = of_one(), tidy(study("one", 8, np.random.default_rng(0)))
    wide = measurements.pivot(index="seed", columns=["model", "metric"], values="value")
    x, y = wide[("parents", "parents_weight_distance")], wide[(CHILD, "accuracy")]
    z = (wide[("parent_1", "accuracy")] + wide[("parent_2", "accuracy")]) / 2
    xy, xz, yz = (stats.kendalltau(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert row(table, "accuracy", OF_PAIR, "parents_weight_distance").partial_tau == pytest.approx(expected)
    assert np.isnan(row(table, "accuracy", MEAN, "accuracy").partial_tau)


def test_what_restates_an_outcome_is_listed_apart():
    table = of_one()
    apart = (
        table[table.restates]
        .groupby("outcome")
        .apply(lambda part: set(zip(part.of, part.metric, strict=True)))
    )
    ensemble = {(OF_PAIR, "parents_ensemble_accuracy")}
    of_parents = {(of, metric) for of in (MEAN, WORST) for metric in ("accuracy", "test_loss")}
    assert apart["accuracy"] == ensemble
    assert apart["relative_accuracy"] == ensemble | of_parents
    assert apart["loss_barrier"] == ensemble | of_parents | {(OF_PAIR, "parents_loss_difference")}
    assert table[table.restates].p_adjusted.isna().all()
    for outcome in SIGNS:  # after all others
        flags = list(table[table.outcome == outcome].restates)
        assert flags == sorted(flags)


def test_few_seeds_are_told_with_how_many_would_do():
    told = of_one(seeds=4).verdict.dropna()
    assert told.str.contains(r"cannot be shown with 4 seeds \(\d+ would do\)").any()


@pytest.mark.parametrize("seeds", [1, 2])
def test_next_to_no_seeds_are_no_mistake(seeds: int):
    table = of_one(seeds=seeds)
    assert len(table)
    assert not table.verdict.fillna("").str.contains("goes with").any()


def test_over_a_sweep_settings_are_compared_along_one_axis():
    table = of_sweep()
    found = row(table, "loss_barrier", OF_PAIR, "parents_weight_distance")
    assert found.granulated_tau == pytest.approx(-1)
    assert found.sign_error == 0  # not even in the worst pair of settings is its way another one
    assert found.settings_verdict == "lower goes with better"
    width = row(table, "loss_barrier", "hyperparameter", "width")
    assert width.granulated_tau == pytest.approx(0.5)  # of two axes it orders one
    assert row(table, "accuracy", MEAN, "parameter_norm").settings_verdict == "not shown"
    best = table[table.outcome == "loss_barrier"].iloc[0]
    assert best.metric == "parents_weight_distance"
    assert width.reason == "metric is constant"  # within a setting


def test_too_few_seeds_say_nothing_over_settings():
    table = of_sweep(seeds=4)
    assert table.granulated_tau.isna().all()
    assert table.settings_verdict.isna().all()


@pytest.mark.parametrize(
    ("values", "censored", "largest", "worst", "mean"),
    [
        ((1, 3), "no no", True, (3, NOT_CENSORED), (2, NOT_CENSORED)),
        ((1, 3), "no no", False, (1, NOT_CENSORED), (2, NOT_CENSORED)),
        ((1, 3), "right no", True, (3, RIGHT), (2, RIGHT)),  # the first may be anything above 1
        ((1, 3), "no right", False, (1, NOT_CENSORED), (2, RIGHT)),
        ((1, 3), "right no", False, (1, RIGHT), (2, RIGHT)),
        ((1, 3), "no left", True, (3, LEFT), (2, LEFT)),
        ((1, 3), "left no", True, (3, NOT_CENSORED), (2, LEFT)),
        ((3, 3), "left no", True, (3, NOT_CENSORED), (3, LEFT)),
    ],
)
def test_bounds_of_parents_are_bounds_of_what_is_made_of_them(values, censored, largest, worst, mean):
    given = np.array(values, dtype=float), np.array(censored.split())
    assert worst_of(*given, largest=largest) == worst
    assert mean_of(*given) == mean


def test_bounds_on_both_sides_have_no_mean():
    assert np.isnan(mean_of(np.array([1.0, 3.0]), np.array([LEFT, RIGHT]))[0])
