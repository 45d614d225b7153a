"""Labelled images in memory, normalised and augmented as whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fusionscope.errors import InputError
from fusionscope.prepared import damaged, read_arrays

CROP_PADDING = 4  # pixels on each side, the CIFAR convention
FUSED_AT_ONCE = 512  # in one batch while parents are fused: changes speed and memory, results by rounding


@dataclass(frozen=True)
class Images:
    """n labelled images; pixels stay uint8 until a batch is asked for."""

    pixels: Tensor  # (n, 1 or 3, height, width), uint8
    labels: Tensor  # (n,), int64
    mean: Tensor  # (3,), of pixels / 255
    std: Tensor  # (3,)
    num_classes: int
    size: int | None = None  # pixels on each side that batches are resized to; None: as they are
    channels: int = 3  # of batches: 3, or 1 where the pixels are grey

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str | torch.device) -> Images:
        """The same images with all tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("pixels", "labels", "mean", "std")}
        return replace(self, **moved)

    def take(self, index: Tensor) -> Images:
        """The images at `index` (k,), in that order."""
        index = index.to(self.labels.device)
        return replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def sample(self, count: int, generator: torch.Generator) -> Images:
        """`count` images without replacement, or all of them if there are fewer."""
        order = torch.randperm(len(self), generator=generator)
        return self.take(order[:count])

    def normalised(self) -> Tensor:
        """(n, channels, height, width) float32, channel-wise (pixels / 255 - mean) / std, of the `size`."""
        mean, std = (constants[: self.channels].view(1, -1, 1, 1) for constants in (self.mean, self.std))
        batch = self.pixels / (255 * std) - mean / std  # one channel of pixels broadcasts to three
        if self.size is None or batch.shape[-2:] == (self.size, self.size):
            return batch
        return F.interpolate(batch, (self.size, self.size), mode="bilinear", antialias=True)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and labels, in order, `batch_size` at a time."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            batch = replace(self, pixels=self.pixels[part], labels=self.labels[part])
            yield batch.normalised(), batch.labels


def load_images(path: str | Path, split: str, size: int | None = None, channels: int = 3) -> Images:
    """The `split` (train, validation or test) of a file of the arrays that `preparation.prepare` gives.

    Batches are resized to `size` pixels on each side; without it images stay as they are. They have 3
    `channels`, or 1 if the file's images are grey. Raises InputError for a file that is damaged, lacks the
    split, or has images in colour where grey ones are asked for.
    """
    names = (f"{split}_pixels", f"{split}_labels", "mean", "std", "num_classes")
    pixels, labels, mean, std, classes = read_arrays(path, names)
    fit = (
        pixels.dtype == np.uint8
        and pixels.ndim == 4
        and pixels.shape[1] in (1, 3)
        and pixels.size > 0
        and labels.dtype.kind in "iu"
        and labels.shape == pixels.shape[:1]
        and (mean.dtype.kind, mean.shape, std.dtype.kind, std.shape) == ("f", (3,), "f", (3,))
        and bool(np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all())
        and (classes.dtype.kind, classes.shape) == ("i", ())
        and bool(labels.min() >= 0 and labels.max() < classes)
    )
    if not fit:
        raise damaged(path, "its arrays do not fit together")
    if channels < pixels.shape[1]:
        raise InputError(f"{path}: has images in colour; prepare them anew with one channel")
    return Images(
        pixels=torch.from_numpy(pixels),
        labels=torch.from_numpy(labels).long(),
        mean=torch.from_numpy(mean),
        std=torch.from_numpy(std),
        num_classes=int(classes),
        size=size,
        channels=channels,
    )


def num_classes(path: str | Path) -> int:
    """The number of classes of a prepared file, without reading its images."""
    (classes,) = read_arrays(path, ["num_classes"])
    if (classes.dtype.kind, classes.shape) != ("i", ()) or classes < 1:
        raise damaged(path, "its number of classes is none")
    return int(classes)


def flip_and_crop(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored with probability 1/2 and shifted by up to CROP_PADDING pixels.

    `batch` is (n, c, h, w) and the new border is zero, i.e. the mean colour once normalised.
    One gather for the whole batch, no loop over images.
    """
    n, _channels, height, width = batch.shape
    device = batch.device
    # not waiting for a GPU: a plain copy to it waits until all that it was asked before is done
    flips = torch.rand(n, generator=generator).lt(0.5).to(device, non_blocking=True)
    batch = torch.where(flips.view(n, 1, 1, 1), batch.flip(-1), batch)
    padded = F.pad(batch, [CROP_PADDING] * 4)
    shifts = torch.randint(0, 2 * CROP_PADDING + 1, (2, n, 1), generator=generator)
    shifts = shifts.to(device, non_blocking=True)
    rows = torch.arange(height, device=device) + shifts[0]  # (n, h)
    columns = torch.arange(width, device=device) + shifts[1]  # (n, w)
    images = torch.arange(n, device=device)
    cropped = padded[images.view(n, 1, 1), :, rows.unsqueeze(2), columns.unsqueeze(1)]
    return cropped.permute(0, 3, 1, 2).contiguous()  # advanced indices come first: (n, h, w, c)


def leave_as_they_are(batch: Tensor, generator: torch.Generator) -> Tensor:
    """No augmentation; nothing is drawn."""
    return batch


AUGMENTATIONS = {"none": leave_as_they_are, "flip_and_crop": flip_and_crop}
