"""What guessing is worth."""

import math

import numpy as np
import pytest

from fusionscope.errors import InputError
from fusionscope.report.chance import read_chance


def test_chance_is_that_of_the_commonest_class_and_of_equal_odds_for_all(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, test_labels=np.array([0, 2, 2, 2, 1, 0, 1, 2]), num_classes=np.int64(5))
    chance = read_chance(path)
    assert chance.share == 4 / 8
    assert chance.loss == pytest.approx(-math.log(1 / 5))


def test_a_damaged_file_is_one_sentence(tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="delete it"):
        read_chance(path)
