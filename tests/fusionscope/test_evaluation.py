"""What a network answers, and how good it is, by hand."""

import math

import pytest
import torch
from measure_cases import random_images, smooth_network

from fusionscope.errors import InputError
from fusionscope.evaluation import accuracy, is_correct, mean_loss, predict, raw_logits
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


def overflowing() -> torch.nn.Module:
    """Finite weights whose outputs are not: infinite in the first layer, hence NaN in the last."""
    network = smooth_network().float()
    network[1] = torch.nn.ReLU()  # no tanh, that would bound it
    network[4] = torch.nn.ReLU()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e25)
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    return network


def test_outputs_that_are_not_finite_end_a_prediction_in_a_sentence():
    network, images = overflowing(), random_images(17, size=4, classes=3, dtype=torch.float32)
    broken = ~raw_logits(network, images, 5).isfinite().all(1)
    count, first = int(broken.sum()), int(broken.nonzero()[0])
    assert count > 0
    with pytest.raises(InputError) as caught:
        predict(network, images, 5)
    where = f"its outputs are not finite on {count} of 17 images (the first is number {first})"
    assert str(caught.value).startswith(f"Sequential: {where}, so nothing can be measured of it; train it")
    assert "\n" not in str(caught.value)
    network.weights_file = "experiments/mine/parent_1.pth"
    with pytest.raises(InputError, match=r"^experiments/mine/parent_1\.pth: its outputs"):
        predict(network, images, 5)
    with pytest.raises(InputError, match=r"^the network at share 0\.5: its outputs"):
        predict(network, images, 5, name="the network at share 0.5")


def test_an_image_whose_outputs_are_not_finite_is_not_classified_correctly():
    logits = torch.tensor([[math.nan, math.nan], [math.inf, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert logits.argmax(1).tolist() == [0, 0, 0, 1]
    assert is_correct(logits, torch.zeros(4, dtype=torch.int64)).tolist() == [False, False, True, False]
    assert accuracy(logits, torch.zeros(4, dtype=torch.int64)) == 0.25
