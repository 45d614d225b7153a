"""Medians and ranges by hand, and by all that bounds leave open."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from table_cases import study

from fusionscope.measurement import COLUMNS, LEFT, NOT_CENSORED, RIGHT, Measurement, tidy_rows, undefined
from fusionscope.report.summary import SUMMARY_COLUMNS, median_and_range, summary_table

KNOWN = NOT_CENSORED


def summary_of(*numbers: Measurement, metric: str = "pac_bayes_sigma", model: str = "parent_1") -> pd.Series:
    """The only row of a summary: one metric of one model, a number for each seed."""
    rows = []
    for seed, number in enumerate(numbers):
        rows += tidy_rows({metric: number}, experiment="e", seed=seed, model=model, space="s")
    table = pd.DataFrame(rows, columns=COLUMNS)
    (row,) = [row for _, row in summary_table(table.assign(value=pd.to_numeric(table.value)), 101).iterrows()]
    return row


def test_summary_by_hand():
    table = summary_table(study(), train_size=101).set_index(["model", "metric"])
    assert list(table.reset_index().columns.sort_values()) == sorted(SUMMARY_COLUMNS)
    row = table.loc[("parent_1", "hessian_trace")]  # 5, 3, 4, 2, 2.5
    assert (row["median"], row.low, row.high) == (3, 2, 5)
    assert (row.space, row.n, row.n_bounds, row.n_undefined) == ("parameter_space", 5, 0, 0)
    assert math.isnan(row.bound)  # the trace bounds nothing
    # sqrt(v / 100) of 100, 400, 900, 1600, 2500: 1 to 5
    assert table.loc[("parent_1", "flatness_orig"), "bound"] == pytest.approx(3)
    fused = table.loc[("naive_fused", "flatness_orig")]  # -7, 2, 3, 4, at least 1e8
    assert (fused.low, fused["median"], fused.high, fused.n_bounds) == (-7, 3, 1e8, 1)
    assert (fused.low_censored, fused.median_censored, fused.high_censored) == (KNOWN, KNOWN, RIGHT)
    assert math.isnan(fused.bound)  # a child's initial weights have seen the train set


def test_ends_of_a_range_are_not_averaged_with_what_was_found():
    """10, 10 and 0.03, the tens ends of the range: what a mean made 6.68 +- 5.76."""
    row = summary_of(Measurement(10, None, RIGHT), Measurement(0.03), Measurement(10, None, RIGHT))
    assert (row.low, row["median"], row.high) == (0.03, 10, 10)
    assert (row.low_censored, row.median_censored, row.high_censored) == (KNOWN, RIGHT, RIGHT)
    assert (row.n, row.n_bounds) == (3, 2)


def test_a_small_bound_leaves_the_median_open_beyond_it():
    # at least 1, 5, 8: the true median is 5, or more
    row = summary_of(Measurement(1, None, RIGHT), Measurement(5), Measurement(8))
    assert (row.low, row["median"], row.high) == (1, 5, 8)
    assert (row.low_censored, row.median_censored, row.high_censored) == (RIGHT, RIGHT, RIGHT)
    # at most 9, 5, 2: 5 or less
    row = summary_of(Measurement(9, None, LEFT), Measurement(5), Measurement(2))
    assert (row.low, row["median"], row.high) == (2, 5, 9)
    assert (row.low_censored, row.median_censored, row.high_censored) == (LEFT, LEFT, LEFT)


def test_where_a_median_may_be_anything_there_is_none():
    row = summary_of(Measurement(1, None, RIGHT), Measurement(5, None, LEFT))
    assert math.isnan(row["median"])
    assert (row.low, row.low_censored) == (5, LEFT)
    assert (row.high, row.high_censored) == (1, RIGHT)


BEYOND = {NOT_CENSORED: (0.0,), LEFT: (0.0, -0.6, -3.3, -1e6), RIGHT: (0.0, 0.6, 3.3, 1e6)}


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0), (2.0, 1.0, 1.0), (4.0, 1.0, 2.0, 3.0), (1.0, 5.0), (7,)])
def test_what_is_said_holds_for_all_that_the_true_values_may_be(values):
    """Exact numbers are those of every true value, bounds hold for each and are met by one."""
    for kinds in itertools.product(BEYOND, repeat=len(values)):
        offsets = itertools.product(*(BEYOND[kind] for kind in kinds))
        true = np.array([np.add(values, offset) for offset in offsets])
        found = median_and_range(np.array(values), np.array(kinds))
        for (number, side), pick in zip(found, (np.median, np.min, np.max), strict=True):
            possible = pick(true, axis=1)
            if math.isnan(number):
                assert possible.min() < -1e5
                assert possible.max() > 1e5
            elif side == RIGHT:
                assert possible.min() == number
                assert possible.max() > number
            elif side == LEFT:
                assert possible.max() == number
                assert possible.min() < number
            else:
                assert set(possible) == {number}


def test_what_is_undefined_is_counted_apart_and_says_why():
    row = summary_of(undefined("at chance"), Measurement(3.0), undefined("at chance"))
    assert (row["median"], row.n, row.n_bounds, row.n_undefined) == (3, 1, 0, 2)
    assert row.reason == "at chance"
    row = summary_of(undefined("at chance"), undefined("all zero"))
    assert row[["median", "low", "high"]].isna().all()
    assert (row.n, row.n_undefined, row.reason) == (0, 2, "at chance; all zero")
    assert summary_of(Measurement(3.0)).reason == ""


def test_a_bound_by_definition_is_a_value_like_any_other():
    row = summary_of(*map(Measurement, (3.0, 1.0, 2.0)), metric="sharpness_alpha")
    assert (row["median"], row.median_censored, row.n_bounds) == (2, KNOWN, 0)


def test_the_generalisation_bound_of_bounds_is_one_and_of_what_is_below_zero_zero():
    row = summary_of(Measurement(400, None, RIGHT), Measurement(-7.0), metric="flatness_orig")
    assert (row.bound, row.bound_censored) == (pytest.approx(1), RIGHT)  # of 0 and at least 2
    assert math.isnan(summary_of(Measurement(400), metric="flatness_orig", model="parent_mean").bound)


def test_only_the_eight_measures_with_initial_or_original_weights_are_bounds():
    kinds = ("flatness", "flatness_mag", "sharpness", "sharpness_mag")
    bounds = {f"{kind}_{origin}" for kind in kinds for origin in ("init", "orig")}
    others = {"pac_bayes_flatness", "sharpness_mag_flat", "pac_bayes_sigma", "accuracy"}
    rows = tidy_rows(
        {name: Measurement(4.0) for name in sorted(bounds | others)},
        experiment="e", seed=1, model="parent_1", space="s",
    )  # fmt: skip
    table = summary_table(pd.DataFrame(rows), train_size=5)
    assert set(table[table.bound.notna()].metric) == bounds
    assert table.bound.dropna().unique().tolist() == [1.0]
