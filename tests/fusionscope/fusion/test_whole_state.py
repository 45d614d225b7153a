"""Networks with state that their forward pass does not read, or changes: fused whole, left as they were."""

import odd_networks
import pytest
import torch
from torch import nn

from fusionscope.alignment.groups import alignment_groups
from fusionscope.errors import InputError
from fusionscope.fusion.fuse import fuse
from fusionscope.networks.build import check_fits
from fusionscope.state import copy_of
from fusionscope.weights import load_several, save_several, set_weights, weights_of

METHODS = [
    {"method": "average"},
    {"method": "optimal_transport"},
    {"method": "optimal_transport", "align_by": "activations"},
    {"method": "weight_matching"},
]


def parents(make):
    """Two networks in float64 with random weights."""
    networks = [odd_networks.seeded(make, seed).double() for seed in (1, 2)]
    return networks, [weights_of(network) for network in networks]


def answers(network, weights):
    x = odd_networks.images().normalised().double()
    network = copy_of(network)
    set_weights(network, weights)
    with torch.no_grad():
        return network(x)


@pytest.mark.parametrize("make", odd_networks.STATES)
@pytest.mark.parametrize("options", METHODS, ids=lambda options: "_".join(options.values()))
def test_a_network_with_more_state_than_it_reads_is_fused_whole(make, options, tmp_path):
    networks, weights = parents(make)
    before = [{name: tensor.clone() for name, tensor in part.items()} for part in weights]
    attributes = set(vars(networks[0]))
    fusion = fuse(networks, weights, images=odd_networks.images(), **options)
    for network, kept in zip(networks, before, strict=True):
        found = weights_of(network)
        assert found.keys() == kept.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in kept.items())
    assert set(vars(networks[0])) == attributes
    assert fusion.child.keys() == before[0].keys()
    assert torch.isfinite(answers(fusion.network, fusion.child)).all()
    truth = answers(networks[0], before[0])
    torch.testing.assert_close(answers(networks[0], fusion.aligned[0]), truth, rtol=1e-10, atol=1e-10)
    path = tmp_path / "aligned.pth"
    save_several({"parent_1": fusion.aligned[0]}, path)
    loaded = load_several(path, networks[0])["parent_1"]
    assert all(torch.equal(loaded[name], tensor) for name, tensor in fusion.aligned[0].items())


def test_what_forward_never_reads_is_averaged_where_it_stands():
    networks, weights = parents(odd_networks.UnusedHead)
    child = fuse(networks, weights, images=None, method="optimal_transport").child
    for name in ("auxiliary.weight", "auxiliary.bias", "spare"):
        assert torch.equal(child[name], (weights[0][name] + weights[1][name]) / 2)


def test_a_network_in_training_mode_is_aligned_as_in_eval_mode_and_stays_in_training_mode():
    network = odd_networks.Usual()
    network.one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    expected = alignment_groups(network)
    network.train()
    found = alignment_groups(network)
    assert [group.name for group in found.groups] == [group.name for group in expected.groups]
    assert network.training
    assert network.one[1].num_batches_tracked == 0


def test_a_network_whose_layers_find_their_size_by_themselves_is_fused():
    def make():
        network = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
        network.input_shape = (3, odd_networks.SIZE, odd_networks.SIZE)
        check_fits(network, odd_networks.CLASSES, "lazy")
        return network

    networks, weights = parents(make)
    fusion = fuse(networks, weights, method="optimal_transport")
    truth = answers(networks[0], weights[0])
    torch.testing.assert_close(answers(networks[0], fusion.aligned[0]), truth, rtol=1e-10, atol=1e-10)


# Masks and other constants


class Masked(odd_networks.Usual):
    persistent = True

    def more(self):
        mask = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 4, 1, 1)
        self.register_buffer("mask", mask, persistent=self.persistent)

    def middle(self, x):
        return x * self.mask


class MaskedButNotSaved(Masked):
    persistent = False


@pytest.mark.parametrize("make", [Masked, MaskedButNotSaved])
@pytest.mark.parametrize(
    "options",
    [*METHODS, {"method": "optimal_transport", "solver": "sinkhorn", "reg": 0.1}],
    ids=lambda options: "_".join(map(str, options.values())),
)
def test_the_mask_of_a_child_is_the_mask_of_its_parents(make, options):
    for seed in range(4):
        networks = [odd_networks.seeded(make, 2 * seed + k).double() for k in (1, 2)]
        weights = [weights_of(network) for network in networks]
        fusion = fuse(networks, weights, images=odd_networks.images(), **options)
        assert torch.equal(fusion.network.mask, networks[0].mask)
        if "reg" not in options:
            truth = answers(networks[0], weights[0])
            torch.testing.assert_close(answers(networks[0], fusion.aligned[0]), truth, rtol=1e-10, atol=1e-10)


def test_neurons_change_places_with_those_of_the_same_value_alone():
    network = Masked()
    groups = alignment_groups(network, {"mask": network.mask}).groups
    places = [set(group.writers[0].positions.flatten().tolist()) for group in groups]
    assert places[:2] == [{0, 2}, {1, 3}]
    assert len(alignment_groups(network).groups[0].writers[0].positions) == 4


def test_a_buffer_that_parents_do_not_have_alike_moves_with_its_neurons():
    networks, weights = parents(Masked)
    order = torch.tensor([2, 3, 0, 1])[[1, 0, 3, 2]]
    permuted = dict(weights[0])
    for name, axis in (("one.weight", 0), ("one.bias", 0), ("mask", 1), ("two.weight", 1)):
        permuted[name] = weights[0][name].index_select(axis, order)
    fusion = fuse(networks, [permuted, weights[0]], method="optimal_transport")
    assert torch.equal(fusion.child["mask"], weights[0]["mask"])
    torch.testing.assert_close(
        answers(networks[0], fusion.child), answers(networks[0], weights[0]), rtol=1e-10, atol=1e-10
    )


# What cannot be traced


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (odd_networks.Branches, r"odd_networks\.py:\d+: .*control flow"),
        (odd_networks.ThroughNumPy, r"odd_networks\.py:\d+: .*a tensor that is being traced"),
        (odd_networks.data_parallel, "wrapped in DataParallel"),
        (odd_networks.torch_script, "compiled by TorchScript"),
    ],
)
def test_what_cannot_be_traced_says_where_and_is_averaged(make, words):
    networks = [odd_networks.seeded(make, seed) for seed in (1, 2)]
    weights = [weights_of(network) for network in networks]
    with pytest.raises(InputError, match=words) as caught:
        fuse(networks, weights, method="optimal_transport")
    assert "Proxy" not in str(caught.value)
    child = fuse(networks, weights, method="average").child
    for name, tensor in child.items():
        assert torch.equal(tensor, (weights[0][name] + weights[1][name]) / 2)


def test_a_line_of_the_network_is_named_by_its_number():
    with open(odd_networks.__file__) as file:
        line = next(n for n, text in enumerate(file, start=1) if "if x.sum() > 0" in text)
    with pytest.raises(InputError, match=rf"odd_networks\.py:{line}:"):
        alignment_groups(odd_networks.Branches())
