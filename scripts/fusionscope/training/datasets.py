"""Data sets as registry entries, and the one file each becomes: uint8 images in three fixed splits.

Everything that reads from elsewhere (scikit-learn, torchvision, a user's folder, the network) happens
in `prepare`; training and measuring read the prepared file only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionscope.errors import InputError
from fusionscope.seeding import seed_for

SIZE = 32  # pixels; every network here takes 32x32
VALIDATION_SHARE = 0.1  # of the images that are not for testing
DIGITS_TEST_SHARE = 0.2  # scikit-learn's digits come without a test set

Labelled = tuple[np.ndarray, np.ndarray]  # (n, h, w) or (n, h, w, 3) uint8, and (n,) integers


@dataclass(frozen=True)
class Dataset:
    """How to get a data set, and what its images look like.

    `load(folder)` gives training and test images. `fit` makes them 32x32. `mean` and `std`, per
    channel of training pixels / 255, are the published ones where there are such; None: measured.
    """

    load: Callable[[Path], tuple[Labelled, Labelled]]
    fit: Callable[[np.ndarray], np.ndarray]
    num_classes: int | None = None  # None: counted
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def load_digits(folder: Path) -> tuple[Labelled, Labelled]:
    """scikit-learn's 1,797 handwritten digits, 8x8 with values 0 to 16; needs no folder."""
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train, test = stratified_split(digits.target, DIGITS_TEST_SHARE, "digits test split")
    return (pixels[train], digits.target[train]), (pixels[test], digits.target[test])


def load_torchvision(name: str) -> Callable[[Path], tuple[Labelled, Labelled]]:
    """A loader for torchvision's class `name`: found in the folder, else downloaded to it."""

    def load(folder: Path) -> tuple[Labelled, Labelled]:
        import torchvision

        parts = []
        for train in (True, False):
            try:
                part = getattr(torchvision.datasets, name)(folder, train=train, download=True)
            except (OSError, RuntimeError) as error:
                raise InputError(
                    f"data set {name}: not found in {folder} and could not be downloaded "
                    f"({error}); put torchvision's files there, or set data_dir in config.yaml"
                ) from error
            parts.append((np.asarray(part.data), np.asarray(part.targets)))
        return parts[0], parts[1]

    return load


def load_image_folder(folder: Path) -> tuple[Labelled, Labelled]:
    """A user's pictures in folder/train/<class>/ and folder/test/<class>/, any size Pillow reads.

    Each is scaled so that its shorter side is 32 pixels and cropped to the middle.
    """
    from PIL import Image, UnidentifiedImageError
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Resize

    to_size = Compose([Resize(SIZE), CenterCrop(SIZE)])

    def picture(path: str) -> np.ndarray:
        try:
            with Image.open(path) as image:
                return np.asarray(to_size(eight_bits(image).convert("RGB")))
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"{path}: cannot be read as a picture; repair or remove it") from error

    parts = {}
    for split in ("train", "test"):
        try:
            parts[split] = ImageFolder(str(folder / split), is_valid_file=is_visible)
        except FileNotFoundError as error:
            raise InputError(
                f"image folder {folder}: expected pictures in {split}/<class>/ ({error})"
            ) from error
    if parts["train"].classes != parts["test"].classes:
        differing = sorted(set(parts["train"].classes) ^ set(parts["test"].classes))
        raise InputError(f"image folder {folder}: train/ and test/ differ in the classes {differing}")
    return tuple(
        (np.stack([picture(path) for path, _ in part.samples]), np.asarray(part.targets))
        for part in (parts["train"], parts["test"])
    )


def is_visible(path: str) -> bool:
    """Every file counts as a picture, and says so if it is none, but for hidden ones (.DS_Store)."""
    return not Path(path).name.startswith(".")


def eight_bits(image):
    """A Pillow image of 16-bit grey scaled to 8 bits; others as they are."""
    if not image.mode.startswith("I"):
        return image
    from PIL import Image

    return Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))


def unchanged(pixels: np.ndarray) -> np.ndarray:
    return pixels


def pad_to_size(pixels: np.ndarray) -> np.ndarray:
    """A black border of equal width on all sides."""
    border = (SIZE - pixels.shape[1]) // 2
    return np.pad(pixels, [(0, 0), (border, border), (border, border)])


def enlarge_to_size(pixels: np.ndarray) -> np.ndarray:
    """Bilinear interpolation."""
    import torch
    from torch.nn.functional import interpolate

    images = torch.from_numpy(pixels).float().unsqueeze(1)
    larger = interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8).squeeze(1).numpy()


DATASETS = {
    "digits": Dataset(load_digits, enlarge_to_size, 10),
    "cifar10": Dataset(
        load_torchvision("CIFAR10"), unchanged, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    ),
    "cifar100": Dataset(
        load_torchvision("CIFAR100"), unchanged, 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    ),
    "fashion_mnist": Dataset(load_torchvision("FashionMNIST"), pad_to_size, 10, (0.2860,) * 3, (0.3530,) * 3),
    "image_folder": Dataset(load_image_folder, unchanged),
}


def stratified_split(labels: np.ndarray, share: float, *role: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rest and of `share` of every class, each in ascending order.

    Fixed by `role` alone: the same labels are always split alike.
    """
    random = np.random.default_rng(seed_for(*role))
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(share * len(members))]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def prepare(name: str, folder: str | Path) -> dict[str, np.ndarray]:
    """Data set `name`, read from `folder`, as the arrays of a prepared file.

    Keys: {train,validation,test}_pixels (n, 1 or 3, 32, 32) uint8, {...}_labels (n,) int64, mean (3,)
    and std (3,) float32, num_classes (). Raises InputError where the images cannot be had.
    """
    dataset = DATASETS[name]
    (pixels, labels), (test_pixels, test_labels) = dataset.load(Path(folder))
    train, validation = stratified_split(labels, VALIDATION_SHARE, name, "validation split")
    if not len(validation):
        raise InputError(f"data set {name} in {folder}: too few images per class to keep some for validation")
    pixels, test_pixels = channels_first(dataset.fit(pixels)), channels_first(dataset.fit(test_pixels))
    mean, std = dataset.mean, dataset.std
    if mean is None:
        mean, std = channel_statistics(pixels[train])
    return {
        "train_pixels": pixels[train],
        "train_labels": labels[train].astype(np.int64),
        "validation_pixels": pixels[validation],
        "validation_labels": labels[validation].astype(np.int64),
        "test_pixels": test_pixels,
        "test_labels": test_labels.astype(np.int64),
        "mean": np.asarray(mean, dtype=np.float32),
        "std": np.asarray(std, dtype=np.float32),
        "num_classes": np.asarray(dataset.num_classes or len(np.unique(labels))),
    }


def channels_first(pixels: np.ndarray) -> np.ndarray:
    """(n, h, w) to (n, 1, h, w), or (n, h, w, 3) to (n, 3, h, w)."""
    pixels = pixels[..., np.newaxis] if pixels.ndim == 3 else pixels
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def channel_statistics(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (3,) of pixels / 255 per channel; grey images repeat theirs."""
    values = pixels.astype(np.float64) / 255
    mean, std = values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))
    return np.broadcast_to(mean, 3), np.broadcast_to(np.maximum(std, 1 / 255), 3)
