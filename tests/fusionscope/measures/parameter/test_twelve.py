"""Twelve flatness measures against the published formulas, written out.

pac_bayes_flatness, pac_bayes_mag_flat, sharpness_flatness, sharpness_mag_flat, flatness_orig, flatness_init,
flatness_mag_orig, flatness_mag_init, sharpness_orig, sharpness_init, sharpness_mag_orig, sharpness_mag_init.
"""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from flatness_cases import SCALES, TRAIN_SIZE, Constant, Problem, measure_flatness

from fusionscope.measurement import LEFT, RIGHT, Measurement, tidy_rows
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.perturbation import EPSILON
from fusionscope.measures.parameter.twelve import DELTA
from fusionscope.report.correlations import correlation_table


@pytest.fixture(scope="module")
def problem():
    return Problem()


@pytest.fixture(scope="module")
def measured(problem):
    w0 = problem.w + torch.linspace(-1, 1, len(problem.w))
    return measure_flatness(problem.landscape, w0), w0


def test_the_sixteen_numbers_are_the_published_formulas(problem, measured):
    found, w0 = measured
    w, w0, m = problem.w.tolist(), w0.tolist(), TRAIN_SIZE
    sigma, sigma_mag, alpha, alpha_mag = (found[name].value for name in SCALES)
    omega, eps, delta = 24, 1e-3, 0.05
    assert (eps, delta) == (EPSILON, DELTA)
    expected = {
        "pac_bayes_flatness": 1 / sigma**2,
        "pac_bayes_mag_flat": 1 / sigma_mag**2,
        "sharpness_flatness": 1 / alpha**2,
        "sharpness_mag_flat": 1 / alpha_mag**2,
    }
    for origin, differences in {"orig": w, "init": [a - b for a, b in zip(w, w0, strict=True)]}.items():
        r2 = 0.0
        for d in differences:
            r2 += d * d
        expected[f"flatness_{origin}"] = r2 / (4 * sigma**2) + math.log(m / sigma) + 10
        expected[f"sharpness_{origin}"] = r2 * math.log(2 * omega) / (4 * alpha**2) + math.log(m / alpha) + 10
        gaussian = worst = 0.0
        for d in differences:
            top = eps**2 + (sigma_mag**2 + 1) * r2 / omega
            gaussian += math.log(top / (eps**2 + sigma_mag**2 * d**2)) / 4
            top = eps**2 + (alpha_mag**2 + 4 * math.log(2 * omega / delta)) * r2 / omega
            worst += math.log(top / (eps**2 + alpha_mag**2 * d**2)) / 4
        expected[f"flatness_mag_{origin}"] = gaussian + math.log(m / sigma_mag) + 10
        expected[f"sharpness_mag_{origin}"] = worst + math.log(m / alpha_mag) + 10
    assert len(expected) == 12
    assert {name: found[name].value for name in expected} == pytest.approx(expected, rel=1e-12)


def test_names_are_the_study_s_and_initial_weights_add_four(problem, measured):
    both = {"init", "orig"}
    four = {f"{kind}_{o}" for o in both for kind in ("flatness", "flatness_mag")}
    eight = four | {f"{kind}_{o}" for o in both for kind in ("sharpness", "sharpness_mag")}
    inverse = {"pac_bayes_flatness", "pac_bayes_mag_flat", "sharpness_flatness", "sharpness_mag_flat"}
    assert set(measured[0]) == set(SCALES) | eight | inverse
    assert len(measured[0]) == 16
    without = measure_flatness(problem.landscape)
    assert set(without) == {name for name in measured[0] if not name.endswith("_init")}
    assert all(without[name] == measured[0][name] for name in without)


@pytest.mark.parametrize("mostly_zero", [False, True])
def test_a_censored_measure_is_a_bound_on_the_side_it_says(problem, mostly_zero):
    # The magnitude-aware measures need not fall where sigma' rises: with weights at zero (dead neurons,
    # weight decay, pruning) they rise.
    network = Constant()
    with torch.no_grad():
        weight = network.linear.weight
        weight.fill_(0.5)
        if mostly_zero:
            weight.zero_()
            weight[0, 0] = 0.5
    images = replace(problem.images, labels=torch.zeros(25).long())
    landscape = Landscape(network, images, 25)

    def measure(high: float):
        return measure_flatness(landscape, scale_range=(1e-4, high))

    recorded, beyond = measure(1.0), measure(2.0)  # 2 is one of the values that the true scale may have
    for name, number in recorded.items():
        if number.censored == LEFT:
            assert beyond[name].value <= number.value, name
        if number.censored == RIGHT:
            assert beyond[name].value >= number.value, name


def test_correlations_come_out_with_a_network_that_loses_nothing_among_the_seeds():
    networks = {seed: Problem(seed=seed) for seed in (1, 2, 3)}
    landscapes = {seed: problem.landscape for seed, problem in networks.items()}
    images = replace(networks[1].images, labels=torch.zeros(25).long())
    landscapes[4] = Landscape(Constant(), images, 25)
    rows = []
    for seed, landscape in landscapes.items():
        measured = measure_flatness(landscape, starts=4) | {"accuracy": Measurement(1 - seed / 10)}
        rows += tidy_rows(measured, experiment="e", seed=seed, model="m", space="parameter_space")
    table = correlation_table(pd.DataFrame(rows), "accuracy").set_index(["metric", "coefficient"])
    for metric in ("pac_bayes_sigma", "sharpness_alpha", "flatness_orig", "sharpness_mag_flat"):
        for coefficient, count in (("kendall", 4), ("spearman", 3), ("pearson", 3)):
            found = table.loc[metric, coefficient]
            assert found.n == count  # the network at chance has a known order, but no value
            assert -1 <= found.value <= 1
