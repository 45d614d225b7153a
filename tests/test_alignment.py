"""Alignment groups: they are the right ones, and moving them as permutations changes no function."""

from collections import Counter

import cases
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fusionscope.alignment import Writer, alignment_groups, move, move_axis
from fusionscope.errors import InputError

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def permutation_matrix(size: int, random: torch.Generator) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)[torch.randperm(size, generator=random)]


def first_and_last(model_type: str) -> tuple[str, str]:
    return ("features.0", "classifier") if cases.is_vgg(model_type) else ("conv1", "linear")


def groups_by_hand(model_type: str) -> dict[str, tuple[list, set]]:
    """Name of each group: its writers as (weight, name of the group read), and its members."""
    norm, bias = cases.has_norm(model_type), cases.has_bias(model_type)
    if cases.is_vgg(model_type):
        convs = cases.VGG11_CONVS[norm]
        streams = {conv: ((conv, before),) for before, conv in zip((None, *convs), convs, strict=False)}
        norm_of = dict(zip(convs, cases.VGG11_NORMS, strict=True))
        last, classifier = convs[-1], "classifier"
    else:
        streams, norm_of = cases.RESNET18_STREAMS, cases.RESNET18_NORM_OF
        last, classifier = "layer4.0.conv2", "linear"
    expected = {}
    for name, writers in streams.items():
        members = set()
        for layer, _ in writers:
            members.add((f"{layer}.weight", 0))
            if bias and cases.is_vgg(model_type):  # ResNet18's convolutions never have one
                members.add((f"{layer}.bias", 0))
            if norm:
                members |= {(f"{norm_of[layer]}.{part}", 0) for part in NORM_PARTS}
        members |= {
            (f"{layer}.weight", 1) for others in streams.values() for layer, read in others if read == name
        }
        if name == last:
            members.add((f"{classifier}.weight", 1))
        expected[name] = ([(f"{layer}.weight", read) for layer, read in writers], members)
    return expected


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_the_groups_are_those_listed_by_hand(model_type):
    groups = alignment_groups(cases.network_of(model_type))
    expected = groups_by_hand(model_type)
    assert [group.name for group in groups] == list(expected)
    weights = cases.network_of(model_type).state_dict()
    for group in groups:
        writers, members = expected[group.name]
        assert [
            (writer.weight, None if writer.reads is None else groups[writer.reads].name)
            for writer in group.writers
        ] == writers
        assert set(group.members) == members
        assert {weights[name].shape[axis] for name, axis in group.members} == {group.size}


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_every_axis_of_channels_is_in_exactly_one_group(model_type):
    network = cases.network_of(model_type)
    first, last = first_and_last(model_type)
    expected = set()
    for name, tensor in network.state_dict().items():
        channel_axes = range(min(tensor.dim(), 2))  # what follows are kernel axes; counters have none
        expected |= {(name, axis) for axis in channel_axes}
    expected -= {(f"{first}.weight", 1), (f"{last}.weight", 0), (f"{last}.bias", 0)}
    found = Counter(member for group in alignment_groups(network) for member in group.members)
    assert set(found) == expected
    assert set(found.values()) == {1}


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_classes_and_input_channels_are_in_no_group(model_type):
    first, last = first_and_last(model_type)
    members = {member for group in alignment_groups(cases.network_of(model_type)) for member in group.members}
    assert members.isdisjoint({(f"{last}.weight", 0), (f"{last}.bias", 0), (f"{first}.weight", 1)})


def test_a_residual_stream_is_one_group_with_all_its_writers():
    groups = {group.name: group for group in alignment_groups(cases.network_of("RESNET18"))}
    index = list(groups).index
    assert groups["layer3.0.conv2"].writers == (
        Writer("layer3.0.conv2.weight", index("layer3.0.conv1")),
        Writer("layer3.0.shortcut.0.weight", index("layer2.0.conv2")),
        Writer("layer3.1.conv2.weight", index("layer3.1.conv1")),
    )
    assert groups["conv1"].writers[0] == Writer("conv1.weight", None)
    assert len(groups) == 12


@pytest.mark.parametrize("kind", cases.PARENTS)
@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_a_permuted_network_computes_the_same_function(model_type, kind):
    network, weights = cases.network_of(model_type), cases.PARENTS[kind](model_type, 1)
    random = torch.Generator().manual_seed(3)
    before, permuted = cases.outputs(network, weights), weights
    for group in alignment_groups(network):
        permuted = move(permuted, group, permutation_matrix(group.size, random))
        # after each group, so that no two mistakes cancel
        assert cases.relative_difference(cases.outputs(network, permuted), before) < 1e-10
    first, last = first_and_last(model_type)
    assert not torch.equal(permuted[f"{first}.weight"], weights[f"{first}.weight"])
    assert not torch.equal(permuted[f"{last}.weight"], weights[f"{last}.weight"])


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_leaving_out_any_member_of_a_group_changes_the_function(model_type):
    """The test above could not fail if the function did not depend on every member: it does."""
    network, weights = cases.network_of(model_type), cases.random_weights(model_type, 1)
    before = cases.outputs(network, weights)
    for group in alignment_groups(network)[::3]:
        backwards = torch.eye(group.size, dtype=torch.float64).flip(0)
        moved = move(weights, group, backwards)
        for name, _ in group.members:
            kept = moved | {name: weights[name]}
            assert cases.relative_difference(cases.outputs(network, kept), before) > 1e-6, name


def test_moving_an_axis_is_a_contraction_with_the_columns_of_the_coupling():
    """Rectangular, so that no transpose goes unnoticed: out[j] = sum_i That[i, j] W[i]."""
    random = np.random.default_rng(0)
    weight, coupling = random.normal(size=(4, 5, 2, 3)), random.normal(size=(5, 7))
    expected = np.zeros((4, 7, 2, 3))
    for o, j, a, b in np.ndindex(expected.shape):
        expected[o, j, a, b] = sum(coupling[i, j] * weight[o, i, a, b] for i in range(5))
    found = move_axis(torch.from_numpy(weight), 1, torch.from_numpy(coupling)).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-12


def test_moving_keeps_the_type_of_each_tensor_and_the_original():
    network = cases.network_of("VGG11").float()
    weights, group = network.state_dict(), alignment_groups(network)[0]
    before = {name: tensor.clone() for name, tensor in weights.items()}
    moved = move(weights, group, torch.eye(group.size, dtype=torch.float64).flip(0))
    assert {name: tensor.dtype for name, tensor in moved.items()} == {n: t.dtype for n, t in before.items()}
    assert all(torch.equal(weights[name], before[name]) for name in before)
    untouched = set(weights) - {name for name, _ in group.members}
    assert all(torch.equal(moved[name], before[name]) for name in untouched)


class UserNetwork(nn.Module):
    """Two convolutions, something in between, and a linear layer over the channels."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 32, 3, padding=1)
        self.between = nn.Identity()
        self.two = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 10)

    def middle(self, x):
        return x

    def forward(self, x):
        x = self.two(self.middle(F.relu(self.one(x))))
        return self.head(torch.flatten(F.avg_pool2d(x, self.pool), 1))

    pool = 32


class ChannelShuffle(UserNetwork):
    def middle(self, x):
        return F.channel_shuffle(x, 2)


class Unflatten(UserNetwork):
    def __init__(self):
        super().__init__()
        self.between = nn.Unflatten(1, (2, 16))

    def middle(self, x):
        return torch.flatten(self.between(x), 1, 2)


class Concatenation(UserNetwork):
    def middle(self, x):
        return torch.cat([x[:, 16:], x[:, :16]], 1)


class Grouped(UserNetwork):
    def __init__(self):
        super().__init__()
        self.between = nn.Conv2d(32, 32, 3, padding=1, groups=4)

    def middle(self, x):
        return self.between(x)


class GroupNormalised(UserNetwork):
    def __init__(self):
        super().__init__()
        self.between = nn.GroupNorm(4, 32)

    def middle(self, x):
        return self.between(x)


class Softmax(UserNetwork):
    def middle(self, x):
        return x.softmax(1)


class OwnScale(UserNetwork):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(32, 1, 1))

    def middle(self, x):
        return x * self.scale


class BroadcastAddition(UserNetwork):
    def middle(self, x):
        return x + F.avg_pool2d(x, 32)


class FlattenedPixels(UserNetwork):
    """Flattens 2x2 pixels of each channel: four columns of the head belong to one channel."""

    pool = 16

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(128, 10)


class LinearOverColumns(UserNetwork):
    """A linear layer over the 32 columns of the picture, of which there are as many as channels."""

    def __init__(self):
        super().__init__()
        self.between = nn.Linear(32, 32)

    def middle(self, x):
        return self.between(x)


class UsedTwice(UserNetwork):
    """One convolution at two places: its outputs would have to move as its inputs do."""

    def middle(self, x):
        return F.relu(self.two(x))


@pytest.mark.parametrize(
    "network",
    [
        ChannelShuffle,
        Unflatten,
        Concatenation,
        Grouped,
        GroupNormalised,
        Softmax,
        OwnScale,
        BroadcastAddition,
        FlattenedPixels,
        LinearOverColumns,
        UsedTwice,
    ],
)
def test_a_network_whose_channels_mix_in_unknown_ways_is_refused(network):
    cases.outputs(network().double(), network().double().state_dict())  # it is a working network
    with pytest.raises(InputError, match="method 'average'"):
        alignment_groups(network().eval())


class OwnResidual(UserNetwork):
    """A user's network the groups of which can be told: an addition, functional pooling, a dropout."""

    pool = 16

    def __init__(self):
        super().__init__()
        self.between = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.Dropout(0.5))

    def middle(self, x):
        return F.max_pool2d(torch.add(self.between(x), x), 2)


def test_a_users_network_of_known_operations_gets_its_groups():
    groups = alignment_groups(OwnResidual().double().eval())
    assert [group.name for group in groups] == ["one", "two"]
    assert [writer.weight for writer in groups[0].writers] == ["one.weight", "between.0.weight"]
    assert ("between.1.running_var", 0) in groups[0].members
    assert groups[1].members == (("two.weight", 0), ("two.bias", 0), ("head.weight", 1))


class AddedToInput(nn.Module):
    """A stream that begins at the network's input cannot move."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 3, 3, padding=1)
        self.head = nn.Linear(3, 10)

    def forward(self, x):
        x = x + self.two(F.relu(self.one(x)))
        return self.head(torch.flatten(F.avg_pool2d(x, 32), 1))


def test_what_is_added_to_the_networks_input_does_not_move():
    groups = alignment_groups(AddedToInput())
    assert [group.name for group in groups] == ["one"]
    assert groups[0].writers == (Writer("one.weight", None),)
    assert set(groups[0].members) == {("one.weight", 0), ("one.bias", 0), ("two.weight", 1)}
