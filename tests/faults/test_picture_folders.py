"""Whatever lies in a folder of pictures: read rightly, or refused in one sentence."""

import random
import shutil
import traceback
from pathlib import Path

import numpy as np
import pytest

from fusionscope.errors import InputError
from fusionscope.training.preparation import prepare

from . import picture_folders
from .picture_folders import CHANGES
from .tally import LOST, RIGHT, SENTENCE, TRACEBACK, Tally, tries


def answer(folder: Path) -> tuple[str, dict[str, np.ndarray] | str]:
    """What reading a folder gives: arrays, a sentence, or a traceback."""
    try:
        return RIGHT, prepare("image_folder", folder)
    except InputError as error:
        return (TRACEBACK if "\n" in str(error) else SENTENCE), str(error)
    except Exception:
        return TRACEBACK, traceback.format_exc(limit=-2)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in other)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it is given
@pytest.mark.parametrize("change", CHANGES)
def test_folders_of_pictures_are_read_rightly_or_refused(change, tmp_path, record_property):
    tally = Tally("picture folders")
    do, expected = CHANGES[change]
    for number in range(tries(6, 1)):
        draw = random.Random(f"{change} {number}")
        folder = tmp_path / "images"
        files = picture_folders.build(folder, draw)
        _, before = answer(folder)
        done = do(folder, files, draw)
        found, said = answer(folder)
        if found == RIGHT and (
            expected == picture_folders.REFUSED
            or (expected == picture_folders.RIGHT and not same(said, before))
        ):
            found, said = LOST, "read, but not as it is"
        if found == SENTENCE and expected == picture_folders.RIGHT:
            found = LOST
        tally.add(found, f"{change} ({done}), try {number}: {said}")
        shutil.rmtree(folder)
    tally.end(record_property)
