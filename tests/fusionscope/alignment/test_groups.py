"""Alignment groups: they are the right ones, and moving them as permutations changes no function."""

from collections import Counter

import alignment_cases
import cases
import numpy as np
import pytest
import torch
from alignment_cases import ROUNDING, coverage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.regnet import BlockParams

from fusionscope.alignment.activations import neurons, record
from fusionscope.alignment.groups import (
    alignment_groups,
    smallest_tied,
)
from fusionscope.alignment.labels.records import CLASS_OUTPUT
from fusionscope.alignment.move import (
    check_same_groups,
    forget_blocks,
    make_map,
    move,
    rows_of,
    see_blocks,
)
from fusionscope.errors import InputError
from fusionscope.graph.trace import trace_network
from fusionscope.networks.build import build

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def first_and_last(model_type: str) -> tuple[str, str]:
    if model_type == "MLP":
        return "hidden.0", "classifier"
    return ("features.0", "classifier") if cases.is_vgg(model_type) else ("conv1", "linear")


def axes_of(members) -> set[tuple[str, int]]:
    return {(member.parameter, member.axis) for member in members}


def backwards(size: int) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64).flip(0)


# the study's networks


def groups_by_hand(model_type: str) -> dict[str, tuple[list, set, set]]:
    """Name of each group: weights that write it, other members, weights that read it."""
    norm, bias = cases.has_norm(model_type), cases.has_bias(model_type)
    if cases.is_vgg(model_type):
        convs = cases.VGG11_CONVS[norm]
        streams = {conv: ((conv, before),) for before, conv in zip((None, *convs), convs, strict=False)}
        norm_of = dict(zip(convs, cases.VGG11_NORMS, strict=True))
        last, classifier = convs[-1], "classifier"
    elif model_type == "MLP":
        layers = ("hidden.0", "hidden.2", "hidden.4")
        streams = {layer: ((layer, before),) for before, layer in zip((None, *layers), layers, strict=False)}
        last, classifier = layers[-1], "classifier"
    else:
        streams, norm_of = cases.RESNET18_STREAMS, cases.RESNET18_NORM_OF
        last, classifier = "layer4.0.conv2", "linear"
    expected = {}
    for name, writers in streams.items():
        others = set()
        for layer, _ in writers:
            if bias and model_type not in cases.RESNET_TYPES:  # whose convolutions never have one
                others.add((f"{layer}.bias", 0))
            if norm:
                others |= {(f"{norm_of[layer]}.{part}", 0) for part in NORM_PARTS}
        readers = {
            (f"{layer}.weight", 1) for other in streams.values() for layer, read in other if read == name
        }
        if name == last:
            readers.add((f"{classifier}.weight", 1))
        expected[name] = ([f"{layer}.weight" for layer, _ in writers], others, readers)
    return expected


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_the_groups_are_those_listed_by_hand(model_type):
    network = cases.network_of(model_type)
    groups, expected = alignment_groups(network).groups, groups_by_hand(model_type)
    assert [group.name for group in groups] == list(expected)
    weights = network.state_dict()
    for group in groups:
        writers, others, readers = expected[group.name]
        assert Counter(member.parameter for member in group.writers) == Counter(writers)
        assert axes_of(group.writers) == {(writer, 0) for writer in writers}
        assert axes_of(group.others) == others
        assert axes_of(group.readers) == readers
        for member in group.members:
            assert weights[member.parameter].shape[member.axis] == group.size
            assert torch.equal(member.positions, torch.arange(group.size)[:, None])
            assert member.reads == (member in group.readers)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_every_axis_of_channels_is_in_exactly_one_group(model_type):
    network = cases.network_of(model_type)
    first, last = first_and_last(model_type)
    expected = set()
    for name, tensor in network.state_dict().items():
        channel_axes = range(min(tensor.dim(), 2))  # what follows are kernel axes; counters have none
        expected |= {(name, axis) for axis in channel_axes}
    expected -= {(f"{first}.weight", 1), (f"{last}.weight", 0), (f"{last}.bias", 0)}
    found = Counter(
        (member.parameter, member.axis)
        for group in alignment_groups(network).groups
        for member in group.members
    )
    assert set(found) == expected
    assert set(found.values()) == {1}


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_only_classes_stay(model_type):
    alignment = alignment_groups(cases.network_of(model_type))
    assert [(part.layer, part.neurons, part.reason) for part in alignment.frozen] == [
        (first_and_last(model_type)[1], cases.NUM_CLASSES, CLASS_OUTPUT)
    ]
    assert alignment.share_that_moves == 1


def test_a_residual_stream_is_one_group_with_all_its_writers():
    groups = {group.name: group for group in alignment_groups(cases.network_of("RESNET18")).groups}
    assert [member.parameter for member in groups["layer3.0.conv2"].writers] == [
        "layer3.0.conv2.weight",
        "layer3.0.shortcut.0.weight",
        "layer3.1.conv2.weight",
    ]
    assert len(groups) == 12


def test_sites_lie_before_and_after_the_activation_function():
    groups = alignment_groups(cases.network_of("VGG11")).groups
    assert [site.node for site in groups[0].written] == ["features_1"]  # the batch norm
    assert [site.node for site in groups[0].read] == ["features_3"]  # the pooling, after the ReLU
    groups = alignment_groups(cases.network_of("VGG11_NOBN")).groups
    assert [site.node for site in groups[0].written] == ["features_0"]


@pytest.mark.parametrize("kind", cases.PARENTS)
@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_a_permuted_network_computes_the_same_function(model_type, kind):
    network, weights = cases.network_of(model_type), cases.PARENTS[kind](model_type, 1)
    alignment, random = alignment_groups(network), torch.Generator().manual_seed(3)
    before, permuted = cases.outputs(network, weights), weights
    identities = [make_map(torch.eye(group.size, dtype=torch.float64)) for group in alignment.groups]
    for number, group in enumerate(alignment.groups):
        maps = list(identities)
        maps[number] = make_map(coverage.permutation_matrix(group.size, random))
        permuted = move(permuted, alignment, alignment, maps, weights)
        # after each group, so that no two mistakes cancel
        assert cases.relative_difference(cases.outputs(network, permuted), before) < ROUNDING
    first, last = first_and_last(model_type)
    assert not torch.equal(permuted[f"{first}.weight"], weights[f"{first}.weight"])
    assert not torch.equal(permuted[f"{last}.weight"], weights[f"{last}.weight"])


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_leaving_out_any_member_of_a_group_changes_the_function(model_type):
    """The test above could not fail if the function did not depend on every member: it does."""
    network, weights = cases.network_of(model_type), cases.random_weights(model_type, 1)
    alignment, before = alignment_groups(network), cases.outputs(network, weights)
    for number, group in enumerate(alignment.groups):
        if number % 3:
            continue
        maps = [make_map(torch.eye(g.size, dtype=torch.float64)) for g in alignment.groups]
        maps[number] = make_map(backwards(group.size))
        moved = move(weights, alignment, alignment, maps, weights)
        for member in group.members:
            kept = moved | {member.parameter: weights[member.parameter]}
            assert cases.relative_difference(cases.outputs(network, kept), before) > 1e-6, member


# other architectures


class ConcatenationAndSkip(nn.Module):
    """Joined branches of different depth, one of which is a residual stream."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.side = nn.BatchNorm2d(8), nn.Conv2d(3, 4, 1)
        self.three, self.head = nn.Conv2d(12, 6, 3, padding=1), nn.Linear(6 * 16, 10)

    def forward(self, x):
        y = self.one(x).relu()
        y = y + self.norm(self.two(y)).relu()
        y = self.three(torch.cat([self.side(x), y], 1)).relu()
        return self.head(nn.functional.adaptive_avg_pool2d(y, 4).flatten(1))


SMALL = {
    "resnet50": lambda: models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], 10),
    "resnext50": lambda: models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], 10, False, 32, 4),
    "densenet": lambda: models.DenseNet(8, (2, 3, 2), 16, num_classes=10),
    "mobilenet_v2": lambda: models.MobileNetV2(10, width_mult=0.25),
    "mobilenet_v3": lambda: models.mobilenet_v3_small(num_classes=10, width_mult=0.5),
    "efficientnet_b0": lambda: models.efficientnet_b0(num_classes=10),
    "regnet_y": lambda: models.RegNet(BlockParams.from_init_params(6, 24, 30, 2.5, 8, se_ratio=0.25), 10),
    "shufflenet": lambda: models.ShuffleNetV2([2, 2, 2], [12, 24, 48, 96, 64], 10),
    "convnext": lambda: models.ConvNeXt(
        [CNBlockConfig(12, 24, 1), CNBlockConfig(24, None, 2)], num_classes=10
    ),
    "squeezenet": lambda: models.squeezenet1_1(num_classes=10),
    "googlenet": lambda: models.GoogLeNet(10, aux_logits=False, init_weights=False),
    "user": ConcatenationAndSkip,
}
SHARE_THAT_MOVES = {"shufflenet": 0.95}  # of the others: all
PIXELS = {"user": 16}


def small(name: str) -> nn.Module:
    pixels = PIXELS.get(name, 64)
    return alignment_cases.prepared(SMALL[name], shape=(3, pixels, pixels))


@pytest.mark.parametrize("name", SMALL)
def test_other_architectures_move_without_changing_their_function(name):
    network = small(name)
    alignment = alignment_groups(network)
    assert alignment_cases.change_when_permuted(network, alignment) < ROUNDING
    assert alignment.share_that_moves >= SHARE_THAT_MOVES.get(name, 1)


@pytest.mark.parametrize("name", ["densenet", "efficientnet_b0", "shufflenet", "convnext", "user"])
def test_what_is_seen_at_every_site_moves_as_its_group(name):
    network = small(name)
    alignment, random = alignment_groups(network), torch.Generator().manual_seed(4)
    images = torch.randn(2, *network.input_shape, dtype=torch.float64, generator=random)
    sites = [site for group in alignment.groups for site in group.written + group.read]
    nodes = {site.node for site in sites}
    before = record(trace_network(network), images, nodes)
    orders = [torch.randperm(group.size, generator=random) for group in alignment.groups]
    maps = [make_map(torch.eye(len(order), dtype=torch.float64)[:, order]) for order in orders]
    weights = network.state_dict()
    coverage.set_weights(network, move(weights, alignment, alignment, maps, weights))
    after = record(trace_network(network), images, nodes)
    for group, order in zip(alignment.groups, orders, strict=True):
        for site in group.written + group.read:
            expected = neurons(before[site.node], site)[order]
            assert (neurons(after[site.node], site) - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize("name", ["densenet", "mobilenet_v3", "regnet_y", "user"])
def test_every_member_is_necessary_in_other_architectures(name):
    network = small(name)
    alignment, weights = alignment_groups(network), network.state_dict()
    images = torch.randn(2, *network.input_shape, dtype=torch.float64)
    maps = [make_map(backwards(group.size)) for group in alignment.groups]
    moved = move(weights, alignment, alignment, maps, weights)
    before = coverage.answers(network, images)
    weights = {parameter: tensor.clone() for parameter, tensor in weights.items()}
    for group in alignment.groups[:: max(1, len(alignment.groups) // 5)]:
        for member in group.members:
            coverage.set_weights(network, moved | {member.parameter: weights[member.parameter]})
            assert (coverage.answers(network, images) - before).abs().max() > 1e-9 * before.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "alexnet", "convnext_tiny", "densenet121", "efficientnet_v2_s", "googlenet", "inception_v3",
        "mnasnet0_5", "mobilenet_v3_large", "regnet_x_1_6gf", "resnet50", "resnext50_32x4d",
        "shufflenet_v2_x1_0", "swin_t", "vgg11_bn", "vit_b_32",
    ],
)  # fmt: skip
def test_torchvisions_architectures_pass(name):
    result = coverage.cover(name)
    assert result.passes
    # attention and the streams that it reads and writes stay; the layers between move
    assert result.share > (0.4 if name.startswith(coverage.TRANSFORMERS) else 0.9)


def test_a_network_that_cannot_be_traced_is_refused():
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 10)

        def forward(self, x):
            return self.layer(x.mean((2, 3))) if x.sum() > 0 else None

    with pytest.raises(InputError, match="method 'average'"):
        alignment_groups(Decides())


# moving


def test_a_permutation_is_recognised_and_a_soft_map_is_not():
    order = torch.tensor([2, 0, 1])
    matrix = torch.eye(3, dtype=torch.float64)[:, order]  # column j: the one at order[j]
    assert torch.equal(make_map(matrix / 3).permutation, order)
    assert make_map(matrix + 0.01).permutation is None
    assert make_map(torch.ones(2, 4)).permutation is None


def test_maps_are_normalised_as_they_say():
    coupling = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns, mass = make_map(coupling), make_map(coupling, "row")
    for map_ in (columns, mass):
        assert (map_.writer_map.sum(0) - 1).abs().max() < 1e-12
    assert torch.equal(columns.reader_map, columns.writer_map)
    assert (mass.reader_map.sum(1) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("reader_normalisation", ["column", "row"])
def test_soft_maps_move_as_computed_by_hand(reader_normalisation):
    """Rectangular, so that no transpose goes unnoticed: out[j] = sum_i T[i, j] W[i], over sums of T."""
    narrow, wide = (cases.network_of("VGG11", width) for width in (cases.TINY, 2 * cases.TINY))
    source, target = alignment_groups(narrow), alignment_groups(wide)
    random = np.random.default_rng(0)
    couplings = [
        random.uniform(size=(a.size, b.size)) for a, b in zip(source.groups, target.groups, strict=True)
    ]
    maps = [make_map(torch.from_numpy(coupling), reader_normalisation) for coupling in couplings]
    weights = cases.random_weights("VGG11", 1)
    moved = move(weights, source, target, maps, wide.state_dict())
    out = [coupling / coupling.sum(0, keepdims=True) for coupling in couplings]
    into = [c / c.sum(1, keepdims=True) for c in couplings] if reader_normalisation == "row" else out
    convs, norms = cases.VGG11_CONVS[True], cases.VGG11_NORMS
    for number, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
        expected = np.einsum("oihw,op->pihw", weights[f"{conv}.weight"].numpy(), out[number])
        if number:
            expected = np.einsum("pihw,ij->pjhw", expected, into[number - 1])
        assert np.abs(moved[f"{conv}.weight"].numpy() - expected).max() < 1e-12
        for name in (f"{conv}.bias", *(f"{norm}.{part}" for part in NORM_PARTS)):
            assert np.abs(moved[name].numpy() - weights[name].numpy() @ out[number]).max() < 1e-12
    assert (
        np.abs(moved["classifier.weight"].numpy() - weights["classifier.weight"].numpy() @ into[-1]).max()
        < 1e-12
    )
    assert torch.equal(moved["classifier.bias"], weights["classifier.bias"])


@pytest.mark.parametrize("model_type", ["VGG11", "VGG11_NOBIAS_NOBN", "RESNET18"])
def test_copies_that_share_the_outgoing_weights_keep_the_function(model_type):
    """From one width to twice that: each neuron goes to two or three, unevenly."""
    narrow, wide = (cases.network_of(model_type, width) for width in (cases.TINY, 2 * cases.TINY))
    source, target = alignment_groups(narrow), alignment_groups(wide)
    check_same_groups(source, target)
    random = torch.Generator().manual_seed(0)
    maps = []
    for a, b in zip(source.groups, target.groups, strict=True):
        copied = torch.cat(
            [torch.arange(a.size), torch.randint(a.size, (b.size - a.size,), generator=random)]
        )
        maps.append(make_map(torch.eye(a.size, dtype=torch.float64)[:, copied] / b.size, "row"))
    weights = cases.random_weights(model_type, 1)
    moved = move(weights, source, target, maps, wide.state_dict())
    assert {name: tensor.shape for name, tensor in moved.items()} == {
        name: tensor.shape for name, tensor in wide.state_dict().items()
    }
    difference = cases.relative_difference(cases.outputs(wide, moved), cases.outputs(narrow, weights))
    assert difference < ROUNDING


def test_moving_keeps_the_type_of_each_tensor_and_the_original():
    network = cases.network_of("VGG11").float()
    alignment, weights = alignment_groups(network), network.state_dict()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    maps = [make_map(backwards(group.size)) for group in alignment.groups]
    moved = move(weights, alignment, alignment, maps, weights)
    assert {name: tensor.dtype for name, tensor in moved.items()} == {n: t.dtype for n, t in before.items()}
    assert all(torch.equal(weights[name], before[name]) for name in before)


def test_all_inputs_of_a_grouped_convolution_lie_on_one_axis():
    """Column b * 3 + i holds input i of block b, for every output of that block."""
    weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    seen = see_blocks(weight, 2)
    assert seen.shape == (4, 6, 5, 5)
    for block, output, input_ in np.ndindex(2, 4, 3):
        assert torch.equal(seen[output, block * 3 + input_], weight[block * 4 + output, input_])
    assert torch.equal(forget_blocks(seen, 2), weight)


def test_rows_hold_all_that_belongs_to_a_neuron():
    """After flattening images of 4 x 4 pixels, sixteen columns of the classifier belong to one channel."""
    network = small("user")
    group = alignment_groups(network).groups[-1]
    reader = next(member for member in group.readers if member.parameter == "head.weight")
    expected = network.head.weight.detach().view(10, 6, 16).permute(1, 2, 0).flatten(1)
    assert torch.equal(rows_of(network.head.weight.detach(), reader), expected)


def test_widths_whose_groups_do_not_correspond_are_refused():
    with pytest.raises(InputError, match="choose other widths"):
        check_same_groups(
            alignment_groups(build(10, model_type="VGG11", width=0.25)),
            alignment_groups(build(10, model_type="VGG11_NOBN", width=0.25)),
        )


class FrozenMiddle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.one, self.head = nn.Conv2d(3, channels, 3), nn.Linear(channels, 10)
        self.two = nn.Conv2d(channels, channels, 3)
        self.input_shape = (3, 8, 8)

    def forward(self, x):
        return self.head(self.two(self.one(x).softmax(1)).mean((2, 3)))


def test_different_widths_of_what_cannot_move_are_refused():
    with pytest.raises(InputError, match="channels of one cannot move"):
        check_same_groups(alignment_groups(FrozenMiddle(4)), alignment_groups(FrozenMiddle(8)))


class Counts(nn.Module):
    """Its graph is of the first call; the next answers otherwise, by a constant that no graph sees."""

    def __init__(self, step: float, shape_of: str):
        super().__init__()
        self.head, self.step, self.shape_of, self.calls = nn.Linear(3, 10), step, shape_of, 0
        self.input_shape = (3, 8, 8)

    def forward(self, x):
        self.calls += 1
        answer = self.head(x.mean((2, 3))) * (1 + self.step * self.calls)
        if self.shape_of == "two tensors":
            return answer, {"again": answer}
        return answer.repeat(1, self.calls) if self.shape_of == "as many as calls" else answer


@pytest.mark.parametrize("shape_of", ["one tensor", "two tensors"])
def test_a_graph_that_computes_another_function_is_refused(shape_of):
    alignment_groups(Counts(1e-5, shape_of))  # rounding, in whatever precision
    with pytest.raises(InputError, match="does not see all that this network does"):
        alignment_groups(Counts(1e-1, shape_of))


def test_a_graph_whose_output_has_another_shape_is_refused():
    with pytest.raises(InputError, match="does not see all that this network does"):
        alignment_groups(Counts(0.0, "as many as calls"))


@pytest.mark.parametrize("count", [1, 2, 50, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_what_is_tied_has_the_smallest_number_among_it(count, share):
    random = np.random.default_rng(count)
    chain = random.permutation(count)
    cut = random.random(count - 1) < share / 3
    ties = np.stack([chain[:-1][~cut], chain[1:][~cut]])  # long chains, which take the most rounds
    pairs = random.integers(0, count, (2, round(share * count)))
    for edges in (np.empty((2, 0), np.int64), pairs, ties, np.concatenate([pairs, ties], axis=1)):
        graph = coo_matrix((np.ones(edges.shape[1]), edges), shape=(count, count))
        _, component = connected_components(graph, directed=False)
        expected = [np.flatnonzero(component == component[number])[0] for number in range(count)]
        assert smallest_tied(edges, count).tolist() == expected
