"""A prepared file that was damaged is never taken for images: one sentence says so."""

import numpy as np
import pytest

from fusionscope.errors import InputError
from fusionscope.images import load_images, num_classes
from fusionscope.training.preparation import prepare

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def arrays():
    return {
        f"{split}_{part}": array[:5]
        for split in SPLITS
        for part in ("pixels", "labels")
        for array in [prepare("digits", "unused")[f"{split}_{part}"]]
    } | {
        "mean": np.full(3, 0.5, np.float32),
        "std": np.full(3, 0.5, np.float32),
        "num_classes": np.asarray(10),
    }


def read_all(path):
    return [array.tobytes() for split in SPLITS for array in contents(load_images(path, split))]


def contents(images):
    return [part.numpy() for part in (images.pixels, images.labels, images.mean, images.std)]


def test_flipped_and_lost_bytes_are_never_read_as_images(arrays, tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, **arrays)
    whole, expected = path.read_bytes(), read_all(path)
    stream = np.random.default_rng(0)
    said = 0
    for number in range(300):
        position = int(stream.integers(len(whole)))
        flipped = bytes([whole[position] ^ (1 << int(stream.integers(8)))])
        path.write_bytes(whole[:position] + (flipped + whole[position + 1 :] if number % 3 else b""))
        try:
            found = read_all(path)
        except InputError:
            said += 1
        else:
            assert found == expected  # as where the time of a member was changed
    assert said > 250


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("train_pixels", np.zeros((5, 1, 32, 32), np.float32)),
        ("train_pixels", np.zeros((5, 2, 32, 32), np.uint8)),
        ("train_pixels", np.zeros((5, 32), np.uint8)),
        ("train_pixels", np.zeros((0, 1, 32, 32), np.uint8)),
        ("train_pixels", np.array([{}] * 5, dtype=object)),
        ("train_labels", np.arange(4)),
        ("train_labels", np.array([0, 1, 2, 3, 10])),
        ("train_labels", np.array([0, 1, 2, 3, -1])),
        ("train_labels", np.zeros(5)),
        ("mean", np.full(3, np.nan, np.float32)),
        ("std", np.zeros(3, np.float32)),
        ("std", np.ones(2, np.float32)),
        ("num_classes", np.asarray([10])),
        ("num_classes", np.asarray("ten")),
    ],
)
def test_arrays_that_do_not_fit_are_called_damaged(arrays, tmp_path, name, array):
    np.savez(tmp_path / "digits.npz", **arrays | {name: array})
    with pytest.raises(InputError, match=r"digits\.npz: is damaged .*delete it") as caught:
        load_images(tmp_path / "digits.npz", "train")
    assert "pickle" not in str(caught.value)


def test_a_number_of_classes_is_a_number(arrays, tmp_path):
    np.savez(tmp_path / "digits.npz", **arrays | {"num_classes": np.asarray("ten")})
    with pytest.raises(InputError, match="is damaged"):
        num_classes(tmp_path / "digits.npz")
