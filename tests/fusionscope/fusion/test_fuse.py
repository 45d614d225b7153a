"""Fusion: the invariants for every method and network, and the study's algorithm written out by hand."""

from dataclasses import replace
from functools import cache

import cases
import networks_for_fusion as nets
import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import nn

from fusionscope.alignment.groups import alignment_groups
from fusionscope.errors import InputError
from fusionscope.fusion.finetune import TrainingData
from fusionscope.fusion.fuse import Fusion, fuse, shares_of
from fusionscope.fusion.repair import repaired_mean
from fusionscope.images import Images
from fusionscope.networks.build import build
from fusionscope.networks.initialise import initialise
from fusionscope.training.train import train
from fusionscope.weights import combine, set_weights

BY_WEIGHTS = {"method": "optimal_transport", "align_by": "weights", "solver": "exact"}
BY_ACTIVATIONS = {"method": "optimal_transport", "align_by": "activations", "solver": "exact"}
PERMUTING = {  # equal masses, exactly solved: every map is a permutation
    "weights": BY_WEIGHTS,
    "weights, cosine": BY_WEIGHTS | {"ground_metric": "cosine"},
    "weights, both sides": BY_WEIGHTS | {"sides": "both"},
    "activations": BY_ACTIVATIONS,
    "activations, pre": BY_ACTIVATIONS | {"activations": "pre"},
    "activations, euclidean": BY_ACTIVATIONS | {"ground_metric": "euclidean"},
    "activations, pre, euclidean": BY_ACTIVATIONS | {"activations": "pre", "ground_metric": "euclidean"},
    "weight matching": {"method": "weight_matching"},
}
SOFT = {
    "weights, importance": BY_WEIGHTS | {"mass": "importance"},
    "weights, sinkhorn": BY_WEIGHTS | {"solver": "sinkhorn", "reg": 0.01},
    "weights, mass kept": BY_WEIGHTS | {"solver": "sinkhorn", "reg": 0.01, "soft_map": "mass"},
    "activations, importance": BY_ACTIVATIONS | {"mass": "importance"},
    "activations, sinkhorn": BY_ACTIVATIONS | {"solver": "sinkhorn", "reg": 0.005},
}
ALIGNING = PERMUTING | SOFT
NETWORKS = ("VGG11", "VGG11_NOBIAS_NOBN", "RESNET18", "RESNET18_NOBIAS_NOBN", "MLP", *nets.SMALL)


@cache
def fusion_of(name: str, method: str, kind: str) -> Fusion:
    """Of a network with an unrelated one, with a permuted copy of itself, or with itself."""
    a = nets.weights_of(name, 1)
    network = nets.network_of(name)
    other = {
        "unrelated": lambda: nets.weights_of(name, 2),
        "copy": lambda: copy_of(name),
        "itself": lambda: a,
    }
    options = quick(method) if kind == "unrelated" else ALIGNING[method]
    return fuse([network] * 2, [a, other[kind]()], images=nets.images(), **options)


def quick(method: str) -> dict:
    """The options of a method where nothing is to be recovered."""
    options = ALIGNING[method]
    return options | {"reg": 0.2} if "reg" in options else options


def copy_of(name: str):
    return nets.permuted(nets.network_of(name), nets.weights_of(name, 1), seed=4)[0]


def difference(name: str, weights, expected) -> float:
    network = nets.network_of(name)
    return cases.relative_difference(nets.answers(network, weights), nets.answers(network, expected))


every_network = pytest.mark.parametrize("name", NETWORKS)
every_aligning_method = pytest.mark.parametrize("method", ALIGNING)
every_permuting_method = pytest.mark.parametrize("method", PERMUTING)


# The invariants


@every_network
@every_permuting_method
def test_the_aligned_parent_computes_the_same_function(name, method):
    fusion = fusion_of(name, method, "unrelated")
    assert sum(record.moved for record in fusion.records) > 0  # something did move
    assert difference(name, fusion.aligned[0], nets.weights_of(name, 1)) < 1e-10


@pytest.mark.parametrize("spec", [cases.spec_of(name) for name in ("VGG11", "RESNET18_NOBN", "MLP")])
@every_permuting_method
@torch.no_grad()
def test_networks_of_one_channel_fused_with_a_permuted_copy_keep_their_function(spec, method):
    grey = replace(nets.images(), pixels=nets.images().pixels[:, :1], channels=1)
    network = build(10, **spec, channels=1).double()
    initialise(network, torch.Generator().manual_seed(3))
    a = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    b, _ = nets.permuted(network, a, seed=4)
    repair = spec["model_type"] == "MLP"  # which changes nothing where nothing is lost, up to rounding
    child = fuse([network] * 2, [a, b], images=grey, repair=repair, **PERMUTING[method]).child
    x = grey.normalised().double()
    found, expected = (torch.func.functional_call(network, weights, (x,)) for weights in (child, a))
    assert cases.relative_difference(found, expected) < 1e-9


@every_network
@every_permuting_method
def test_couplings_are_permutations(name, method):
    groups = alignment_groups(nets.network_of(name)).groups
    couplings, none = fusion_of(name, method, "unrelated").couplings
    assert none == ()  # the reference is not aligned
    for coupling, group in zip(couplings, groups, strict=True):
        scaled = coupling * group.size
        assert coupling.shape == (group.size, group.size)
        assert ((scaled - 1).abs().lt(1e-12) | scaled.eq(0)).all()
        assert scaled.gt(0.5).sum(0).eq(1).all()
        assert scaled.gt(0.5).sum(1).eq(1).all()


@every_network
@every_aligning_method
def test_fusing_with_a_permuted_copy_gives_the_function_back(name, method):
    fusion, a = fusion_of(name, method, "copy"), nets.weights_of(name, 1)
    assert difference(name, fusion.child, a) < 1e-9
    # averaging neurons that do not belong together is no way to get there
    naive = fuse([nets.network_of(name)] * 2, [a, copy_of(name)], method="average").child
    assert difference(name, naive, a) > 1e-3


@every_network
@every_permuting_method
def test_classes_and_network_inputs_stay_in_place(name, method):
    """The last layer's rows and the first layer's columns keep their order; only the other sides move."""
    network, a = nets.network_of(name), nets.weights_of(name, 1)
    aligned = fusion_of(name, method, "unrelated").aligned[0]
    layers = [key for key, part in network.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    first, last = f"{layers[0]}.weight", f"{layers[-1]}.weight"
    assert torch.equal(aligned[last].sort(dim=1).values, a[last].sort(dim=1).values)
    inputs_first = (weights[first].movedim(1, 0).unsqueeze(-1).flatten(2) for weights in (aligned, a))
    assert torch.equal(*(part.sort(dim=1).values for part in inputs_first))
    assert not torch.equal(aligned[first], a[first])


@every_network
@every_aligning_method
def test_no_method_touches_the_biases_of_the_classes(name, method):
    network, a = nets.network_of(name), nets.weights_of(name, 1)
    last = [key for key, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    if f"{last}.bias" in a:
        assert torch.equal(fusion_of(name, method, "unrelated").aligned[0][f"{last}.bias"], a[f"{last}.bias"])
    else:
        assert "NOBIAS" in name


@every_network
def test_naive_fusion_is_symmetric_and_equal_parents_give_themselves_back(name):
    networks = [nets.network_of(name)] * 2
    a, b = nets.weights_of(name, 1), nets.weights_of(name, 2)
    one = fuse(networks, [a, b], method="average").child
    other = fuse(networks, [b, a], method="average").child
    alone = fuse(networks, [a, a], method="average").child
    assert list(one) == list(a)
    for key in a:
        assert torch.equal(one[key], other[key])
        assert torch.equal(alone[key], a[key])
        assert one[key].dtype == a[key].dtype
    assert not torch.equal(one[next(iter(a))], a[next(iter(a))])


@every_network
@every_permuting_method
def test_fusing_a_parent_with_itself_gives_it_back_to_the_last_bit(name, method):
    fusion, a = fusion_of(name, method, "itself"), nets.weights_of(name, 1)
    assert all(torch.equal(fusion.child[key], a[key]) for key in a)
    assert all(record.moved == 0 for record in fusion.records)


@every_network
@pytest.mark.parametrize("method", SOFT)
def test_soft_maps_of_a_parent_to_itself_give_its_function_back(name, method):
    fusion = fusion_of(name, method, "itself")
    assert difference(name, fusion.child, nets.weights_of(name, 1)) < 1e-9


@every_network
@pytest.mark.parametrize("method", SOFT)
def test_soft_maps_give_finite_children(name, method):
    child = fusion_of(name, method, "unrelated").child
    assert all(tensor.isfinite().all() for tensor in child.values())
    assert nets.answers(nets.network_of(name), child).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", nets.TORCHVISION)
@pytest.mark.parametrize("method", ["weights", "activations", "weight matching"])
def test_torchvisions_own_architectures_keep_and_recover_their_function(name, method):
    network, a, b = nets.network_of(name), nets.weights_of(name, 1), nets.weights_of(name, 2)
    options = {"images": nets.images(32), **PERMUTING[method]}
    if method == "activations":  # after a ReLU, neurons that are off on all pictures would be alike
        options |= {"activations": "pre"}
    aligned = fuse([network] * 2, [a, b], **options).aligned[0]
    assert difference(name, aligned, a) < 1e-10
    child = fuse([network] * 2, [a, copy_of(name)], **options).child
    assert difference(name, child, a) < 1e-9


# Shares, references, several parents


@pytest.mark.parametrize("method", ["weights", "activations", "weight matching"])
@pytest.mark.parametrize("name", ["VGG11", "RESNET18", "own"])
def test_weight_one_gives_the_reference_and_weight_zero_the_aligned_parent(name, method):
    network, a, b = nets.network_of(name), nets.weights_of(name, 1), nets.weights_of(name, 2)
    options = PERMUTING[method] | {"images": nets.images()}
    for reference, target, other in ((1, a, b), (2, b, a)):
        one = fuse([network] * 2, [a, b], reference=reference, weight=1, **options)
        zero = fuse([network] * 2, [a, b], reference=reference, weight=0, **options)
        assert all(torch.equal(one.child[key], target[key]) for key in a)
        assert difference(name, zero.child, other) < 1e-10
        assert all(torch.equal(one.aligned[reference - 1][key], target[key]) for key in a)
        assert {record.parent for record in one.records} == {3 - reference}


def test_the_child_is_the_weighted_mean_of_the_aligned_parents():
    network = nets.network_of("VGG11")
    parents = [nets.weights_of("VGG11", seed) for seed in (1, 2, 3)]
    fusion = fuse([network] * 3, parents, reference=3, weight=0.5, **BY_WEIGHTS)
    assert fusion.shares == (0.25, 0.25, 0.5)
    for name in parents[0]:
        if not name.endswith("num_batches_tracked"):
            mean = 0.25 * fusion.aligned[0][name] + 0.25 * fusion.aligned[1][name] + 0.5 * parents[2][name]
            assert torch.allclose(fusion.child[name], mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reference", [1, 2, 3])
@pytest.mark.parametrize("method", ["weights", "activations", "weight matching"])
def test_three_permuted_copies_give_the_function_back(method, reference):
    network, a = nets.network_of("RESNET18"), nets.weights_of("RESNET18", 1)
    copies = [a, *(nets.permuted(network, a, seed)[0] for seed in (1, 2))]
    fusion = fuse([network] * 3, copies, reference=reference, images=nets.images(), **PERMUTING[method])
    assert difference("RESNET18", fusion.child, a) < 1e-10
    assert len(fusion.records) == 2 * 12
    others = [number for number in (1, 2, 3) if number != reference]
    assert [record.parent for record in fusion.records] == [n for n in others for _ in range(12)]
    assert fusion.couplings[reference - 1] == ()
    assert fusion.reference == reference - 1


def test_shares():
    assert shares_of(2, 1, None) == (0.5, 0.5)
    assert shares_of(4, 0, None) == (0.25,) * 4
    assert shares_of(3, 1, 0.5) == (0.25, 0.5, 0.25)
    assert shares_of(2, 0, 0.3) == (0.3, 0.7)


def test_three_equal_parents_give_themselves_back_to_the_last_bit():
    a = {"w": torch.randn(10_000, generator=torch.Generator().manual_seed(0))}
    for shares in ((1 / 3,) * 3, (0.2, 0.3, 0.5)):
        assert torch.equal(combine([a, a, a], shares)["w"], a["w"])


# Parents of different width


def widened(narrow, wide: nn.Module):
    """Weights for a VGG11 or ResNet18 of twice the width with each neuron twice, and what reads it halved."""
    doubled = {}
    for name, tensor in wide.state_dict().items():
        source = narrow[name]
        for axis in range(tensor.dim()):
            if tensor.shape[axis] == 2 * source.shape[axis]:
                source = source.repeat_interleave(2, dim=axis) / (2 if axis == 1 else 1)
        doubled[name] = source
    return doubled


@pytest.mark.parametrize("model_type", ["VGG11", "VGG11_NOBIAS_NOBN", "RESNET18", "RESNET18_NOBIAS_NOBN"])
@pytest.mark.parametrize("options", [BY_WEIGHTS, BY_ACTIVATIONS], ids=["weights", "activations"])
def test_a_parent_is_widened_to_its_own_copy_of_twice_the_width(model_type, options):
    """Every neuron goes to its two copies; with the mass kept, what reads it is shared out among them."""
    narrow, wide = nets.network_of(model_type), cases.network_of(model_type, width=2 * cases.TINY)
    a = nets.weights_of(model_type, 1)
    b, _ = nets.permuted(wide, widened(a, wide), seed=7)
    expected = nets.answers(narrow, a)
    assert cases.relative_difference(nets.answers(wide, b), expected) < 1e-12
    fusion = fuse([narrow, wide], [a, b], soft_map="mass", images=nets.images(), **options)
    assert cases.relative_difference(nets.answers(wide, fusion.aligned[0]), expected) < 1e-9
    assert cases.relative_difference(nets.answers(wide, fusion.child), expected) < 1e-9
    assert all(record.cost_before is None for record in fusion.records)


@pytest.mark.parametrize("soft_map", ["columns", "mass"])
@pytest.mark.parametrize("reference", [1, 2])
@pytest.mark.parametrize(
    "options",
    [BY_WEIGHTS, BY_WEIGHTS | {"sides": "both"}, BY_ACTIVATIONS],
    ids=["incoming", "both", "activations"],
)
@pytest.mark.parametrize("model_type", ["VGG11", "RESNET18"])
def test_unrelated_parents_of_different_width_give_a_finite_child_as_wide_as_the_reference(
    model_type, options, reference, soft_map
):
    networks = [nets.network_of(model_type), cases.network_of(model_type, width=0.1)]
    parents = [nets.weights_of(model_type, 1), cases.random_weights(model_type, 2, width=0.1)]
    fusion = fuse(networks, parents, reference=reference, soft_map=soft_map, images=nets.images(), **options)
    target = networks[reference - 1]
    assert {key: tensor.shape for key, tensor in fusion.child.items()} == {
        key: tensor.shape for key, tensor in target.state_dict().items()
    }
    assert nets.answers(target, fusion.child).isfinite().all()


@pytest.mark.parametrize("method", ["average", "weight_matching"])
def test_methods_that_need_equal_widths_say_so(method):
    networks = [nets.network_of("VGG11"), cases.network_of("VGG11", width=0.1)]
    parents = [nets.weights_of("VGG11", 1), cases.random_weights("VGG11", 2, width=0.1)]
    with pytest.raises(InputError, match=r"parents of different width.*optimal_transport"):
        fuse(networks, parents, method=method)


def test_what_cannot_be_traced_can_be_averaged_and_only_averaged():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3 * 32 * 32, cases.NUM_CLASSES)

        def forward(self, x):
            return self.layer(x.flatten(1)) if x.sum() > 0 else -self.layer(x.flatten(1))

    networks = [Branching(), Branching()]
    parents = [network.state_dict() for network in networks]
    child = fuse(networks, parents, method="average").child
    assert torch.equal(child["layer.bias"], (parents[0]["layer.bias"] + parents[1]["layer.bias"]) / 2)
    with pytest.raises(InputError, match="fuse this architecture with method 'average'"):
        fuse(networks, parents, **BY_WEIGHTS)


# The study's algorithm by hand


def geometric(network: nn.Module, a, b) -> Fusion:
    """The study's `geometric_fused`."""
    return fuse([network] * 2, [a, b], **BY_WEIGHTS)


def parents(model_type: str, kind: str):
    return cases.PARENTS[kind](model_type, 1), cases.PARENTS[kind](model_type, 2)


every_case = pytest.mark.parametrize(
    ("model_type", "kind"), [(m, k) for m in cases.ALL_MODEL_TYPES for k in cases.PARENTS]
)


@every_case
def test_trained_and_random_parents_keep_and_give_back_their_function(model_type, kind):
    network, (a, b) = cases.network_of(model_type), parents(model_type, kind)
    before = cases.outputs(network, a)
    aligned = geometric(network, a, b).aligned[0]
    assert cases.relative_difference(cases.outputs(network, aligned), before) < 1e-10
    copy, _ = nets.permuted(network, a, seed=4)
    child = geometric(network, a, copy).child
    assert cases.relative_difference(cases.outputs(network, child), before) < 1e-10


def test_the_mean_by_hand():
    a = {"w": torch.tensor([1.0, -2.0]), "num_batches_tracked": torch.tensor(7)}
    b = {"w": torch.tensor([2.0, 5.0]), "num_batches_tracked": torch.tensor(10)}
    child = combine([a, b], (0.5, 0.5))
    assert child["w"].tolist() == [1.5, 1.5]
    assert child["num_batches_tracked"].tolist() == 8
    assert child["num_batches_tracked"].dtype == torch.int64
    assert combine([a, b], (0.25, 0.75))["w"].tolist() == [1.75, 3.25]
    assert combine([a, b], (1.0, 0.0))["num_batches_tracked"].tolist() == 7


def unit(rows: np.ndarray) -> np.ndarray:
    """(n, d) with every row at length one; rows of zeros (a residual branch may have some) stay zero."""
    rows = rows.reshape(len(rows), -1)
    return np.array([row / np.sqrt((row**2).sum()) if row.any() else row for row in rows])


def geometric_vgg11(a: dict, b: dict, model_type: str) -> dict:
    """Layer by layer from input to output, in NumPy: move columns, match rows, move rows; then the mean."""
    norm = cases.has_norm(model_type)
    aligned, before = dict(a), None
    for number, conv in enumerate(cases.VGG11_CONVS[norm]):
        weight = a[f"{conv}.weight"]
        if before is not None:
            weight = np.einsum("oixy,ij->ojxy", weight, before)
        cost = cdist(unit(weight), unit(b[f"{conv}.weight"]), "euclidean")
        n, m = cost.shape
        coupling = ot.emd(np.full(n, 1 / n), np.full(m, 1 / m), cost)
        coupling = coupling / coupling.sum(0)
        aligned[f"{conv}.weight"] = np.einsum("ixyz,ij->jxyz", weight, coupling)
        if cases.has_bias(model_type):
            aligned[f"{conv}.bias"] = coupling.T @ a[f"{conv}.bias"]
        if norm:
            for part in ("weight", "bias", "running_mean", "running_var"):
                name = f"{cases.VGG11_NORMS[number]}.{part}"
                aligned[name] = coupling.T @ a[name]
        before = coupling
    aligned["classifier.weight"] = a["classifier.weight"] @ before
    return {name: (aligned[name] + b[name]) / 2 for name in a if not name.endswith("num_batches_tracked")}


def assert_child_is_that_of_the_oracle(model_type: str, a, b) -> None:
    child = geometric(cases.network_of(model_type), a, b).child
    expected = geometric_vgg11(*({k: v.numpy() for k, v in w.items()} for w in (a, b)), model_type)
    for name, value in expected.items():
        assert np.abs(child[name].numpy() - value).max() < 1e-12, name


@pytest.mark.parametrize("kind", cases.PARENTS)
@pytest.mark.parametrize("model_type", cases.VGG_TYPES)
def test_geometric_vgg11_equals_the_algorithm_written_out_layer_by_layer(model_type, kind):
    assert_child_is_that_of_the_oracle(model_type, *parents(model_type, kind))


@pytest.mark.slow
@pytest.mark.parametrize("model_type", cases.VGG_TYPES)
def test_full_width_geometric_vgg11_equals_the_algorithm_written_out(model_type):
    a, b = (cases.random_weights(model_type, seed, width=1.0) for seed in (1, 2))
    network = cases.network_of(model_type, width=1.0)
    child = geometric(network, a, b).child
    expected = geometric_vgg11(*({k: v.numpy() for k, v in w.items()} for w in (a, b)), model_type)
    for name, value in expected.items():
        assert np.abs(child[name].numpy() - value).max() < 1e-12, name


@pytest.mark.parametrize("model_type", cases.VGG_TYPES)
def test_a_network_without_residual_streams_takes_one_pass(model_type):
    records = geometric(cases.network_of(model_type), *parents(model_type, "random")).records
    assert [record.passes for record in records] == [1] * 8


def matched_cost(
    layer: str, reads: str | None, a: dict, b: dict, orders: dict[str, np.ndarray]
) -> np.ndarray:
    """(n, n) distances of one ResNet18 layer; `orders[group][j]` is the neuron of A that goes to j."""
    weight = a[f"{layer}.weight"]
    if reads is not None:
        weight = weight[:, orders[reads]]
    return cdist(unit(weight), unit(b[f"{layer}.weight"]), "euclidean")


def stream_cost(name: str, a, b, orders) -> np.ndarray:
    """Summed over all writers of a group whose input side has been matched."""
    return sum(
        matched_cost(layer, reads, a, b, orders)
        for layer, reads in cases.RESNET18_STREAMS[name]
        if reads is None or reads in orders
    )


def best_order(cost: np.ndarray) -> np.ndarray:
    rows, columns = linear_sum_assignment(cost)
    return rows[np.argsort(columns)]


def total_cost(a, b, orders: dict[str, np.ndarray]) -> float:
    return sum(
        stream_cost(name, a, b, orders)[order, np.arange(len(order))].sum() for name, order in orders.items()
    )


def resnet18_case(model_type: str, kind: str):
    """Parents as NumPy arrays, the library's fusion, and its matching by name of the group."""
    a, b = parents(model_type, kind)
    network = cases.network_of(model_type)
    fusion = geometric(network, a, b)
    names = [group.name for group in alignment_groups(network).groups]
    orders = {name: T.argmax(0).numpy() for name, T in zip(names, fusion.couplings[0], strict=True)}
    return *({k: v.numpy() for k, v in w.items()} for w in (a, b)), fusion, orders


resnet_cases = pytest.mark.parametrize(
    ("model_type", "kind"),
    [(m, k) for m in cases.RESNET_TYPES for k in cases.PARENTS],
)


@resnet_cases
def test_later_passes_never_raise_the_total_ground_cost(model_type, kind):
    a, b, fusion, orders = resnet18_case(model_type, kind)
    first: dict[str, np.ndarray] = {}
    for name in cases.RESNET18_STREAMS:  # from input to output; writers that read unmatched neurons wait
        first[name] = best_order(stream_cost(name, a, b, first))
    moved = any(not np.array_equal(first[name], orders[name]) for name in first)
    difference = total_cost(a, b, first) - total_cost(a, b, orders)
    assert difference > 1e-9 if moved else difference == pytest.approx(0, abs=1e-9)
    assert fusion.records[0].passes > (2 if moved else 1)


@resnet_cases
def test_passes_end_where_no_group_can_lower_the_total(model_type, kind):
    a, b, _, orders = resnet18_case(model_type, kind)
    total = total_cost(a, b, orders)
    neurons = sum(len(order) for order in orders.values())
    for name in orders:
        again = orders | {name: best_order(stream_cost(name, a, b, orders))}
        assert total_cost(a, b, again) > total - 1e-9 * neurons


@resnet_cases
def test_the_resnet18_child_is_the_mean_along_the_matching(model_type, kind):
    """The matching is applied by hand: rows, norms, columns of every reader, and of the classifier."""
    a, b, fusion, orders = resnet18_case(model_type, kind)
    expected = dict(a)
    for name, writers in cases.RESNET18_STREAMS.items():
        for layer, reads in writers:
            weight = a[f"{layer}.weight"][orders[name]]
            expected[f"{layer}.weight"] = weight if reads is None else weight[:, orders[reads]]
            if cases.has_norm(model_type):
                for part in ("weight", "bias", "running_mean", "running_var"):
                    key = f"{cases.RESNET18_NORM_OF[layer]}.{part}"
                    expected[key] = a[key][orders[name]]
    expected["linear.weight"] = a["linear.weight"][:, orders["layer4.0.conv2"]]
    for name in a:
        if not name.endswith("num_batches_tracked"):
            assert np.array_equal(fusion.aligned[0][name].numpy(), expected[name]), name
            assert np.abs(fusion.child[name].numpy() - (expected[name] + b[name]) / 2).max() < 1e-12


@resnet_cases
def test_records_hold_the_costs_before_and_after(model_type, kind):
    a, b, fusion, orders = resnet18_case(model_type, kind)
    for record in fusion.records:
        cost, order = stream_cost(record.group, a, b, orders), orders[record.group]
        assert record.neurons == len(order)
        assert record.moved == (order != np.arange(len(order))).sum()
        assert record.cost_before == pytest.approx(cost.diagonal().mean(), rel=1e-12)
        assert record.cost_after == pytest.approx(cost[order, np.arange(len(order))].mean(), rel=1e-12)


@every_case
def test_the_scale_of_a_neurons_incoming_weights_does_not_matter_to_the_matching(model_type, kind):
    network, (a, b) = cases.network_of(model_type), parents(model_type, kind)
    random = torch.Generator().manual_seed(0)
    scaled = dict(a)
    for name, tensor in a.items():
        if tensor.dim() == 4:
            factors = torch.empty(len(tensor), 1, 1, 1, dtype=torch.float64).uniform_(
                0.1, 10, generator=random
            )
            # powers of two, so that scaling and unscaling rounds nothing
            scaled[name] = tensor * torch.exp2(factors.log2().round())
    # the scales of all rows change, but a later layer sees the same columns: rows compare as before
    for one, other in zip(*(geometric(network, w, b).couplings[0] for w in (a, scaled)), strict=True):
        assert torch.equal(one, other)


# What may go wrong


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_dead_neurons_give_no_nan(model_type):
    """Rows of zeros in either parent, and more in one than in the other, in every convolution."""
    network = cases.network_of(model_type)
    a, b = cases.random_weights(model_type, 1), cases.random_weights(model_type, 2)
    for weights, dead in ((a, [1, 3]), (b, [2])):
        for tensor in weights.values():
            if tensor.dim() == 4:
                tensor[dead] = 0
    fusion = geometric(network, a, b)
    assert all(tensor.isfinite().all() for tensor in fusion.child.values())
    assert all(np.isfinite([r.cost_before, r.cost_after]).all() for r in fusion.records)
    assert cases.outputs(network, fusion.child).isfinite().all()
    before = cases.outputs(network, a)
    assert cases.relative_difference(cases.outputs(network, fusion.aligned[0]), before) < 1e-10


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_networks_of_zeros_are_fused_to_zeros(model_type):
    network = cases.network_of(model_type)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    fusion = geometric(network, zeros, zeros)
    assert all(tensor.eq(0).all() for tensor in fusion.child.values())


@every_aligning_method
@pytest.mark.parametrize("name", ["VGG11", "RESNET18", "own"])
def test_parents_and_networks_are_left_as_they_were(name, method):
    network, a, b = nets.network_of(name), nets.weights_of(name, 1), nets.weights_of(name, 2)
    before = [{key: tensor.clone() for key, tensor in w.items()} for w in (a, b, network.state_dict())]
    fusion = fuse([network] * 2, [a, b], images=nets.images(), **quick(method))
    for tensor in fusion.child.values():
        tensor.zero_()
    for weights, copy in zip((a, b, network.state_dict()), before, strict=True):
        assert all(torch.equal(weights[key], copy[key]) for key in copy)


def test_a_naive_child_shares_no_memory_with_its_parents():
    a = nets.weights_of("VGG11", 1)
    for weight in (None, 0, 0.3, 1):
        child = fuse([nets.network_of("VGG11")] * 2, [a, a], method="average", weight=weight).child
        assert all(child[name].data_ptr() != a[name].data_ptr() for name in a)


@every_aligning_method
@pytest.mark.parametrize("name", ["VGG11", "VGG11_NOBIAS_NOBN", "RESNET18"])
def test_float32_parents_give_a_float32_child_that_fits_the_network(name, method):
    network = build(cases.NUM_CLASSES, **cases.spec_of(name))
    a, b = (
        {k: v.float() if v.is_floating_point() else v for k, v in nets.weights_of(name, seed).items()}
        for seed in (1, 2)
    )
    child = fuse([network] * 2, [a, b], images=nets.images(), **quick(method)).child
    assert {key: tensor.dtype for key, tensor in child.items()} == {k: t.dtype for k, t in a.items()}
    network.load_state_dict(child)


@every_aligning_method
@pytest.mark.parametrize("name", ["VGG11", "RESNET18", "own"])
def test_fusing_twice_gives_the_same_bits(name, method):
    network, a, b = nets.network_of(name), nets.weights_of(name, 1), nets.weights_of(name, 2)
    again = fuse([network] * 2, [a, b], images=nets.images(), **quick(method))
    once = fusion_of(name, method, "unrelated")
    assert all(torch.equal(once.child[key], again.child[key]) for key in a)
    assert once.records == again.records


# Options, repair and training from a notebook


def parents_of_vgg11():
    return [nets.network_of("VGG11")] * 2, [nets.weights_of("VGG11", 1), nets.weights_of("VGG11", 2)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"method": "ot"},
            "fuse.method: 'ot' is not known; known are average, optimal_transport,",
        ),
        ({"align_by": "activation"}, "fuse.align_by: 'activation' is not known; did you mean 'activations'?"),
        ({"sides": "all"}, "fuse.sides: 'all' is not known; known are incoming, both"),
        ({"mass": "importanse"}, "fuse.mass: 'importanse' is not known; did you mean 'importance'?"),
        ({"reference": 0}, "fuse.reference: 0 is not right; expected a whole number, at least 1"),
        ({"reference": 3}, "fuse.reference: there is no parent 3; name one of the 2"),
        ({"weight": 3.0}, "fuse.weight: 3.0 is not right; expected a number from 0 to 1"),
        ({"align_by": "activations"}, "align_by 'activations' needs images: give 'images', or"),
        ({"repair": True}, "fuse: 'repair' needs images; give 'images', or leave 'repair' out"),
        (
            {"finetune": {"epochs": 1, "learning_rate": 0.1}},
            "fuse: 'finetune' needs data; give 'training', or",
        ),
        ({"start": 3}, "fuse: unknown key 'start'"),
        ({"method": "weight_matching", "start": 3}, "fuse: unknown key 'start'; did you mean 'starts'?"),
    ],
)
def test_options_are_checked_by_the_library(options, sentence):
    networks, parents = parents_of_vgg11()
    with pytest.raises(InputError) as caught:
        fuse(networks, parents, **{"method": "optimal_transport"} | options)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("networks", "parents"), [(1, 1), (2, 1), (1, 2), (0, 0)])
def test_there_are_two_parents_or_more_each_with_its_network(networks, parents):
    given = parents_of_vgg11()
    with pytest.raises(InputError, match=f"fuse: {networks} networks and the weights of {parents}; give two"):
        fuse(given[0][:networks], given[1][:parents], method="average")


def test_repair_and_training_follow_the_mean():
    networks, parents = [build(10, model_type="VGG11_NOBIAS", width=0.0625) for _ in range(2)], []
    for number, network in enumerate(networks):
        initialise(network, torch.Generator().manual_seed(number))
        parents.append(network.state_dict())
    images = nets.images()
    recipe = {"batch_size": 8, "momentum": 0.9, "weight_decay": 0.0, "clip_norm": 1.0}
    recipe |= {"augmentation": "none", "epochs": 7, "learning_rate": 9.0, "schedule": {"kind": "one_cycle"}}
    kept = []
    training = TrainingData(
        images, images, recipe, torch.Generator().manual_seed(1), dropout_seed=2, keep=kept.append
    )
    before = [{name: tensor.clone() for name, tensor in weights.items()} for weights in parents]
    merged = fuse(networks, parents, method="average")
    repaired = fuse(networks, parents, method="average", repair=True, images=images)
    expected = repaired_mean(networks[1], merged.aligned, merged.shares, images)
    assert all(torch.equal(repaired.child[name], tensor) for name, tensor in expected.items())

    tuning = {"epochs": 2, "learning_rate": 0.01}
    child = fuse(
        networks, parents, method="average", repair=True, images=images, finetune=tuning, training=training
    ).child
    network = build(10, model_type="VGG11_NOBIAS", width=0.0625, biases=True)
    set_weights(network, repaired.child)
    own = recipe | tuning | {"schedule": {"kind": "constant"}}
    torch.manual_seed(2)
    trained = train(network, images, images, order=torch.Generator().manual_seed(1), **own)
    assert all(torch.equal(child[name], tensor) for name, tensor in trained.best_weights.items())
    assert [len(state["curve"]) for state in kept] == [1, 2]
    assert all(
        torch.equal(weights[name], tensor)
        for weights, was in zip(parents, before, strict=True)
        for name, tensor in was.items()
    )


class EightAtOnce(Images):
    """Images on a GPU that has no memory for more of them in a batch."""

    def batches(self, batch_size):
        if batch_size > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return super().batches(batch_size)


@pytest.mark.parametrize("name", ["RESNET18_NOBN", "bottlenecks"])
def test_a_fusion_with_fewer_images_at_once_is_the_same_but_for_rounding(name):
    networks, parents = [nets.network_of(name)] * 2, [nets.weights_of(name, seed) for seed in (1, 2)]
    small = EightAtOnce(**vars(nets.images()))
    for options in (BY_ACTIVATIONS, {"method": "average", "repair": True}):
        with pytest.raises(torch.OutOfMemoryError):
            fuse(networks, parents, images=small, **options)
    options = BY_ACTIVATIONS | {"repair": True}
    usual = fuse(networks, parents, images=nets.images(), **options)
    found = fuse(networks, parents, images=small, images_at_once=8, **options)
    for coupling, expected in zip(found.couplings[0], usual.couplings[0], strict=True):
        assert torch.equal(coupling, expected)
    assert found.child.keys() == usual.child.keys()
    for tensor, expected in zip(found.child.values(), usual.child.values(), strict=True):
        assert cases.relative_difference(tensor.double(), expected.double()) < 1e-10
