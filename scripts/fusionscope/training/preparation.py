"""The one file that a data set becomes: uint8 images in three fixed splits.

Everything that reads from elsewhere (scikit-learn, torchvision, a user's folder, the network) happens
in `prepare`; training and measuring read the prepared file only.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusionscope.errors import InputError
from fusionscope.options import check
from fusionscope.registry import resolve
from fusionscope.training.arrays import channel_statistics, channels_first, stratified_split
from fusionscope.training.data_sets import DATA_SETS, DataSet
from fusionscope.training.normalisation import PUBLISHED, Constants, PreparationOptions

log = logging.getLogger("fusionscope")

VALIDATION_SHARE = 0.1  # of the images that are not for testing


def prepare(
    name: str, folder: str | Path, normalisation: str | Mapping[str, Any] = PUBLISHED
) -> dict[str, np.ndarray]:
    """Data set `name`, read from `folder`, as the arrays of a prepared file.

    `normalisation`: 'published', 'measured', or a dictionary with mean and std, see normalisation.py.

    Keys: {train,validation,test}_pixels (n, 1 or 3, 32, 32) uint8, {...}_labels (n,) int64, mean (3,)
    and std (3,) float32, num_classes (), and for an image folder class_names (num_classes,), text. Raises
    InputError where the images cannot be had, and for a normalisation that does not exist.
    """
    chosen = check(PreparationOptions, {"normalisation": normalisation}, "prepare").normalisation
    data_set = DATA_SETS[name]
    (pixels, labels), (test_pixels, test_labels) = resolve(data_set.read)(Path(folder))
    names = None if data_set.class_names is None else resolve(data_set.class_names)(Path(folder))
    train, validation = stratified_split(labels, VALIDATION_SHARE, name, "validation split")
    check_validation(f"data set {name} in {folder}", labels, validation, names)
    pixels, test_pixels = channels_first(pixels), channels_first(test_pixels)
    mean, std = constants(data_set, pixels[train], chosen)
    arrays = {
        "train_pixels": pixels[train],
        "train_labels": labels[train].astype(np.int64),
        "validation_pixels": pixels[validation],
        "validation_labels": labels[validation].astype(np.int64),
        "test_pixels": test_pixels,
        "test_labels": test_labels.astype(np.int64),
        "mean": np.asarray(mean, dtype=np.float32),
        "std": np.asarray(std, dtype=np.float32),
        "num_classes": np.asarray(data_set.num_classes or len(np.unique(labels))),
    }
    if names is not None:
        arrays["class_names"] = np.asarray(names)
    return arrays


def check_validation(
    where: str, labels: np.ndarray, validation: np.ndarray, names: Sequence[str] | None
) -> None:
    """Say which classes have no image among the `validation` indices; raise InputError if none has any."""
    without = np.setdiff1d(labels, labels[validation])
    few = ", ".join(
        f"{label if names is None else names[label]} {(labels == label).sum()}" for label in without
    )
    advice = f"it takes {round(0.5 / VALIDATION_SHARE) + 1} images of a class to keep one"
    if not len(validation):
        raise InputError(f"{where}: too few images per class to keep some for validation ({few}); {advice}")
    if few:
        log.warning("%s: no image is kept for validation of these classes: %s (%s)", where, few, advice)


def constants(
    data_set: DataSet, train_pixels: np.ndarray, normalisation: str | Constants
) -> tuple[ArrayLike, ArrayLike]:
    """Mean and standard deviation (3,) of pixels / 255, by which images are normalised."""
    if isinstance(normalisation, Constants):
        return normalisation.mean, normalisation.std
    if normalisation == PUBLISHED and data_set.mean is not None and data_set.std is not None:
        return data_set.mean, data_set.std
    return channel_statistics(train_pixels)
