"""Data sets that torchvision finds in a folder, or downloads to it."""

from pathlib import Path

import numpy as np

from fusionscope.errors import InputError
from fusionscope.training.arrays import SIZE, Labelled


def cifar10(folder: Path) -> tuple[Labelled, Labelled]:
    """50,000 training and 10,000 test images in colour, of 10 kinds of things."""
    return read("CIFAR10", folder)


def cifar100(folder: Path) -> tuple[Labelled, Labelled]:
    """50,000 training and 10,000 test images in colour, of 100 kinds of things."""
    return read("CIFAR100", folder)


def fashion_mnist(folder: Path) -> tuple[Labelled, Labelled]:
    """60,000 training and 10,000 test images of clothes, grey, with a black border around their 28x28."""
    (train, train_labels), (test, test_labels) = read("FashionMNIST", folder)
    return (pad(train), train_labels), (pad(test), test_labels)


def read(name: str, folder: Path) -> tuple[Labelled, Labelled]:
    """Training and test images of torchvision's class `name`.

    Raises InputError where they are not in the folder and cannot be downloaded.
    """
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


def pad(pixels: np.ndarray) -> np.ndarray:
    """Images (n, h, w) as (n, SIZE, SIZE), with a black border of equal width on all sides."""
    border = (SIZE - pixels.shape[1]) // 2
    return np.pad(pixels, [(0, 0), (border, border), (border, border)])
