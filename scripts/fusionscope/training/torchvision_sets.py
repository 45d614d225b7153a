"""Data sets that torchvision finds in a folder, or downloads to it."""

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fusionscope.errors import InputError
from fusionscope.training.arrays import Labelled
from fusionscope.training.data_sets import SIZE


def cifar10(folder: Path) -> tuple[Labelled, Labelled]:
    """50,000 training and 10,000 test images in colour, of 10 kinds of things."""
    return read("CIFAR10", folder)


def cifar100(folder: Path) -> tuple[Labelled, Labelled]:
    """50,000 training and 10,000 test images in colour, of 100 kinds of things."""
    return read("CIFAR100", folder)


def fashion_mnist(folder: Path) -> tuple[Labelled, Labelled]:
    """60,000 training and 10,000 test images of clothes, grey, 28x28.

    Its four files are read from the folder itself, its raw/ or its FashionMNIST/raw/, compressed or not;
    where they are in none of these, torchvision downloads them.
    """
    for place in places(folder):
        if not missing_files(place):
            train, test = (read_idx_pair(place, part) for part in ("train", "t10k"))
            break
    else:
        with said_where("FashionMNIST", folder, where_to_put_files(folder)):
            parts = [torchvision_set("FashionMNIST", folder, train) for train in (True, False)]
        train, test = ((np.asarray(part.data), np.asarray(part.targets)) for part in parts)
    return train, test


def places(folder: Path) -> list[Path]:
    """Where people have the files of Fashion-MNIST: as torchvision lays them, or just so."""
    return [folder / "FashionMNIST" / "raw", folder / "raw", folder]


def missing_files(place: Path) -> list[str]:
    """Which of the four files are not there."""
    names = [name for part in ("train", "t10k") for name in idx_names(part)]
    return [name for name in names if not find_idx(place, name).is_file()]


def where_to_put_files(folder: Path) -> str:
    """What to do about files of Fashion-MNIST that are not there, all of them or some."""
    for place in places(folder):
        missing = missing_files(place)
        if len(missing) < 4:
            return f"{place} lacks {', '.join(missing)}: put them there (as they are or as .gz)"
    place = folder / "FashionMNIST" / "raw"
    return f"put its four files (train-images-idx3-ubyte, ..., as they are or as .gz) into {place}"


def idx_names(part: str) -> tuple[str, str]:
    """The files of images and of labels of `train` or `t10k`."""
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def find_idx(place: Path, name: str) -> Path:
    """Where a file is, as it is or compressed, or should be."""
    compressed = place / f"{name}.gz"
    return place / name if (place / name).is_file() or not compressed.is_file() else compressed


def read_idx_pair(place: Path, part: str) -> Labelled:
    """Images (n, 28, 28) and labels (n,) of `train` or `t10k`."""
    images, labels = (find_idx(place, name) for name in idx_names(part))
    pixels, kinds = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (28, 28) or len(pixels) != len(kinds) or not len(kinds) or kinds.max() > 9:
        raise InputError(
            f"{images}: holds {pixels.shape} pixels, and {labels} {len(kinds)} labels: expected as many "
            "images of 28 x 28 as labels from 0 to 9; replace both by the files of Fashion-MNIST"
        )
    return pixels, kinds.astype(np.int64)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of a file in the format idx: a magic number, sizes, and then the values.

    Raises InputError for a file that is cut off, or of another kind.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); replace it by the whole file") from error
    if not content:
        raise InputError(f"{path}: is empty; replace it by the whole file")
    magic, expected = int.from_bytes(content[:4], "big"), 0x800 + dimensions  # 8: unsigned bytes
    if magic != expected:
        raise InputError(
            f"{path}: begins with the number {magic}, expected {expected}, as idx{dimensions} files do; is "
            "it mislabelled? Replace it by the file of that name"
        )
    start = 4 * (dimensions + 1)
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(sizes):
        raise InputError(
            f"{path}: has {len(content)} bytes, expected {start + math.prod(sizes)}: it is cut off or "
            "damaged; replace it by the whole file"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def read(name: str, folder: Path) -> tuple[Labelled, Labelled]:
    """Training and test images of torchvision's class `name`, one of CIFAR's.

    Raises InputError where they are not in the folder and cannot be downloaded.
    """
    import torchvision

    kind = getattr(torchvision.datasets, name)
    archive, unpacked = folder / kind.filename, folder / kind.base_folder
    parts = []
    for train in (True, False):
        with said_where(name, folder, f"put {archive.name} into {folder}, or its content into {unpacked}"):
            try:
                part = torchvision_set(name, folder, train)
            except (OSError, RuntimeError):
                check_sum(archive, kind.tgz_md5)
                for file, checksum in [*kind.train_list, *kind.test_list]:
                    check_sum(unpacked / file, checksum)
                raise
        parts.append((np.asarray(part.data), np.asarray(part.targets)))
    return parts[0], parts[1]


def check_sum(path: Path, expected: str) -> None:
    """Raise InputError for a file that is there, but not as it was published."""
    if path.is_file():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != expected:
            raise InputError(
                f"{path}: is cut off or damaged (its MD5 sum is {found}, expected {expected}), and it "
                "could not be downloaded again; replace it by the whole file"
            )


def torchvision_set(name: str, folder: Path, train: bool) -> Any:
    """torchvision's data set `name`, downloaded if it is not in the folder."""
    import torchvision

    return getattr(torchvision.datasets, name)(folder, train=train, download=True)


@contextmanager
def said_where(name: str, folder: Path, where: str) -> Iterator[None]:
    """Turns what torchvision raises into a sentence that says where files are to be put."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, EOFError, ValueError, AssertionError) as error:
        raise InputError(
            f"data set {name}: not found in {folder} and could not be downloaded "
            f"({' '.join(str(error).split())}); {where}, or set data_dir in config.yaml to the folder where "
            "they are"
        ) from error


def pad(pixels: np.ndarray) -> np.ndarray:
    """Images (n, h, w) as (n, SIZE, SIZE), with a black border of equal width on all sides."""
    border = (SIZE - pixels.shape[1]) // 2
    return np.pad(pixels, [(0, 0), (border, border), (border, border)])
