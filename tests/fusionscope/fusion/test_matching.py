"""Matching: costs, masses and objectives computed another way, and searches against all permutations."""

from itertools import permutations, product

import cases
import networks_for_fusion as nets
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn import functional as F

from fusionscope.alignment.activations import record, traced_with
from fusionscope.alignment.move import (
    make_map,
    move,
)
from fusionscope.fusion.fuse import fuse
from fusionscope.fusion.matching import (
    ACTIVATION_COSTS,
    BATCH,
    GROUND_METRICS,
    METRICS_ALONG,
    Pair,
    WeightCosts,
    WeightProducts,
    match_neurons,
    permutation_map,
    unit_rows,
)
from fusionscope.images import Images
from fusionscope.moments import JointMoments

WEIGHTS = {"align_by": "weights", "solver": "exact"}


def pair_of(name: str) -> Pair:
    network = nets.network_of(name)
    return Pair(network, network, nets.weights_of(name, 1), nets.weights_of(name, 2))


def rows(seed: int, n: int, d: int = 7) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Ground metrics by weights


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_ground_metrics_are_scipys_distances(metric):
    a, b = rows(1, 5), rows(2, 8)
    b[:2] = 3 * a[:2]  # after scaling the same: a root of rounding, 3e-8, may be left
    found = GROUND_METRICS[metric](unit_rows(a), unit_rows(b)).numpy()
    unit_a, unit_b = (part / part.norm(dim=1, keepdim=True) for part in (a, b))
    expected = cdist(unit_a, unit_b, metric)
    apart = expected > 1e-3
    assert (~apart).sum() == 2
    assert np.abs(found - expected)[apart].max() < 1e-13
    assert found[~apart].max() < 1e-7
    along = METRICS_ALONG[metric](unit_rows(a), unit_rows(b)[:5]).numpy()
    assert along == pytest.approx(expected.diagonal(), abs=1e-13)


def test_rows_of_zeros_stay_zero():
    assert unit_rows(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0.0, 0.0], [0.6, 0.8]]


def test_both_sides_add_the_readers_and_hold_class_outputs_fixed():
    """The last group of VGG11: its convolution's rows and the classifier's columns, class by class."""
    pair = pair_of("VGG11_NOBIAS_NOBN")
    costs = WeightCosts(pair, "euclidean", "both")
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in costs.sizes]
    found = costs.matrix(7, [permutation_map(order) for order in orders]).numpy()
    a, b = ({name: tensor.numpy() for name, tensor in weights.items()} for weights in (pair.a, pair.b))

    def unit(part: np.ndarray) -> np.ndarray:
        part = part.reshape(len(part), -1)
        return part / np.linalg.norm(part, axis=1, keepdims=True)

    incoming = cdist(unit(a["features.18.weight"][:, orders[6]]), unit(b["features.18.weight"]))
    outgoing = cdist(unit(a["classifier.weight"].T), unit(b["classifier.weight"].T))
    assert np.abs(found - (incoming + outgoing)).max() < 1e-12
    only = WeightCosts(pair, "euclidean", "incoming").matrix(7, [permutation_map(o) for o in orders])
    assert np.abs(only.numpy() - incoming).max() < 1e-12


def test_importance_by_weights_is_the_share_of_the_norms_of_incoming_weights():
    pair = pair_of("RESNET18")
    found, _ = WeightCosts(pair, "euclidean", "incoming").masses(0, "importance")
    writers = ("conv1", "layer1.0.conv2", "layer1.1.conv2")  # of the first residual stream
    norms = sum(
        np.linalg.norm(pair.a[f"{w}.weight"].numpy().reshape(found.shape[0], -1), axis=1) for w in writers
    )
    assert found.numpy() == pytest.approx(norms / norms.sum(), rel=1e-5)


# Passes


NAMES = ("VGG11", "RESNET18", "RESNET18_NOBIAS_NOBN", *nets.SMALL)


@pytest.mark.parametrize("sides", ["incoming", "both"])
@pytest.mark.parametrize("name", NAMES)
def test_passes_end_where_no_group_can_be_solved_better(name, sides):
    """Also those groups that the last passes left out as nothing about them had changed."""
    pair = pair_of(name)
    match = match_neurons("optimal_transport", pair, images=None, seed=0, sides=sides, **WEIGHTS)
    costs = WeightCosts(pair, "euclidean", sides)

    def total(maps) -> float:
        couplings = [map_.writer_map / len(map_.writer_map) for map_ in maps]
        return sum(costs.total(i, maps, couplings) for i in range(len(costs)))

    best = total(match.maps)
    for index in range(len(costs)):
        matrix = costs.matrix(index, match.maps)
        assert torch.allclose(matrix, match.costs[index], atol=1e-12)  # the costs are those at the end
        again = permutation_map(torch.as_tensor(nearest(matrix)))
        candidate = [*match.maps[:index], again, *match.maps[index + 1 :]]
        assert total(candidate) > best - 2e-6 * sum(costs.sizes)


def nearest(cost: torch.Tensor) -> np.ndarray:
    """The neuron of A for each of B."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(cost.numpy().T)[1]


@pytest.mark.parametrize("name", ["RESNET18", "bottlenecks", "mobilenet", "efficientnet", "own"])
def test_later_passes_lower_the_total_cost_of_the_first(name):
    pair = pair_of(name)
    match = match_neurons("optimal_transport", pair, images=None, seed=0, **WEIGHTS)
    costs = WeightCosts(pair, "euclidean", "incoming")
    first = [None] * len(costs)
    for index in range(len(costs)):
        first[index] = permutation_map(torch.as_tensor(nearest(costs.matrix(index, first))))
    before, after = (sum(costs.total(i, maps, ()) for i in range(len(costs))) for maps in (first, match.maps))
    assert match.passes > 1
    assert after < before + 1e-9


class Itself(nn.Module):
    """A layer that reads and writes one group: x + conv(x)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 3)
        self.loop = nn.Conv2d(7, 7, 3, padding=1)
        self.out = nn.Linear(7, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.loop(x))
        return self.out(x.mean((2, 3)))


def drawn(network: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, dtype=torch.float64, generator=random)
        for name, tensor in network.state_dict().items()
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("method", "options"),
    [("optimal_transport", WEIGHTS), ("weight_matching", {})],
    ids=["transport", "descent"],
)
def test_a_layer_that_reads_its_own_output_group_ends_and_is_found_in_a_copy(method, options, seed):
    network = Itself().double()
    a, b = drawn(network, 2 * seed), drawn(network, 2 * seed + 1)
    unrelated = match_neurons(method, Pair(network, network, a, b), images=None, seed=0, **options)
    assert 1 < unrelated.passes < 50
    copy, orders = nets.permuted(network, a, seed)
    match = match_neurons(method, Pair(network, network, a, copy), images=None, seed=0, **options)
    assert torch.equal(match.maps[0].permutation, orders[0])


# Activations


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
    a, b = drawn(network, 1), drawn(network, 2)
    for weights in (a, b):
        weights["norm.running_var"] = weights["norm.running_var"].abs() + 0.5
        weights["norm.num_batches_tracked"] = torch.tensor(3)
    return Pair(network, network, a, b)


@pytest.mark.parametrize("when", ["pre", "post"])
@pytest.mark.parametrize("metric", ["correlation", "euclidean"])
def test_activation_costs_are_numpys_on_all_images_at_once(when, metric):
    """Post-activations are what the linear layer reads: means over pixels. Several batches."""
    pair, images = small_pair(), nets.pictures(2 * BATCH + 5)
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
    match = match_neurons("optimal_transport", pair, images=nets.pictures(), seed=0, **options)
    for weights, axis in ((pair.a, 1), (pair.b, 0)):
        x = collected(weights, "post", nets.pictures())
        strength = np.sqrt((x**2).mean(1))
        expected = strength / strength.sum()
        assert match.couplings[0].sum(axis).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_neuron_correlates_with_nothing(constant, dtype):
    joint = JointMoments()
    x, y = rows(1, 2, 500), rows(2, 3, 500)
    x[0] = torch.tensor(constant, dtype=dtype).double() * (
        1 + 1e-7 * rows(3, 1, 500)[0] * (dtype == torch.float32)
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
        assert found == pytest.approx(collected(pair.a, when, nets.pictures()), abs=1e-12)


# Coordinate descent


class TwoLayers(nn.Module):
    def __init__(self, width: int, deep: int):
        super().__init__()
        self.first = nn.Linear(3, width)
        self.second = nn.Linear(width, deep)
        self.out = nn.Linear(deep, 2)

    def forward(self, x):
        return self.out(F.relu(self.second(F.relu(self.first(x.mean((2, 3)))))))


def objective(a, b, first: np.ndarray, second: np.ndarray) -> float:
    moved = {
        "first.weight": a["first.weight"][first],
        "first.bias": a["first.bias"][first],
        "second.weight": a["second.weight"][second][:, first],
        "second.bias": a["second.bias"][second],
        "out.weight": a["out.weight"][:, second],
        "out.bias": a["out.bias"],
    }
    return sum((moved[name] * b[name]).sum().item() for name in b)


@pytest.mark.parametrize("seed", range(6))
def test_weight_matching_finds_the_best_of_all_permutations(seed):
    network = TwoLayers(4, 3).double()
    a, b = drawn(network, 10 + seed), drawn(network, 50 + seed)
    orders = product(permutations(range(4)), permutations(range(3)))
    best = max(objective(a, b, np.array(first), np.array(second)) for first, second in orders)
    match = match_neurons("weight_matching", Pair(network, network, a, b), images=None, seed=seed, starts=20)
    found = objective(a, b, *(map_.permutation.numpy() for map_ in match.maps))
    assert found == pytest.approx(best, rel=1e-12)


def reached(pair: Pair, starts: int, seed: int = 0) -> float:
    match = match_neurons("weight_matching", pair, images=None, seed=seed, starts=starts)
    moved = move(pair.a, pair.groups_a, pair.groups_b, match.maps, like=pair.b)
    return sum((moved[name] * pair.b[name]).sum().item() for name in pair.learned)


@pytest.mark.parametrize("name", ["VGG11", "RESNET18", "own", "mobilenet"])
def test_more_starts_are_never_worse_and_all_beat_no_matching(name):
    pair = pair_of(name)
    found = [reached(pair, starts) for starts in (1, 2, 4)]
    before = sum((pair.a[key] * pair.b[key]).sum().item() for key in pair.learned)
    assert before < found[0] <= found[1] <= found[2]


@pytest.mark.parametrize("name", ["RESNET18", "own", "efficientnet"])
def test_weight_matching_ends_where_no_group_can_raise_the_sum(name):
    pair = pair_of(name)
    match = match_neurons("weight_matching", pair, images=None, seed=3)
    similarity = WeightProducts(pair)

    def total(maps) -> float:
        return sum(similarity.product(key, maps) for key in pair.learned)

    best = total(match.maps)
    for index in range(len(match.maps)):
        again = similarity.best_map(index, match.maps)
        assert total([*match.maps[:index], again, *match.maps[index + 1 :]]) < best + 1e-5 * abs(best)


def test_weight_matching_leaves_statistics_of_batch_norm_out():
    """They are no learned parameters: others make the same matching."""
    network, a, b = nets.network_of("VGG11"), nets.weights_of("VGG11", 1), nets.weights_of("VGG11", 2)
    other = {name: t + 1 if "running" in name else t for name, t in a.items()}
    one, two = (fuse([network] * 2, [w, b], method="weight_matching").couplings[0] for w in (a, other))
    assert all(torch.equal(*both) for both in zip(one, two, strict=True))


def test_the_seed_drives_weight_matching_and_nothing_else_does():
    pair = pair_of("RESNET18")
    torch.manual_seed(1)
    one = match_neurons("weight_matching", pair, images=None, seed=5)
    torch.manual_seed(2)
    again = match_neurons("weight_matching", pair, images=None, seed=5)
    assert all(torch.equal(x.permutation, y.permutation) for x, y in zip(one.maps, again.maps, strict=True))


def test_permutation_map_puts_neuron_order_j_at_j():
    order = torch.tensor([2, 0, 1])
    assert torch.equal(permutation_map(order).permutation, order)
    rows_moved = permutation_map(order).writer_map.T @ torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    assert rows_moved.tolist() == [30.0, 10.0, 20.0]
    assert make_map(torch.ones(2, 2)).permutation is None


def test_networks_of_one_shape_are_followed_once():
    pair = pair_of("VGG11")
    assert pair.groups_a is pair.groups_b
    wide = Pair(
        pair.network_a, cases.network_of("VGG11", width=0.1), pair.a, cases.random_weights("VGG11", 1, 0.1)
    )
    assert wide.groups_a is not wide.groups_b
