"""Neurons matched by coordinate descent on all weights (Git Re-Basin)."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from fusionscope.alignment.move import Map, rows_of
from fusionscope.errors import InputError
from fusionscope.fusion.options import WeightMatchingOptions
from fusionscope.fusion.pair import RELATIVE_GAIN, Match, Pair, changed, permutation_map
from fusionscope.fusion.transport import assignment
from fusionscope.images import Images
from fusionscope.seeding import generator


class WeightMatching(WeightMatchingOptions):
    """Ainsworth et al. 2023 (arXiv 2209.04836, algorithm 1): permutations that bring all weights of A near B.

    The sum over all learned parameters of <B, moved A> is raised group by group, each time by solving an
    assignment, in a random order until no group can raise it. From several starts (see `first_maps`),
    of which the best is kept.
    """

    def align(self, pair: Pair, images: Images | None, seed: int) -> Match:
        """The neurons of A matched to those of B. Raises InputError where the parents differ in width."""
        similarity = WeightProducts(pair)
        best: tuple[float, list[Map], int] | None = None
        for start in range(self.starts):
            stream = generator(seed, "weight matching", start)
            found = descend(similarity, first_maps(similarity, start, stream), stream)
            if best is None or found[0] > best[0]:
                best = found
        assert best is not None  # there is at least one start
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
    return [map_ for map_ in maps if map_ is not None]  # all of them


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

    def __init__(self, pair: Pair) -> None:
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
            {number for one, _ in members for number in pair.groups_beside(one)} for members in self.members
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
        products = reduce(torch.add, (a @ b.T for a, b in self.rows(index, maps)))
        return permutation_map(assignment(-products.T))

    def distances(self, index: int, maps: Sequence[Map]) -> Tensor:
        """(n, n): squared Euclidean distances between all that a neuron of A and one of B have."""
        return reduce(torch.add, (torch.cdist(a, b).square() for a, b in self.rows(index, maps)))

    def rows(self, index: int, maps: Sequence[Map | None]) -> list[tuple[Tensor, Tensor]]:
        """For each learned parameter of a group what it holds for each neuron of A (moved) and B, float64."""
        return [
            (
                rows_of(self.pair.moved(one.parameter, maps, but=one.axis), one).double(),
                rows_of(self.pair.b[other.parameter], other).double(),
            )
            for one, other in self.members[index]
        ]
