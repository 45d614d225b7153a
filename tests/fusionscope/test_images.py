"""Images in memory: normalised by hand, batched in order, sampled, mirrored and shifted."""

from dataclasses import replace

import cases
import numpy as np
import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.images import AUGMENTATIONS, Images, flip_and_crop, load_images
from fusionscope.training.preparation import prepare


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int, channels: int = 1) -> Images:
    """Image i is filled with i and labelled i."""
    labels = torch.arange(count)
    pixels = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(count, channels, 2, 2).clone()
    return Images(pixels, labels, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.125]), count)


def test_normalised_is_pixels_over_255_less_mean_over_std():
    images = cases.labelled([0, 1, 1])
    found = images.normalised()
    assert found.dtype == torch.float32
    for i, c, h, w in np.ndindex(3, 3, 4, 4):
        expected = (int(images.pixels[i, c, h, w]) / 255 - (0.5, 0.4, 0.3)[c]) / (0.2, 0.25, 0.3)[c]
        assert found[i, c, h, w].item() == pytest.approx(expected, abs=1e-6)


def test_grey_images_become_three_channels_each_with_its_own_statistics():
    images = numbered(2)
    found = images.normalised()
    assert found.shape == (2, 3, 2, 2)
    for c, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (0.5, 0.25, 0.125), strict=True)):
        assert found[1, c, 0, 0].item() == pytest.approx((1 / 255 - mean) / std, abs=1e-6)


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(10, 4, [4, 4, 2]), (4, 4, [4]), (3, 8, [3])])
def test_batches_cover_all_images_in_order(count, batch_size, sizes):
    images = numbered(count)
    batches = list(images.batches(batch_size))
    assert [len(labels) for _, labels in batches] == sizes
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(count))
    assert torch.equal(torch.cat([batch for batch, _ in batches]), images.normalised())


def test_take_keeps_images_and_labels_together_in_the_order_asked_for():
    taken = numbered(6).take(torch.tensor([4, 0, 4]))
    assert taken.labels.tolist() == taken.pixels[:, 0, 0, 0].tolist() == [4, 0, 4]
    assert len(taken) == 3


def test_a_sample_has_no_repeats_and_depends_on_the_seed_alone():
    images = numbered(100)
    torch.manual_seed(0)
    sample = images.sample(40, generator(1))
    torch.manual_seed(1)
    assert len(sample) == 40
    assert len(set(sample.labels.tolist())) == 40
    assert sample.pixels[:, 0, 0, 0].tolist() == sample.labels.tolist()
    assert images.sample(40, generator(1)).labels.tolist() == sample.labels.tolist()
    assert images.sample(40, generator(2)).labels.tolist() != sample.labels.tolist()


def test_a_sample_larger_than_the_set_is_the_whole_set():
    assert sorted(numbered(5).sample(99, generator(0)).labels.tolist()) == [0, 1, 2, 3, 4]


def test_sampling_reaches_every_image():
    drawn = {int(numbered(20).sample(1, generator(seed)).labels) for seed in range(400)}
    assert drawn == set(range(20))  # missing one: probability 20 * 0.95^400 < 1e-7


def mirrored_and_shifted(image: np.ndarray, flip: bool, down: int, right: int) -> np.ndarray:
    """A window of the image's size in the image with four zeros on each side."""
    channels, height, width = image.shape
    result = np.zeros_like(image)
    for c, row, column in np.ndindex(channels, height, width):
        source_row, source_column = row + down - 4, column + right - 4
        if 0 <= source_row < height and 0 <= source_column < width:
            if flip:
                source_column = width - 1 - source_column
            result[c, row, column] = image[c, source_row, source_column]
    return result


@pytest.mark.parametrize("channels", [1, 3])
def test_flip_and_crop_equals_a_loop_over_images_with_the_same_draws(channels):
    count, height, width = 40, 7, 9
    batch = torch.randn(count, channels, height, width, generator=generator(0))
    found = flip_and_crop(batch, generator(7))
    random = generator(7)
    flips = torch.rand(count, generator=random) < 0.5
    shifts = torch.randint(0, 9, (2, count, 1), generator=random)
    expected = np.stack(
        [
            mirrored_and_shifted(batch[i].numpy(), bool(flips[i]), int(shifts[0, i, 0]), int(shifts[1, i, 0]))
            for i in range(count)
        ]
    )
    assert np.array_equal(found.numpy(), expected)


def test_flips_and_shifts_are_all_equally_likely():
    """One lit pixel off the centre tells where it went: 9 x 9 shifts x 2 mirrors, all alike."""
    count = 16_200
    batch = torch.zeros(count, 1, 16, 16)
    batch[:, 0, 8, 6] = 1  # mirrored: column 9
    found = flip_and_crop(batch, generator(0))
    assert found.sum().item() == count  # the middle never leaves the image
    rows, columns = found.nonzero()[:, 2], found.nonzero()[:, 3]
    by_row = torch.bincount(rows - 4, minlength=9)
    assert len(by_row) == 9
    sigma = (count * 1 / 9 * 8 / 9) ** 0.5
    assert (by_row - count / 9).abs().max() < 5 * sigma
    # unmirrored pixels land in columns 2..10, mirrored ones in 5..13; 2..4 and 11..13 tell them apart
    by_column = torch.bincount(columns, minlength=14)[2:]
    expected = count / 18 * torch.tensor([1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1])
    assert len(by_column) == 12
    assert ((by_column - expected).abs() < 5 * expected.sqrt()).all()


def test_augmentations_leave_the_batch_they_were_given_alone():
    batch = torch.randn(5, 3, 8, 8, generator=generator(0))
    before = batch.clone()
    flip_and_crop(batch, generator(1))
    assert torch.equal(batch, before)
    assert torch.equal(AUGMENTATIONS["none"](batch, generator(1)), before)


def test_a_prepared_file_comes_back_as_it_was_written(tmp_path):
    arrays = prepare("digits", tmp_path)
    np.savez(tmp_path / "digits.npz", **arrays)
    for split in ("train", "validation", "test"):
        images = load_images(tmp_path / "digits.npz", split)
        assert np.array_equal(images.pixels.numpy(), arrays[f"{split}_pixels"])
        assert np.array_equal(images.labels.numpy(), arrays[f"{split}_labels"])
        assert images.labels.dtype == torch.int64
        assert np.array_equal(images.mean.numpy(), arrays["mean"])
        assert np.array_equal(images.std.numpy(), arrays["std"])
        assert images.num_classes == 10


def test_a_file_without_the_split_is_named(tmp_path):
    np.savez(tmp_path / "old.npz", train_pixels=np.zeros(1))
    with pytest.raises(InputError, match=r"old\.npz: has no 'validation_pixels'"):
        load_images(tmp_path / "old.npz", "validation")


def test_moving_to_a_device_keeps_everything():
    images = cases.labelled([0, 1])
    moved = images.to("cpu")
    assert torch.equal(moved.normalised(), images.normalised())
    assert torch.equal(moved.labels, images.labels)


@pytest.mark.parametrize("size", [3, 7, 12])
def test_images_are_resized_as_pillow_does_it(size):
    """Pillow's bilinear filter antialiases too; in its mode F it computes in float32 as we do."""
    from PIL import Image

    images = cases.labelled([0, 1], size=7)
    plain = images.normalised()
    found = replace(images, size=size).normalised()
    assert found.shape == (2, 3, size, size)
    for i, c in np.ndindex(2, 3):
        image = Image.fromarray(plain[i, c].numpy(), mode="F")
        expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(found[i, c].numpy(), expected, rtol=0, atol=1e-5)


def test_a_size_that_images_have_already_changes_no_bit():
    images = cases.labelled([0, 1, 1], size=8)
    assert torch.equal(replace(images, size=8).normalised(), images.normalised())


def test_grey_images_are_resized_in_every_batch_and_after_sampling():
    images = replace(numbered(5), size=6)
    shapes = [tuple(batch.shape) for batch, _ in images.sample(4, generator(0)).to("cpu").batches(3)]
    assert shapes == [(3, 3, 6, 6), (1, 3, 6, 6)]
    # an image of one colour stays it
    torch.testing.assert_close(images.normalised()[:, :, :2, :2], numbered(5).normalised())


def test_a_prepared_file_is_read_at_the_size_asked_for(tmp_path):
    np.savez(tmp_path / "digits.npz", **prepare("digits", tmp_path))
    images = load_images(tmp_path / "digits.npz", "test", size=64)
    assert images.take(torch.arange(2)).normalised().shape == (2, 3, 64, 64)
    assert images.pixels.shape[-2:] == (32, 32)  # in memory as they were


def test_one_channel_of_grey_images_is_normalised_by_the_first_constants():
    found = replace(numbered(2), channels=1).normalised()
    assert found.shape == (2, 1, 2, 2)
    assert found[1, 0, 0, 0].item() == pytest.approx((1 / 255 - 0.1) / 0.5, abs=1e-6)
    assert torch.equal(found, numbered(2).normalised()[:, :1])


def test_a_prepared_file_is_read_with_one_channel_if_it_is_grey(tmp_path):
    arrays = prepare("digits", tmp_path, size=8)
    np.savez(tmp_path / "digits.npz", **arrays)
    images = load_images(tmp_path / "digits.npz", "test", size=8, channels=1)
    assert images.sample(2, generator(0)).normalised().shape == (2, 1, 8, 8)
    np.savez(tmp_path / "colour.npz", **arrays | {"test_pixels": arrays["test_pixels"].repeat(3, axis=1)})
    with pytest.raises(InputError, match=r"colour\.npz: has images in colour; prepare them anew with one"):
        load_images(tmp_path / "colour.npz", "test", channels=1)
