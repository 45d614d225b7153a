"""Paths and barriers against losses that are known in closed form."""

import math
from dataclasses import astuple, replace
from functools import partial
from itertools import pairwise

import cases
import numpy as np
import pytest
import torch
from measure_cases import random_images, randomise, smooth_network
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.evaluation import accuracy, mean_loss, predict
from fusionscope.fusion.repair import repaired_mean
from fusionscope.images import Images
from fusionscope.measures.connectivity import paths as connectivity
from fusionscope.measures.connectivity.paths import (
    PathPoint,
    barriers,
    height_above_line,
    highest,
    measure_path,
    repaired_line,
)

BARRIERS = {"loss_barrier", "loss_barrier_above_mean", "accuracy_barrier"}


def line(a: dict[str, Tensor], b: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The point of the straight line from `a` (share 0) to `b` (share 1); counters are those of `a`."""
    return {
        name: (1 - share) * a[name] + share * b[name] if a[name].is_floating_point() else a[name]
        for name in a
    }


def values(path: list[PathPoint]) -> dict[str, float]:
    return barriers(path)


class OneWeight(nn.Module):
    """Two logits, 0 and w^2 - 1/4, whatever the image: right about class 1 where |w| > 1/2."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        logit = (self.w**2 - 0.25).expand(len(x))
        return torch.stack([torch.zeros_like(logit), logit], 1)


def one_weight_loss(w: float) -> float:
    """Of class 1."""
    return math.log1p(math.exp(0.25 - w**2))


def walk(start: float, end: float, points: int, labels: list[int]) -> list[PathPoint]:
    def point(share: float) -> dict[str, Tensor]:
        return {"w": torch.tensor(start + share * (end - start), dtype=torch.float64)}

    return measure_path(OneWeight(), point, cases.labelled(labels), points=points, batch_size=2)


def digits_in_float64() -> Images:
    images = cases.digits()["test"].take(torch.arange(100))
    return replace(images, mean=images.mean.double(), std=images.std.double())


def permuted_vgg(weights: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """VGG11 without batch norm with its hidden neurons in another order, layer by layer by hand."""
    stream = torch.Generator().manual_seed(seed)
    layers = [*cases.VGG11_CONVS[False], "classifier"]
    moved = dict(weights)
    for layer, reader in pairwise(layers):
        order = torch.randperm(len(moved[f"{layer}.bias"]), generator=stream)
        for part in ("weight", "bias"):
            moved[f"{layer}.{part}"] = moved[f"{layer}.{part}"][order]
        moved[f"{reader}.weight"] = moved[f"{reader}.weight"][:, order]
    return moved


def test_shares_are_equally_spaced_from_zero_to_one():
    assert [place.share for place in walk(-1, 3, 5, [1])] == [0, 0.25, 0.5, 0.75, 1]
    assert [place.share for place in walk(-1, 3, 2, [1])] == [0, 1]


def test_a_path_has_the_closed_form_loss_and_accuracy_of_a_single_weight():
    for place in walk(-1, 3, 17, [1, 1, 0, 1, 1]):
        w = -1 + 4 * place.share
        other = one_weight_loss(w) + w**2 - 0.25  # of class 0
        assert place.loss == pytest.approx((4 * one_weight_loss(w) + other) / 5, rel=1e-12)
        assert place.accuracy == pytest.approx(0.8 if abs(w) > 0.5 else 0.2)  # a tie goes to class 0


def test_barriers_have_their_closed_forms():
    path = walk(-1, 3, 17, [1] * 4)  # w = 0 at share 1/4
    top, start, end = (one_weight_loss(w) for w in (0, -1, 3))
    found = values(path)
    assert set(found) == BARRIERS
    assert found["loss_barrier"] == pytest.approx(top - (0.75 * start + 0.25 * end), rel=1e-12)
    assert found["loss_barrier_above_mean"] == pytest.approx(top - (start + end) / 2, rel=1e-12)
    assert found["accuracy_barrier"] == pytest.approx(1)


def test_the_two_loss_barriers_part_where_the_ends_are_not_equally_good():
    path = [PathPoint(share, 1 - share, 0.5) for share in (0, 0.5, 1)]
    assert values(path) == {"loss_barrier": 0, "loss_barrier_above_mean": 0.5, "accuracy_barrier": 0}


def test_the_accuracy_barrier_is_the_largest_drop_below_the_line():
    path = [PathPoint(s, 0, a) for s, a in ((0, 0.9), (0.25, 0.6), (0.5, 0.55), (0.75, 0.6), (1, 0.5))]
    assert values(path)["accuracy_barrier"] == pytest.approx(0.2)  # at 1/4, where the line is at 0.8


def test_the_barrier_does_not_depend_on_the_direction_of_the_path():
    path = walk(-1, 3, 9, [1, 0, 1])
    back = [replace(place, share=1 - place.share) for place in path[::-1]]
    assert values(back) == pytest.approx(values(path))


def test_a_convex_loss_has_no_barrier():
    images = random_images(40, size=4, classes=3, seed=1)
    network, a, b = (
        randomise(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), seed).state_dict() for seed in (0, 1, 2)
    )
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    path = measure_path(network, partial(line, a, b), images, points=9, batch_size=16)
    assert path[4].loss < (path[0].loss + path[8].loss) / 2 - 0.1  # strictly convex, so this is no accident
    assert values(path)["loss_barrier"] == 0


def test_a_straight_path_has_no_barrier_but_rounding():
    share = np.linspace(0, 1, 7)
    assert 0 <= height_above_line(share, math.pi - share / 3) < 1e-15


def test_the_ends_are_the_parents_themselves_with_batch_norm_too():
    network = smooth_network(batch_norm=True)
    images = random_images(23, size=4, classes=3, seed=1)
    parents = [smooth_network(batch_norm=True, seed=seed) for seed in (1, 2)]
    a, b = (parent.state_dict() for parent in parents)
    path = measure_path(network, partial(line, a, b), images, points=3, batch_size=7)
    for parent, place in zip(parents, (path[0], path[-1]), strict=True):
        logits = predict(parent, images, 7)
        assert place.loss == mean_loss(logits, images.labels)
        assert place.accuracy == accuracy(logits, images.labels)


def test_the_batch_size_does_not_matter():
    a, b = (smooth_network(seed=seed).state_dict() for seed in (1, 2))
    images = random_images(23, size=4, classes=3, seed=1)
    one, other = (
        measure_path(smooth_network(), partial(line, a, b), images, points=4, batch_size=size)
        for size in (5, 23)
    )
    assert sum(map(astuple, one), ()) == pytest.approx(sum(map(astuple, other), ()), rel=1e-12)


def test_a_barrier_stands_between_a_network_and_its_permuted_copy_and_goes_when_it_is_aligned():
    network, images = cases.network_of("VGG11_NOBN"), digits_in_float64()
    weights = cases.trained_weights("VGG11_NOBN", 1)
    copy = permuted_vgg(weights)
    assert cases.relative_difference(cases.outputs(network, copy), cases.outputs(network, weights)) < 1e-10

    naive, aligned = (
        measure_path(network, partial(line, weights, end), images, points=5, batch_size=50)
        for end in (copy, weights)
    )
    assert naive[0].loss == pytest.approx(naive[-1].loss, rel=1e-10)  # the copy computes the same
    assert naive[0].loss < 0.9 * math.log(10)  # and has learnt something
    assert values(naive)["loss_barrier"] > 0.1
    assert values(naive)["accuracy_barrier"] > 0.1
    assert values(aligned) == pytest.approx(dict.fromkeys(BARRIERS, 0), abs=1e-12)


def test_the_network_is_left_as_it_was():
    network = smooth_network(batch_norm=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    a, b = (smooth_network(batch_norm=True, seed=seed).state_dict() for seed in (1, 2))
    images = random_images(6, size=4, classes=3)
    measure_path(network, partial(line, a, b), images, points=3, batch_size=6)
    assert network.training
    assert all(module.training for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_path_through_what_is_not_finite_has_no_number():
    path = [PathPoint(0, 1.0, 0.5), PathPoint(0.5, math.nan, 0.1), PathPoint(1, 1.0, 0.5)]
    found = values(path)
    assert math.isnan(found["loss_barrier"])
    assert math.isnan(found["loss_barrier_above_mean"])
    assert found["accuracy_barrier"] == pytest.approx(0.4)


@pytest.mark.parametrize("points", [0, 1])
def test_a_path_needs_two_points(points):
    with pytest.raises(InputError, match=f"{points} point"):
        walk(-1, 3, points, [1])


def test_of_several_paths_each_barrier_is_the_highest_by_hand():
    one = [PathPoint(0.0, 1.0, 0.9), PathPoint(0.5, 4.0, 0.8), PathPoint(1.0, 1.0, 0.9)]
    other = [PathPoint(0.0, 1.0, 0.9), PathPoint(0.5, 2.0, 0.2), PathPoint(1.0, 3.0, 0.7)]
    found = {name: number.value for name, number in highest([one, other]).items()}
    assert found == pytest.approx(
        {"loss_barrier": 3.0, "loss_barrier_above_mean": 3.0, "accuracy_barrier": 0.6}, rel=1e-12
    )


def test_the_line_goes_from_the_other_parent_to_the_reference():
    other, reference = ({"w": torch.tensor([x, 8.0])} for x in (1.0, 5.0))
    point = connectivity.line(other, reference)
    assert [point(share)["w"].tolist() for share in (0.0, 0.25, 0.5, 1.0)] == [
        [1.0, 8.0], [2.0, 8.0], [3.0, 8.0], [5.0, 8.0],
    ]  # fmt: skip


@pytest.mark.parametrize("model_type", ["VGG11_NOBN", "VGG11"])
def test_the_repaired_line_passes_through_the_repaired_child_and_ends_in_the_parents(model_type):
    network, images = cases.network_of(model_type), digits_in_float64()
    parents = [cases.trained_weights(model_type, parent) for parent in (1, 2)]
    point = repaired_line(network, images, *parents)
    child = repaired_mean(network, parents, (0.5, 0.5), images)
    assert all(torch.equal(point(0.5)[name], tensor) for name, tensor in child.items())
    for share, parent in enumerate(parents):
        learned = [name for name in parent if "running" not in name and "num_batches" not in name]
        for name in learned:  # a parent has its own channels' mean and spread already
            assert torch.allclose(point(float(share))[name], parent[name], rtol=1e-9, atol=1e-9)


def test_a_network_on_the_line_whose_outputs_are_not_finite_ends_it_in_a_sentence():
    with pytest.raises(
        InputError, match=r"^the network at share 0\.5 of the line: its outputs are not finite on 2"
    ):
        walk(0, 1e200, 3, [0, 1])
