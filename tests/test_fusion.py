"""Fusion: the invariants for every architecture, and the study's algorithm written out by hand."""

import cases
import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import nn

from fusionscope.alignment import alignment_groups, move
from fusionscope.fusion import (
    METHODS,
    average,
    column_normalised,
    exact_transport,
    ground_cost_by_weights,
    mean,
    optimal_transport,
)


def fuse(network: nn.Module, a, b):
    return optimal_transport(network, a, b, align_by="weights", solver="exact")


def parents(model_type: str, kind: str):
    return cases.PARENTS[kind](model_type, 1), cases.PARENTS[kind](model_type, 2)


def permuted(network: nn.Module, weights, seed: int):
    """The same function with the neurons of every group in another order."""
    random = torch.Generator().manual_seed(seed)
    for group in alignment_groups(network):
        order = torch.randperm(group.size, generator=random)
        weights = move(weights, group, torch.eye(group.size, dtype=torch.float64)[order])
    return weights


every_case = pytest.mark.parametrize(
    ("model_type", "kind"), [(m, k) for m in cases.ALL_MODEL_TYPES for k in cases.PARENTS]
)


# The invariants


@every_case
def test_the_aligned_parent_computes_the_same_function(model_type, kind):
    network, (a, b) = cases.network_of(model_type), parents(model_type, kind)
    fusion = fuse(network, a, b)
    assert sum(record.moved for record in fusion.records) > 0  # something did move
    difference = cases.relative_difference(cases.outputs(network, fusion.aligned), cases.outputs(network, a))
    assert difference < 1e-10


@every_case
def test_fusing_with_a_permuted_copy_gives_the_function_back(model_type, kind):
    network, (a, _) = cases.network_of(model_type), parents(model_type, kind)
    copy = permuted(network, a, seed=4)
    naive = average(network, a, copy).child
    before = cases.outputs(network, a)
    child = fuse(network, a, copy).child
    assert cases.relative_difference(cases.outputs(network, child), before) < 1e-10
    # averaging neurons that do not belong together is no way to get there
    assert cases.relative_difference(cases.outputs(network, naive), before) > 1e-3


@every_case
def test_couplings_are_permutations_at_the_cost_of_the_optimal_assignment(model_type, kind):
    network, (a, b) = cases.network_of(model_type), parents(model_type, kind)
    for coupling, group in zip(fuse(network, a, b).couplings, alignment_groups(network), strict=True):
        assert_permutation_over_n(coupling, group.size)


def assert_permutation_over_n(coupling: torch.Tensor, n: int) -> None:
    assert coupling.shape == (n, n)
    scaled = coupling * n
    assert ((scaled - 1).abs().lt(1e-12) | scaled.eq(0)).all()
    assert scaled.gt(0.5).sum(0).eq(1).all()
    assert scaled.gt(0.5).sum(1).eq(1).all()


COSTS = {
    "random": lambda random, n: random.random((n, n)),
    "ties": lambda random, n: random.integers(0, 3, (n, n)).astype(float),
    "equal": lambda random, n: np.ones((n, n)),
    "distances": lambda random, n: cdist(random.normal(size=(n, 5)), random.normal(size=(n, 5))),
    "equal columns": lambda random, n: np.repeat(random.random((n, 1)), n, axis=1),
}


@pytest.mark.parametrize("n", [1, 2, 7, 64, 200])
@pytest.mark.parametrize("kind", COSTS)
def test_exact_transport_is_the_optimal_assignment(kind, n):
    cost = COSTS[kind](np.random.default_rng(n), n)
    coupling = exact_transport(torch.from_numpy(cost))
    assert_permutation_over_n(coupling, n)
    rows, columns = linear_sum_assignment(cost)
    assert n * (coupling.numpy() * cost).sum() == pytest.approx(cost[rows, columns].sum(), rel=1e-12)


def test_exact_transport_between_layers_of_other_sizes_keeps_the_masses():
    cost = torch.rand(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    coupling = exact_transport(cost)
    assert torch.allclose(coupling.sum(1), torch.full((6,), 1 / 6, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(coupling.sum(0), torch.full((4,), 1 / 4, dtype=torch.float64), atol=1e-12)


def test_column_normalised_columns_sum_to_one_without_an_epsilon():
    coupling = torch.tensor([[1e-12, 0.1], [3e-12, 0.3], [0.0, 0.1]], dtype=torch.float64)
    expected = torch.tensor([[0.25, 0.2], [0.75, 0.6], [0.0, 0.2]], dtype=torch.float64)
    assert torch.allclose(column_normalised(coupling), expected, rtol=1e-14, atol=0)


@every_case
def test_classes_and_input_channels_stay_in_place(model_type, kind):
    """The classifier of the aligned parent is the old one with its columns in another order."""
    network, (a, b) = cases.network_of(model_type), parents(model_type, kind)
    fusion = fuse(network, a, b)
    first, last = ("features.0", "classifier") if cases.is_vgg(model_type) else ("conv1", "linear")
    old, new = a[f"{last}.weight"], fusion.aligned[f"{last}.weight"]
    order = fusion.couplings[-1 if cases.is_vgg(model_type) else -2].argmax(0)
    assert torch.equal(new, old[:, order])
    if cases.has_bias(model_type):
        assert torch.equal(fusion.aligned[f"{last}.bias"], a[f"{last}.bias"])
    order = fusion.couplings[0].argmax(0)
    assert torch.equal(fusion.aligned[f"{first}.weight"], a[f"{first}.weight"][order])


@every_case
def test_naive_fusion_is_symmetric_and_equal_parents_give_themselves_back(model_type, kind):
    network, (a, b) = cases.network_of(model_type), parents(model_type, kind)
    one, other = average(network, a, b).child, average(network, b, a).child
    alone = average(network, a, a).child
    assert list(one) == list(a)
    for name in a:
        assert torch.equal(one[name], other[name])
        assert torch.equal(alone[name], a[name])
        assert one[name].dtype == a[name].dtype
    assert not torch.equal(one[next(iter(a))], a[next(iter(a))])


@every_case
def test_fusing_a_parent_with_itself_gives_it_back(model_type, kind):
    network, (a, _) = cases.network_of(model_type), parents(model_type, kind)
    fusion = fuse(network, a, a)
    for name in a:
        assert torch.equal(fusion.child[name], a[name])
    assert all(record.moved == 0 for record in fusion.records)


# The study's algorithm by hand


def test_the_mean_by_hand():
    a = {"w": torch.tensor([1.0, -2.0]), "num_batches_tracked": torch.tensor(7)}
    b = {"w": torch.tensor([2.0, 5.0]), "num_batches_tracked": torch.tensor(10)}
    assert mean(a, b)["w"].tolist() == [1.5, 1.5]
    assert mean(a, b)["num_batches_tracked"].tolist() == 8
    assert mean(a, b)["num_batches_tracked"].dtype == torch.int64


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
    child = fuse(cases.network_of(model_type), a, b).child
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
    child = fuse(network, a, b).child
    expected = geometric_vgg11(*({k: v.numpy() for k, v in w.items()} for w in (a, b)), model_type)
    for name, value in expected.items():
        assert np.abs(child[name].numpy() - value).max() < 1e-12, name


@pytest.mark.parametrize("model_type", cases.VGG_TYPES)
def test_a_network_without_residual_streams_takes_one_pass(model_type):
    records = fuse(cases.network_of(model_type), *parents(model_type, "random")).records
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
    fusion = fuse(network, a, b)
    names = [group.name for group in alignment_groups(network)]
    orders = {name: T.argmax(0).numpy() for name, T in zip(names, fusion.couplings, strict=True)}
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
            assert np.array_equal(fusion.aligned[name].numpy(), expected[name]), name
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


@pytest.mark.parametrize(
    "neurons",
    [
        4,
        20,
        40,
    ],
)
def test_the_ground_cost_is_the_euclidean_distance_of_unit_rows(neurons):
    """To 1e-12 but where rows coincide: there the root of a square's rounding, about 2e-8, is left."""
    network = cases.network_of("VGG11_NOBIAS_NOBN", width=neurons / 64)
    a, b = (cases.random_weights("VGG11_NOBIAS_NOBN", seed, width=neurons / 64) for seed in (1, 2))
    half = neurons // 2
    b["features.0.weight"][1 : half + 1] = 3 * a["features.0.weight"][:half]
    group = alignment_groups(network)[0]
    found = ground_cost_by_weights(a, b, group, [None] * 8).numpy()
    expected = cdist(*(unit(w["features.0.weight"].numpy()) for w in (a, b)), "euclidean")
    apart = expected > 1e-3
    assert np.abs(found - expected)[apart].max() < 1e-12
    assert (~apart).sum() == half
    assert found[~apart].max() < 1e-7


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
    for one, other in zip(fuse(network, a, b).couplings, fuse(network, scaled, b).couplings, strict=True):
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
    fusion = fuse(network, a, b)
    assert all(tensor.isfinite().all() for tensor in fusion.child.values())
    assert all(np.isfinite([r.cost_before, r.cost_after]).all() for r in fusion.records)
    assert cases.outputs(network, fusion.child).isfinite().all()
    before = cases.outputs(network, a)
    assert cases.relative_difference(cases.outputs(network, fusion.aligned), before) < 1e-10


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_networks_of_zeros_are_fused_to_zeros(model_type):
    network = cases.network_of(model_type)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    fusion = fuse(network, zeros, zeros)
    assert all(tensor.eq(0).all() for tensor in fusion.child.values())


@every_case
@pytest.mark.parametrize("method", METHODS)
def test_parents_are_left_as_they_were(model_type, kind, method):
    network, (a, b) = cases.network_of(model_type), parents(model_type, kind)
    options = {} if method == "average" else {"align_by": "weights", "solver": "exact"}
    before = [{name: tensor.clone() for name, tensor in weights.items()} for weights in (a, b)]
    fusion = METHODS[method](network, a, b, **options)
    for tensor in fusion.child.values():
        tensor.zero_()
    for weights, copy in zip((a, b), before, strict=True):
        assert all(torch.equal(weights[name], copy[name]) for name in copy)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_float32_parents_give_a_float32_child_that_fits_the_network(model_type):
    network = cases.network_of(model_type).float()
    a, b = (
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        for weights in parents(model_type, "trained")
    )
    child = fuse(network, a, b).child
    assert {name: tensor.dtype for name, tensor in child.items()} == {n: t.dtype for n, t in a.items()}
    network.load_state_dict(child)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_fusing_twice_gives_the_same_bits(model_type):
    network, (a, b) = cases.network_of(model_type), parents(model_type, "trained")
    one, again = fuse(network, a, b), fuse(network, a, b)
    assert all(torch.equal(one.child[name], again.child[name]) for name in a)
    assert one.records == again.records
