"""Odd folders of images are read, or refused in one sentence."""

import mutated_pictures
import numpy as np

from fusionscope.errors import InputError
from fusionscope.training.preparation import prepare


def outcome(folder) -> str:
    try:
        arrays = prepare("image_folder", folder)
    except InputError:
        return mutated_pictures.SENTENCE
    assert arrays["train_pixels"].shape[1:] == (3, 32, 32)
    return mutated_pictures.RIGHT


def test_odd_image_folders_are_read_or_refused_in_one_sentence(tmp_path):
    for number in range(100):
        stream = np.random.default_rng(number)
        oddity, expected = mutated_pictures.write_folder(tmp_path / str(number), stream)
        found = outcome(tmp_path / str(number))
        assert expected in (mutated_pictures.EITHER, found), (number, oddity, found)
