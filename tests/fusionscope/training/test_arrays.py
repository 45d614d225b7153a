"""Splits take their share of every class, and channels come first."""

import numpy as np

from fusionscope.training.arrays import channels_first, stratified_split


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


def test_channels_come_first():
    grey, colour = np.arange(32 * 32).reshape(1, 32, 32), np.arange(32 * 32 * 3).reshape(1, 32, 32, 3)
    assert np.array_equal(channels_first(grey)[0, 0], grey[0])
    assert all(np.array_equal(channels_first(colour)[0, c], colour[0, :, :, c]) for c in range(3))
