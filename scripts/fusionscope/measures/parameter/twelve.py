"""Twelve flatness measures, in closed form from the scales sigma and alpha, even and magnitude-aware.

Jiang et al. 2019, "Fantastic Generalization Measures" (arXiv 1912.02178), equations 48-62.
"""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from fusionscope.measurement import Measurement
from fusionscope.measures.parameter.perturbation import EPSILON, Scale, as_measurement

DELTA = 0.05  # confidence of the bounds


def flatness_measures(
    scales: Mapping[str, Scale], w: Tensor, w0: Tensor | None, train_size: int
) -> dict[str, Measurement]:
    """The twelve measures at `w` (omega,), flattened weights, from the four `scales` by name.

    Those of a scale that is not defined are not either.

    `w0` (omega,): the initial weights; without them (None) the `_init` measures are left out. `train_size`
    is m, the number of images the network was trained on.
    """
    sigma, sigma_mag = scales["pac_bayes_sigma"], scales["pac_bayes_mag_sigma"]
    alpha, alpha_mag = scales["sharpness_alpha"], scales["sharpness_mag_alpha"]
    results = {
        "pac_bayes_flatness": as_measurement(sigma, inverse_square),
        "pac_bayes_mag_flat": as_measurement(sigma_mag, inverse_square),
        "sharpness_flatness": as_measurement(alpha, inverse_square),
        "sharpness_mag_flat": as_measurement(alpha_mag, inverse_square),
    }
    origins = {"orig": torch.zeros_like(w)} | ({} if w0 is None else {"init": w0})
    omega, m = w.numel() or 1, train_size  # without parameters there is no scale, and nothing is computed
    log_box, log_box_mag = math.log(2 * omega), 4 * math.log(2 * omega / DELTA)
    for name, origin in origins.items():
        d = (w - origin).double()
        even_bound, mag_bound = partial(isotropic, d, m), partial(magnitude_aware, d, m)
        results |= {
            f"flatness_{name}": as_measurement(sigma, partial(even_bound, factor=1.0)),
            f"flatness_mag_{name}": as_measurement(sigma_mag, partial(mag_bound, factor=1.0)),
            f"sharpness_{name}": as_measurement(alpha, partial(even_bound, factor=log_box)),
            f"sharpness_mag_{name}": as_measurement(alpha_mag, partial(mag_bound, factor=log_box_mag)),
        }
    return results


def isotropic(d: Tensor, m: int, scale: float, factor: float) -> float:
    """norm(d)^2 factor / (4 scale^2) + log(m / scale) + 10 (Jiang et al. 2019, equations 48-53)."""
    return d.square().sum().item() * factor / (4 * scale**2) + math.log(m / scale) + 10


def magnitude_aware(d: Tensor, m: int, scale: float, factor: float) -> float:
    """1/4 sum_i log[(eps^2 + (scale^2 + factor) r^2 / omega) / (eps^2 + scale^2 d_i^2)] + log(m/scale) + 10.

    r = norm(d) (Jiang et al. 2019, equations 54-62). For the `_orig` measures d is w: equation 57 as
    printed has w - w0 in the denominator, but w is the scale of the noise that was really drawn.
    """
    mean_square = d.square().mean()
    numerator = EPSILON**2 + (scale**2 + factor) * mean_square
    terms = torch.log(numerator) - torch.log(EPSILON**2 + scale**2 * d.square())
    return terms.sum().item() / 4 + math.log(m / scale) + 10


def inverse_square(scale: float) -> float:
    return 1 / scale**2
