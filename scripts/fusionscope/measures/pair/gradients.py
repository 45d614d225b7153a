"""Whether the same images pull networks the same way: the cosine between the gradients of their losses.

Yu et al. 2020 ("Gradient Surgery for Multi-Task Learning", arXiv 2001.06782, definition 1) call gradients
conflicting where it is negative. There they are of several losses at one point; here of one loss at several.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.pair.pairs import DIFFERENT_SHAPES, Places, same_shapes
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.undefined import NotDefined, refusals_as_undefined

BLOCKS = 10  # of images, each of which is left out once for the standard error
NUMBERS_AT_ONCE = 2**20  # of each gradient, in double precision

NO_GRADIENT = "the gradient of one of the networks is zero"
NOT_FINITE = "the gradient of one of the networks is not finite"


def gradient_cosine(
    networks: Sequence[nn.Module], pairs: Places, images: Images, batch_size: int
) -> Measurement:
    """The cosine of the gradients of the mean cross-entropy on `images`, mean over `pairs` of networks.

    The gradients are by all trainable parameters, in eval mode, of the networks as they are: parameter i of
    one goes with parameter i of the other. Undefined where networks differ in width, or a gradient is zero,
    not finite or not to be had. The standard error is about the images as a sample: see `mean_cosine`.
    """
    if not same_shapes(networks):
        return undefined(DIFFERENT_SHAPES)
    try:
        with refusals_as_undefined():
            gradients = [block_gradients(network, images, batch_size) for network in networks]
    except NotDefined as why:
        return undefined(str(why))
    return mean_cosine(inner_products(gradients), pairs)


def block_gradients(network: nn.Module, images: Images, batch_size: int) -> Tensor:
    """(blocks, omega): the gradient of the summed cross-entropy on each block of `images`, of equal size.

    Raises NotDefined where no gradient can be taken.
    """
    landscape = Landscape(network, images, batch_size)
    index = torch.arange(len(images), device=landscape.device)
    blocks = []
    for block in index.tensor_split(min(BLOCKS, len(images))):
        gradient, _ = landscape.gradient(block)
        blocks.append(len(block) * torch.cat([part.flatten() for part in gradient]))
    return torch.stack(blocks)


def inner_products(gradients: Sequence[Tensor]) -> Tensor:
    """(n, n, blocks, blocks), float64: <g_k of network p, g_l of network q>, of n `block_gradients`."""
    n, blocks = len(gradients), len(gradients[0])
    products = torch.zeros(n * blocks, n * blocks, dtype=torch.float64, device=gradients[0].device)
    for parts in zip(*(gradient.split(NUMBERS_AT_ONCE, 1) for gradient in gradients), strict=True):
        part = torch.cat(parts).double()
        products.addmm_(part, part.T)
    return products.view(n, blocks, n, blocks).transpose(1, 2).cpu()


def mean_cosine(products: Tensor, pairs: Places) -> Measurement:
    """The mean over `pairs` of the cosine of whole gradients, from the `inner_products` of their blocks.

    The standard error is the jackknife's over blocks (Efron & Stein 1981): each is left out once, of all
    networks at a time, since they see the same images. None for a single block. At equal gradients it is
    zero: they are equal on any images.
    """
    sums = products.sum((2, 3)).diagonal()
    if not products.isfinite().all():
        return undefined(NOT_FINITE)
    if not (sums > 0).all():
        return undefined(NO_GRADIENT)
    value, blocks = cosines(products.sum((2, 3)), pairs), products.shape[-1]
    if blocks == 1:
        return Measurement(value)
    kept = ~torch.eye(blocks, dtype=torch.bool)
    without = torch.tensor(
        [cosines(products[:, :, rest][..., rest].sum((2, 3)), pairs) for rest in kept], dtype=torch.float64
    )
    variance = (blocks - 1) * (without - without.mean()).square().mean().item()
    return Measurement(value, math.sqrt(variance) if math.isfinite(variance) else None)


def cosines(products: Tensor, pairs: Places) -> float:
    """The mean over `pairs` of <g_p, g_q> / (norm(g_p) norm(g_q)), from the inner products (n, n)."""
    found = [
        (products[p, q] / (products[p, p].sqrt() * products[q, q].sqrt())).clamp(-1, 1) for p, q in pairs
    ]
    return torch.stack(found).mean().item()
