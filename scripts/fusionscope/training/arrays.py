"""Labelled images as NumPy arrays: how they are split, and how they come to one shape."""

import logging

import numpy as np

from fusionscope.seeding import seed_for

log = logging.getLogger("fusionscope")

LEAST_STD = 1 / 255  # one step of a pixel's value

Labelled = tuple[np.ndarray, np.ndarray]  # (n, h, w) or (n, h, w, 3) uint8, and (n,) integers


def stratified_split(labels: np.ndarray, share: float, *role: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rest and of `share` of every class, each in ascending order.

    Fixed by `role` alone: the same labels are always split alike.
    """
    random = np.random.default_rng(seed_for(*role))
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(share * len(members))]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Colours (n, h, w, 3) as brightness (n, h, w), uint8; grey images (n, h, w) as they are.

    The luma of ITU-R BT.601 in whole numbers, as Pillow's `convert("L")` computes it.
    """
    if pixels.ndim == 3:
        return pixels
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16).astype(np.uint8)


def channels_first(pixels: np.ndarray) -> np.ndarray:
    """(n, h, w) to (n, 1, h, w), or (n, h, w, 3) to (n, 3, h, w)."""
    pixels = pixels[..., np.newaxis] if pixels.ndim == 3 else pixels
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def channel_statistics(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (3,) of pixels / 255 per channel; grey images repeat theirs.

    A deviation is at least LEAST_STD: images of one colour stay as they are.
    """
    values = pixels.astype(np.float64) / 255
    mean, std = values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))
    if std.min() < LEAST_STD:
        log.warning("the pixels of a channel are nearly all alike: they are divided by 1/255")
    return np.broadcast_to(mean, 3), np.broadcast_to(np.maximum(std, LEAST_STD), 3)
