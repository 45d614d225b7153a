"""The landscape computes what the module itself computes, at any weights, and changes nothing."""

import pytest
import torch
from measure_cases import WIDTH, flat_loss, random_images, randomise, smooth_network
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from fusionscope.landscape import Landscape, flatten_parameters
from fusionscope.networks import build


@pytest.fixture
def images():
    return random_images(11, size=4, classes=3, seed=1)


@pytest.fixture
def network():
    return smooth_network(batch_norm=True)


def test_flat_weights_are_the_trainable_parameters_in_order(network):
    w = flatten_parameters(network)
    assert torch.equal(w, parameters_to_vector(network.parameters()))
    assert not w.requires_grad
    assert w.numel() == 112 + 8 + 136 + 27  # batch norm's buffers are not part


def test_flat_weights_of_a_state_dict_follow_the_network_s_order(network):
    other = smooth_network(batch_norm=True, seed=9)
    backwards = dict(reversed(other.state_dict().items()))
    assert torch.equal(flatten_parameters(network, backwards), flatten_parameters(other))


def test_flat_weights_are_a_copy(network):
    before = flatten_parameters(network).clone()
    flatten_parameters(network).zero_()
    assert torch.equal(flatten_parameters(network), before)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_accuracy_and_gradient_are_those_of_the_module(network, images, batch_size):
    logits = network(images.normalised())
    gradient = torch.autograd.grad(F.cross_entropy(logits, images.labels), list(network.parameters()))
    right = sum(int(row.argmax() == label) for row, label in zip(logits, images.labels, strict=True))
    landscape, w = Landscape(network, images, batch_size), flatten_parameters(network)
    accuracy, found = landscape.accuracy_and_gradient(w)
    assert accuracy == landscape.accuracy(w) == right / 11
    torch.testing.assert_close(found, parameters_to_vector(gradient), rtol=1e-10, atol=1e-14)
    assert not found.requires_grad


def test_gradient_is_the_slope_of_the_loss(network, images):
    # finite differences along a random direction, at weights that are not the network's own
    loss, w = flat_loss(network, images.normalised(), images.labels)
    stream = torch.Generator().manual_seed(0)
    w = w + 0.1 * torch.randn(w.shape, generator=stream)
    direction = torch.randn(w.shape, generator=stream).double()
    _, gradient = Landscape(network, images, 4).accuracy_and_gradient(w)
    slope = (loss(w + 1e-6 * direction) - loss(w - 1e-6 * direction)) / 2e-6
    assert (gradient @ direction).item() == pytest.approx(slope.item(), rel=1e-7)


@pytest.mark.parametrize("model_type", ["VGG11", "RESNET18"])
def test_logits_at_other_weights_are_those_of_the_network_that_has_them(model_type):
    ours, theirs = (randomise(build(10, model_type=model_type, width=WIDTH), seed) for seed in (1, 2))
    images = random_images(3)
    with torch.no_grad():  # weights move, batch norm's buffers stay
        for buffer, other in zip(theirs.buffers(), ours.buffers(), strict=True):
            buffer.copy_(other)
    w = flatten_parameters(theirs)
    found = Landscape(ours, images, 3).logits(w, images.normalised())
    torch.testing.assert_close(found, theirs(images.normalised()), rtol=1e-12, atol=1e-12)


def test_a_network_in_training_mode_is_evaluated_in_eval_mode(network, images):
    w = flatten_parameters(network)
    x = images.normalised()
    expected = network(x)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    landscape = Landscape(network.train(), images, 4)
    torch.testing.assert_close(landscape.logits(w, x), expected, rtol=0, atol=0)
    landscape.accuracy_and_gradient(w)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_network_and_the_weights_are_left_alone(network, images):
    landscape, w = Landscape(network, images, 4), flatten_parameters(network)
    before, elsewhere = w.clone(), w + 1
    landscape.accuracy(elsewhere)
    landscape.accuracy_and_gradient(elsewhere)
    assert torch.equal(flatten_parameters(network), before)
    assert torch.equal(elsewhere, before + 1)
    assert not elsewhere.requires_grad
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_accuracy_is_the_network_s_own_after_a_real_move(network, images):
    landscape, w = Landscape(network, images, 5), flatten_parameters(network)
    moved = w + torch.randn(w.shape, generator=torch.Generator().manual_seed(3))
    found = landscape.accuracy(moved)
    vector_to_parameters(moved, network.parameters())
    expected = network(images.normalised()).argmax(1).eq(images.labels).double().mean().item()
    assert found == pytest.approx(expected, abs=1e-15)
