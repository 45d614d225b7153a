"""Scales of perturbation as measurements and in files."""

import math

import pytest

from fusionscope.errors import InputError
from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT, Measurement, write_rows
from fusionscope.measures.parameter.perturbation import (
    SCALE_COLUMNS,
    Scale,
    as_measurement,
    itself,
    read_scales,
    scale_measurements,
    scale_rows,
)
from fusionscope.measures.parameter.twelve import inverse_square


def test_error_of_an_inverse_square_is_twice_the_relative_error():
    found = as_measurement(Scale(0.3, 1e-4, NOT_CENSORED), inverse_square)
    assert found.value == pytest.approx(1 / 0.09)
    assert found.std_error == pytest.approx(2 * 1e-4 * found.value, rel=1e-7)
    scale = as_measurement(Scale(0.3, 1e-4, NOT_CENSORED), itself)
    assert scale.std_error == pytest.approx(0.3 * 1e-4, rel=1e-7)


def test_a_file_gives_the_very_same_scales_back(tmp_path):
    scales = {
        "pac_bayes_sigma": Scale(1 / 3, 0.1 + 0.2, NOT_CENSORED),
        "pac_bayes_mag_sigma": Scale(math.exp(-7.3), math.pi * 1e-9, NOT_CENSORED),
        "sharpness_alpha": Scale(1e-6, None, LEFT),
        "sharpness_mag_alpha": Scale(100.0, None, RIGHT),
        "of a network at chance": Scale(None, reason="accuracy 0.10 is at most 0.1: no more can be lost"),
    }
    path = tmp_path / "scale_search.csv"
    write_rows(path, SCALE_COLUMNS, scale_rows(scales))
    found = read_scales(path)
    assert found == scales
    assert list(found) == list(scales)


@pytest.mark.parametrize("content", ["metric\na\n", "metric,value,log_error,censored,reason\na,x,,no,\n", ""])
def test_a_file_without_scales_is_damaged(tmp_path, content):
    (tmp_path / "scale_search.csv").write_text(content)
    with pytest.raises(InputError, match=r"scale_search\.csv: is damaged \(.*\); delete it"):
        read_scales(tmp_path / "scale_search.csv")


def test_a_measure_of_a_scale_that_is_not_defined_is_not_either():
    scale = Scale(None, reason="noise cannot take 0.1")
    expected = Measurement(None, reason="noise cannot take 0.1")
    assert as_measurement(scale, itself) == as_measurement(scale, inverse_square) == expected
    assert scale_measurements({"a": scale}) == {"a": expected}


def test_a_scale_is_a_measurement_of_itself():
    found = scale_measurements({"a": Scale(0.25, 0.01, NOT_CENSORED), "b": Scale(1e-5, None, LEFT)})
    assert found["a"].value == 0.25
    assert found["a"].std_error == pytest.approx(0.0025, rel=1e-4)
    assert (found["b"].value, found["b"].std_error, found["b"].censored) == (1e-5, None, LEFT)
