"""Prediction space: what a network answers, and how often and how confidently it is right."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.evaluation import accuracy, mean_loss, predict
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.seeding import generator


def measure_prediction_space(
    network: nn.Module,
    train_images: Images,
    test_images: Images,
    *,
    seed: int,
    batch_size: int,
    calibration_bins: int,
) -> dict[str, Measurement]:
    """All metrics of the prediction space.

    Standard errors are about the test images as a sample: binomial for the accuracy, of the mean for
    the loss, bootstrap for the calibration error. The train set is what it is: exact.
    """
    logits, labels = predict(network, test_images, batch_size), test_images.labels
    train_logits = predict(network, train_images, batch_size)
    test_accuracy, train_accuracy = accuracy(logits, labels), accuracy(train_logits, train_images.labels)
    test_error = accuracy_error(test_accuracy, len(labels))
    losses = F.cross_entropy(logits.double(), labels, reduction="none")
    return {
        "accuracy": Measurement(test_accuracy, test_error),
        "train_accuracy": Measurement(train_accuracy),
        "test_loss": Measurement(losses.mean().item(), losses.std().item() / math.sqrt(len(losses))),
        "train_loss": Measurement(mean_loss(train_logits, train_images.labels)),
        "generalisation_gap": Measurement(train_accuracy - test_accuracy, test_error),
        "expected_calibration_error": calibration_error(logits, labels, bins=calibration_bins, seed=seed),
    }


def accuracy_error(share: float, count: int) -> float:
    """Binomial standard error of a share of `count`."""
    return math.sqrt(share * (1 - share) / count)


BOOTSTRAP_SAMPLES = 100
BELOW_ONE = 1 - 1e-6  # in float32: a confidence of exactly 1 belongs to the last bin


def calibration_error(logits: Tensor, labels: Tensor, *, bins: int, seed: int) -> Measurement:
    """Expected calibration error with equal bins of confidence (Guo et al. 2017, arXiv 1706.04599).

    The mean over bins, weighted by their images, of |accuracy - confidence|. The standard error is the
    spread over bootstrap samples of the images.
    """
    confidences, answers = logits.double().softmax(1).cpu().clamp(max=BELOW_ONE).max(1)
    confidences, hits = confidences.float(), answers.eq(labels.cpu()).float()
    count, stream = len(hits), generator(seed, "calibration bootstrap")
    samples = []
    for _ in range(BOOTSTRAP_SAMPLES):
        index = torch.randint(count, (count,), generator=stream)
        samples.append(binned_error(confidences[index], hits[index], bins))
    return Measurement(binned_error(confidences, hits, bins), torch.tensor(samples).std().item())


def binned_error(confidences: Tensor, hits: Tensor, bins: int) -> float:
    """|accuracy - confidence| over bins [low, high) of confidences (n,) < 1; `hits` (n,): 1 where correct.

    The same operations as torchmetrics' (tested), which takes more than two seconds to import.
    """
    edges = torch.linspace(0, 1, bins + 1)
    index = torch.bucketize(confidences, edges, right=True) - 1

    def totals(values: Tensor) -> Tensor:  # of each bin
        return torch.zeros_like(edges).scatter_add_(0, index, values)

    sizes = totals(torch.ones_like(confidences))
    divisors = sizes.clamp(min=1)  # empty bins
    differences = totals(hits) / divisors - totals(confidences) / divisors
    return (differences.abs() * (sizes / len(hits))).sum().item()


def ensemble_accuracy(logits: Sequence[Tensor], labels: Tensor) -> Measurement:
    """Accuracy of the mean of the members' predicted probabilities: the bar a child is held against."""
    probabilities = torch.stack([member.double().softmax(1) for member in logits]).mean(0)
    share = accuracy(probabilities, labels)
    return Measurement(share, accuracy_error(share, len(labels)))
