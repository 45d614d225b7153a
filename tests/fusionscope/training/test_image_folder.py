"""A folder of one's own images: every kind and size arrives, and what is wrong with it is said."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusionscope.errors import InputError
from fusionscope.training.image_folder import image_folder
from fusionscope.training.preparation import prepare

SPLITS = ("train", "validation", "test")


def save_image(path: Path, colour, size=(40, 40), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder_of_images(tmp_path):
    """Twelve training and three test images each of cats (red) and dogs (blue)."""
    for split, count in (("train", 12), ("test", 3)):
        for number in range(count):
            save_image(tmp_path / split / "cat" / f"{number}.png", (200 + number, 0, 0))
            save_image(tmp_path / split / "dog" / f"{number}.png", (0, 0, 200 + number))
    return tmp_path


def test_an_image_folder_becomes_three_splits_with_its_folders_as_classes(folder_of_images):
    arrays = prepare("image_folder", folder_of_images)
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
def test_images_of_every_kind_and_size_arrive_as_32x32_rgb(
    folder_of_images, mode, colour, suffix, expected, size
):
    path = folder_of_images / "train" / "cat" / f"00.{suffix}"  # sorts before the rest
    save_image(path, colour, size, mode)
    (pixels, labels), _ = image_folder(folder_of_images)
    assert pixels.shape == (25, 32, 32, 3)
    assert labels[1] == 0
    index = sorted(p.name for p in path.parent.iterdir()).index(path.name)
    assert (pixels[index] == expected).all()


def test_wide_images_are_cropped_to_the_middle(folder_of_images):
    stripes = np.zeros((32, 96, 3), np.uint8)
    stripes[:, :32], stripes[:, 32:64], stripes[:, 64:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(stripes).save(folder_of_images / "train" / "cat" / "0.png")
    (pixels, _), _ = image_folder(folder_of_images)
    assert (pixels[0] == (0, 255, 0)).all()


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_half_of_an_image_folder_is_named(folder_of_images, missing):
    shutil.rmtree(folder_of_images / missing)
    with pytest.raises(InputError, match=f"expected images in {missing}/<class>/"):
        prepare("image_folder", folder_of_images)


def test_a_class_without_images_is_named(folder_of_images):
    (folder_of_images / "train" / "emu").mkdir()
    with pytest.raises(InputError, match="emu"):
        prepare("image_folder", folder_of_images)


def test_a_class_in_one_half_only_is_named(folder_of_images):
    save_image(folder_of_images / "test" / "emu" / "0.png", (1, 2, 3))
    with pytest.raises(InputError, match=r"differ in the classes \['emu'\]"):
        prepare("image_folder", folder_of_images)


@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
def test_a_broken_image_is_named(folder_of_images, damage):
    path = folder_of_images / "test" / "dog" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes({"text": b"no image", "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(InputError, match=r"dog/1\.png: cannot be read as an image"):
        prepare("image_folder", folder_of_images)


def test_too_few_images_for_validation_is_said(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            save_image(tmp_path / split / name / "0.png", (0, 0, 0))
    with pytest.raises(InputError, match=r"too few images .*\(cat 1, dog 1\); it takes 6 images of a class"):
        prepare("image_folder", tmp_path)


@pytest.mark.parametrize(("number", "kept"), [(5, 0), (6, 1)])
def test_a_class_without_images_for_validation_is_said(folder_of_images, caplog, number, kept):
    for index in range(number):
        save_image(folder_of_images / "train/emu" / f"{index}.png", (0, 9, 0))
    save_image(folder_of_images / "test/emu/0.png", (0, 9, 0))
    arrays = prepare("image_folder", folder_of_images)
    assert (arrays["validation_labels"] == 2).sum() == kept
    assert ("no image is kept for validation of these classes: emu 5 (it takes 6" in caplog.text) == (
        not kept
    )


def test_single_coloured_images_do_not_divide_by_zero_and_it_is_said(tmp_path, caplog):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(10):
                save_image(tmp_path / split / name / f"{number}.png", (9, 9, 9))
    assert prepare("image_folder", tmp_path)["std"].tolist() == pytest.approx([1 / 255] * 3)
    assert "nearly all alike: they are divided by 1/255" in caplog.text


def test_names_of_classes_are_kept(folder_of_images):
    assert prepare("image_folder", folder_of_images)["class_names"].tolist() == ["cat", "dog"]


def test_what_systems_leave_is_left_out_and_said(folder_of_images, caplog):
    expected = prepare("image_folder", folder_of_images)
    for name in ("train/.ipynb_checkpoints", "train/__MACOSX/cat", "train/cat/.hidden"):
        (folder_of_images / name).mkdir(parents=True)
        (folder_of_images / name / "1.png").write_text("no image")
    (folder_of_images / "test/dog/Thumbs.db").write_text("no image")
    with caplog.at_level("INFO"):
        found = prepare("image_folder", folder_of_images)
    assert all(np.array_equal(found[key], array) for key, array in expected.items())
    for name in (".ipynb_checkpoints", "__MACOSX", ".hidden", "Thumbs.db"):
        assert caplog.text.count(f"{name}: is left out") == 1


def test_a_single_class_is_refused(folder_of_images):
    for split in ("train", "test"):
        shutil.rmtree(folder_of_images / split / "dog")
    with pytest.raises(InputError, match="has the class 'cat' only; add a folder"):
        prepare("image_folder", folder_of_images)


def test_photographs_are_turned_upright(folder_of_images):
    halves = np.zeros((32, 32, 3), np.uint8)
    halves[:16] = 255
    turned = Image.fromarray(np.rot90(halves).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(folder_of_images / "train/cat/0.png", exif=exif)
    (pixels, _), _ = image_folder(folder_of_images)
    assert np.array_equal(pixels[0], halves)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.full((40, 40), 0.5, np.float32), "its pixels are fractions"),
        (np.full((40, 40), 200, np.int32), "its pixels are 32-bit whole numbers"),
        (np.zeros((1, 2000), np.uint8), "a mere line"),
    ],
)
def test_images_that_cannot_be_scaled_with_certainty_are_refused(folder_of_images, array, sentence):
    Image.fromarray(array).save(folder_of_images / "train/cat/0.tif")
    with pytest.raises(InputError, match=f"cat/0.tif: .*{sentence}"):
        prepare("image_folder", folder_of_images)


def test_an_image_of_too_many_pixels_is_named(folder_of_images, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"\.png: has too many pixels"):
        prepare("image_folder", folder_of_images)


@pytest.mark.parametrize("place", ["train/cat/again", "train/again", "train/cat/deep/again"])
@pytest.mark.parametrize("target", ["train/cat", "train", ".", "/"])
def test_links_in_a_circle_are_named(folder_of_images, place, target):
    if place == "train/again" and target == "train/cat":
        pytest.skip("no circle, but a class that is there twice")
    (folder_of_images / place).parent.mkdir(exist_ok=True)
    (folder_of_images / place).symlink_to(folder_of_images / target)
    with pytest.raises(InputError, match=f"{place}: is a link to a folder that it lies in"):
        image_folder(folder_of_images)


def test_what_lies_in_no_class_is_left_out_and_said(folder_of_images, caplog):
    expected = prepare("image_folder", folder_of_images)
    save_image(folder_of_images / "train/stray.png", (1, 2, 3))
    (folder_of_images / "train/itself").symlink_to("itself")
    found = prepare("image_folder", folder_of_images)
    assert all(np.array_equal(found[key], array) for key, array in expected.items())
    for name in ("stray.png", "itself"):
        assert caplog.text.count(f"train/{name}: is left out, as it is no folder of a class") == 1


@pytest.mark.parametrize(("largest", "bits", "factor"), [(255, 8, 256), (1023, 10, 64), (4095, 12, 16)])
def test_images_of_16_bits_that_hold_fewer_are_refused(folder_of_images, largest, bits, factor):
    dark = np.full((32, 32), largest // 2, np.uint16)
    Image.fromarray(dark).save(folder_of_images / "train/cat/0.png")
    dark[0, 0] = largest
    Image.fromarray(dark).save(folder_of_images / "train/dog/0.png")
    sentence = rf"train: its 2 images of 16 bits .* above {largest}, as if of {bits} bits, .* by {factor}, or"
    with pytest.raises(InputError, match=sentence):
        image_folder(folder_of_images)
    dark[0, 0] = 40_000
    Image.fromarray(dark).save(folder_of_images / "train/dog/0.png")
    (pixels, _), _ = image_folder(folder_of_images)
    assert pixels[0].max() == round(largest // 2 / 257)


def test_a_large_image_is_read_without_a_warning(folder_of_images, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40 - 1)  # above twice of it an image is refused
    prepare("image_folder", folder_of_images)
    assert not recwarn.list


def test_an_image_that_may_not_be_read_is_named(folder_of_images, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)  # root may read all
    with pytest.raises(InputError, match=r"cat/0\.png: cannot be read \(Permission denied\); allow it"):
        image_folder(folder_of_images)


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "images").write_text("")
    with pytest.raises(InputError, match="images/train is no folder"):
        prepare("image_folder", tmp_path / "images")
