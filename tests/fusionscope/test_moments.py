"""Moments over batches are those of all examples at once."""

import numpy as np
import pytest
import torch

from fusionscope.moments import ChannelMoments, JointMoments


@pytest.mark.parametrize("mean", [0.0, 3.0, 1e6])
def test_joint_moments_over_batches_are_numpys_over_everything(mean):
    random = np.random.default_rng(0)
    x = mean + random.normal(size=(4, 1000))
    y = -mean + random.normal(size=(3, 1000)) + 0.5 * (x[:3] - mean)
    joint = JointMoments()
    for columns in np.split(np.arange(1000), [1, 300, 310, 900]):
        joint.add(torch.from_numpy(x[:, columns]), torch.from_numpy(y[:, columns]))
    assert joint.count == 1000
    for found, expected in (
        (joint.mean_x, x.mean(1)),
        (joint.mean_y, y.mean(1)),
        (joint.var_x, x.var(1)),
        (joint.var_y, y.var(1)),
        (joint.covariance, np.cov(x, y, bias=True)[:4, 4:]),
    ):
        # what the means round to in float64 is lost to whoever subtracts them, numpy included
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_a_neuron_that_never_changes_has_no_variance():
    joint = JointMoments()
    for _ in range(3):
        joint.add(torch.full((1, 7), 0.1, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64))
    assert joint.var_x.item() == 0
    assert joint.covariance.abs().max() < 1e-15


@pytest.mark.parametrize("mean", [0.0, 3.0, 1e6])
@pytest.mark.parametrize("axis", [1, -1])
def test_channel_moments_over_batches_are_numpys_over_everything(mean, axis):
    x = mean + np.random.default_rng(0).normal(size=(40, 3, 5, 4))
    found = ChannelMoments()
    for rows in np.split(np.arange(40), [1, 12, 13]):
        found.add(torch.from_numpy(x[rows]), axis)
    others = (0, 2, 3) if axis == 1 else (0, 1, 2)
    assert found.count == x.size // x.shape[axis]
    np.testing.assert_allclose(found.mean.numpy(), x.mean(others), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.var.numpy(), x.var(others), rtol=1e-8)
    np.testing.assert_allclose(found.std.numpy(), x.std(others), rtol=1e-8)


def test_one_batch_has_the_moments_that_pytorch_gives_it_to_the_last_bit():
    x = torch.randn(7, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = ChannelMoments()
    found.add(x, 1)
    var, mean = torch.var_mean(x, dim=(0, 2), correction=0)
    assert torch.equal(found.mean, mean)
    assert torch.allclose(found.var, var, rtol=1e-15, atol=0)
