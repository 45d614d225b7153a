"""The trace of the Hessian of a piecewise linear network, from gradients alone.

The Hessian of the cross-entropy is that of Gauss and Newton, J^T S J with S = diag(p) - p p^T, plus a part
with the second derivatives of the logits. Where each weight enters through one layer and all else is
piecewise linear (ReLU, max pooling, batch norm in eval mode), logits are piecewise linear in every single
weight: that part has a zero diagonal, and the trace is Gauss and Newton's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from fusionscope.evaluation import predict
from fusionscope.graph.operations import LAYERS, Kind, is_own, kind_of_module, look_up, of_module
from fusionscope.graph.trace import NotTraceable, operation, trace_network
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.seeding import generator
from fusionscope.state import left_as_it_was

EXACT_CLASSES = 20  # up to so many the sum over all classes is taken: draws would cost about as much
FEWEST_DRAWS = 512  # of all images together: the error of fewer is itself too uncertain
HEAVY_PAIRS = 4  # times the draws at a time: at most so many pairs are taken for their mass
DRAWS_PER_IMAGE = 2  # at a time, where an error is asked for instead of a number of draws
IMAGES_AT_ONCE = 16  # more are slower on CPUs
NUMBERS_AT_ONCE = 2**25  # of the gradients of single images: 128 MiB


@dataclass(frozen=True)
class Pairs:
    """k pairs of an image and a class, in the order of the images.

    S of an image is the sum over its classes of m u u^T, u the unit vector along e_c - p.
    """

    image: Tensor  # (k,)
    label: Tensor  # (k,), the class
    mass: Tensor  # (k,) m = p_c norm(e_c - p)^2, known without a gradient

    def __len__(self) -> int:
        return len(self.mass)

    def take(self, index: Tensor) -> "Pairs":
        return Pairs(self.image[index], self.label[index], self.mass[index])


def is_piecewise_linear(network: nn.Module) -> bool:
    """Whether logits are known to be piecewise linear in every single weight, in eval mode."""
    try:
        traced = trace_network(network.eval())
    except NotTraceable:
        return False
    called = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    done = {node: operation(node, traced) for node in called}
    with_weights = [node.target for node in called if has_weights(done[node])]
    return len(with_weights) == len(set(with_weights)) and all(
        node.op != "get_attr" and is_known(done[node]) for node in called
    )


def has_weights(done: object) -> bool:
    """Whether an operation is a layer or a batch norm, whose weights may enter only once."""
    return isinstance(done, nn.Module) and kind_of_module(done) in (*LAYERS, Kind.BATCH_NORM)


def is_known(done: object) -> bool:
    """Whether an operation is piecewise linear in what it reads, and in each of its weights."""
    if not isinstance(done, nn.Module):
        known = look_up(done)
    elif not is_own(done):
        return False  # somebody's own layer, or one whose weights are computed from others
    elif isinstance(done, _BatchNorm) and not done.track_running_stats:
        return False
    else:
        known = of_module(done)
    return known is not None and known.piecewise_linear


def gauss_newton_trace(
    network: nn.Module,
    images: Images,
    batch_size: int,
    *,
    seed: int,
    draws: int | None = None,
    target_error: float | None = None,
) -> Measurement:
    """tr J^T S J of the mean loss on `images`: the mean over images of sum_c p_c norm(J_i^T (e_c - p_i))^2.

    That is the trace of the Fisher information (Kunstner et al. 2019, arXiv 1905.12558, equation 5). Up to
    EXACT_CLASSES classes the sum is taken as it stands: exact, and no standard error. Of more classes only
    the pairs of an image and a class that have most mass are all taken. Others are drawn: `draws` times the
    number of images, or as many as bring the standard error to `target_error` of the trace. The error is
    that of the draws on these images: what other images would give is not in it.
    """
    p = predict(network, images, batch_size).double().softmax(1)
    at_once = max(len(images) * (draws or DRAWS_PER_IMAGE), FEWEST_DRAWS) // 2 * 2
    affordable = p.numel() // 2  # pairs that cost as much as all, of which an image's share a forward pass
    if p.shape[1] <= EXACT_CLASSES or 2 * at_once >= affordable:
        return Measurement(sums_over_classes(network, images, p).mean().item())
    most = min(HEAVY_PAIRS * at_once, affordable - at_once)
    certain, rest = split_by_mass(pairs_with_mass(p), at_once, most)
    known = (certain.mass @ squared_slopes(network, images, p, certain)).item() if len(certain) else 0.0
    if not len(rest):
        return Measurement(known / len(images))
    mass, slopes = rest.mass.sum().item(), p.new_empty(0, 2)
    while len(certain) + slopes.numel() < affordable:
        chosen = draw_pairs(rest, at_once, generator(seed, "trace pairs", slopes.numel()))
        found = squared_slopes(network, images, p, rest.take(chosen))
        slopes = torch.cat([slopes, found.view(-1, 2)])
        value = (known + mass * slopes.mean().item()) / len(images)
        std_error = mass * stratified_error(slopes) / len(images)
        if target_error is None or std_error <= target_error * value:
            return Measurement(value, std_error)
    return Measurement(sums_over_classes(network, images, p).mean().item())


def pairs_with_mass(p: Tensor) -> Pairs:
    """The pairs of an image and a class with probabilities `p` (n, classes) that have a mass."""
    others = (p.square().sum(1, keepdim=True) - p.square()).clamp_min(0)  # rounding may go below zero
    masses = (p * ((1 - p).square() + others)).flatten()
    index = masses.nonzero().squeeze(1)
    classes = p.shape[1]
    return Pairs(index // classes, index % classes, masses[index])


def split_by_mass(pairs: Pairs, draws: int, most: int) -> tuple[Pairs, Pairs]:
    """The heaviest pairs, `most` of them at the most, and the rest, in which none dominates.

    A pair is heavy if its share of itself and all lighter ones is above 1 / draws, so that as many draws in
    proportion to mass would meet it more than once.
    """
    masses, order = pairs.mass.sort(descending=True)
    from_here = masses.flip(0).cumsum(0).flip(0)
    heavy = int((draws * masses > from_here)[:most].long().cumprod(0).sum())
    return pairs.take(order[:heavy].sort().values), pairs.take(order[heavy:].sort().values)


def draw_pairs(pairs: Pairs, count: int, stream: torch.Generator) -> Tensor:
    """`count` indices of `pairs`, drawn in proportion to mass: two from each of count / 2 strata.

    Strata are of equal mass and in the order of the images, so that each image gets its share of the draws.
    """
    edges = pairs.mass.cumsum(0).cpu()
    strata = torch.arange(count // 2).repeat_interleave(2)
    places = (strata + torch.rand(count, generator=stream, dtype=edges.dtype)) * (2 / count) * edges[-1]
    chosen = torch.searchsorted(edges, places, right=True).clamp_max(len(pairs) - 1)  # rounding
    return chosen.to(pairs.mass.device)


def stratified_error(found: Tensor) -> float:
    """The standard error of the mean of `found` (strata, 2): two draws from each stratum, all of one size.

    The mean of two has the variance (a - b)^2 / 4, without bias.
    """
    return (found.diff(dim=1) / 2).norm().item() / len(found)


def sums_over_classes(network: nn.Module, images: Images, p: Tensor) -> Tensor:
    """sum_c p_c norm(J_i^T (e_c - p_i))^2 (n,) of each image."""
    units = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)
    sums = []
    for part in torch.arange(len(images), device=p.device).split(IMAGES_AT_ONCE):
        q = p[part].unsqueeze(2)
        directions = q.sqrt() * (units - q.mT)  # (images, c, :) is sqrt(p_c) (e_c - p)
        sums.append(squared_vjp_norms(network, images.take(part), directions).sum(1))
    return torch.cat(sums)


def squared_slopes(network: nn.Module, images: Images, p: Tensor, pairs: Pairs) -> Tensor:
    """norm(J_i^T u)^2 (k,) of each pair, u the unit vector along e_c - p_i; J_i: logits by weights."""
    toward = -p[pairs.image]
    toward[torch.arange(len(pairs)), pairs.label] += 1
    directions = toward / toward.norm(dim=1, keepdim=True)
    return squared_vjp_norms(network, images.take(pairs.image), directions.unsqueeze(1)).flatten()


def squared_vjp_norms(network: nn.Module, images: Images, directions: Tensor) -> Tensor:
    """norm(J_i^T d)^2 (n, k) for each of the `directions` d (n, k, classes); J_i: logits by weights."""
    network.eval()
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def of_one(x: Tensor, directions: Tensor) -> Tensor:
        def logits(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(network, parameters, (x[None],))[0]

        _, pull = vjp(logits, parameters)  # type: ignore[misc]  # three only with has_aux
        # all gradients of an image at once would take as many times the memory
        gradients = (pull(direction)[0] for direction in directions)
        return torch.stack([sum(part.square().sum() for part in g.values()) for g in gradients])

    numbers = sum(p.numel() for p in parameters.values())
    at_once = max(1, min(IMAGES_AT_ONCE, NUMBERS_AT_ONCE // numbers))
    batches = zip(images.batches(IMAGES_AT_ONCE), directions.split(IMAGES_AT_ONCE), strict=True)
    with left_as_it_was(network):  # what it keeps inside is of no use outside
        squares = [vmap(of_one, chunk_size=at_once)(x, d.to(x.dtype)) for (x, _), d in batches]
    return torch.cat(squares).double()
