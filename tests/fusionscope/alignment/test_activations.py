"""Activations: they are read where they should be, and so are their moments."""

import cases
import numpy as np
import pytest
import torch
from torch import nn

from fusionscope.alignment.activations import joint_moments, neurons, record, traced_with
from fusionscope.alignment.groups import ActivationAxis, alignment_groups
from fusionscope.graph.trace import trace_network


class InPlace(nn.Module):
    input_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.one, self.relu, self.two = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 10)

    def forward(self, x):
        return self.two(self.relu(self.one(x)).mean((2, 3)))


def test_what_was_there_before_work_in_place_is_recorded():
    network = InPlace()
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = record(trace_network(network), images, {"one", "relu"})
    with torch.no_grad():
        expected = network.one(images)
    assert (expected < 0).any()
    assert torch.equal(kept["one"], expected)
    assert torch.equal(kept["relu"], expected.relu())


def test_each_neuron_is_seen_at_all_its_places_of_all_images():
    """Channel 2 and 3 are one neuron's, as are 1 and 0, over two images of 2 x 5 pixels."""
    activation = torch.randn(2, 4, 2, 5)
    found = neurons(activation, ActivationAxis("any", 1, torch.tensor([[2, 3], [1, 0]])))
    assert found.shape == (2, 2 * 2 * 2 * 5)
    assert found.dtype == torch.float64
    for row, channels in zip(found, ([2, 3], [1, 0]), strict=True):
        expected = activation[:, channels].double().flatten()
        assert torch.equal(row.sort().values, expected.sort().values)
    # examples are in one order for all neurons
    shifted = torch.stack([activation[:, 2] + 1, activation[:, 3] + 1, activation[:, 2], activation[:, 3]], 1)
    found = neurons(shifted, ActivationAxis("any", 1, torch.tensor([[2, 3], [0, 1]])))
    assert (found[1] - found[0] - 1).abs().max() < 1e-6


def test_tokens_are_read_along_their_last_axis():
    activation = torch.randn(3, 7, 4)
    found = neurons(activation, ActivationAxis("any", 2, torch.arange(4)[:, None]))
    assert torch.equal(found, activation.double().reshape(21, 4).T)


@pytest.mark.parametrize("batch_size", [7, 40])
def test_moments_of_two_networks_are_those_of_their_activations(batch_size):
    network, images = cases.network_of("VGG11"), cases.digits()["train"].take(torch.arange(40))
    one, other = (traced_with(network, cases.random_weights("VGG11", seed)) for seed in (1, 2))
    site = alignment_groups(network).groups[2].read[0]
    (joint,) = joint_moments(one, other, [(site, site)], images, batch_size)
    batch = next(iter(images.batches(40)))[0].double()
    x, y = (record(each, batch, {site.node})[site.node].transpose(0, 1).flatten(1) for each in (one, other))
    both = np.cov(x.numpy(), y.numpy(), bias=True)
    np.testing.assert_allclose(joint.covariance.numpy(), both[: len(x), len(x) :], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(joint.mean_y.numpy(), y.mean(1).numpy(), rtol=1e-6, atol=1e-9)


def test_a_traced_copy_leaves_the_network_alone():
    network = cases.network_of("RESNET18").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    traced = traced_with(network, cases.random_weights("RESNET18", 1))
    traced(cases.probe())
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
