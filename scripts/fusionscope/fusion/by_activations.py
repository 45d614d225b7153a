"""Couplings of neurons that answer alike to the same images."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from fusionscope.alignment.activations import joint_moments, traced_with
from fusionscope.alignment.groups import ActivationAxis, Group
from fusionscope.fusion.pair import Match, Pair, ToMap
from fusionscope.fusion.transport import Solver, proportional, uniform
from fusionscope.images import Images
from fusionscope.moments import JointMoments, varies

SHARE_AT_ONCE = 8  # an eighth of the images at once: two networks keep what their neurons answer, in float64


def activation_moments(pair: Pair, activations: str, images: Images) -> list[list[JointMoments]]:
    """For each group the joint moments of A's and B's neurons at each of its sites, over all images.

    What a neuron answers is taken at every pixel (or token), as the layers that read it see it ('post':
    after the activation function, pooling, ...) or as the layers that make it leave it ('pre': after a batch
    norm that follows directly). Images are streamed: memory does not depend on their number.
    """
    sites = [
        list(zip(sites_of(a, activations), sites_of(b, activations), strict=True)) for a, b in pair.groups
    ]
    at_once = max(1, pair.images_at_once // SHARE_AT_ONCE)
    one, other = traced_with(pair.network_a, pair.a), traced_with(pair.network_b, pair.b)
    found = iter(joint_moments(one, other, [both for mine in sites for both in mine], images, at_once))
    return [[next(found) for _ in mine] for mine in sites]


def by_activations(
    joint: Sequence[Sequence[JointMoments]], solve: Solver, to_map: ToMap, *, mass: str, ground_metric: str
) -> Match:
    """Neurons matched that answer alike, from the moments of each group at each of its sites.

    Costs: 1 - Pearson correlation (Li et al. 2016, arXiv 1511.07543), or the root of the mean squared
    difference ('euclidean'). A residual stream is read at several sites: their costs are added.
    """
    metric = ACTIVATION_COSTS[ground_metric]
    costs = [torch.stack([metric(part) for part in mine]).sum(0).cpu() for mine in joint]
    couplings = [solve(cost, *masses_of(cost, mine, mass)) for cost, mine in zip(costs, joint, strict=True)]
    return Match.of(couplings, costs, to_map)


def masses_of(cost: Tensor, joint: Sequence[JointMoments], mass: str) -> tuple[Tensor, Tensor]:
    """Masses (n,), (m,) of a group's neurons: equal, or their share of the root mean square activations."""
    if mass == "uniform":
        return uniform(cost.shape[0]), uniform(cost.shape[1])
    squares_a = reduce(torch.add, (part.var_x + part.mean_x.square() for part in joint))
    squares_b = reduce(torch.add, (part.var_y + part.mean_y.square() for part in joint))
    return proportional(squares_a.sqrt()), proportional(squares_b.sqrt())


def sites_of(group: Group, activations: str) -> tuple[ActivationAxis, ...]:
    """Where a group's neurons are looked at; what nobody reads is taken where it is made."""
    return group.written if activations == "pre" or not group.read else group.read


def correlation_cost(joint: JointMoments) -> Tensor:
    """1 - Pearson correlation (n, m), from 0 to 2; a constant neuron correlates with nothing: 1."""
    std_x, std_y = varying_std(joint.var_x, joint.mean_x), varying_std(joint.var_y, joint.mean_y)
    return 1 - (joint.covariance / torch.outer(std_x, std_y)).clamp(-1, 1)


def varying_std(var: Tensor, mean: Tensor) -> Tensor:
    """(n,) standard deviations; infinite where all there is is rounding."""
    return torch.where(varies(var, mean), var.sqrt(), torch.inf)


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
