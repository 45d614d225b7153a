"""parents_disagreement and parents_loss_difference beside plain loops over the images."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fusionscope.measures.pair.pairs import all_pairs
from fusionscope.measures.pair.predictions import disagreement, loss_difference

COUNT = 40
LABELS = torch.arange(COUNT) % 3


def logits(seed: int) -> Tensor:
    return torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_of(row: np.ndarray, label: int) -> float:
    return -math.log(math.exp(row[label]) / sum(map(math.exp, row)))


def test_disagreement_is_the_share_of_images_that_are_put_into_different_classes():
    one, other = logits(1), logits(2)
    count = 0
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        count += a.index(max(a)) != b.index(max(b))
    found = disagreement([one, other], [(0, 1)])
    share = count / COUNT
    assert found.value == share
    assert found.std_error == pytest.approx(math.sqrt(share * (1 - share) / (COUNT - 1)))


def test_of_three_networks_disagreement_is_the_mean_over_pairs():
    three = [logits(seed) for seed in (1, 2, 3)]
    each = [disagreement([three[p], three[q]], [(0, 1)]).value for p, q in ((0, 1), (0, 2), (1, 2))]
    assert disagreement(three, all_pairs(3)).value == pytest.approx(np.mean(each))


def test_equal_answers_disagree_nowhere_and_their_losses_do_not_differ():
    found = disagreement([logits(1), 2 * logits(1)], [(0, 1)])
    assert (found.value, found.std_error) == (0, 0)
    assert loss_difference([logits(1)] * 2, LABELS, [(0, 1)]).value == 0


def test_the_loss_difference_is_that_of_losses_image_by_image_without_its_sign():
    one, other = logits(1), logits(2)
    losses = np.array(
        [[loss_of(part[image].numpy(), image % 3) for image in range(COUNT)] for part in (one, other)]
    )
    difference = losses[0] - losses[1]
    for order in ([one, other], [other, one]):
        found = loss_difference(order, LABELS, [(0, 1)])
        assert found.value == pytest.approx(abs(difference.mean()), rel=1e-12)
        assert found.std_error == pytest.approx(difference.std(ddof=1) / math.sqrt(COUNT), rel=1e-12)


def test_of_three_networks_the_loss_difference_is_the_mean_over_pairs():
    three = [logits(seed) for seed in (1, 2, 3)]
    each = [
        loss_difference([three[p], three[q]], LABELS, [(0, 1)]).value for p, q in ((0, 1), (0, 2), (1, 2))
    ]
    assert loss_difference(three, LABELS, all_pairs(3)).value == pytest.approx(np.mean(each))
    assert len(set(each)) == 3


def test_a_single_image_leaves_no_error():
    assert disagreement([logits(1)[:1], logits(2)[:1]], [(0, 1)]).std_error is None
