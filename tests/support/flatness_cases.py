"""A linear classifier whose flatness is known in closed form, and all of its flatness as measured."""

import math

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.measures.parameter.landscape import Landscape, flatten_parameters
from fusionscope.measures.parameter.perturbation import scale_measurements
from fusionscope.measures.parameter.scales import find_scales
from fusionscope.measures.parameter.search import ACCURACY_DROP
from fusionscope.measures.parameter.twelve import flatness_measures

SCALES = ("pac_bayes_sigma", "pac_bayes_mag_sigma", "sharpness_alpha", "sharpness_mag_alpha")
TRAIN_SIZE = 1234
OPTIONS = {
    "seed": 0,
    "draws": 64,
    "images_per_draw": 25,
    "starts": 2,
    "ascent_steps": 10,
    "tolerance": 1e-3,
    "scale_range": (1e-4, 1e2),
}


def measure_flatness(
    landscape: Landscape, w0: torch.Tensor | None = None, **options
) -> dict[str, Measurement]:
    """The four scales and the twelve measures."""
    scales = find_scales(landscape, **(OPTIONS | options))
    twelve = flatness_measures(scales, flatten_parameters(landscape.network), w0, TRAIN_SIZE)
    return scale_measurements(scales) | twelve


class Problem:
    """Two classes, a linear classifier and images on the two sides of one corner of the input's box.

    Images of class 1 are brighter than the mean in every pixel and those of class 0 darker, so that
    `x` times +-1 is positive and the worst perturbation of the weights is the same for every image.
    """

    def __init__(self, count: int = 25, seed: int = 0, weight_scale: float = 1.0):
        stream = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        # contrast differs between images and pixels, so that margins do too
        contrast = torch.rand(count, 1, 1, 1, generator=stream) * 0.9 + 0.05
        offset = (contrast * torch.rand(count, 3, 2, 2, generator=stream) * 120 + 1).round()
        sign = (2 * labels - 1).view(-1, 1, 1, 1)
        half = torch.full((3,), 127 / 255, dtype=torch.float64)  # the mean is a pixel value, exactly
        self.images = Images((127 + sign * offset).to(torch.uint8), labels, half, half, 2)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
        with torch.no_grad():
            weight = torch.randn(2, 12, generator=stream).double() * 0.3
            weight[1] = weight[0] + torch.rand(12, generator=stream) * 0.2 - 0.04
            self.network[1].weight.copy_(weight * weight_scale)
        self.landscape = Landscape(self.network, self.images, batch_size=count)
        self.w = flatten_parameters(self.network)
        self.x = self.images.normalised().flatten(1).abs().numpy()  # (n, 12), towards each one's class
        self.rows = self.w.view(2, 12).numpy()
        self.margins = self.x @ (self.rows[1] - self.rows[0])
        assert (self.margins > 0).all()  # everything is classified correctly

    def largest_radius(self, lost_per_scale: np.ndarray, lost_anyway: np.ndarray) -> float:
        """The scale at which more than a tenth of the images have lost their margins."""
        critical = np.sort((self.margins - lost_anyway) / lost_per_scale)
        return critical[math.floor(ACCURACY_DROP * len(critical))]

    def noise_scale(self, deviation) -> float:
        """The scale at which the mean accuracy is 0.9, given the margins' `deviation` (n,) at a scale."""
        return brentq(lambda s: norm.cdf(self.margins / deviation(s)).mean() - (1 - ACCURACY_DROP), 1e-4, 1e2)


class Constant(nn.Module):
    """Answers the same whatever its weights are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 2, bias=False).double()

    def forward(self, x):
        return 0 * self.linear(x.flatten(1)) + torch.tensor([1.0, 0.0])
