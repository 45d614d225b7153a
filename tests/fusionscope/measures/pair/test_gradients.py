"""The cosine of gradients (parents_gradient_cosine), beside closed forms and automatic differentiation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from measure_cases import flat_loss, random_images, smooth_network
from torch import nn

from fusionscope.measures.pair.gradients import (
    BLOCKS,
    NO_GRADIENT,
    block_gradients,
    gradient_cosine,
    inner_products,
    mean_cosine,
)
from fusionscope.measures.pair.pairs import DIFFERENT_SHAPES, all_pairs

IMAGES = random_images(23, size=4, classes=3)


def softmax_regression(seed: int, classes: int = 3) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, classes, bias=False)).double()
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(classes, 48, generator=stream) / 7)
    return network


def gradient_by_hand(network: nn.Module) -> np.ndarray:
    """Of softmax regression: the mean over images of (p - one_hot) x^T, in NumPy."""
    x, y = IMAGES.normalised().flatten(1).numpy(), IMAGES.labels.numpy()
    logits = x @ network[1].weight.detach().numpy().T
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return ((p - np.eye(3)[y]).T @ x / len(y)).ravel()


def cosine_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("batch_size", [3, 64])
def test_of_softmax_regression_it_is_the_closed_form(batch_size):
    networks = [softmax_regression(seed) for seed in (1, 2)]
    found = gradient_cosine(networks, [(0, 1)], IMAGES, batch_size)
    assert found.value == pytest.approx(cosine_by_hand(*map(gradient_by_hand, networks)), rel=1e-12)


def test_of_a_deeper_network_it_is_that_of_the_gradients_by_automatic_differentiation():
    networks = [smooth_network(seed=seed) for seed in (1, 2, 3)]
    gradients = []
    for network in networks:
        loss, w = flat_loss(network, IMAGES.normalised(), IMAGES.labels)
        gradients.append(torch.func.grad(loss)(w).numpy())
    found = gradient_cosine(networks, all_pairs(3), IMAGES, 8).value
    expected = [cosine_by_hand(gradients[p], gradients[q]) for p, q in ((0, 1), (0, 2), (1, 2))]
    assert found == pytest.approx(np.mean(expected), rel=1e-10)


def test_equal_networks_have_a_cosine_of_one_without_an_error():
    networks = [smooth_network(seed=4)] * 2
    found = gradient_cosine(networks, [(0, 1)], IMAGES, 8)
    assert found.value == pytest.approx(1, abs=1e-12)
    assert found.std_error == pytest.approx(0, abs=1e-7)


def test_opposite_labels_turn_the_gradient_of_two_classes_at_zero_weights_around():
    """At zero weights p = 1/2 for both classes, so that swapping all labels changes the gradient's sign."""
    images = replace(IMAGES, labels=IMAGES.labels % 2, num_classes=2)
    network = softmax_regression(0, classes=2)
    nn.init.zeros_(network[1].weight)
    one = block_gradients(network, images, 8)
    other = block_gradients(network, replace(images, labels=1 - images.labels), 8)
    assert mean_cosine(inner_products([one, other]), [(0, 1)]).value == pytest.approx(-1)


def test_it_is_symmetric_and_parameters_that_get_no_gradient_do_not_count():
    networks = [smooth_network(seed=seed) for seed in (1, 2)]
    found = gradient_cosine(networks, [(0, 1)], IMAGES, 8)
    assert gradient_cosine(networks[::-1], [(0, 1)], IMAGES, 8).value == pytest.approx(found.value)
    for network in networks:
        network.unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
        network.forward = network[:].forward
    assert gradient_cosine(networks, [(0, 1)], IMAGES, 8).value == pytest.approx(found.value, rel=1e-12)


def test_the_blocks_of_a_gradient_add_up_to_it():
    network = softmax_regression(1)
    blocks = block_gradients(network, IMAGES, 8)
    assert blocks.shape == (BLOCKS, 144)
    np.testing.assert_allclose(blocks.sum(0) / 23, gradient_by_hand(network), rtol=1e-12)


def test_the_networks_are_left_as_they_are():
    network = smooth_network(seed=1)
    before = [p.detach().clone() for p in network.parameters()]
    gradient_cosine([network, smooth_network(seed=2)], [(0, 1)], IMAGES, 8)
    assert all(
        torch.equal(p, w) and p.grad is None for p, w in zip(network.parameters(), before, strict=True)
    )


def test_the_standard_error_is_the_jackknife_by_direct_deletion():
    stream = torch.Generator().manual_seed(0)
    gradients = [torch.randn(5, 7, generator=stream, dtype=torch.float64) + 1 for _ in range(3)]
    without = []
    for block in range(5):
        a, b, c = (np.delete(g.numpy(), block, 0).sum(0) for g in gradients)
        without.append((cosine_by_hand(a, b) + cosine_by_hand(a, c) + cosine_by_hand(b, c)) / 3)
    found = mean_cosine(inner_products(gradients), all_pairs(3))
    assert found.std_error == pytest.approx(np.std(without) * math.sqrt(4), rel=1e-10)


def test_the_standard_error_is_about_the_spread_over_samples_of_images():
    """Gradients of images are drawn anew; the error that each sample states is near what they scatter by."""
    stream = np.random.default_rng(3)
    mean = stream.normal(size=(2, 12)) * 0.6
    mix = stream.normal(size=(24, 24)) / 5
    values, errors = [], []
    for _ in range(400):
        noise = (stream.normal(size=(200, 24)) @ mix).reshape(200, 2, 12)
        blocks = (mean + noise).reshape(10, 20, 2, 12).sum(1)
        found = mean_cosine(inner_products([torch.tensor(blocks[:, k]) for k in (0, 1)]), [(0, 1)])
        values.append(found.value)
        errors.append(found.std_error**2)
    assert math.sqrt(np.mean(errors)) == pytest.approx(np.std(values), rel=0.15)


def test_networks_of_different_widths_have_none():
    found = gradient_cosine([softmax_regression(1), softmax_regression(1, 4)], [(0, 1)], IMAGES, 8)
    assert (found.value, found.reason) == (None, DIFFERENT_SHAPES)


def test_a_gradient_of_zero_has_no_direction():
    products = inner_products([torch.ones(2, 3), torch.zeros(2, 3)])
    assert mean_cosine(products, [(0, 1)]).reason == NO_GRADIENT


def test_gradients_that_are_not_finite_have_none():
    products = inner_products([torch.ones(2, 3), torch.full((2, 3), torch.inf)])
    assert mean_cosine(products, [(0, 1)]).reason == "the gradient of one of the networks is not finite"


def test_a_single_image_leaves_no_error():
    networks = [smooth_network(seed=seed) for seed in (1, 2)]
    assert gradient_cosine(networks, [(0, 1)], IMAGES.take(torch.arange(1)), 8).std_error is None
