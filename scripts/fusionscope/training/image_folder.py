"""A folder of one's own images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionscope.errors import InputError
from fusionscope.training.arrays import SIZE, Labelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image
    from torchvision.datasets import ImageFolder


def image_folder(folder: Path) -> tuple[Labelled, Labelled]:
    """A user's images in folder/train/<class>/ and folder/test/<class>/, any size Pillow reads.

    Each is scaled so that its shorter side is SIZE pixels and cropped to the middle. Raises InputError for a
    class or a half that is missing, and for a file that is no image.
    """
    train, test = find(folder, "train"), find(folder, "test")
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(f"image folder {folder}: train/ and test/ differ in the classes {differing}")
    return read(train), read(test)


def find(folder: Path, split: str) -> "ImageFolder":
    """The files of one half, with their labels."""
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(str(folder / split), is_valid_file=is_visible)
    except FileNotFoundError as error:
        raise InputError(f"image folder {folder}: expected images in {split}/<class>/ ({error})") from error


def read(half: "ImageFolder") -> Labelled:
    """Pixels (n, SIZE, SIZE, 3) and labels (n,)."""
    from torchvision.transforms import CenterCrop, Compose, Resize

    to_size = Compose([Resize(SIZE), CenterCrop(SIZE)])
    return np.stack([read_image(path, to_size) for path, _ in half.samples]), np.asarray(half.targets)


def read_image(path: str, to_size: "Callable[[Image], Image]") -> np.ndarray:
    """One image as (SIZE, SIZE, 3) uint8."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(to_size(eight_bits(image).convert("RGB")))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: cannot be read as an image; repair or remove it") from error


def is_visible(path: str) -> bool:
    """Every file counts as an image, and says so if it is none, except hidden ones (.DS_Store)."""
    return not Path(path).name.startswith(".")


def eight_bits(image: "Image") -> "Image":
    """A Pillow image of 16-bit grey scaled to 8 bits; others as they are."""
    if not image.mode.startswith("I"):
        return image
    from PIL.Image import fromarray

    return fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
