"""Matching the neurons of A to those of B: by optimal transport, or by coordinate descent on all weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from fusionscope.alignment.activations import joint_moments, traced_with
from fusionscope.alignment.groups import (
    Alignment,
    Group,
    ParameterAxis,
    alignment_groups,
)
from fusionscope.alignment.move import (
    Map,
    check_same_groups,
    make_map,
    move_parameter,
    rows_of,
    see_blocks,
)
from fusionscope.errors import InputError
from fusionscope.fusion.transport import SOLVERS, assignment, proportional, uniform
from fusionscope.images import Images
from fusionscope.moments import JointMoments
from fusionscope.seeding import generator
from fusionscope.weights import Weights

RELATIVE_GAIN = 1e-6  # of a unit-norm row's length, per neuron: below it a gain is rounding
BATCH = 64  # images at once
SMALLEST_STD = 1e-6  # of an activation's mean, below which a neuron is constant (float32 rounds at 1e-7)


@dataclass(frozen=True)
class Pair:
    """Two networks of one architecture, A to be aligned to B; their widths may differ."""

    network_a: nn.Module
    network_b: nn.Module
    a: Weights
    b: Weights

    @cached_property
    def groups_a(self) -> Alignment:
        return alignment_groups(self.network_a)

    @cached_property
    def groups_b(self) -> Alignment:
        if all(self.a[name].shape == tensor.shape for name, tensor in self.b.items()):
            return self.groups_a  # finding them takes as long as matching them
        groups = alignment_groups(self.network_b)
        check_same_groups(self.groups_a, groups)
        return groups

    @cached_property
    def groups(self) -> list[tuple[Group, Group]]:
        """Each group of A beside that of B."""
        return list(zip(self.groups_a.groups, self.groups_b.groups, strict=True))

    @cached_property
    def learned(self) -> frozenset[str]:
        """Names of parameters that are trained: no running statistics, no counters."""
        return frozenset(name for name, _ in self.network_a.named_parameters())

    def moved(self, name: str, maps: Sequence[Map | None], but: int | None = None) -> Tensor:
        """A's parameter `name` in B's shape (along all axes `but` one); neurons without a map yet: zero."""
        shape = self.b[name].shape
        return move_parameter(self.a[name], name, self.groups_a, self.groups_b, maps, shape, but)


@dataclass(frozen=True)
class Match:
    """What a method found, for each group."""

    couplings: tuple[Tensor, ...]  # (n, m), total mass 1
    maps: tuple[Map, ...]
    costs: tuple[Tensor, ...]  # (n, m), ground costs
    passes: int  # over all groups


def match_neurons(method: str, pair: Pair, *, images: Images | None, seed: int, **options: object) -> Match:
    """The neurons of A matched to those of B by `method`, an entry of METHODS, with its `options`."""
    given = {"optimal_transport": {"images": images}, "weight_matching": {"seed": seed}}[method]
    return METHODS[method](pair, **options, **given)


def optimal_transport(
    pair: Pair,
    *,
    align_by: str,
    solver: str,
    reg: float | None = None,
    mass: str = "uniform",
    ground_metric: str | None = None,
    sides: str = "incoming",
    activations: str = "post",
    soft_map: str = "columns",
    images: Images | None = None,
) -> Match:
    """Neurons matched by optimal transport, after Singh & Jaggi 2020 (arXiv 1910.05653, section 4).

    `align_by` 'weights': see `by_weights`; 'activations' on `images`: see `by_activations`. `mass` of a
    neuron: 'uniform', or 'importance' (the norm of its incoming weights; the root mean square of its
    activations). `solver` 'exact' or 'sinkhorn' with `reg`.
    """
    solve = SOLVERS[solver] if reg is None else partial(SOLVERS[solver], reg=reg)
    to_map = partial(make_map, reader_normalisation={"columns": "column", "mass": "row"}[soft_map])
    if align_by == "activations":
        joint = activation_moments(pair, activations, images)
        return by_activations(pair, joint, solve, mass, ground_metric or "correlation", to_map)
    return by_weights(pair, solve, mass, ground_metric or "euclidean", sides, to_map)


# by activations


def activation_moments(pair: Pair, activations: str, images: Images) -> list[list[JointMoments]]:
    """For each group the joint moments of A's and B's neurons at each of its sites, over all images.

    What a neuron answers is taken at every pixel (or token), as the layers that read it see it ('post':
    after the activation function, pooling, ...) or as the layers that make it leave it ('pre': after a batch
    norm that follows directly). Images are streamed: memory does not depend on their number.
    """
    sites = [
        list(zip(sites_of(a, activations), sites_of(b, activations), strict=True)) for a, b in pair.groups
    ]
    one, other = traced_with(pair.network_a, pair.a), traced_with(pair.network_b, pair.b)
    found = iter(joint_moments(one, other, [both for mine in sites for both in mine], images, BATCH))
    return [[next(found) for _ in mine] for mine in sites]


def by_activations(
    pair: Pair, joint: Sequence[Sequence[JointMoments]], solve, mass: str, ground_metric: str, to_map
) -> Match:
    """Neurons are alike that answer alike to the same images.

    Costs: 1 - Pearson correlation (Li et al. 2016, arXiv 1511.07543), or the root of the mean squared
    difference ('euclidean'). A residual stream is read at several sites: their costs are added.
    """
    metric = ACTIVATION_COSTS[ground_metric]
    costs = [torch.stack([metric(part) for part in mine]).sum(0).cpu() for mine in joint]
    couplings = []
    for cost, mine in zip(costs, joint, strict=True):
        masses = [uniform(size) for size in cost.shape]
        if mass == "importance":
            squares_a = sum(part.var_x + part.mean_x.square() for part in mine)
            squares_b = sum(part.var_y + part.mean_y.square() for part in mine)
            masses = [proportional(squares.sqrt()) for squares in (squares_a, squares_b)]
        couplings.append(solve(cost, *masses))
    return Match(tuple(couplings), tuple(map(to_map, couplings)), tuple(costs), passes=1)


def sites_of(group: Group, activations: str):
    """Where a group's neurons are looked at; what nobody reads is taken where it is made."""
    return group.written if activations == "pre" or not group.read else group.read


def correlation_cost(joint: JointMoments) -> Tensor:
    """1 - Pearson correlation (n, m), from 0 to 2; a constant neuron correlates with nothing: 1."""
    std_x, std_y = varying_std(joint.var_x, joint.mean_x), varying_std(joint.var_y, joint.mean_y)
    return 1 - (joint.covariance / torch.outer(std_x, std_y)).clamp(-1, 1)


def varying_std(var: Tensor, mean: Tensor) -> Tensor:
    """(n,) standard deviations; infinite where all there is is rounding."""
    std = var.sqrt()
    return torch.where(std > SMALLEST_STD * mean.abs(), std, torch.inf)


def distance_cost(joint: JointMoments) -> Tensor:
    """Root mean square difference (n, m) of the activations."""
    squares_x = joint.var_x + joint.mean_x.square()
    squares_y = joint.var_y + joint.mean_y.square()
    products = joint.covariance + torch.outer(joint.mean_x, joint.mean_y)
    return (squares_x[:, None] + squares_y - 2 * products).clamp(min=0).sqrt()


ACTIVATION_COSTS: dict[str, Callable[[JointMoments], Tensor]] = {
    "correlation": correlation_cost,
    "euclidean": distance_cost,
}


# by weights


def by_weights(
    pair: Pair, solve, mass: str, ground_metric: str, sides: str, to_map: Callable[[Tensor], Map]
) -> Match:
    """Neurons are alike whose weights are alike: the study's `geometric_fused`, and its variants.

    A neuron is its row of incoming weights, moved on the input side and scaled to unit norm; with `sides`
    'both' also its column in each layer that reads it, moved on the output side. A group's cost is
    the sum over its writers (and readers) of the `ground_metric`.

    The first pass goes from input to output; weights count there as far as what they read has been
    matched. Without residual streams that is all. With them, passes repeat until nothing changes: each
    group is solved again, now with all its writers, and the answer is kept if it lowers the sum of
    all costs. (Kept whatever it does to the sum, the couplings of two unrelated ResNet18s
    wander for hundreds of passes and never settle; the sum falls at each change, so this ends.)
    A group is left out of a pass if nothing that its answer depends on has changed since it was solved.
    """
    costs = WeightCosts(pair, ground_metric, sides)
    masses = [costs.masses(index, mass) for index in range(len(costs))]
    maps: list[Map | None] = [None] * len(costs)
    couplings, matrices = list(maps), list(maps)

    def solved(index: int) -> Tensor:
        matrices[index] = costs.matrix(index, maps)
        return solve(matrices[index], *masses[index])

    stale = set()  # to be solved again
    for index in range(len(costs)):
        stale |= {index} if any(maps[number] is None for number in costs.reads[index]) else set()
        couplings[index] = solved(index)
        maps[index] = to_map(couplings[index])
    passes = 1
    totals = [costs.total(index, maps, couplings) for index in range(len(costs))] if stale else []
    while stale:
        passes += 1
        for index in sorted(stale):
            stale.discard(index)
            coupling = solved(index)
            if torch.equal(coupling, couplings[index]):
                continue
            candidate, trial = changed(maps, index, to_map(coupling)), changed(couplings, index, coupling)
            touched = costs.touched_by(index)
            after = {i: costs.total(i, candidate, trial) for i in touched}
            gain = sum(totals[i] for i in touched) - sum(after.values())
            if gain > RELATIVE_GAIN * sum(costs.sizes[i] for i in touched):
                maps, couplings = candidate, trial
                for i, total in after.items():
                    totals[i] = total
                    stale |= {i} | costs.reads[i]
    return Match(tuple(couplings), tuple(maps), tuple(matrices), passes)


def changed(items: Sequence, index: int, item: object) -> list:
    """A copy of `items` with another one at `index`."""
    return [*items[:index], item, *items[index + 1 :]]


class WeightCosts:
    """Ground costs between the neurons of A and B by their weights, given how others are matched."""

    def __init__(self, pair: Pair, ground_metric: str, sides: str):
        self.pair = pair
        self.metric = GROUND_METRICS[ground_metric]
        self.along = METRICS_ALONG[ground_metric]
        self.members = [
            list(zip(looked_at(one, sides), looked_at(other, sides), strict=True))
            for one, other in pair.groups
        ]
        self.sizes = [group.size for group in pair.groups_b.groups]
        # group -> the groups that its cost depends on; itself, if a layer reads and writes it
        self.reads = [
            {number for one, _ in members for number in others_along(pair.groups_a, one)}
            for members in self.members
        ]

    def __len__(self) -> int:
        return len(self.members)

    def touched_by(self, index: int) -> list[int]:
        """The groups whose totals change when one is matched otherwise."""
        return [i for i, reads in enumerate(self.reads) if i == index or index in reads]

    def rows(self, index: int, maps: Sequence[Map | None]) -> list[tuple[Tensor, Tensor]]:
        """For each weight that is looked at: unit rows of A, moved on the other side, and of B."""
        pairs = []
        for one, other in self.members[index]:
            known = [maps[number] is not None for number in others_along(self.pair.groups_a, one)]
            if known and not any(known) and self.nothing_else_along(one):
                continue
            a, b = self.pair.moved(one.parameter, maps, but=one.axis), self.pair.b[other.parameter]
            if not all(known):
                b = without(b, other, self.pair.groups_b, maps)
            pairs.append((unit_rows(rows_of(a, one)), unit_rows(rows_of(b, other))))
        return pairs

    def nothing_else_along(self, member: ParameterAxis) -> bool:
        """Whether all positions on the other axes of a weight belong to groups."""
        for (axis, blocks), found in self.pair.groups_a.axes[member.parameter].items():
            if axis != member.axis:
                length = see_blocks(self.pair.a[member.parameter], blocks).shape[axis]
                if sum(part.positions.numel() for _, part in found) < length:
                    return False
        return True

    def matrix(self, index: int, maps: Sequence[Map | None]) -> Tensor:
        """(n, m) float64: the ground metric, summed over the weights that are looked at."""
        size = [group.size for group in self.pair.groups[index]]
        return sum(
            (self.metric(*rows) for rows in self.rows(index, maps)), torch.zeros(size, dtype=torch.float64)
        )

    def total(self, index: int, maps: Sequence[Map], couplings: Sequence[Tensor]) -> float:
        """The cost along a group's coupling, times the number of its neurons."""
        order = maps[index].permutation
        if order is None:
            return self.sizes[index] * (couplings[index] * self.matrix(index, maps)).sum().item()
        return sum(self.along(a[order], b).sum().item() for a, b in self.rows(index, maps))

    def masses(self, index: int, mass: str) -> tuple[Tensor, Tensor]:
        """Masses (n,), (m,) of a group's neurons."""
        groups = self.pair.groups[index]
        if mass == "uniform":
            return tuple(uniform(group.size) for group in groups)
        weights = self.pair.a, self.pair.b
        return tuple(
            proportional(sum(rows_of(w[m.parameter], m).double().norm(dim=1) for m in group.writers))
            for group, w in zip(groups, weights, strict=True)
        )


def looked_at(group: Group, sides: str) -> tuple[ParameterAxis, ...]:
    """The weights by which neurons are compared."""
    return group.writers + group.readers if sides == "both" else group.writers


def others_along(alignment: Alignment, member: ParameterAxis) -> list[int]:
    """Numbers of the groups along the other axes of a member's parameter."""
    axes = alignment.axes[member.parameter]
    return [number for (axis, _), found in axes.items() if axis != member.axis for number, _ in found]


def without(
    tensor: Tensor, member: ParameterAxis, alignment: Alignment, maps: Sequence[Map | None]
) -> Tensor:
    """`tensor` with zeros for neurons along its other axes that are not matched yet."""
    stay = [map_ and identity(group.size) for map_, group in zip(maps, alignment.groups, strict=True)]
    return move_parameter(tensor, member.parameter, alignment, alignment, stay, tensor.shape, but=member.axis)


def identity(size: int) -> Map:
    return make_map(torch.eye(size, dtype=torch.float64))


def unit_rows(rows: Tensor) -> Tensor:
    """(n, d) float64 rows of norm one; a neuron whose weights are all zero stays zero."""
    rows = rows.double()
    norms = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(norms == 0, 1.0, norms)


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) distances between rows: by matrix product, eight times as fast as by differences and 3e-8 off
    where rows coincide."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1)
    return torch.addmm(squares, a, b.T, alpha=-2).clamp_(min=0).sqrt_()


GROUND_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "euclidean": euclidean,
    "cosine": lambda a, b: 1 - a @ b.T,
}
METRICS_ALONG: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # row by row
    "euclidean": lambda a, b: (a - b).norm(dim=1),
    "cosine": lambda a, b: 1 - (a * b).sum(1),
}


# by coordinate descent


def weight_matching(pair: Pair, *, starts: int = 3, seed: int = 0) -> Match:
    """Ainsworth et al. 2023 (arXiv 2209.04836, algorithm 1): permutations that bring all weights of A near B.

    The sum over all learned parameters of <B, moved A> is raised group by group, each time by solving an
    assignment, in a random order until no group can raise it. From several starts (see `first_maps`),
    of which the best is kept. Raises InputError where the parents differ in width.
    """
    similarity = WeightProducts(pair)
    best: tuple[float, list[Map], int] | None = None
    for start in range(starts):
        stream = generator(seed, "weight matching", start)
        found = descend(similarity, first_maps(similarity, start, stream), stream)
        if best is None or found[0] > best[0]:
            best = found
    _, maps, passes = best
    couplings = tuple(map_.writer_map / len(map_.writer_map) for map_ in maps)
    distances = tuple(similarity.distances(i, maps) for i in range(len(maps)))
    return Match(couplings, tuple(maps), distances, passes)


def first_maps(similarity: "WeightProducts", start: int, stream: torch.Generator) -> list[Map]:
    """Where descent starts from: one pass from input to output, then the identity, then random permutations.

    In that pass only what has been matched counts, so that it finds a permuted copy of a network, which
    descent from the identity, as in the paper, may miss.
    """
    if start > 0:
        orders = [
            torch.arange(n) if start == 1 else torch.randperm(n, generator=stream) for n in similarity.sizes
        ]
        return [permutation_map(order) for order in orders]
    maps: list[Map | None] = [None] * len(similarity.sizes)
    for index in range(len(maps)):
        maps[index] = similarity.best_map(index, maps)
    return maps


def permutation_map(order: Tensor) -> Map:
    """The map that puts neuron order[j] of A at j."""
    return make_map(torch.eye(len(order), dtype=torch.float64)[:, order])


def descend(
    similarity: "WeightProducts", maps: list[Map], stream: torch.Generator
) -> tuple[float, list[Map], int]:
    """The sum reached, the maps, and how many passes over all groups it took.

    A group is left out of a pass if none beside it has changed since it was solved.
    """
    products = {name: similarity.product(name, maps) for name in sorted(similarity.pair.learned)}
    passes, stale = 0, set(range(len(maps)))
    while stale:
        passes += 1
        for index in torch.randperm(len(maps), generator=stream).tolist():
            if index not in stale:
                continue
            stale.discard(index)
            candidate = changed(maps, index, similarity.best_map(index, maps))
            if torch.equal(candidate[index].permutation, maps[index].permutation):
                continue
            # not read off the matrix: a layer may read and write the same group
            after = {name: similarity.product(name, candidate) for name in similarity.names(index)}
            before = {name: products[name] for name in after}
            scale = sum(map(abs, before.values()))
            if sum(after.values()) - sum(before.values()) > RELATIVE_GAIN * scale:
                maps = candidate
                products |= after
                stale |= similarity.beside[index]
    return sum(products.values()), maps, passes


class WeightProducts:
    """Inner products between the learned parameters of B and of A, moved."""

    def __init__(self, pair: Pair):
        self.pair = pair
        self.sizes = [group.size for group in pair.groups_b.groups]
        if self.sizes != [group.size for group in pair.groups_a.groups]:
            raise InputError(
                "weight_matching permutes neurons: parents of different width need optimal_transport"
            )
        self.members = [
            [
                both
                for both in zip(one.members, other.members, strict=True)
                if both[0].parameter in pair.learned
            ]
            for one, other in pair.groups
        ]
        # group -> the groups that share a weight with it; itself, if a layer reads and writes it
        self.beside = [
            {number for one, _ in members for number in others_along(pair.groups_a, one)}
            for members in self.members
        ]

    def names(self, index: int) -> list[str]:
        """The learned parameters that a group has a share in."""
        return list(dict.fromkeys(one.parameter for one, _ in self.members[index]))

    def product(self, name: str, maps: Sequence[Map]) -> float:
        """<B, moved A> of one parameter."""
        a, b = self.pair.moved(name, maps), self.pair.b[name]
        return (a.double() * b.double()).sum().item()

    def best_map(self, index: int, maps: Sequence[Map | None]) -> Map:
        """The permutation of a group that raises the sum most, given all others."""
        products = sum(a @ b.T for a, b in self.rows(index, maps))
        return permutation_map(assignment(-products.T))

    def distances(self, index: int, maps: Sequence[Map]) -> Tensor:
        """(n, n): squared Euclidean distances between all that a neuron of A and one of B have."""
        return sum(torch.cdist(a, b).square() for a, b in self.rows(index, maps))

    def rows(self, index: int, maps: Sequence[Map | None]) -> list[tuple[Tensor, Tensor]]:
        """For each learned parameter of a group what it holds for each neuron of A (moved) and B, float64."""
        return [
            (
                rows_of(self.pair.moved(one.parameter, maps, but=one.axis), one).double(),
                rows_of(self.pair.b[other.parameter], other).double(),
            )
            for one, other in self.members[index]
        ]


METHODS: dict[str, Callable[..., Match]] = {
    "optimal_transport": optimal_transport,
    "weight_matching": weight_matching,
}
