"""Prediction space against plain loops over the images."""

import math

import numpy as np
import pytest
import torch
from measure_cases import random_images, smooth_network
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from fusionscope.evaluation import predict
from fusionscope.images import Images
from fusionscope.measures.prediction.prediction import (
    BELOW_ONE,
    accuracy_error,
    binned_error,
    calibration_error,
    ensemble_accuracy,
    measure_prediction_space,
)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def plain_accuracy(logits: Tensor, labels: Tensor) -> float:
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    return sum(row.index(max(row)) == label for row, label in rows) / len(labels)


def plain_losses(logits: Tensor, labels: Tensor) -> list[float]:
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    return [-math.log(softmax(row)[label]) for row, label in rows]


def plain_calibration_error(logits: Tensor, labels: Tensor, bins: int) -> float:
    """Guo et al. 2017, equation 3, with bins ((i - 1) / bins, i / bins]."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        probabilities = softmax(row)
        confidence = max(probabilities)
        members[math.ceil(confidence * bins) - 1].append((confidence, probabilities[label] == confidence))
    total = 0.0
    for bin_ in filter(None, members):
        confidence = sum(c for c, _ in bin_) / len(bin_)
        share = sum(right for _, right in bin_) / len(bin_)
        total += len(bin_) / len(labels) * abs(share - confidence)
    return total


def answers(count: int, classes: int = 4, seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Random logits, and labels that they get right more often than not, overconfidently."""
    stream = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, classes, generator=stream)
    labels = torch.multinomial((logits / 2).softmax(1), 1, generator=stream)[:, 0]
    return logits, labels


@pytest.fixture(scope="module")
def case() -> tuple[torch.nn.Module, Images, Images]:
    train, test = (random_images(n, size=4, classes=3, seed=n) for n in (23, 17))
    return smooth_network(batch_norm=True), train, test


@pytest.fixture(scope="module")
def measured(case):
    return measure_prediction_space(*case, seed=0, batch_size=5, calibration_bins=4)


def test_accuracies_and_losses_are_those_of_a_plain_loop(case, measured):
    network, train, test = case
    found = {name: number.value for name, number in measured.items()}
    for images, names in ((test, ("accuracy", "test_loss")), (train, ("train_accuracy", "train_loss"))):
        with torch.no_grad():
            logits = torch.cat([network(x[None]) for x in images.normalised()])
        losses = plain_losses(logits, images.labels)
        assert found[names[0]] == pytest.approx(plain_accuracy(logits, images.labels), rel=1e-12)
        assert found[names[1]] == pytest.approx(sum(losses) / len(losses), rel=1e-10)
    assert found["generalisation_gap"] == pytest.approx(found["train_accuracy"] - found["accuracy"])


def test_there_are_six_metrics(measured):
    names = {"accuracy", "train_accuracy", "test_loss", "train_loss", "generalisation_gap"}
    assert set(measured) == names | {"expected_calibration_error"}


def test_the_seed_and_the_bins_reach_the_calibration_error(case, measured):
    network, _, test = case
    expected = calibration_error(predict(network, test, 17), test.labels, bins=4, seed=0)
    assert measured["expected_calibration_error"].value == pytest.approx(expected.value, rel=1e-5)
    assert measured["expected_calibration_error"].std_error == pytest.approx(expected.std_error, rel=1e-5)


def test_errors_are_about_the_test_images_alone(case, measured):
    errors = {name: number.std_error for name, number in measured.items()}
    share = measured["accuracy"].value
    assert 0 < share < 1
    binomial = math.sqrt(share * (1 - share) / 17)
    assert errors["accuracy"] == errors["generalisation_gap"] == pytest.approx(binomial)
    losses = plain_losses(predict(case[0], case[2], 17), case[2].labels)
    assert errors["test_loss"] == pytest.approx(np.std(losses, ddof=1) / math.sqrt(17), rel=1e-9)
    assert errors["train_accuracy"] is None
    assert errors["train_loss"] is None


@pytest.mark.parametrize("right_on", ["train", "test"])
def test_the_generalisation_gap_keeps_its_sign(case, right_on):
    network, *sets = case
    train, test = (
        Images(s.pixels, predict(network, s, 50).argmax(1), s.mean, s.std, 3)  # all right, for now
        for s in sets
    )
    wrong = test if right_on == "train" else train
    wrong.labels[:4] = (wrong.labels[:4] + 1) % 3
    found = measure_prediction_space(network, train, test, seed=0, batch_size=9, calibration_bins=3)
    expected = 4 / 17 if right_on == "train" else -4 / 23
    assert found["generalisation_gap"].value == pytest.approx(expected)


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
@pytest.mark.parametrize("seed", [0, 1])
def test_calibration_error_is_that_of_plain_bins(bins, seed):
    logits, labels = answers(300, seed=seed)
    found = calibration_error(logits, labels, bins=bins, seed=0).value
    expected = plain_calibration_error(logits.double(), labels, bins)
    assert expected > 0.02
    assert found == pytest.approx(expected, abs=1e-6)  # computed in float32


def torchmetrics_error(probabilities: Tensor, labels: Tensor, bins: int) -> float:
    classes = probabilities.shape[1]
    return multiclass_calibration_error(probabilities, labels, classes, n_bins=bins, norm="l1").item()


@pytest.mark.parametrize("bins", [1, 2, 7, 10, 15, 40])
@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_calibration_error_is_torchmetrics_to_the_last_bit(bins, scale):
    for count, classes in ((1, 2), (9, 3), (400, 10), (3000, 100)):
        logits, labels = answers(count, classes, seed=bins, scale=scale)
        probabilities = logits.double().softmax(1).clamp(max=BELOW_ONE)
        expected = torchmetrics_error(probabilities, labels, bins)
        assert calibration_error(logits, labels, bins=bins, seed=0).value == expected


@pytest.mark.parametrize("bins", [2, 5, 10, 15])
def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_upper_one(bins):
    edges = torch.linspace(0, 1, bins + 1)[:-1]
    beside = torch.cat(
        [edges, edges + 0.4 / bins, edges[1:] - 0.4 / bins]
    )  # so that it matters where edges go
    hits = torch.arange(len(beside)).remainder(3).eq(0).float()
    probabilities = torch.stack([beside, torch.zeros_like(beside)], dim=1)  # class 0 is the answer
    found = binned_error(beside, hits, bins)
    assert found == torchmetrics_error(probabilities, 1 - hits.long(), bins)
    above = binned_error(torch.cat([edges + 1e-5, beside[bins:]]), hits, bins)
    below = binned_error(torch.cat([edges[:1], edges[1:] - 1e-5, beside[bins:]]), hits, bins)
    assert found == pytest.approx(above, abs=2e-5)
    assert abs(found - below) > 1e-3


def test_an_answer_that_is_no_number_has_no_calibration_error():
    logits, labels = answers(20)
    logits[3] = math.nan
    assert math.isnan(calibration_error(logits, labels, bins=5, seed=0).value)


def test_calibration_error_of_saturated_confidences_shares_the_last_bin():
    # a logit ahead by 20 is a confidence of one in float32: it belongs to (0.9, 1], not to a bin of its own
    logits = torch.tensor([[20.0, 0.0], [3.0, 0.0]])  # 1 and 0.953
    labels = torch.tensor([1, 0])
    expected = plain_calibration_error(logits.double(), labels, 10)
    assert expected == pytest.approx((1 + 0.9525741) / 2 - 0.5)
    assert calibration_error(logits, labels, bins=10, seed=0).value == pytest.approx(expected, abs=1e-6)


def test_calibration_error_by_hand():
    # confidence 0.8 in all four cases, right in two: off by 0.3
    row = [math.log(4), 0.0]
    found = calibration_error(torch.tensor([row] * 4), torch.tensor([0, 0, 1, 1]), bins=10, seed=0)
    assert found.value == pytest.approx(0.3, abs=1e-6)


def test_bootstrap_error_is_the_spread_between_test_sets():
    sets = [answers(250, seed=seed) for seed in range(150)]
    spread = np.std([plain_calibration_error(logits.double(), labels, 10) for logits, labels in sets], ddof=1)
    errors = [calibration_error(*answers(250, seed=seed), bins=10, seed=0).std_error for seed in range(3)]
    assert 0.6 < np.mean(errors) / spread < 1.6


def test_bootstrap_is_seeded():
    logits, labels = answers(60)
    torch.manual_seed(0)
    first = calibration_error(logits, labels, bins=5, seed=1)
    torch.manual_seed(1)  # the global state has no say
    assert calibration_error(logits, labels, bins=5, seed=1) == first
    other = calibration_error(logits, labels, bins=5, seed=2)
    assert other.value == first.value
    assert other.std_error != first.std_error


def test_ensemble_averages_probabilities_not_logits():
    """It is the metric parents_ensemble_accuracy of a child."""

    # one sure member against two that lean the other way: in probability 0.99 + 2 * 0.4 > 1.5 for class
    # 0, although a vote goes to class 1
    def logit(p: float) -> list[float]:
        return [math.log(p / (1 - p)), 0.0]

    members = [torch.tensor([logit(p), logit(q)]) for p, q in ((0.99, 0.99), (0.4, 0.2), (0.4, 0.2))]
    # second image: 0.99 + 0.4 < 1.5, so class 1, although the mean logit (4.6 - 2.8) / 3 says class 0
    assert sum(member[1, 0] for member in members) > 0
    found = ensemble_accuracy(members, torch.tensor([0, 1]))
    assert found.value == 1.0
    assert ensemble_accuracy(members, torch.tensor([0, 0])).value == 0.5


def test_ensemble_of_one_is_its_member_and_order_does_not_matter():
    (a, labels), (b, _) = answers(80), answers(80, seed=1)
    alone = ensemble_accuracy([a], labels)
    assert alone.value == plain_accuracy(a, labels)
    assert alone.std_error == pytest.approx(math.sqrt(alone.value * (1 - alone.value) / 80))
    assert ensemble_accuracy([a, b], labels) == ensemble_accuracy([b, a], labels)


def test_binomial_error_is_the_spread_of_a_share():
    assert accuracy_error(0.5, 100) == pytest.approx(0.05)
    assert accuracy_error(1.0, 100) == accuracy_error(0.0, 100) == 0.0
    shares = np.random.default_rng(0).binomial(40, 0.3, size=20000) / 40
    assert accuracy_error(0.3, 40) == pytest.approx(shares.std(), rel=0.02)
