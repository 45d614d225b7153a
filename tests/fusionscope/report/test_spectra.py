"""Spectra that are compared are smoothed alike."""

import numpy as np
import pandas as pd
import pytest
from plot_cases import FOUR, densities

from fusionscope.measures.parameter.density import root_mean_square, spectral_density
from fusionscope.report.spectra import smoothed_alike


def table(model, seed, nodes, weights):
    found = spectral_density(np.array(nodes), np.array(weights))
    return pd.DataFrame({"model": model, "seed": seed, **vars(found)})


def test_the_smallest_spectrum_keeps_its_density_and_the_others_their_ritz_values():
    small = table("parent_1", 1, [-0.1, 0.0, 0.3], [0.1, 0.6, 0.3])
    large = table("naive_fused", 1, [-1.0, 0.02, 30.0], [0.1, 0.8, 0.1])
    found, r = smoothed_alike(pd.concat([large, small], ignore_index=True))
    assert r == pytest.approx(root_mean_square(np.array([-0.1, 0.0, 0.3]), np.array([0.1, 0.6, 0.3])))
    parts = {model: part.reset_index(drop=True) for model, part in found.groupby("model")}
    pd.testing.assert_frame_equal(parts["parent_1"], small)
    ritz = parts["naive_fused"].query("ritz_weight > 0")
    assert list(ritz.eigenvalue) == [-1.0, 0.02, 30.0]
    assert list(ritz.ritz_weight) == [0.1, 0.8, 0.1]
    assert parts["naive_fused"].density.max() > large.density.max()  # less smoothed near zero


def test_each_model_and_seed_has_a_density_that_adds_to_one():
    found, _ = smoothed_alike(densities(FOUR, 2, sizes=(1, 20, 0.3, 5)))
    for _, part in found.groupby(["model", "seed"]):
        assert np.trapezoid(part.density, part.eigenvalue) == pytest.approx(1, rel=1e-9)
    assert found.groupby(["model", "seed"]).ngroups == 8
