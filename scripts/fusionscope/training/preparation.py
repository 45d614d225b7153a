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
from fusionscope.training.arrays import channel_statistics, channels_first, stratified_split, to_grey
from fusionscope.training.data_sets import DATA_SETS, SIZE, DataSet
from fusionscope.training.normalisation import PUBLISHED, Constants, PreparationOptions

log = logging.getLogger("fusionscope")

VALIDATION_SHARE = 0.1  # of the images that are not for testing


def prepare(
    name: str,
    folder: str | Path,
    normalisation: str | Mapping[str, Any] = PUBLISHED,
    *,
    channels: int = 3,
    size: int = SIZE,
) -> dict[str, np.ndarray]:
    """Data set `name`, read from `folder`, as the arrays of a prepared file.

    `normalisation`: 'published', 'measured', or a dictionary with mean and std, see normalisation.py. With
    `channels` 1, colours become grey, and what is published for colours is measured instead. `size`: 32, or
    that of the data set as it is published.

    Keys: {train,validation,test}_pixels (n, 1 or 3, size, size) uint8, {...}_labels (n,) int64, mean (3,)
    and std (3,) float32, num_classes (), and for an image folder class_names (num_classes,), text. Raises
    InputError where the images cannot be had, and for an option that is not right.
    """
    data_set = DATA_SETS[name]
    given = {"normalisation": normalisation, "channels": channels, "size": size}
    chosen = check(PreparationOptions, given, "prepare")
    (pixels, labels), (test_pixels, test_labels) = resolve(data_set.read)(Path(folder))
    names = None if data_set.class_names is None else resolve(data_set.class_names)(Path(folder))
    train, validation = stratified_split(labels, VALIDATION_SHARE, name, "validation split")
    check_validation(f"data set {name} in {folder}", labels, validation, names)
    pixels, test_pixels = (brought_to_shape(part, data_set, chosen) for part in (pixels, test_pixels))
    mean, std = constants(data_set, pixels[train], chosen)
    arrays = {
        "train_pixels": pixels[train],
        "train_labels": labels[train].astype(np.int64),
        "validation_pixels": pixels[validation],
        "validation_labels": labels[validation].astype(np.int64),
        "test_pixels": test_pixels,
        "test_labels": test_labels.astype(np.int64),
        "mean": np.full(3, mean, dtype=np.float32),  # one number is repeated
        "std": np.full(3, std, dtype=np.float32),
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


def brought_to_shape(pixels: np.ndarray, data_set: DataSet, chosen: PreparationOptions) -> np.ndarray:
    """Pixels as `data_set.read` gives them, as (n, 1 or 3, size, size) of the size and channels chosen."""
    if chosen.size != data_set.size:
        if chosen.size != SIZE:
            known = " or ".join(map(str, sorted({SIZE, data_set.size})))
            raise InputError(
                f"prepare.size: {chosen.size} is not right; expected {known}; load_images resizes to others"
            )
        pixels = resolve(str(data_set.enlarge))(pixels)
    return channels_first(to_grey(pixels) if chosen.channels == 1 else pixels)


def constants(
    data_set: DataSet, train_pixels: np.ndarray, chosen: PreparationOptions
) -> tuple[ArrayLike, ArrayLike]:
    """Mean and standard deviation (1,) or (3,) of pixels / 255, by which images are normalised."""
    if isinstance(chosen.normalisation, Constants):
        return chosen.normalisation.mean, chosen.normalisation.std
    of_these_channels = data_set.grey or chosen.channels == 3
    published = chosen.normalisation == PUBLISHED and of_these_channels
    if published and data_set.mean is not None and data_set.std is not None:
        return data_set.mean, data_set.std
    return channel_statistics(train_pixels)
