"""Alignment by activations: costs and masses computed another way, on all images at once."""

import networks_for_fusion as nets
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn import functional as F

from fusionscope.alignment.activations import record, traced_with
from fusionscope.fusion.by_activations import ACTIVATION_COSTS, SHARE_AT_ONCE
from fusionscope.fusion.pair import Pair
from fusionscope.fusion.steps import match_neurons
from fusionscope.images import FUSED_AT_ONCE, Images
from fusionscope.moments import JointMoments


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=4)
        self.norm = nn.BatchNorm2d(5)
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        return self.out(F.relu(self.norm(self.conv(x))).mean((2, 3)))


def collected(weights, when: str, images: Images) -> np.ndarray:
    """(neurons, images x pixels) of all images at once, by hand."""
    x = F.conv2d(images.normalised().double(), weights["conv.weight"], weights["conv.bias"], stride=4)
    norm = [weights[f"norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    x = F.batch_norm(x, *norm)
    x = x if when == "pre" else F.relu(x).mean((2, 3), keepdim=True)
    return x.movedim(1, 0).flatten(1).numpy()


def small_pair() -> Pair:
    network = Small().double().eval()
    a, b = nets.drawn(network, 1), nets.drawn(network, 2)
    for weights in (a, b):
        weights["norm.running_var"] = weights["norm.running_var"].abs() + 0.5
        weights["norm.num_batches_tracked"] = torch.tensor(3)
    return Pair(network, network, a, b)


@pytest.mark.parametrize("when", ["pre", "post"])
@pytest.mark.parametrize("metric", ["correlation", "euclidean"])
def test_activation_costs_are_numpys_on_all_images_at_once(when, metric):
    """Post-activations are what the linear layer reads: means over pixels. Several batches."""
    pair, images = small_pair(), nets.images(2 * FUSED_AT_ONCE // SHARE_AT_ONCE + 5)
    match = match_neurons(
        "optimal_transport",
        pair,
        images=images,
        seed=0,
        align_by="activations",
        solver="exact",
        activations=when,
        ground_metric=metric,
    )
    x, y = (collected(weights, when, images) for weights in (pair.a, pair.b))
    expected = {"correlation": 1 - np.corrcoef(x, y)[:5, 5:], "euclidean": cdist(x, y) / np.sqrt(x.shape[1])}
    assert match.costs[0].numpy() == pytest.approx(expected[metric], abs=1e-9)


def test_importance_by_activations_is_the_share_of_root_mean_squares():
    """With a cost of nothing anywhere masses do not move: each marginal of the coupling is a parent's."""
    pair = small_pair()
    options = {"align_by": "activations", "solver": "exact", "mass": "importance"}
    match = match_neurons("optimal_transport", pair, images=nets.images(), seed=0, **options)
    for weights, axis in ((pair.a, 1), (pair.b, 0)):
        x = collected(weights, "post", nets.images())
        strength = np.sqrt((x**2).mean(1))
        expected = strength / strength.sum()
        assert match.couplings[0].sum(axis).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_neuron_correlates_with_nothing(constant, dtype):
    joint = JointMoments()
    x, y = nets.rows(1, 2, 500), nets.rows(2, 3, 500)
    x[0] = torch.tensor(constant, dtype=dtype).double() * (
        1 + 1e-7 * nets.rows(3, 1, 500)[0] * (dtype == torch.float32)
    )
    for part in range(0, 500, 100):
        joint.add(x[:, part : part + 100], y[:, part : part + 100])
    cost = ACTIVATION_COSTS["correlation"](joint)
    assert cost[0].tolist() == [1.0] * 3
    assert cost[1].numpy() == pytest.approx(1 - np.corrcoef(x.numpy()[1:], y.numpy())[0, 1:], abs=1e-12)


def test_pre_and_post_look_at_what_is_written_and_at_what_is_read():
    pair = small_pair()
    (group,) = pair.groups_a.groups
    traced = traced_with(pair.network_a, pair.a)
    nodes = [group.written[0].node, group.read[0].node]
    kept = record(traced, nets.probe(), nodes)
    for node, when in zip(nodes, ("pre", "post"), strict=True):
        found = kept[node].movedim(1, 0).flatten(1).numpy()
        assert found == pytest.approx(collected(pair.a, when, nets.images()), abs=1e-12)
