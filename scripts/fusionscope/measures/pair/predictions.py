"""What networks answer differently: on how many images, and at what loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fusionscope.measurement import Measurement
from fusionscope.measures.pair.pairs import Places


def disagreement(logits: Sequence[Tensor], pairs: Places) -> Measurement:
    """Share of images, in [0, 1], that the two of a pair put into different classes, mean over `pairs`.

    `logits`: (n, classes) of each network on the same images. The disagreement measure of Kuncheva & Whitaker
    2003 (Machine Learning 51, 181-207) says the same of which images are classified correctly; here two
    wrong answers that differ count too. The standard error is that of the mean over images.
    """
    answers = [each.argmax(1) for each in logits]
    differ = torch.stack([answers[p] != answers[q] for p, q in pairs]).double().mean(0)
    return Measurement(differ.mean().item(), error_of_mean(differ))


def loss_difference(logits: Sequence[Tensor], labels: Tensor, pairs: Places) -> Measurement:
    """abs(L_p - L_q) of the mean cross-entropies in nats, mean over `pairs`.

    The standard error takes the signs of the differences for known: the images are the same, so it is that
    of the mean of the differences image by image. Where the difference is not larger than that it is too
    large, never too small, for one pair.
    """
    losses = [F.cross_entropy(each.double(), labels, reduction="none") for each in logits]
    differences = [losses[p] - losses[q] for p, q in pairs]
    larger_first = torch.stack([-each if each.mean() < 0 else each for each in differences]).mean(0)
    return Measurement(larger_first.mean().item(), error_of_mean(larger_first))


def error_of_mean(values: Tensor) -> float | None:
    """The standard error of the mean of independent `values` (n,); None of fewer than two."""
    if len(values) < 2:
        return None
    return values.std().item() / math.sqrt(len(values))
