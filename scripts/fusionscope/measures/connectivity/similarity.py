"""Similarity of representations: how much what the neurons of two networks answer has in common."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from fusionscope.alignment.activations import answers, traced_with
from fusionscope.alignment.groups import alignment_groups
from fusionscope.alignment.move import check_same_groups
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.moments import JointMoments
from fusionscope.weights import Weights

CKA_COLUMNS = ("seed", "model", "parent", "group", "cka")  # of a CSV file; `model` is the child

SINGLE_PRECISION = 1e-6  # deviations that small, relative to the mean, are float32's rounding


def cka_by_group(
    network_x: nn.Module,
    weights_x: Weights,
    network_y: nn.Module,
    weights_y: Weights,
    images: Images,
    batch_size: int,
) -> dict[str, float]:
    """Linear CKA, in [0, 1], of two networks on the same `images`, for each alignment group by name.

    A group is looked at where the first of its readers sees it, i.e. after the activation function. Its
    neurons are the features; an example is an image at a place, so that a channel of a feature map is
    one feature. The networks, which lend architecture and device and are left as they are, may differ
    in width. NaN for a group whose neurons do not vary over the examples: CKA is 0 / 0 there. A group
    that no layer reads has no number.

    Streamed: memory does not grow with the number of images, only with the batch and the squared sizes
    of the groups. Raises InputError if the networks' groups do not correspond, or cannot be found.
    """
    groups_x, groups_y = alignment_groups(network_x), alignment_groups(network_y)
    check_same_groups(groups_x, groups_y)
    axes = {
        x.name: (x.read[0], y.read[0])
        for x, y in zip(groups_x.groups, groups_y.groups, strict=True)
        if x.read and y.read
    }
    traced_x, traced_y = traced_with(network_x, weights_x), traced_with(network_y, weights_y)
    similarities = [Similarity() for _ in axes]
    for number, x, y in answers(traced_x, traced_y, list(axes.values()), images, batch_size):
        similarities[number].add(x, y)
    return {name: similarity.cka() for name, similarity in zip(axes, similarities, strict=True)}


def mean_similarity(by_parent: Mapping[str, Mapping[str, float]]) -> dict[str, Measurement]:
    """`mean_cka`: over all parents and all groups that have a number; nothing where none has."""
    values = [value for by_group in by_parent.values() for value in by_group.values()]
    values = [value for value in values if not math.isnan(value)]
    return {"mean_cka": Measurement(sum(values) / len(values))} if values else {}


class Similarity:
    """Linear CKA of two representations of examples that come in batches."""

    def __init__(self) -> None:
        self.xx, self.yy, self.xy = JointMoments(), JointMoments(), JointMoments()

    def add(self, x: Tensor, y: Tensor) -> None:
        """A batch of x (n, k) and y (m, k), rows are neurons, whose columns are the same examples."""
        self.xx.add(x, x)
        self.yy.add(y, y)
        self.xy.add(x, y)

    def cka(self) -> float:
        """||C_xy||_F^2 / (||C_xx||_F ||C_yy||_F), C the covariances; NaN where x or y does not vary.

        Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", arXiv
        1905.00414, section 3: with centred X (k, n) and Y (k, m), ||Y^T X||_F^2 / (||X^T X||_F
        ||Y^T Y||_F). It does not change when either is rotated, permuted or scaled as a whole.
        """
        if any(is_constant(moments) for moments in (self.xx, self.yy)):
            return math.nan
        xx, yy, xy = (moments.covariance.norm() for moments in (self.xx, self.yy, self.xy))
        return (xy / xx * (xy / yy)).item()  # squares of tiny norms would vanish


def is_constant(moments: JointMoments) -> bool:
    """Whether no neuron varies by more than rounding (of x)."""
    return bool((moments.var_x <= (SINGLE_PRECISION * moments.mean_x).square()).all())
