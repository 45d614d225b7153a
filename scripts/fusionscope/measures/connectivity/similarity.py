"""Similarity of representations: whether two networks find the same images alike.

Linear CKA (Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", arXiv 1905.00414)
compares Gram matrices, the products of what a layer answers to each two images. An image is an example; all
that a group of neurons answers to it, at all places of a feature map, are its features. With as many
features as images the published ratio is far above zero even for representations that have nothing in
common. So HSIC is estimated without bias here (HSIC_1 of Song et al. 2012, JMLR 13; Nguyen et al. 2021,
arXiv 2010.15327, equation 3). The estimate of a similarity near zero may be negative, and stays so.
"""

import logging
from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, fx, nn

from fusionscope.alignment.activations import dtype_of, record, traced_with
from fusionscope.alignment.groups import SAME_FUNCTION, ActivationAxis, alignment_groups
from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.moments import varies
from fusionscope.weights import Weights

CKA_COLUMNS = ("seed", "model", "parent", "group", "cka", "reason")  # of a CSV file; `model` is the child

FEWEST_IMAGES = 4  # the unbiased estimator divides by n (n - 3)
NUMBERS_AT_ONCE = 2**27  # of activations that are held: 512 MiB in single precision
FEATURES_AT_ONCE = 4096  # of those, in double precision
ROUNDING = 1e-10  # what is left of a Gram matrix relative to it, if all that is left is rounding

FEW = f"there are fewer than {FEWEST_IMAGES} images"
ALL_ALIKE = "to one of the two networks no images are more alike than others: its neurons are constant, say"
NOT_FINITE = "activations of one of the two networks are not finite"
NO_GROUPS = "no group of neurons can be compared"


def cka_by_group(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Measurement]:
    """Debiased linear CKA, at most 1, of two networks for each alignment group that both have, by name.

    `one` and `other` are their `gram_matrices` of the same images; the networks may differ in width.
    Undefined with fewer than four images, or where either finds no images more alike than others.
    """
    return {name: cka(one[name], other[name]) for name in one if name in other}


def mean_similarity(by_parent: Mapping[str, Mapping[str, Measurement]]) -> dict[str, Measurement]:
    """`mean_cka`: over all parents and all groups that have a number; undefined where none has."""
    found = list(chain.from_iterable(by_group.values() for by_group in by_parent.values()))
    values = [each.value for each in found if each.value is not None]
    if values:
        return {"mean_cka": Measurement(sum(values) / len(values))}
    return {"mean_cka": undefined(found[0].reason if found else NO_GROUPS)}


def cka(a: Tensor, b: Tensor) -> Measurement:
    """<A, B> / (norm(A) norm(B)) of U-centred Gram matrices (n, n), which `gram_matrices` gives.

    That is HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)). It does not change when a representation is
    rotated, permuted, shifted or scaled as a whole.
    """
    if len(a) < FEWEST_IMAGES:
        return undefined(FEW)
    norm_a, norm_b = a.norm(), b.norm()
    if not (norm_a.isfinite() and norm_b.isfinite()):
        return undefined(NOT_FINITE)
    if norm_a == 0 or norm_b == 0:
        return undefined(ALL_ALIKE)
    return Measurement((a / norm_a * (b / norm_b)).sum().item())


def u_centred(gram: Tensor) -> Tensor:
    """A symmetric matrix (n, n), n > 3, without its diagonal and all that rows or columns share.

    Rows of the result add to zero, and <A, B> = n (n - 3) HSIC_1(K, L), the unbiased estimator (Székely &
    Rizzo 2014, arXiv 1310.2926, definition 2). Zero where nothing but rounding is left.
    """
    n, size = len(gram), gram.norm()
    gram = gram.clone().fill_diagonal_(0)
    rows = gram.sum(1) / (n - 2)
    centred = gram - rows[:, None] - rows + gram.sum() / ((n - 1) * (n - 2))
    centred.fill_diagonal_(0)
    return torch.zeros_like(gram) if centred.norm() <= ROUNDING * size else centred


# Gram matrices of a network's groups


@torch.no_grad()
def gram_matrices(network: nn.Module, weights: Weights, images: Images, batch_size: int) -> dict[str, Tensor]:
    """The U-centred Gram matrix (n, n), float64, of what each alignment group answers to n `images`, by name.

    A group is looked at where the first of its readers sees it, i.e. after the activation function; one
    that no layer reads has no matrix. `network` lends architecture and device and is left as it was.

    Memory: the matrices, and NUMBERS_AT_ONCE activations; the images are passed through the network as often
    as that takes. Raises InputError if torch.fx cannot trace the network.
    """
    axes = {group.name: group.read[0] for group in alignment_groups(network).groups if group.read}
    traced = traced_with(network, weights)
    sizes = feature_counts(traced, axes, images)
    n, device = len(images), images.labels.device
    grams = {name: torch.zeros(n, n, dtype=torch.float64, device=device) for name in sizes}
    for part in passes(sizes, max(NUMBERS_AT_ONCE // n, 1)):
        for name, x in kept_features(traced, axes, part, images, batch_size).items():
            add_products(grams[name], x)
    return {name: u_centred(gram) for name, gram in grams.items()}


def feature_counts(
    traced: fx.GraphModule, axes: Mapping[str, ActivationAxis], images: Images
) -> dict[str, int]:
    """How many features each group has for one image, its neurons at all places.

    Without groups, named in the log, whose activations do not come image after image: it is seen whether
    the first image's are the same with and without another.
    """
    counts = {}
    nodes = {axis.node for axis in axes.values()}
    alone, together = (
        record(traced, images.take(torch.arange(count)).normalised().to(dtype_of(traced)), nodes)
        for count in (1, 2)
    )
    for name, axis in axes.items():
        if come_image_after_image(alone[axis.node], together[axis.node], axis):
            counts[name] = features(alone[axis.node], axis, 1).shape[1]
        else:
            log = logging.getLogger("fusionscope")
            log.warning("no similarity of %s: its activations do not come image after image", name)
    return counts


def come_image_after_image(alone: Tensor, together: Tensor, axis: ActivationAxis) -> bool:
    """Whether activations of two images begin with those of the first `alone`, in the order of `features`."""
    if together.numel() != 2 * alone.numel():
        return False
    first, both = features(alone, axis, 1)[0], features(together, axis, 2)[0]
    return bool((both - first).norm() <= SAME_FUNCTION * first.norm())


def passes(sizes: Mapping[str, int], at_once: int) -> list[dict[str, slice]]:
    """Which features of each group are looked at in each pass over the images: `at_once` of all together."""
    found: list[dict[str, slice]] = [{}]
    room = at_once
    for name, size in sizes.items():
        start = 0
        while start < size:
            if room == 0:
                found.append({})
                room = at_once
            stop = min(start + room, size)
            found[-1][name] = slice(start, stop)
            room -= stop - start
            start = stop
    return found


def kept_features(
    traced: fx.GraphModule,
    axes: Mapping[str, ActivationAxis],
    part: Mapping[str, slice],
    images: Images,
    batch_size: int,
) -> dict[str, Tensor]:
    """Those features of each group that `part` names: (n, k), a row for each of the images."""
    kept: dict[str, Tensor] = {}
    start = 0
    for batch, labels in images.batches(batch_size):
        stop = start + len(labels)
        outputs = record(traced, batch.to(dtype_of(traced)), {axes[name].node for name in part})
        for name, columns in part.items():
            rows = features(outputs[axes[name].node], axes[name], len(labels))[:, columns]
            if name not in kept:
                kept[name] = rows.new_empty(len(images), rows.shape[1])
            kept[name][start:stop] = rows
        start = stop
    return kept


def features(activation: Tensor, along: ActivationAxis, count: int) -> Tensor:
    """(count, features): what neurons that lie `along` an axis answer to so many images, the outer axis."""
    positions = along.positions.to(activation.device, non_blocking=True)
    neurons = activation.movedim(along.axis, -1)[..., positions]
    return neurons.reshape(count, -1)


def add_products(gram: Tensor, x: Tensor) -> None:
    """Add to `gram` (n, n) the products of rows of x (n, k), without the features' means.

    The means make no difference to what is left after U-centring but for rounding; nor do features that vary
    by no more than that.
    """
    for part in x.split(FEATURES_AT_ONCE, 1):
        part = part.double()
        mean = part.mean(0)
        part = part - mean
        part = part * varies(part.square().mean(0), mean)
        gram.addmm_(part, part.T)


def similarity_rows(
    similarities: Mapping[str, Mapping[str, Measurement]], *, seed: int, model: str
) -> list[dict[str, object]]:
    """One row, with CKA_COLUMNS as keys, per parent and group."""
    return [
        {
            "seed": seed,
            "model": model,
            "parent": parent,
            "group": group,
            "cka": "" if number.value is None else number.value,
            "reason": number.reason,
        }
        for parent, by_group in similarities.items()
        for group, number in by_group.items()
    ]
