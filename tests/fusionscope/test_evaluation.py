"""What a network answers, and how good it is, by hand."""

import math

import pytest
import torch
from measure_cases import random_images, smooth_network

from fusionscope.evaluation import accuracy, mean_loss, predict
from fusionscope.images import Images


@pytest.fixture(scope="module")
def case() -> tuple[torch.nn.Module, Images]:
    return smooth_network(batch_norm=True), random_images(17, size=4, classes=3, seed=17)


@pytest.mark.parametrize("batch_size", [1, 5, 17, 100])
def test_the_batch_size_does_not_change_a_prediction(case, batch_size):
    network, test = case
    torch.testing.assert_close(
        predict(network, test, batch_size), predict(network, test, 17), rtol=1e-12, atol=1e-12
    )


def test_a_network_in_training_mode_predicts_in_eval_mode(case):
    network, test = case
    expected = predict(network, test, 17)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert torch.equal(predict(network.train(), test, 17), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_accuracy_and_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])
    labels = torch.tensor([1, 1])
    assert accuracy(logits, labels) == 0.5
    assert mean_loss(logits, labels) == pytest.approx((-math.log(3 / 4) - math.log(1 / 5)) / 2, rel=1e-7)


def test_losses_of_confident_networks_do_not_overflow():
    logits = torch.tensor([[1e4, 0.0], [1e4, 0.0]])
    assert mean_loss(logits, torch.tensor([0, 1])) == pytest.approx(5e3)
