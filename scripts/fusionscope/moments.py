"""Means, variances and covariances over examples that come in batches, in float64 and constant memory.

`JointMoments` keeps sums about the first batch's means, since products of two sets of neurons need one
origin for all batches. `ChannelMoments` merges each batch's own mean and variance. The two round
differently, and what is fused or repaired with either keeps its bits: they stay two.
"""

import torch
from torch import Tensor

SMALLEST_STD = 1e-6  # of the mean, below which what is left is rounding: float32 rounds at 1e-7


def varies(var: Tensor, mean: Tensor) -> Tensor:
    """(n,) bool: whether there is more to the variances `var` (n,) than single precision's rounding."""
    return var > (SMALLEST_STD * mean).square()


class JointMoments:
    """Means, variances and covariance of two sets of neurons, whatever the batches.

    Of x (n, k) and y (m, k), whose columns belong together, in float64. The first batch's means are
    taken off all batches: sums of squares about a point near the mean lose no digits.
    """

    def __init__(self) -> None:
        self.count = 0  # examples

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in a batch of k examples: x (n, k), y (m, k)."""
        if self.count == 0:
            self.origin_x, self.origin_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
            self.sum_x, self.squares_x = x.new_zeros(len(x)), x.new_zeros(len(x))
            self.sum_y, self.squares_y = y.new_zeros(len(y)), y.new_zeros(len(y))
            self.products = x.new_zeros(len(x), len(y))
        self.count += x.shape[1]
        x, y = x - self.origin_x, y - self.origin_y
        self.sum_x += x.sum(1)
        self.sum_y += y.sum(1)
        self.squares_x += x.square().sum(1)
        self.squares_y += y.square().sum(1)
        self.products += x @ y.T

    @property
    def mean_x(self) -> Tensor:  # (n,)
        return self.origin_x.squeeze(1) + self.sum_x / self.count

    @property
    def mean_y(self) -> Tensor:  # (m,)
        return self.origin_y.squeeze(1) + self.sum_y / self.count

    @property
    def var_x(self) -> Tensor:  # (n,), over the count
        return (self.squares_x / self.count - (self.sum_x / self.count).square()).clamp(min=0)

    @property
    def var_y(self) -> Tensor:  # (m,), over the count
        return (self.squares_y / self.count - (self.sum_y / self.count).square()).clamp(min=0)

    @property
    def covariance(self) -> Tensor:  # (n, m), over the count
        return self.products / self.count - torch.outer(self.sum_x, self.sum_y) / self.count**2


class ChannelMoments:
    """Mean and variance of each channel of activations, whatever the batches.

    Pairwise update of the mean and of the sum of squared deviations (Chan, Golub & LeVeque 1979,
    "Updating formulae and a pairwise algorithm for computing sample variances", equation 2.1).
    """

    def __init__(self) -> None:
        self.count = 0  # images x positions
        self.mean = torch.zeros((), dtype=torch.float64)  # (c,)
        self.squares = torch.zeros((), dtype=torch.float64)  # (c,), of deviations from the mean, summed

    def add(self, x: Tensor, axis: int) -> None:
        """Take in a batch of activations, any shape, whose c channels lie along `axis`."""
        others = [i for i in range(x.dim()) if i != axis % x.dim()]
        var, mean = torch.var_mean(x.double(), dim=others, correction=0)
        count = x.numel() // len(mean)
        total = self.count + count
        step = mean - self.mean
        self.mean = self.mean + step * (count / total)
        self.squares = self.squares + count * var + step**2 * (self.count * count / total)
        self.count = total

    @property
    def var(self) -> Tensor:  # (c,), over the count
        return self.squares / self.count

    @property
    def std(self) -> Tensor:  # (c,)
        return self.var.sqrt()
