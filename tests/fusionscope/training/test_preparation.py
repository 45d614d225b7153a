"""Data sets: what comes in arrives whole, in three splits that never overlap, or a sentence says why not."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusionscope.errors import InputError
from fusionscope.registry import resolve
from fusionscope.training import torchvision_sets
from fusionscope.training.data_sets import DATA_SETS, DataSet
from fusionscope.training.preparation import prepare

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


def test_images_are_normalised_by_what_is_asked_for(digits, monkeypatch):
    entry = replace(DATA_SETS["digits"], mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    monkeypatch.setitem(DATA_SETS, "digits", entry)
    published, measured = (prepare("digits", "unused", word) for word in ("published", "measured"))
    own = prepare("digits", "unused", {"mean": [0.5, 0, 1], "std": [0.5, 1, 2]})
    assert published["mean"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert published["std"].tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert own["mean"].tolist() == [0.5, 0, 1]
    assert own["std"].tolist() == [0.5, 1, 2]
    for name, array in digits.items():  # as digits are without constants of their own; else all is alike
        assert np.array_equal(measured[name], array)
        assert name in ("mean", "std") or np.array_equal(own[name], array)


def test_normalisations_that_do_not_exist_are_refused_in_one_sentence():
    with pytest.raises(InputError, match="normalisation: 'whitened' is not right; expected published"):
        prepare("digits", "unused", "whitened")


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("cifar100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    ],
)
def test_cifar_is_normalised_as_the_study_s_weights_expect(name, mean, std, monkeypatch):
    """On made-up images: what is read is another test's."""
    stream = np.random.default_rng(0)
    pixels, labels = stream.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 2
    monkeypatch.setattr(torchvision_sets, "read", lambda *_: ((pixels, labels), (pixels, labels)))
    arrays = prepare(name, "unused")
    assert arrays["mean"].tolist() == np.float32(mean).tolist()
    assert arrays["std"].tolist() == np.float32(std).tolist()


@pytest.fixture(scope="module")
def fashion_mnist():
    if not DEBIAN_FASHION_MNIST.exists():
        pytest.skip("needs Debian's package dataset-fashion-mnist (non-free)")
    return prepare("fashion_mnist", DEBIAN_FASHION_MNIST)


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


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_entry_of_the_table_names_a_function_that_reads(name):
    assert callable(resolve(DATA_SETS[name].read))


OWN_DATA_SET = """
import numpy as np

def stripes(folder):
    pixels = np.zeros((40, 32, 32), np.uint8)
    pixels[::2, ::2] = 255  # every other image, every other line
    labelled = pixels, np.arange(40) % 2
    return labelled, labelled
"""


def test_a_data_set_is_one_function_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "striped.py").write_text(OWN_DATA_SET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DATA_SETS, "stripes", DataSet("striped:stripes", "40 images, half of them striped"))
    arrays = prepare("stripes", "unused")
    assert arrays["num_classes"] == 2
    assert [len(arrays[f"{split}_labels"]) for split in SPLITS] == [36, 4, 40]
    assert arrays["mean"] == pytest.approx([0.25] * 3)


def test_digits_of_8_pixels_are_scikit_learn_s_own(digits, originals):
    """Value by value; the splits are those of the enlarged ones."""
    small = prepare("digits", "unused", size=8)
    found = Counter()
    for split in SPLITS:
        pixels, labels = small[f"{split}_pixels"], small[f"{split}_labels"]
        assert pixels.shape == (len(labels), 1, 8, 8)
        assert np.array_equal(labels, digits[f"{split}_labels"])
        values = np.rint(pixels[:, 0] * (16 / 255))
        assert np.array_equal(values, shrunk(digits[f"{split}_pixels"][:, 0]))
        found.update((image.tobytes(), int(y)) for image, y in zip(values, labels, strict=True))
    assert found == Counter(
        (image.tobytes(), int(y)) for image, y in zip(originals.images, originals.target, strict=True)
    )
    trained_on = small["train_pixels"].astype(np.float64) / 255
    assert small["mean"] == pytest.approx([trained_on.mean()] * 3, rel=1e-6)


def test_fashion_mnist_of_28_pixels_is_what_lies_inside_the_border(fashion_mnist):
    published = prepare("fashion_mnist", DEBIAN_FASHION_MNIST, size=28)
    assert np.array_equal(published["test_pixels"], fashion_mnist["test_pixels"][:, :, 2:30, 2:30])
    assert published["mean"].tolist() == fashion_mnist["mean"].tolist()


COLOURS = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def coloured(monkeypatch):
    """CIFAR10, made up."""
    labelled = COLOURS, np.arange(40) % 2
    monkeypatch.setattr(torchvision_sets, "read", lambda *_: (labelled, labelled))


def test_colours_become_grey_as_pillow_does_it(coloured):
    from PIL import Image

    arrays = prepare("cifar10", "unused", channels=1)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOURS])
    assert np.array_equal(arrays["test_pixels"][:, 0], expected)
    train = arrays["train_pixels"].astype(np.float64) / 255  # what is published is of colours
    assert arrays["mean"] == pytest.approx([train.mean()] * 3, rel=1e-6)
    assert arrays["std"] == pytest.approx([train.std()] * 3, rel=1e-6)


def test_one_channel_is_normalised_by_one_number(coloured):
    arrays = prepare("cifar10", "unused", {"mean": [0.25], "std": [0.5]}, channels=1)
    assert (arrays["mean"].tolist(), arrays["std"].tolist()) == ([0.25] * 3, [0.5] * 3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 20}, "prepare.size: 20 is not right; expected 8 or 32; load_images resizes to others"),
        ({"channels": 2}, "prepare.channels: 2 is not right; expected 1 (grey) or 3 (colour, or grey three"),
        (
            {"normalisation": {"mean": [0.5], "std": [1]}},
            "prepare.normalisation.mean: 1 for images of 3; give one number per channel, or other 'channels'",
        ),
    ],
)
def test_shapes_that_there_are_not_are_refused_in_one_sentence(options, sentence):
    with pytest.raises(InputError) as refusal:
        prepare("digits", "unused", **options)
    assert sentence in str(refusal.value)
