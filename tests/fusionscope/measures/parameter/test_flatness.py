"""Flatness: the searches against closed forms of linear classifiers, the measures against their formulas."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from measure_cases import WIDTH, random_images, randomise
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

from fusionscope.images import Images
from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT, Measurement, tidy_rows
from fusionscope.measures.parameter.flatness import (
    DELTA,
    EPSILON,
    EVEN_BOX,
    EVEN_NOISE,
    MAGNITUDE_NOISE,
    as_measurement,
    find_scales,
    flatness_measures,
    gaussian_drops,
    inverse_square,
    worst_drop,
)
from fusionscope.measures.parameter.landscape import Landscape, flatten_parameters
from fusionscope.measures.parameter.search import (
    ACCURACY_DROP,
    Scale,
    largest_mean_scale,
    largest_worst_scale,
)
from fusionscope.networks.build import build
from fusionscope.report.tables import correlation_table

SCALES = ("pac_bayes_sigma", "pac_bayes_mag_sigma", "sharpness_alpha", "sharpness_mag_alpha")
TRAIN_SIZE = 1234
OPTIONS = {
    "seed": 0,
    "draws": 64,
    "images_per_draw": 25,
    "starts": 2,
    "ascent_steps": 10,
    "ascent_images": 25,
    "tolerance": 1e-3,
    "scale_range": (1e-4, 1e2),
}


def measure_flatness(
    landscape: Landscape, w0: torch.Tensor | None = None, **options
) -> dict[str, Measurement]:
    w = flatten_parameters(landscape.network)
    return flatness_measures(find_scales(landscape, **(OPTIONS | options)), w, w0, TRAIN_SIZE)


class Problem:
    """Two classes, a linear classifier and images on the two sides of one corner of the input's box.

    Images of class 1 are brighter than the mean in every pixel and those of class 0 darker, so that
    `x` times +-1 is positive and the worst perturbation of the weights is the same for every image.
    """

    def __init__(self, count: int = 25, seed: int = 0, weight_scale: float = 1.0):
        stream = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        # contrast differs between images and pixels, so that margins do too
        contrast = torch.rand(count, 1, 1, 1, generator=stream) * 0.9 + 0.05
        offset = (contrast * torch.rand(count, 3, 2, 2, generator=stream) * 120 + 1).round()
        sign = (2 * labels - 1).view(-1, 1, 1, 1)
        half = torch.full((3,), 127 / 255, dtype=torch.float64)  # the mean is a pixel value, exactly
        self.images = Images((127 + sign * offset).to(torch.uint8), labels, half, half, 2)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
        with torch.no_grad():
            weight = torch.randn(2, 12, generator=stream).double() * 0.3
            weight[1] = weight[0] + torch.rand(12, generator=stream) * 0.2 - 0.04
            self.network[1].weight.copy_(weight * weight_scale)
        self.landscape = Landscape(self.network, self.images, batch_size=count)
        self.w = flatten_parameters(self.network)
        self.x = self.images.normalised().flatten(1).abs().numpy()  # (n, 12), towards each one's class
        self.rows = self.w.view(2, 12).numpy()
        self.margins = self.x @ (self.rows[1] - self.rows[0])
        assert (self.margins > 0).all()  # everything is classified correctly

    def largest_radius(self, lost_per_scale: np.ndarray, lost_anyway: np.ndarray) -> float:
        """The scale at which more than a tenth of the images have lost their margins."""
        critical = np.sort((self.margins - lost_anyway) / lost_per_scale)
        return critical[math.floor(ACCURACY_DROP * len(critical))]

    def noise_scale(self, deviation) -> float:
        """The scale at which the mean accuracy is 0.9, given the margins' `deviation` (n,) at a scale."""
        return brentq(lambda s: norm.cdf(self.margins / deviation(s)).mean() - (1 - ACCURACY_DROP), 1e-4, 1e2)


@pytest.fixture(scope="module")
def problem():
    return Problem()


@pytest.fixture(scope="module")
def measured(problem):
    w0 = problem.w + torch.linspace(-1, 1, len(problem.w))
    return measure_flatness(problem.landscape, w0), w0


def even_noise(problem):
    # each row of the weights gets noise of its own: var((u1 - u0) x) = 2 sigma^2 norm(x)^2
    return lambda s: math.sqrt(2) * s * np.linalg.norm(problem.x, axis=1)


def magnitude_noise(problem):
    squares = (problem.rows**2).sum(0)
    return lambda s: np.sqrt((problem.x**2 * (s**2 * squares + 2 * EPSILON**2)).sum(1))


NOISES = {"even": (EVEN_NOISE, even_noise), "magnitude": (MAGNITUDE_NOISE, magnitude_noise)}


def noise_drops(problem, size, *, seed: int, images_per_draw: int = 25):
    options = {"seed": seed, "images_per_draw": images_per_draw}
    return partial(gaussian_drops, problem.landscape, problem.landscape.right(), size, **options)


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
    truth = problem.noise_scale(magnitude_noise(problem))
    squares = (problem.rows**2).sum(0)
    without = problem.noise_scale(lambda s: s * np.sqrt(problem.x**2 @ squares))
    found = measure_flatness(problem.landscape, draws=2000, starts=1, ascent_steps=1)
    sigma = found["pac_bayes_mag_sigma"]
    assert abs(sigma.value - truth) < 3 * sigma.std_error
    assert abs(sigma.value - without) > 4 * sigma.std_error


def test_the_error_of_sigma_is_the_spread_over_seeds(problem):
    # few images a draw: their choice is part of the error
    truth = problem.noise_scale(even_noise(problem))
    found = [
        largest_mean_scale(
            noise_drops(problem, EVEN_NOISE, seed=seed, images_per_draw=6),
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
    deviation = magnitude_noise(problem)
    drops = noise_drops(problem, MAGNITUDE_NOISE, seed=1, images_per_draw=5)
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


def ascents(problem, size=EVEN_BOX, **options):
    options = {"seed": 0, "steps": 10, "images": 25} | options
    return partial(worst_drop, problem.landscape, problem.landscape.right(), size, **options)


def test_a_tighter_tolerance_comes_closer(problem):
    truth = problem.largest_radius(2 * problem.x.sum(1), 0.0)
    for tolerance in (0.5, 0.05, 1e-6):
        found = largest_worst_scale(ascents(problem), starts=1, low=1e-4, high=1e2, tolerance=tolerance)
        assert abs(math.log(found.value / truth)) <= tolerance + 1e-9


def test_the_ascent_stays_in_its_box_and_reaches_its_worst_corner(problem):
    # at a radius where exactly some images can be lost, those are, and none beyond
    truth = np.sort(problem.margins / (2 * problem.x.sum(1)))
    for lost in (1, 2):  # a drop that is clearly more than allowed ends the ascent
        radius = math.sqrt(truth[lost - 1] * truth[lost])
        drops = [ascents(problem)(radius, start) for start in range(3)]
        assert drops == pytest.approx([lost / 25] * 3, abs=1e-12)


def test_more_steps_on_more_images_find_worse_cases():
    network, images = randomise(build(10, model_type="VGG11", width=WIDTH), 1), random_images(256)
    landscape = Landscape(network, replace(images, labels=network(images.normalised()).argmax(1)), 256)
    right = landscape.right()

    def drop(steps: int, images: int) -> float:
        options = {"seed": 0, "steps": steps, "images": images}
        return np.mean([worst_drop(landscape, right, EVEN_BOX, 2e-4, k, **options) for k in range(4)])

    assert 0 < drop(1, 4) < drop(5, 64)


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


def test_measuring_changes_no_weight(problem, measured):
    assert torch.equal(flatten_parameters(problem.network), problem.w)
    assert all(p.grad is None for p in problem.network.parameters())


class Constant(nn.Module):
    """Answers the same whatever its weights are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 2, bias=False).double()

    def forward(self, x):
        return 0 * self.linear(x.flatten(1)) + torch.tensor([1.0, 0.0])


def test_a_network_that_cannot_lose_a_tenth_is_censored_at_the_end(problem):
    landscape = Landscape(Constant(), problem.images, 25)
    found = measure_flatness(landscape, flatten_parameters(landscape.network) + 1)
    high = OPTIONS["scale_range"][1]
    for name, number in found.items():
        assert number.censored == (RIGHT if name in SCALES else LEFT), name
        assert number.std_error is None
        assert math.isfinite(number.value)
    assert [found[name].value for name in SCALES] == [high] * 4
    assert found["pac_bayes_flatness"].value == pytest.approx(1 / high**2)


def test_a_network_near_chance_is_censored_too(problem):
    # with accuracy 13 / 25 on two classes of which one has 12 images, a drop below 1 / 2 - 0.1 is
    # possible in the worst case but noise of any size loses only 0.02 on average
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
    nn.init.zeros_(network[1].weight)  # ties go to class 0, of 13 images
    found = measure_flatness(Landscape(network, problem.images, 25), draws=400)
    assert found["pac_bayes_sigma"].censored == RIGHT
    assert found["pac_bayes_mag_sigma"].censored == RIGHT
    assert found["sharpness_alpha"].censored == LEFT  # any perturbation decides a tie


def test_a_network_that_breaks_at_once_is_censored_at_the_low_end(problem):
    found = measure_flatness(problem.landscape, scale_range=(50.0, 100.0))
    for name, number in found.items():
        assert number.censored == (LEFT if name in SCALES else RIGHT), name
    assert [found[name].value for name in SCALES] == [50.0] * 4


def test_a_network_with_dead_outputs_is_censored_not_broken(problem):
    # its logits are not numbers at all, so it answers class 0 whatever its weights are
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
    nn.init.constant_(network[1].weight, math.nan)
    found = measure_flatness(Landscape(network, problem.images, 25))
    assert {found[name].censored for name in SCALES} == {RIGHT}


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
    landscape = Landscape(network, problem.images, 25)

    def measure(high: float):
        return measure_flatness(landscape, scale_range=(1e-4, high))

    recorded, beyond = measure(1.0), measure(2.0)  # 2 is one of the values that the true scale may have
    for name, number in recorded.items():
        if number.censored == LEFT:
            assert beyond[name].value <= number.value, name
        if number.censored == RIGHT:
            assert beyond[name].value >= number.value, name


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
    assert landscape.right().sum() == 8
    landscape.move(lambda w, p: w + 1)
    assert landscape.right().sum() == 7
    landscape.move(lambda w, p: w)
    found = measure_flatness(landscape, images_per_draw=10, ascent_images=10, scale_range=(0.1, 1.0))
    assert found[search].censored == RIGHT


def test_error_of_an_inverse_square_is_twice_the_relative_error():
    found = as_measurement(Scale(0.3, 1e-4, NOT_CENSORED), inverse_square)
    assert found.value == pytest.approx(1 / 0.09)
    assert found.std_error == pytest.approx(2 * 1e-4 * found.value, rel=1e-7)
    scale = as_measurement(Scale(0.3, 1e-4, NOT_CENSORED), lambda s: s)
    assert scale.std_error == pytest.approx(0.3 * 1e-4, rel=1e-7)


class Recorder(Landscape):
    """Notes the weights at which it is asked; there is no slope anywhere."""

    def __init__(self, count: int):
        network = nn.Linear(count, 1, bias=False).double()
        nn.init.zeros_(network.weight)
        super().__init__(network, Problem().images, 25)
        self.asked = []

    def right(self, index=None):
        if index is not None:
            self.asked.append(flatten_parameters(self.network).clone())
        return torch.zeros(25 if index is None else len(index), dtype=torch.bool)

    def gradient(self, index):
        return [torch.zeros_like(p) for p in self.parameters], torch.zeros(len(index), dtype=torch.bool)


UNEVEN = torch.linspace(0.1, 2, 50, dtype=torch.float64)


def perturbations(kind: str, *, seed: int, count: int, scale: float) -> torch.Tensor:
    """(count, 50): what is added to weights of zero by noise, or by the start of an ascent."""
    recorder = Recorder(50)
    right, size = recorder.right(), lambda scale, w: scale * UNEVEN
    if kind == "gaussian":
        gaussian_drops(recorder, right, size, scale, 0, count, seed=seed, images_per_draw=4)
    else:
        for start in range(count):
            worst_drop(recorder, right, size, scale, start, seed=seed, steps=1, images=4)
    return torch.stack(recorder.asked)


@pytest.mark.parametrize("kind", ["gaussian", "worst"])
def test_random_numbers_are_common_to_all_scales_and_made_again(kind):
    unit = perturbations(kind, seed=1, count=4, scale=1.0)
    torch.manual_seed(7)  # the global state has no say
    assert torch.equal(perturbations(kind, seed=1, count=4, scale=1.0), unit)
    larger = perturbations(kind, seed=1, count=4, scale=2.5)
    torch.testing.assert_close(larger, 2.5 * unit, rtol=1e-12, atol=0)
    fewer = perturbations(kind, seed=1, count=2, scale=1.0)
    assert torch.equal(fewer, unit[:2])  # more draws keep the first ones
    other = perturbations(kind, seed=2, count=4, scale=1.0)
    assert len(torch.unique(torch.cat([unit, other])[:, 0])) == 8  # each draw of each seed is another one


def test_later_draws_are_the_same_without_the_earlier_ones():
    recorder = Recorder(50)
    options = {"seed": 1, "images_per_draw": 4}
    gaussian_drops(recorder, recorder.right(), lambda scale, w: scale * UNEVEN, 1.0, 2, 4, **options)
    assert torch.equal(torch.stack(recorder.asked), perturbations("gaussian", seed=1, count=4, scale=1.0)[2:])


def test_perturbations_have_the_distribution_they_should():
    noise = perturbations("gaussian", seed=0, count=200, scale=3.0) / (3 * UNEVEN)
    assert noise.mean().item() == pytest.approx(0, abs=4 / 100)
    assert noise.var().item() == pytest.approx(1, abs=4 * math.sqrt(2) / 100)
    starts = perturbations("worst", seed=0, count=200, scale=3.0) / (3 * UNEVEN)
    assert starts.abs().max() <= 1
    assert starts.mean().item() == pytest.approx(0, abs=4 * math.sqrt(1 / 3) / 100)
    assert starts.var().item() == pytest.approx(1 / 3, abs=4 * math.sqrt(4 / 45) / 100)


def test_the_same_seed_gives_the_same_sixteen_numbers(problem, measured):
    found, w0 = measured
    assert measure_flatness(problem.landscape, w0) == found
    other = measure_flatness(problem.landscape, w0, seed=1)
    assert other["pac_bayes_sigma"].value != found["pac_bayes_sigma"].value
    # batches of another size sum the same gradient
    batched = Landscape(problem.network, problem.images, batch_size=7)
    again = measure_flatness(batched, w0)
    assert {k: v.value for k, v in again.items()} == pytest.approx({k: v.value for k, v in found.items()})


def test_correlations_come_out_with_a_network_at_chance_among_the_seeds():
    networks = {seed: Problem(seed=seed) for seed in (1, 2, 3)}
    landscapes = {seed: problem.landscape for seed, problem in networks.items()}
    landscapes[4] = Landscape(Constant(), networks[1].images, 25)
    rows = []
    for seed, landscape in landscapes.items():
        measured = measure_flatness(landscape, starts=4) | {"accuracy": Measurement(1 - seed / 10)}
        rows += tidy_rows(measured, experiment="e", seed=seed, model="m", space="parameter_space")
    table = correlation_table(pd.DataFrame(rows), "accuracy").set_index(["metric", "coefficient"])
    for metric in ("pac_bayes_sigma", "sharpness_alpha", "flatness_orig", "sharpness_mag_flat"):
        for coefficient, count in (("kendall", 4), ("spearman", 4), ("pearson", 3)):
            found = table.loc[metric, coefficient]
            assert found.n == count  # the network at chance has a rank, but no value
            assert -1 <= found.value <= 1
