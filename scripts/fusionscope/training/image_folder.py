"""A folder of one's own images."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionscope.errors import InputError
from fusionscope.training.arrays import Labelled
from fusionscope.training.data_sets import SIZE

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("fusionscope")

LEFT_BY_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what archives and file managers add
SIXTEEN_BIT_FORMATS = ("PNG", "PPM")  # whose mode I holds 16 bits; elsewhere it holds any whole number
FEW_BITS = 14  # of 16: a quarter of the range
LONGEST = 1000  # a longer side of more shorter sides would need gigabytes to scale


@dataclass(frozen=True)
class Half:
    """The files of train/ or test/, class by class, and the label of each: the index of its class."""

    classes: list[str]
    files: list[Path]
    labels: list[int]


def image_folder(folder: Path) -> tuple[Labelled, Labelled]:
    """A user's images in folder/train/<class>/ and folder/test/<class>/, any size Pillow reads.

    Each is turned upright as its EXIF data say, scaled so that its shorter side is SIZE pixels and cropped to
    the middle; transparency is dropped. Hidden files and folders, and files that lie in no class's folder,
    are left out, which the log says. Raises InputError for a class or a half that is missing, for a single
    class, for a file that is no image, and where images of 16 bits would come out black.
    """
    train, test = find(folder, "train"), find(folder, "test")
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(f"image folder {folder}: train/ and test/ differ in the classes {differing}")
    if len(train.classes) == 1:
        raise InputError(
            f"image folder {folder}: has the class {train.classes[0]!r} only; add a folder for each further "
            "class to train/ and test/, two classes at least"
        )
    return read(train), read(test)


def class_names(folder: Path) -> list[str]:
    """The names of the classes, in the order of their labels."""
    return classes_of(folder / "train")


def find(folder: Path, split: str) -> Half:
    """The files of one half, with their labels."""
    half = folder / split
    try:
        if not half.is_dir():
            raise InputError(
                f"image folder {folder}: expected images in {split}/<class>/, but {half} is no folder"
            )
        classes = classes_of(half)
        for path in sorted(half.iterdir()):
            log_left_out(path, of_a_class=False)
        around = Path(os.path.realpath(half))
        files = {
            name: sorted(files_in(half / name, (around, *around.parents)), key=place) for name in classes
        }
    except OSError as error:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror}); allow it to be read"
        ) from error
    empty = [name for name in classes if not files[name]]
    if empty or not classes:
        found = f"there are no images of the classes {empty}" if empty else "there are no folders of classes"
        raise InputError(f"image folder {folder}: expected images in {split}/<class>/, but {found}")
    return Half(
        classes,
        [file for name in classes for file in files[name]],
        [label for label, name in enumerate(classes) for _ in files[name]],
    )


def classes_of(half: Path) -> list[str]:
    """The names of the folders in train/ or test/, in order."""
    return sorted(path.name for path in half.iterdir() if path.is_dir() and not is_hidden(path))


def files_in(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """All files in a folder and in those below it. `above`: the folders on the way to it, resolved."""
    here = Path(os.path.realpath(folder))
    if here in above:
        raise InputError(f"{folder}: is a link to a folder that it lies in; remove the link")
    for path in folder.iterdir():
        log_left_out(path)
        if is_hidden(path):
            continue
        if path.is_dir():
            yield from files_in(path, (*above, here))
        else:
            yield path


def place(file: Path) -> tuple[str, str]:
    """By what files are ordered: folder by folder."""
    return str(file.parent), file.name


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is one that people do not see, and did not put there."""
    return path.name.startswith(".") or path.name in LEFT_BY_SYSTEMS


def log_left_out(path: Path, of_a_class: bool = True) -> None:
    if is_hidden(path):
        log.info("%s: is left out, as it is hidden or left there by the system", path)
    elif not of_a_class and not path.is_dir():
        log.warning("%s: is left out, as it is no folder of a class; images lie in one", path)


def read(half: Half) -> Labelled:
    """Pixels (n, SIZE, SIZE, 3) and labels (n,)."""
    from torchvision.transforms import CenterCrop, Compose, Resize

    to_size = Compose([Resize(SIZE), CenterCrop(SIZE)])
    brightest: list[int] = []
    pixels = np.stack([read_image(path, to_size, brightest) for path in half.files])
    check_brightness(half.files[0].parents[1], brightest)
    return pixels, np.asarray(half.labels)


def read_image(path: Path, to_size: "Callable[[Image], Image]", brightest: list[int]) -> np.ndarray:
    """One image as (SIZE, SIZE, 3) uint8. The largest value of one of 16 bits is added to `brightest`."""
    from PIL import Image
    from PIL.ImageOps import exif_transpose

    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: is no file; remove it")
    try:
        with warnings.catch_warnings():
            # large, but not too large to read
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                check_range(path, image)
                return np.asarray(to_size(eight_bits(exif_transpose(image), brightest).convert("RGB")))
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); allow it to be read") from error
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: has too many pixels ({error}); make it smaller") from error
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        raise InputError(f"{path}: cannot be read as an image; repair or remove it ({error})") from error


def check_range(path: Path, image: "Image") -> None:
    """Raise InputError where it is not known which number is white, or where an image is a mere line."""
    if image.mode == "F" or (image.mode == "I" and image.format not in SIXTEEN_BIT_FORMATS):
        kind = "fractions" if image.mode == "F" else "32-bit whole numbers"
        raise InputError(
            f"{path}: its pixels are {kind}, of which it is not known which is black and which is white; "
            "save it with 8 or 16 bits per channel"
        )
    if max(image.size) > LONGEST * min(image.size):
        raise InputError(f"{path}: is {image.width} x {image.height} pixels, a mere line; crop or remove it")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        log.info("%s: has %d frames, of which the first is read", path, frames)


def eight_bits(image: "Image", brightest: list[int]) -> "Image":
    """A Pillow image of 16-bit grey scaled to 8 bits; others as they are."""
    if not image.mode.startswith("I"):
        return image
    from PIL.Image import fromarray

    pixels = np.asarray(image)
    brightest.append(int(pixels.max()))
    return fromarray((pixels / 257).round().clip(0, 255).astype(np.uint8))


def check_brightness(half: Path, brightest: list[int]) -> None:
    """Raise InputError where files of 16 bits hold fewer, as cameras and scanners write them.

    All of them would be nearly black. `brightest`: the largest value of each such image.
    """
    bits = max(brightest, default=0).bit_length()
    if 0 < bits <= FEW_BITS:
        raise InputError(
            f"{half}: its {len(brightest)} images of 16 bits have no value above {max(brightest)}, as if of "
            f"{bits} bits, and would be nearly black; multiply their values by {2 ** (16 - bits)}, or save "
            "them with 8 bits"
        )
