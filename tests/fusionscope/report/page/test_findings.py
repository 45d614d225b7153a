"""Sentences on the page: what they say of tables whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from table_cases import ACCURACY, study

from fusionscope.report.correlations import correlation_table
from fusionscope.report.page.findings import Chance, findings, joined, warnings

TEN_CLASSES = Chance(images=1000, commonest=100, classes=10)


def sentences(measurements, correlation=None, chance=TEN_CLASSES, metric="accuracy"):
    return findings(measurements, correlation, chance, metric)


def changed(measurements, value, **where):
    """The table with another value in the rows that match."""
    rows = np.logical_and.reduce([measurements[column] == wanted for column, wanted in where.items()])
    return measurements.assign(value=measurements.value.mask(rows, value))


def test_parents_and_children_are_told_with_their_range_and_what_is_lost():
    said = sentences(study())
    assert said[0] == "The 5 parents are right on 91.0 to 99.0 % of the test images."
    child = np.array(ACCURACY["naive_fused"])
    behind = np.median(np.array(ACCURACY["parent_1"]) - child)
    assert said[1].startswith("Naive fused: right on 30.0 % (median of 5 seeds, 10.0 to 60.0 %) of the test")
    assert f"{100 * behind:.1f} points below the mean of its parents" in said[1]


def test_the_better_child_comes_first():
    measurements = study()
    better = measurements[measurements.model == "naive_fused"].assign(model="repaired")
    better.loc[better.metric == "accuracy", "value"] = 0.9
    said = sentences(pd.concat([measurements, better]))
    assert [sentence.split(":")[0] for sentence in said[1:3]] == ["Repaired", "Naive fused"]


@pytest.mark.parametrize(("accuracy", "warned"), [(0.10, True), (0.15, True), (0.5, False)])
def test_a_parent_at_chance_is_warned_of_first(accuracy, warned):
    measurements = changed(study(), accuracy, model="parent_1", seed=3, metric="accuracy")
    said = warnings(measurements, TEN_CLASSES)
    assert bool(said) == warned
    if warned:
        assert said[0].startswith(f"Parent 1 of seed 3 is at chance: it is right on {100 * accuracy:.1f} %")


def test_a_child_no_better_than_chance_is_said_to_be_so():
    lost = changed(study(), 0.1, model="naive_fused", metric="accuracy")
    assert "no better than chance (10.0 %) in every seed." in sentences(lost)[1]
    assert (
        "no better than chance (10.0 %) in 1 seed." in sentences(study(), chance=Chance(10000, 1000, 10))[1]
    )


def test_too_few_seeds_say_nothing_and_how_many_would_do():
    measurements = study()
    few = measurements[measurements.seed <= 3]
    said = sentences(few, correlation_table(few, "accuracy"))
    [hedged] = [sentence for sentence in said if "can be said" in sentence]
    assert hedged.startswith(
        "Nothing can be said with 3 seeds about which metric goes with better accuracy; "
    )
    assert hedged.endswith("seeds would do.")


def test_what_is_shown_is_named_with_interval_and_p_value():
    row = {
        "experiment": "digits", "model": "parent_1", "metric": "hessian_trace", "coefficient": "kendall",
        "value": -0.8, "low": -0.95, "high": -0.4, "p_adjusted": 0.012, "n_seeds": 10,
        "verdict": "lower goes with better (adjusted p 0.012)",
    }  # fmt: skip
    said = sentences(study(), pd.DataFrame([row]))
    expected = (
        "Of parent 1, better accuracy goes with lower Hessian trace (τ -0.80, 95 % interval -0.95 to -0.40, "
    )
    assert expected + "adjusted p 0.012)." in said
    gap = sentences(study(), pd.DataFrame([row]), metric="generalisation_gap")
    assert any("a smaller generalisation gap goes with lower Hessian trace" in sentence for sentence in gap)


def test_undefined_numbers_are_counted_with_their_reasons():
    measurements = study()
    rows = (measurements.metric == "hessian_trace") & (measurements.model == "naive_fused")
    measurements = measurements.assign(
        value=measurements.value.mask(rows), reason=measurements.reason.mask(rows, "no second derivative")
    )
    said = sentences(measurements)[-1]
    assert said == "5 of 40 numbers are not defined: no second derivative (5)."


def test_parts_are_joined_as_people_do():
    assert [joined(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
