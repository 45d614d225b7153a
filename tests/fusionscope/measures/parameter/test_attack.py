"""The attack against the true worst case of linear classifiers, by linear programs, and plain ascent."""

import math
from dataclasses import replace
from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
import torch
from flatness_cases import OPTIONS, Problem
from measure_cases import random_images, randomise, smooth_network
from scipy.optimize import linprog
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.evaluation import margins
from fusionscope.measurement import NOT_CENSORED
from fusionscope.measures.parameter.attack import Attack, Direction, Target, directions, kept
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.perturbation import EPSILON
from fusionscope.measures.parameter.scales import even_box, find_scales, magnitude_box
from fusionscope.measures.parameter.search import MAX_DROP

BOXES = {"sharpness_alpha": even_box, "sharpness_mag_alpha": magnitude_box}
STRONG = {"starts": 4, "ascent_steps": 30, "tolerance": 1e-3}


def linear_landscape(count: int, classes: int, seed: int, wrong: int = 0) -> Landscape:
    """A linear classifier, and images without any order that it gets right but for the last `wrong`."""
    network = randomise(nn.Sequential(nn.Flatten(), nn.Linear(12, classes, bias=False)), seed)
    images = random_images(count, size=2, classes=classes, seed=seed)
    with torch.no_grad():
        labels = network(images.normalised()).argmax(1)
    labels[count - wrong :] = (labels[count - wrong :] + 1) % classes
    return Landscape(network, replace(images, labels=labels), count)


def true_scale(landscape: Landscape, name: str) -> float:
    """The smallest box with a corner that costs too many images: the best of all sets and wrong answers.

    For each a linear program: over u and the scale s, abs(u_j) <= size_j(s), which is linear in s. All
    images are correct at the weights as they are, so that none can be won.
    """
    w, x, y = landscape.weights[0].numpy(), landscape.x.flatten(1).numpy(), landscape.y.tolist()
    classes, pixels = w.shape
    slope, offset = (np.abs(w), EPSILON) if name == "sharpness_mag_alpha" else (np.ones_like(w), 0.0)
    eye = np.eye(w.size)
    box = np.block([[eye, -slope.reshape(-1, 1)], [-eye, -slope.reshape(-1, 1)]])
    needed, found = math.floor(MAX_DROP * len(x)) + 1, math.inf
    for lost in combinations(range(len(x)), needed):
        for answers in product(range(classes), repeat=needed):
            if any(y[i] == c for i, c in zip(lost, answers, strict=True)):
                continue
            rows = np.zeros((needed, classes, pixels))
            for row, i, c in zip(rows, lost, answers, strict=True):
                row[y[i]], row[c] = x[i], -x[i]
            margin = (rows * w).sum((1, 2))
            constraints = np.vstack([np.hstack([rows.reshape(needed, -1), np.zeros((needed, 1))]), box])
            limits = np.concatenate([-margin, np.full(2 * w.size, offset)])
            cost = np.zeros(w.size + 1)
            cost[-1] = 1
            program = linprog(cost, constraints, limits, bounds=[(None, None)] * w.size + [(0, None)])
            found = min(found, program.fun)
    return found


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize(("count", "classes", "seed"), [(12, 2, 0), (12, 2, 1), (12, 3, 2)])
def test_alpha_of_a_linear_classifier_is_that_of_the_best_linear_program(name, count, classes, seed):
    landscape = linear_landscape(count, classes, seed)
    assert landscape.correct().all()
    found = find_scales(landscape, [name], **OPTIONS | STRONG)[name]
    truth = true_scale(landscape, name)
    assert found.censored == NOT_CENSORED
    assert found.log_error is None
    assert truth * (1 - 1e-9) <= found.value <= 1.05 * truth  # an upper bound, and close


def plain_scale(landscape: Landscape, starts: int, steps: int) -> float:
    """Alpha by signed ascent of the cross-entropy from random points of the box, and bisection."""
    correct, low, high = landscape.correct().double().mean().item(), math.log(1e-4), math.log(1.0)

    def lost(scale: float) -> float:
        worst = 0.0
        for start in range(starts):
            stream = torch.Generator().manual_seed(start)
            with landscape.restoring_weights():
                landscape.move(
                    lambda w, p, s=stream: w + scale * (2 * torch.rand(w.shape, generator=s).to(w) - 1)
                )
                for _ in range(steps):
                    gradient, _ = landscape.gradient(torch.arange(len(landscape)))
                    landscape.move(
                        lambda w, p, g: w + (p + 8 / steps * scale * g.sign() - w).clamp(-scale, scale),
                        gradient,
                    )
                    worst = max(worst, correct - landscape.correct().double().mean().item())
        return worst

    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if lost(math.exp(middle)) > MAX_DROP else (middle, high)
    return math.exp(high)


def trained_landscape(seed: int) -> Landscape:
    """A small network with smooth layers after a hundred steps of training on random images."""
    network, images = smooth_network(seed=seed), random_images(60, size=4, classes=3, seed=seed)
    images = replace(images, labels=torch.arange(60) % 3)
    optimiser = torch.optim.Adam(network.parameters(), 0.03)
    for _ in range(100):
        optimiser.zero_grad()
        F.cross_entropy(network(images.normalised()), images.labels).backward()
        optimiser.step()
    optimiser.zero_grad()
    return Landscape(network, images, 60)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_more_than_ascent_of_the_cross_entropy(seed):
    landscape = trained_landscape(seed)
    assert landscape.correct().double().mean() > 0.6
    found = find_scales(landscape, ["sharpness_alpha"], **OPTIONS | {"starts": 4, "tolerance": 0.01})
    assert found["sharpness_alpha"].value < 1.01 * plain_scale(landscape, starts=3, steps=10)


@pytest.mark.parametrize("name", BOXES)
def test_the_same_attack_gives_the_same_scale_and_puts_back_every_bit(name):
    landscape = trained_landscape(0)
    odd = torch.tensor([-0.0, 5e-324], dtype=torch.float64)
    with torch.no_grad():
        landscape.parameters[0].view(-1)[:2] = odd
    landscape = Landscape(landscape.network, landscape.images, 60)
    before = [p.detach().clone().view(torch.int64) for p in landscape.parameters]
    options = OPTIONS | {"starts": 6, "ascent_steps": 3, "tolerance": 0.1}
    found = find_scales(landscape, [name], **options)
    assert all(
        torch.equal(p.detach().view(torch.int64), b)
        for p, b in zip(landscape.parameters, before, strict=True)
    )
    assert all(p.grad is None for p in landscape.parameters)
    assert find_scales(landscape, [name], **options) == found
    batched = Landscape(landscape.network, landscape.images, 7)
    assert find_scales(batched, [name], **options)[name].value == pytest.approx(found[name].value)


def target_of(landscape: Landscape, size=even_box) -> Target:
    return Target(landscape, landscape.correct(), size)


def perturbation(landscape: Landscape) -> list[Tensor]:
    return [(p - w).detach() for p, w in zip(landscape.parameters, landscape.weights, strict=True)]


@pytest.mark.parametrize("size", BOXES.values())
@pytest.mark.parametrize("random", [None, 0])
def test_it_stays_in_its_box_and_goes_on_from_where_it_was(size, random):
    landscape = trained_landscape(1)
    with landscape.restoring_weights():
        attack = Attack(
            target_of(landscape, size), Direction(1.0, None, random), steps=4, stream=torch.Generator()
        )
        for scale in (1e-3, 5e-3, 2e-3):
            attack.breaks(scale)
            boxes = [size(scale, w) for w in landscape.weights]
            at = perturbation(landscape)
            assert all((u.abs() <= box * (1 + 1e-9)).all() for u, box in zip(at, boxes, strict=True))
            assert any((u.abs() > 0.9 * box).any() for u, box in zip(at, boxes, strict=True))
        relative = [u / box for u, box in zip(at, boxes, strict=True)]
        attack.enter_box(0.4)
        for u, w, part in zip(perturbation(landscape), landscape.weights, relative, strict=True):
            torch.testing.assert_close(u, part * size(0.4, w), rtol=1e-9, atol=1e-12)


def test_a_random_point_is_uniform_in_the_box_and_has_a_number():
    landscape = Landscape(nn.Sequential(nn.Flatten(), nn.Linear(12, 400)).double(), Problem().images, 25)
    target = target_of(landscape)

    def point(seed: int) -> Tensor:
        with landscape.restoring_weights():
            stream = torch.Generator().manual_seed(seed)
            Attack(target, Direction(1.0, random=0), steps=1, stream=stream).enter_box(0.3)
            return perturbation(landscape)[0].flatten() / 0.3

    u = point(0)
    assert torch.equal(point(0), u)
    assert not torch.equal(point(1), u)
    assert u.abs().max() <= 1 + 1e-9
    assert u.mean().item() == pytest.approx(0, abs=4 * math.sqrt(1 / 3 / len(u)))
    assert u.var().item() == pytest.approx(1 / 3, abs=4 * math.sqrt(4 / 45 / len(u)))


@pytest.mark.parametrize("size", BOXES.values())
def test_the_scale_of_a_direction_is_exact_where_one_image_has_to_be_lost(size):
    landscape = linear_landscape(8, 3, seed=4)
    w, x, y = landscape.weights[0], landscape.x.flatten(1), landscape.y
    logits = landscape.logits()
    found = {d.into: d.scale for d in directions(target_of(landscape, size), 4)}
    for into in (None, 0, 1, 2):
        ways = margins(logits, y, into).where(y != (-1 if into is None else into), math.inf)
        image = int(ways.argmin())
        other = into if into is not None else int(logits[image].topk(2).indices[1])
        weight = (w[y[image]].abs() + w[other].abs()) if size is magnitude_box else torch.full((12,), 2.0)
        anyway = 2 * EPSILON * x[image].abs().sum() if size is magnitude_box else 0.0
        expected = (ways[image] - anyway) / (x[image].abs() * weight).sum()
        assert found[into] == pytest.approx(expected.item(), rel=1e-9)


def test_directions_are_the_most_promising_first_and_then_random_points():
    target = target_of(linear_landscape(12, 3, seed=0))
    found = directions(target, 7)
    scales = [direction.scale for direction in found[:4]]
    assert scales == sorted(scales)
    assert {direction.into for direction in found[:4]} == {None, 0, 1, 2}
    assert [(direction.into, direction.random) for direction in found[4:]] == [(None, k) for k in range(3)]
    assert directions(target, 2) == found[:2]


def test_a_class_that_most_images_have_is_not_set_out_towards():
    landscape = linear_landscape(25, 2, seed=0)
    landscape.y = torch.zeros(25).long()
    target = Target(landscape, torch.ones(25).bool(), even_box)
    assert {direction.into for direction in directions(target, 3)} == {None, 1}


def test_images_that_are_won_make_up_for_those_that_are_lost():
    landscape = linear_landscape(20, 3, seed=1, wrong=5)
    target = target_of(landscape)
    right = F.one_hot(landscape.y, 3).double()
    wrong = F.one_hot((landscape.y + 1) % 3, 3).double()
    now = torch.where(target.correct[:, None], right, wrong)
    assert target.needed == 3
    assert not target.is_broken(now)
    now[:3] = wrong[:3]
    assert target.is_broken(now)
    now[-1] = right[-1]
    assert not target.is_broken(now)
    now[3] = wrong[3]
    assert target.is_broken(now)


def test_the_count_of_kept_images_is_smooth_and_falls_with_the_margin():
    logits, labels = (
        torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).double(),
        torch.arange(9) % 4,
    )
    for into in (None, 2):
        expected = 1 / (1 + np.exp(-margins(logits, labels, into).numpy() / 0.3))
        found = kept(logits, labels, softness=0.3, into=into)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    sharp = partial(kept, softness=1e-6, into=None)(logits, labels)
    assert sharp.round().bool().tolist() == logits.argmax(1).eq(labels).tolist()
