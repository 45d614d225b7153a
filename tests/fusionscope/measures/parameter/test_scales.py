"""The searches for sigma and alpha against closed forms of linear classifiers."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from flatness_cases import OPTIONS, SCALES, Constant, Problem, measure_flatness
from measure_cases import random_images
from scipy.stats import norm
from torch import nn

from fusionscope.errors import InputError
from fusionscope.images import Images
from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT, Measurement
from fusionscope.measures.parameter.attack import Attack, Direction, Target
from fusionscope.measures.parameter.landscape import Landscape, flatten_parameters
from fusionscope.measures.parameter.perturbation import EPSILON
from fusionscope.measures.parameter.scales import (
    alpha,
    alpha_mag,
    even_noise,
    find_scales,
    gaussian_drops,
    magnitude_box,
    magnitude_noise,
    sigma,
    sigma_mag,
)
from fusionscope.measures.parameter.search import largest_mean_scale


@pytest.fixture(scope="module")
def problem():
    return Problem()


@pytest.fixture(scope="module")
def measured(problem):
    w0 = problem.w + torch.linspace(-1, 1, len(problem.w))
    return measure_flatness(problem.landscape, w0), w0


def even_deviation(problem):
    # each row of the weights gets noise of its own: var((u1 - u0) x) = 2 sigma^2 norm(x)^2
    return lambda s: math.sqrt(2) * s * np.linalg.norm(problem.x, axis=1)


def magnitude_deviation(problem):
    squares = (problem.rows**2).sum(0)
    return lambda s: np.sqrt((problem.x**2 * (s**2 * squares + 2 * EPSILON**2)).sum(1))


NOISES = {"even": (even_noise, even_deviation), "magnitude": (magnitude_noise, magnitude_deviation)}


def noise_drops(problem, size, *, seed: int, images_per_draw: int = 25):
    options = {"seed": seed, "images_per_draw": images_per_draw}
    return partial(gaussian_drops, problem.landscape, problem.landscape.correct(), size, **options)


@pytest.mark.parametrize("images_per_draw", [25, 4])
@pytest.mark.parametrize("kind", NOISES)
def test_sigma_of_a_linear_classifier_is_the_closed_form(problem, kind, images_per_draw):
    size, deviation = NOISES[kind]
    truth = problem.noise_scale(deviation(problem))
    drops = noise_drops(problem, size, seed=0, images_per_draw=images_per_draw)
    found = largest_mean_scale(drops, low=1e-4, high=1e2, tolerance=1e-3, spread=0.06, draws=2000)
    assert found.censored == NOT_CENSORED
    assert 0 < found.log_error < 0.06
    assert abs(math.log(found.value / truth)) < 3 * found.log_error


def test_measured_sigmas_are_those_of_the_closed_forms(problem, measured):
    for name, (_, deviation) in zip(SCALES[:2], NOISES.values(), strict=True):
        found, truth = measured[0][name], problem.noise_scale(deviation(problem))
        assert abs(found.value - truth) < 4 * found.std_error
        assert found.std_error < 0.5 * truth


def test_epsilon_is_part_of_the_magnitude_aware_noise_where_weights_are_small():
    problem = Problem(weight_scale=0.02)  # then epsilon is a sixth of a typical weight
    truth = problem.noise_scale(magnitude_deviation(problem))
    squares = (problem.rows**2).sum(0)
    without = problem.noise_scale(lambda s: s * np.sqrt(problem.x**2 @ squares))
    found = measure_flatness(problem.landscape, draws=2000, starts=1, ascent_steps=1)
    sigma = found["pac_bayes_mag_sigma"]
    assert abs(sigma.value - truth) < 3 * sigma.std_error
    assert abs(sigma.value - without) > 4 * sigma.std_error


def test_the_error_of_sigma_is_the_spread_over_seeds(problem):
    # few images a draw: their choice is part of the error
    truth = problem.noise_scale(even_deviation(problem))
    found = [
        largest_mean_scale(
            noise_drops(problem, even_noise, seed=seed, images_per_draw=6),
            low=1e-4,
            high=1e2,
            tolerance=4e-3,
            spread=0.1,
            draws=128,
        )
        for seed in range(40)
    ]
    logs = np.log([scale.value for scale in found])
    reported = np.sqrt(np.mean([scale.log_error**2 for scale in found]))
    assert 0.7 < logs.std(ddof=1) / reported < 1.4
    # and no bias beyond what the mean of so many can show
    assert abs(logs.mean() - math.log(truth)) < 4 * reported / math.sqrt(len(found))


def test_a_target_error_is_reached_with_as_many_draws_as_it_takes(problem):
    found = measure_flatness(problem.landscape, draws=None, target_error=0.04, starts=1, ascent_steps=1)
    for name in SCALES[:2]:
        relative = found[name].std_error / found[name].value
        assert 0.02 < relative <= 0.04


def test_noise_loses_what_the_closed_form_says_at_any_scale(problem):
    deviation = magnitude_deviation(problem)
    drops = noise_drops(problem, magnitude_noise, seed=1, images_per_draw=5)
    for scale in (0.05, 0.3, 2.0):
        lost = drops(scale, 0, 1000)
        expected = 1 - norm.cdf(problem.margins / deviation(scale)).mean()
        assert lost.mean().item() == pytest.approx(expected, abs=4 * lost.std().item() / math.sqrt(1000))


def test_alpha_of_a_linear_classifier_is_the_closed_form(problem, measured):
    # the margin loses alpha |x_j| from each of two rows
    truth = problem.largest_radius(2 * problem.x.sum(1), 0.0)
    assert measured[0]["sharpness_alpha"].value == pytest.approx(truth, rel=2 * OPTIONS["tolerance"])


def test_magnitude_aware_alpha_of_a_linear_classifier_is_the_closed_form(problem, measured):
    per_scale = problem.x @ np.abs(problem.rows).sum(0)
    truth = problem.largest_radius(per_scale, 2 * EPSILON * problem.x.sum(1))
    without_epsilon = problem.largest_radius(per_scale, 0.0)
    found = measured[0]["sharpness_mag_alpha"].value
    assert found == pytest.approx(truth, rel=2 * OPTIONS["tolerance"])
    assert abs(without_epsilon / truth - 1) > 4 * OPTIONS["tolerance"]  # the epsilon is seen


def test_measuring_changes_no_weight(problem, measured):
    assert torch.equal(flatten_parameters(problem.network), problem.w)
    assert all(p.grad is None for p in problem.network.parameters())


def test_a_network_that_cannot_lose_a_tenth_is_censored_at_the_end(problem):
    landscape = Landscape(Constant(), replace(problem.images, labels=torch.zeros(25).long()), 25)
    found = measure_flatness(landscape, flatten_parameters(landscape.network) + 1)
    high = OPTIONS["scale_range"][1]
    for name, number in found.items():
        assert number.censored == (RIGHT if name in SCALES else LEFT), name
        assert number.std_error is None
        assert math.isfinite(number.value)
    assert [found[name].value for name in SCALES] == [high] * 4
    assert found["pac_bayes_flatness"].value == pytest.approx(1 / high**2)


class Ties(nn.Module):
    """All logits are 0 at the weights as they are: ties go to class 0."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.linear = nn.Linear(12, classes, bias=False).double()
        nn.init.zeros_(self.linear.weight)

    def forward(self, x):
        return self.linear(x.flatten(1))


def test_noise_takes_nothing_from_a_network_near_chance_but_an_attack_does(problem):
    # accuracy 13 / 25 on two classes: 0.02 above chance
    found = measure_flatness(Landscape(Ties(), problem.images, 25), draws=400)
    reason = "accuracy 0.52 is at most 0.1 above chance: noise cannot take 0.1"
    for name in ("pac_bayes_sigma", "pac_bayes_mag_sigma", "pac_bayes_flatness", "flatness_mag_orig"):
        assert found[name] == Measurement(None, reason=reason), name
    assert found["sharpness_alpha"].censored == LEFT  # any perturbation decides a tie
    assert found["sharpness_orig"].value is not None


@pytest.mark.parametrize(("right", "defined"), [(4, False), (5, True)])
def test_sigma_is_undefined_up_to_a_tenth_above_chance(right, defined):
    # two of ten classes are the only answers: chance is 1 / 10 whatever the labels are
    images = random_images(20, size=2, classes=10)
    labels = torch.cat([torch.zeros(right), torch.ones(20 - right)]).long()
    found = measure_flatness(Landscape(Ties(10), replace(images, labels=labels), 20), starts=1)
    assert (found["pac_bayes_sigma"].value is not None) == defined
    assert (found["pac_bayes_mag_flat"].value is not None) == defined


@pytest.mark.parametrize(("right", "defined"), [(2, False), (3, True)])
def test_alpha_is_undefined_up_to_an_accuracy_of_a_tenth(right, defined):
    images = random_images(20, size=2, classes=10)
    labels = torch.cat([torch.zeros(right), torch.ones(20 - right)]).long()
    landscape = Landscape(Ties(10), replace(images, labels=labels), 20)
    found = measure_flatness(landscape)
    reason = "accuracy 0.10 is at most 0.1: no more can be lost"
    twelve = {name for name in found if name.startswith("sharpness")}
    assert len(twelve) == 6  # both scales, and without initial weights four measures
    for name in twelve:
        assert (found[name] == Measurement(None, reason=reason)) != defined, name
    again = alpha(landscape.network, landscape.images, starts=1, scale_range=OPTIONS["scale_range"])
    assert again == found["sharpness_alpha"]


def test_a_network_that_breaks_at_once_is_censored_at_the_low_end(problem):
    found = measure_flatness(problem.landscape, scale_range=(50.0, 100.0))
    for name, number in found.items():
        assert number.censored == (LEFT if name in SCALES else RIGHT), name
    assert [found[name].value for name in SCALES] == [50.0] * 4


def test_a_network_whose_outputs_are_no_numbers_is_refused(problem):
    # it would answer class 0 whatever its weights are
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
    nn.init.constant_(network[1].weight, math.nan)
    images = replace(problem.images, labels=torch.zeros(25).long())
    with pytest.raises(InputError, match="its outputs are not finite on 25 of 25 images"):
        measure_flatness(Landscape(network, images, 25))


class Forgetful(nn.Module):
    """Right on eight of ten images; forgets the brightest as soon as its weight is moved."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x):
        forgotten = (self.weight != 1).double() * (x.amax((1, 2, 3)) > 0.9)
        return torch.stack([torch.zeros_like(forgotten), forgotten], 1) + 0 * self.weight


@pytest.mark.parametrize("search", SCALES)
def test_a_loss_of_exactly_a_tenth_is_allowed(search):
    # in floating point 0.8 - 0.7 is a little more than 0.1
    pixels = torch.full((10, 3, 2, 2), 127, dtype=torch.uint8)
    pixels[0] = 255
    half = torch.full((3,), 127 / 255, dtype=torch.float64)
    images = Images(pixels, torch.tensor([0] * 8 + [1] * 2), half, half, 2)
    landscape = Landscape(Forgetful(), images, 10)
    assert landscape.correct().sum() == 8
    landscape.move(lambda w, p: w + 1)
    assert landscape.correct().sum() == 7
    landscape.move(lambda w, p: w)
    found = measure_flatness(landscape, images_per_draw=10, scale_range=(0.1, 1.0))
    assert found[search].censored == RIGHT


class Recorder(Landscape):
    """Notes the weights at which it is asked."""

    def __init__(self, count: int):
        network = nn.Linear(count, 1, bias=False).double()
        nn.init.zeros_(network.weight)
        super().__init__(network, Problem().images, 25)
        self.asked = []

    def correct(self, index=None):
        if index is not None:
            self.asked.append(flatten_parameters(self.network).clone())
        return torch.zeros(25 if index is None else len(index), dtype=torch.bool)


UNEVEN = torch.linspace(0.1, 2, 50, dtype=torch.float64)


def noises(*, seed: int, count: int, scale: float) -> torch.Tensor:
    """(count, 50): what is added to weights of zero."""
    recorder = Recorder(50)
    correct, size = recorder.correct(), lambda scale, w: scale * UNEVEN
    gaussian_drops(recorder, correct, size, scale, 0, count, seed=seed, images_per_draw=4)
    return torch.stack(recorder.asked)


def test_random_numbers_are_common_to_all_scales_and_made_again():
    unit = noises(seed=1, count=4, scale=1.0)
    torch.manual_seed(7)  # the global state has no say
    assert torch.equal(noises(seed=1, count=4, scale=1.0), unit)
    larger = noises(seed=1, count=4, scale=2.5)
    torch.testing.assert_close(larger, 2.5 * unit, rtol=1e-12, atol=0)
    fewer = noises(seed=1, count=2, scale=1.0)
    assert torch.equal(fewer, unit[:2])  # more draws keep the first ones
    other = noises(seed=2, count=4, scale=1.0)
    assert len(torch.unique(torch.cat([unit, other])[:, 0])) == 8  # each draw of each seed is another one


def test_later_draws_are_the_same_without_the_earlier_ones():
    recorder = Recorder(50)
    options = {"seed": 1, "images_per_draw": 4}
    gaussian_drops(recorder, recorder.correct(), lambda scale, w: scale * UNEVEN, 1.0, 2, 4, **options)
    assert torch.equal(torch.stack(recorder.asked), noises(seed=1, count=4, scale=1.0)[2:])


def test_noise_has_the_distribution_it_should():
    noise = noises(seed=0, count=200, scale=3.0) / (3 * UNEVEN)
    assert noise.mean().item() == pytest.approx(0, abs=4 / 100)
    assert noise.var().item() == pytest.approx(1, abs=4 * math.sqrt(2) / 100)


def test_the_same_seed_gives_the_same_sixteen_numbers(problem, measured):
    found, w0 = measured
    assert measure_flatness(problem.landscape, w0) == found
    other = measure_flatness(problem.landscape, w0, seed=1)
    assert other["pac_bayes_sigma"].value != found["pac_bayes_sigma"].value
    # batches of another size sum the same gradient
    batched = Landscape(problem.network, problem.images, batch_size=7)
    again = measure_flatness(batched, w0)
    assert {k: v.value for k, v in again.items()} == pytest.approx({k: v.value for k, v in found.items()})


RECIPE = {name: value for name, value in OPTIONS.items() if name != "seed"}


@pytest.mark.parametrize(
    ("scale", "measure"), list(zip(SCALES, (sigma, sigma_mag, alpha, alpha_mag), strict=True))
)
def test_a_scale_by_itself_is_that_of_all_four_searches(problem, measured, scale, measure):
    assert measure(problem.network, problem.images, batch_size=25, **RECIPE) == measured[0][scale]


def test_a_search_makes_no_other(problem):
    landscape = Landscape(problem.network, problem.images, 25)
    assert list(find_scales(landscape, ["pac_bayes_sigma"], **OPTIONS)) == ["pac_bayes_sigma"]
    assert landscape.differentiated == 0
    for_sigma = landscape.evaluated
    assert list(find_scales(landscape, ["sharpness_alpha"], **OPTIONS)) == ["sharpness_alpha"]
    assert 0 < landscape.evaluated - for_sigma < for_sigma


def test_options_are_those_of_the_recipe(problem):
    with pytest.raises(InputError, match=r"^unknown key 'draw'; did you mean 'draws'"):
        sigma(problem.network, problem.images, draw=3)
    with pytest.raises(InputError, match=r"^scale_range: 2 is not below 1"):
        alpha(problem.network, problem.images, scale_range=(2.0, 1.0))


def test_a_network_that_epsilon_alone_breaks_is_censored_without_a_search():
    """The box of alpha' holds that of epsilon, and so that of an alpha below it; an attack on it agrees."""
    small = Problem(weight_scale=0.005)  # margins shrink with the weights, and alpha with them
    found = find_scales(small.landscape, **OPTIONS)
    assert found["sharpness_alpha"].value <= EPSILON
    lowest = OPTIONS["scale_range"][0]
    assert (found["sharpness_mag_alpha"].value, found["sharpness_mag_alpha"].censored) == (lowest, LEFT)
    target = Target(small.landscape, small.landscape.correct(), magnitude_box)
    with small.landscape.restoring_weights():
        attack = Attack(target, Direction(1.0), steps=30, stream=torch.Generator())
        assert attack.breaks(lowest)
