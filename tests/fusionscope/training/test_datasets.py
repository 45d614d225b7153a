"""Data sets: what comes in arrives whole, in three splits that never overlap, or a sentence says why not."""

import gzip
import shutil
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusionscope.errors import InputError
from fusionscope.training import datasets
from fusionscope.training.datasets import prepare, stratified_split

SPLITS = ("train", "validation", "test")
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def digits():
    return prepare("digits", "unused")


@pytest.fixture(scope="module")
def originals():
    from sklearn.datasets import load_digits

    return load_digits()


def bilinear_4x() -> np.ndarray:
    """(32, 8): row i weighs the two of eight pixels around the position (i + 1/2) / 4 - 1/2."""
    weights = np.zeros((32, 8))
    for i in range(32):
        position = min(max((i + 0.5) / 4 - 0.5, 0), 7)
        left = min(int(position), 6)
        weights[i, left] += 1 - (position - left)
        weights[i, left + 1] += position - left
    return weights


def test_digits_arrive_in_the_documented_sizes_and_types(digits):
    assert set(digits) == {f"{s}_{p}" for s in SPLITS for p in ("pixels", "labels")} | {
        "mean",
        "std",
        "num_classes",
    }
    for split in SPLITS:
        pixels, labels = digits[f"{split}_pixels"], digits[f"{split}_labels"]
        assert pixels.shape == (len(labels), 1, 32, 32)
        assert pixels.dtype == np.uint8
        assert labels.dtype == np.int64
    assert digits["mean"].shape == digits["std"].shape == (3,)
    assert digits["mean"].dtype == digits["std"].dtype == np.float32
    assert digits["num_classes"] == 10


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """(n, 8, 8) whole numbers 0 to 16: the enlargement undone by least squares."""
    shrink = np.linalg.pinv(bilinear_4x())
    return np.rint(shrink @ pixels.astype(float) @ shrink.T * (16 / 255)).astype(int)


def test_every_original_digit_is_in_exactly_one_split(digits, originals):
    recovered = Counter()
    for split in SPLITS:
        small, labels = shrunk(digits[f"{split}_pixels"][:, 0]), digits[f"{split}_labels"]
        recovered.update((image.tobytes(), int(y)) for image, y in zip(small, labels, strict=True))
    assert recovered == Counter(
        (image.astype(int).tobytes(), int(y))
        for image, y in zip(originals.images, originals.target, strict=True)
    )


@pytest.mark.parametrize("split", SPLITS)
def test_digits_are_enlarged_bilinearly(digits, split):
    pixels, enlarge = digits[f"{split}_pixels"][:, 0].astype(float), bilinear_4x()
    expected = enlarge @ np.rint(shrunk(pixels) * (255 / 16)) @ enlarge.T
    assert np.abs(pixels - expected).max() <= 0.5  # rounded, halves to either side


def test_digits_are_split_class_by_class(digits, originals):
    counts = {split: np.bincount(digits[f"{split}_labels"], minlength=10) for split in SPLITS}
    total = np.bincount(originals.target)
    assert (counts["test"] == np.rint(total * 0.2)).all()
    assert (counts["validation"] == np.rint((total - counts["test"]) * 0.1)).all()
    assert (sum(counts.values()) == total).all()


def test_digits_are_prepared_alike_every_time(digits):
    again = prepare("digits", "elsewhere")
    for key, array in digits.items():
        assert array.dtype == again[key].dtype
        assert np.array_equal(array, again[key])


def test_measured_statistics_are_those_of_the_training_pixels(digits):
    values = digits["train_pixels"].astype(np.float64).ravel() / 255
    assert digits["mean"] == pytest.approx([values.mean()] * 3, rel=1e-6)
    assert digits["std"] == pytest.approx([np.sqrt(np.mean((values - values.mean()) ** 2))] * 3, rel=1e-6)


def test_a_stratified_split_takes_the_share_of_every_class_and_leaves_the_rest():
    labels = np.repeat([0, 1, 2], [100, 50, 10])[np.random.default_rng(0).permutation(160)]
    rest, chosen = stratified_split(labels, 0.2, "a role")
    assert np.bincount(labels[chosen]).tolist() == [20, 10, 2]
    assert sorted([*rest, *chosen]) == list(range(160))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(chosen) > 0).all()


def test_a_stratified_split_is_fixed_by_its_role_alone():
    labels = np.repeat([0, 1], 100)
    one = stratified_split(labels, 0.2, "a", "role")[1]
    assert np.array_equal(one, stratified_split(labels, 0.2, "a", "role")[1])
    assert not np.array_equal(one, stratified_split(labels, 0.2, "another", "role")[1])


@pytest.fixture(scope="module")
def fashion_mnist(tmp_path_factory):
    if not DEBIAN_FASHION_MNIST.exists():
        pytest.skip("needs Debian's package dataset-fashion-mnist (non-free)")
    folder = tmp_path_factory.mktemp("fashion")
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in DEBIAN_FASHION_MNIST.glob("*.gz"):
        # unpacked: Debian compressed the same bytes anew, so torchvision's checksum of the .gz differs
        with gzip.open(packed) as source, open(raw / packed.stem, "wb") as target:
            shutil.copyfileobj(source, target)
    return prepare("fashion_mnist", folder)


def test_fashion_mnist_is_split_into_54000_6000_and_10000(fashion_mnist):
    for split, per_class in (("train", 5400), ("validation", 600), ("test", 1000)):
        assert fashion_mnist[f"{split}_pixels"].shape == (10 * per_class, 1, 32, 32)
        assert np.bincount(fashion_mnist[f"{split}_labels"]).tolist() == [per_class] * 10


def test_fashion_mnist_has_the_registered_statistics_inside_its_black_border(fashion_mnist):
    pixels = np.concatenate([fashion_mnist["train_pixels"], fashion_mnist["validation_pixels"]])[:, 0]
    inside = pixels[:, 2:30, 2:30]
    assert pixels.sum(dtype=np.int64) == inside.sum(dtype=np.int64)  # the border is black
    histogram = np.bincount(inside.ravel(), minlength=256) / inside.size
    values = np.arange(256) / 255
    mean = histogram @ values
    std = np.sqrt(histogram @ (values - mean) ** 2)
    assert fashion_mnist["mean"] == pytest.approx([mean] * 3, abs=1e-3)
    assert fashion_mnist["std"] == pytest.approx([std] * 3, abs=1e-3)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_offline_and_absent_is_one_clear_sentence(name, tmp_path, monkeypatch):
    with socket.socket() as unused:  # a port on which nobody listens stands for the closed network
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, nowhere)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        prepare(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "data_dir" in str(caught.value)


def save_picture(path: Path, colour, size=(40, 40), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def picture_folder(tmp_path):
    """Twelve training and three test pictures each of cats (red) and dogs (blue)."""
    for split, count in (("train", 12), ("test", 3)):
        for number in range(count):
            save_picture(tmp_path / split / "cat" / f"{number}.png", (200 + number, 0, 0))
            save_picture(tmp_path / split / "dog" / f"{number}.png", (0, 0, 200 + number))
    return tmp_path


def test_an_image_folder_becomes_three_splits_with_its_folders_as_classes(picture_folder):
    arrays = prepare("image_folder", picture_folder)
    assert arrays["num_classes"] == 2
    for split, per_class in (("train", 11), ("validation", 1), ("test", 3)):
        pixels, labels = arrays[f"{split}_pixels"], arrays[f"{split}_labels"]
        assert pixels.shape == (2 * per_class, 3, 32, 32)
        assert pixels.dtype == np.uint8
        assert np.bincount(labels).tolist() == [per_class] * 2
        for image, label in zip(pixels, labels, strict=True):  # cat is 0 and red, dog is 1 and blue
            assert image[2 * label].min() >= 200
            assert image[1].max() == image[2 - 2 * label].max() == 0
    kept = np.concatenate([arrays["train_pixels"], arrays["validation_pixels"]])
    assert sorted(kept.max(axis=(1, 2, 3))) == sorted([*range(200, 212)] * 2)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 128), "png", (10, 20, 30)),
        ("L", 77, "png", (77, 77, 77)),
        ("LA", (77, 50), "png", (77, 77, 77)),
        ("1", 1, "bmp", (255, 255, 255)),
        ("P", 0, "png", (0, 0, 0)),
        ("RGB", (0, 0, 0), "webp", (0, 0, 0)),
        pytest.param(
            "P",
            0,
            "gif",
            (0, 0, 0),
        ),
        pytest.param(
            "I;16",
            0x4D4D,
            "png",
            (0x4D, 0x4D, 0x4D),
        ),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (5, 5), (100, 37), (1, 9)])
def test_pictures_of_every_kind_and_size_arrive_as_32x32_rgb(
    picture_folder, mode, colour, suffix, expected, size
):
    path = picture_folder / "train" / "cat" / f"00.{suffix}"  # sorts before the rest
    save_picture(path, colour, size, mode)
    (pixels, labels), _ = datasets.load_image_folder(picture_folder)
    assert pixels.shape == (25, 32, 32, 3)
    assert labels[1] == 0
    index = sorted(p.name for p in path.parent.iterdir()).index(path.name)
    assert (pixels[index] == expected).all()


def test_wide_pictures_are_cropped_to_the_middle(picture_folder):
    stripes = np.zeros((32, 96, 3), np.uint8)
    stripes[:, :32], stripes[:, 32:64], stripes[:, 64:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(stripes).save(picture_folder / "train" / "cat" / "0.png")
    (pixels, _), _ = datasets.load_image_folder(picture_folder)
    assert (pixels[0] == (0, 255, 0)).all()


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_half_of_an_image_folder_is_named(picture_folder, missing):
    shutil.rmtree(picture_folder / missing)
    with pytest.raises(InputError, match=f"expected pictures in {missing}/<class>/"):
        prepare("image_folder", picture_folder)


def test_a_class_without_pictures_is_named(picture_folder):
    (picture_folder / "train" / "emu").mkdir()
    with pytest.raises(InputError, match="emu"):
        prepare("image_folder", picture_folder)


def test_a_class_in_one_half_only_is_named(picture_folder):
    save_picture(picture_folder / "test" / "emu" / "0.png", (1, 2, 3))
    with pytest.raises(InputError, match=r"differ in the classes \['emu'\]"):
        prepare("image_folder", picture_folder)


@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
def test_a_broken_picture_is_named(picture_folder, damage):
    path = picture_folder / "test" / "dog" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes({"text": b"no picture", "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"dog/1\.png: cannot be read as a picture"):
        prepare("image_folder", picture_folder)


def test_too_few_pictures_for_validation_is_said(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            save_picture(tmp_path / split / name / "0.png", (0, 0, 0))
    with pytest.raises(InputError, match="too few images"):
        prepare("image_folder", tmp_path)


def test_single_coloured_pictures_do_not_divide_by_zero(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(10):
                save_picture(tmp_path / split / name / f"{number}.png", (9, 9, 9))
    assert (prepare("image_folder", tmp_path)["std"] > 0).all()


def test_padding_leaves_the_picture_in_the_middle_of_a_black_border():
    picture = np.random.default_rng(0).integers(1, 256, (2, 28, 28), dtype=np.uint8)
    padded = datasets.pad_to_size(picture)
    assert padded.shape == (2, 32, 32)
    assert padded.dtype == np.uint8
    assert np.array_equal(padded[:, 2:30, 2:30], picture)
    assert np.count_nonzero(padded) == picture.size


def test_channels_come_first():
    grey, colour = np.arange(32 * 32).reshape(1, 32, 32), np.arange(32 * 32 * 3).reshape(1, 32, 32, 3)
    assert np.array_equal(datasets.channels_first(grey)[0, 0], grey[0])
    assert all(np.array_equal(datasets.channels_first(colour)[0, c], colour[0, :, :, c]) for c in range(3))
