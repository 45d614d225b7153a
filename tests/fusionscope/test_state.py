"""What a forward pass leaves in a network: put back, and copied."""

import odd_networks
import pytest
import torch
from torch import nn

from fusionscope.state import copy_of, left_as_it_was


@pytest.mark.parametrize("make", [odd_networks.Counts, odd_networks.CountsAnew, odd_networks.CountsInPlace])
def test_a_counter_is_what_it_was(make):
    network = make()
    with left_as_it_was(network):
        network(torch.zeros(1, *network.input_shape))
        assert network.calls == 1
    assert network.calls == 0


def test_what_was_collected_is_gone_and_the_mode_is_back():
    network = odd_networks.KeepsActivations().train()
    handle = network.two.register_forward_hook(lambda *_: None)
    with left_as_it_was(network):
        network.eval()
        network(torch.zeros(1, *network.input_shape))
    assert network.seen == []
    assert not hasattr(network, "last")
    assert network.training
    assert network.two.training
    handle.remove()
    assert not network.two._forward_hooks  # the very dictionary that the handle knows


def test_only_buffers_that_changed_are_written_to():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    versions = {name: buffer._version for name, buffer in network.named_buffers()}
    with left_as_it_was(network):
        network[0](torch.randn(4, 2))
        network[1].running_var.data[0] = float("nan")  # unseen by the version counter
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name
    unread = [name for name, buffer in network.named_buffers() if buffer._version == versions[name]]
    assert unread == ["1.running_mean", "1.num_batches_tracked"]


def test_it_is_put_back_after_an_error_too():
    network = odd_networks.Counts()
    network.two = nn.Linear(1, 1)
    with pytest.raises(RuntimeError), left_as_it_was(network):
        network(torch.zeros(1, *network.input_shape))  # fails after it has counted
    assert network.calls == 0


@pytest.mark.parametrize("make", [odd_networks.KeepsActivations, odd_networks.Pruned])
def test_a_network_is_copied_after_a_pass_with_gradients(make):
    network = make()
    x = torch.rand(2, *network.input_shape)
    expected = network(x)
    copied = copy_of(network)
    assert torch.equal(copied(x), expected)
    with torch.no_grad():
        next(copied.parameters()).zero_()
    assert torch.equal(network(x), expected)
