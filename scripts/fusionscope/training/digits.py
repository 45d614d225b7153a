"""scikit-learn's handwritten digits."""

from pathlib import Path

import numpy as np

from fusionscope.training.arrays import Labelled, stratified_split
from fusionscope.training.data_sets import SIZE

TEST_SHARE = 0.2  # scikit-learn's digits come without a test set


def digits(folder: Path) -> tuple[Labelled, Labelled]:
    """The 1,797 digits, 8x8, their values of 0 to 16 as 0 to 255; training and test images.

    Needs no folder.
    """
    from sklearn.datasets import load_digits

    originals = load_digits()
    pixels = np.rint(originals.images * (255 / 16)).astype(np.uint8)
    train, test = stratified_split(originals.target, TEST_SHARE, "digits test split")
    return (pixels[train], originals.target[train]), (pixels[test], originals.target[test])


def enlarge(pixels: np.ndarray) -> np.ndarray:
    """Images (n, h, w) as (n, SIZE, SIZE), by bilinear interpolation."""
    import torch
    from torch.nn.functional import interpolate

    images = torch.from_numpy(pixels).float().unsqueeze(1)
    larger = interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8).squeeze(1).numpy()
