"""Every metric that is measured has an entry, every entry is measured, and the page says what they say."""

import re
from pathlib import Path

import pytest
import torch
from measure_cases import random_images, smooth_network

from fusionscope.measurement import NOT_CENSORED
from fusionscope.measures import names
from fusionscope.measures.connectivity.paths import PathPoint, barriers
from fusionscope.measures.connectivity.similarity import mean_similarity
from fusionscope.measures.connectivity.variance import mean_ratio
from fusionscope.measures.input.lipschitz import measure_input_space
from fusionscope.measures.names import CONNECTIVITY, INPUT, METRICS, PAIR, PARAMETER, PREDICTION
from fusionscope.measures.pair.aligned import AlignedParents, measure_alignment
from fusionscope.measures.pair.cost import matching_costs
from fusionscope.measures.pair.parents import measure_parents
from fusionscope.measures.parameter.hessian import measure_hessian
from fusionscope.measures.parameter.perturbation import Scale, scale_measurements
from fusionscope.measures.parameter.scales import SCALES
from fusionscope.measures.parameter.twelve import flatness_measures
from fusionscope.measures.prediction.prediction import measure_prediction_space
from fusionscope.measures.reference import page
from fusionscope.registry import resolve

ROOT = Path(__file__).parents[3]
IMAGES = random_images(6, size=4, classes=3)
RECIPE = {"lanczos_steps": 3, "density_starts": 1, "eigenvalue_tolerance": 0.5, "trace_draws": 2}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, set[str]]:
    """The metrics of each space, as a small network is measured."""
    network = smooth_network()
    network.input_shape = (3, 4, 4)
    scales = {name: Scale(0.1, None, NOT_CENSORED) for name in SCALES}
    w = torch.ones(4)
    path = [PathPoint(share, 1.0, 0.5) for share in (0.0, 1.0)]
    cheap = {name for name, metric in METRICS.items() if metric.compute}
    alignment = tmp_path_factory.mktemp("alignment") / "alignment.csv"
    alignment.write_text("frozen_because\n")  # nothing is aligned
    ensemble = "parents_ensemble_accuracy"
    assert f'"{ensemble}"' in (ROOT / "scripts" / "measure_prediction.py").read_text()
    found = {
        INPUT: [measure_input_space(network, IMAGES, seed=0, starts=1, power_iterations=2)],
        PARAMETER: [
            measure_hessian(network, IMAGES, 6, seed=0, **RECIPE)[0],
            scale_measurements(scales),
            flatness_measures(scales, w, w / 2, train_size=6),
            cheap,
        ],
        PREDICTION: [
            measure_prediction_space(network, IMAGES, IMAGES, seed=0, batch_size=6, calibration_bins=2),
            {ensemble},
        ],
        PAIR: [
            measure_parents(
                [network] * 2,
                train_images=IMAGES,
                similarity_images=IMAGES,
                test_images=IMAGES,
                batch_size=6,
            ),
            measure_alignment(AlignedParents(network, {}, {"parent_1": network}), IMAGES, 6),
            matching_costs(alignment),
        ],
        CONNECTIVITY: [barriers(path), mean_similarity({}), mean_ratio([])],
    }
    return {space: set().union(*parts) for space, parts in found.items()}


@pytest.mark.parametrize("space", [INPUT, PARAMETER, PREDICTION, CONNECTIVITY, PAIR])
def test_what_is_measured_in_a_space_and_what_has_an_entry_is_the_same(measured, space):
    assert measured[space] == {name for name, metric in METRICS.items() if metric.space == space}


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.compute])
def test_what_computes_a_metric_is_a_function_of_its_name(name):
    function = resolve(METRICS[name].compute)
    assert callable(function)
    assert function.__name__ == name


@pytest.mark.parametrize("name", METRICS)
def test_an_entry_says_what_is_to_be_known(name):
    metric = METRICS[name]
    assert metric.label
    assert metric.definition
    assert metric.source
    assert metric.unit in (None, names.PERCENT, names.POINTS, names.NATS)
    assert metric.direction in (None, names.HIGHER, names.LOWER)
    assert metric.bound in (None, names.UPPER_BOUND, names.LOWER_BOUND)
    assert set(metric.restates) <= set(names.ALL_OUTCOMES)


@pytest.mark.parametrize("name", METRICS)
def test_an_entry_names_the_truth_it_is_tested_against_and_a_test_that_is_about_it(name):
    found = re.fullmatch(r"(\S.+) \((tests/\S+/test_\w+\.py)\)", METRICS[name].truth)
    assert found, METRICS[name].truth
    assert re.search(rf"\b{name}\b", (ROOT / found[2]).read_text())


def test_bounds_by_definition_say_on_which_side():
    """An attack finds no more than the worst case, so alpha is too large and what falls with it too small."""
    assert METRICS["sharpness_alpha"].bound == METRICS["sharpness_mag_alpha"].bound == names.UPPER_BOUND
    assert METRICS["sharpness_flatness"].bound == METRICS["sharpness_orig"].bound == names.LOWER_BOUND
    assert METRICS["lipschitz_constant"].bound == names.LOWER_BOUND
    assert METRICS["lipschitz_upper_bound"].bound == names.UPPER_BOUND
    assert METRICS["pac_bayes_sigma"].bound is None


def test_what_restates_the_accuracy_is_said():
    """As in DESIGN: train accuracy, losses, the gap, barriers, the ensemble."""
    found = {name for name, metric in METRICS.items() if names.ACCURACY in metric.restates}
    assert found == {
        "accuracy",
        "train_accuracy",
        "test_loss",
        "train_loss",
        "generalisation_gap",
        "parents_ensemble_accuracy",
        "accuracy_barrier",
        "loss_barrier",
        "loss_barrier_above_mean",
    }


def test_the_page_of_metrics_is_up_to_date():
    """Else: PYTHONPATH=scripts python -m fusionscope.measures.reference docs/reference/metrics.md."""
    assert (ROOT / "docs" / "reference" / "metrics.md").read_text() == page()
