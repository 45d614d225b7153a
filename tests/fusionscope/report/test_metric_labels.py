"""What metrics are called in plots."""

import math

import pandas as pd
import pytest

from fusionscope.measures.names import METRICS
from fusionscope.report.metric_labels import (
    axis_label,
    metric_name,
    shown_values,
    space_name,
    with_unit,
)

pytestmark = pytest.mark.filterwarnings("error")


def test_barriers_have_names_and_units():
    assert with_unit("loss_barrier") == "test loss barrier (nats)"
    assert with_unit("loss_barrier_above_mean") == "test loss barrier above the mean (nats)"
    assert with_unit("accuracy_barrier") == "test accuracy barrier (%\N{NO-BREAK SPACE}points)"
    assert space_name("connectivity_space") == "connectivity space"


def test_a_bound_by_definition_says_so_once():
    for name, metric in METRICS.items():
        assert metric_name(name).count("bound") == (1 if metric.bound else 0), name
    assert metric_name("sharpness_flatness").endswith("(lower bound)")


def test_an_axis_begins_with_a_capital_and_names_of_people_have_theirs():
    assert axis_label("log_frobenius_product") == "Log Frobenius product"
    assert axis_label("accuracy") == "Test accuracy (%)"
    assert axis_label("largest_weight") == "Largest weight"
    names = " ".join(metric_name(name) for name in METRICS).split()
    assert {"frobenius", "lipschitz", "hessian", "bayes"}.isdisjoint(names)


def test_a_metric_of_ones_own_is_called_by_its_functions_name():
    assert with_unit("largest_weight") == "largest weight"


def test_accuracies_are_shown_in_per_cent_and_nothing_else_is():
    shares = ["accuracy", "generalisation_gap", "train_loss", "mean_cka", "my_own"]
    table = pd.DataFrame({"metric": shares, "value": [0.5, -0.25, 0.5, 0.5, math.inf]})
    assert shown_values(table).value[:4].tolist() == [50, -25, 0.5, 0.5]
    assert math.isnan(shown_values(table).value[4])
