"""The density of eigenvalues from a quadrature; more of it, on real quadratures, in test_hessian.py."""

import numpy as np
import pytest

from fusionscope.measures.parameter.density import SMOOTHING, root_mean_square, spectral_density

NODES, WEIGHTS = np.array([-2.0, 0.0, 3.0]), np.array([0.2, 0.5, 0.3])


@pytest.mark.parametrize("r", [0.01, 0.5, 4.0])
def test_a_given_r_smooths_as_its_docstring_says(r):
    found = spectral_density(NODES, WEIGHTS, r)
    moments = [np.trapezoid(found.density * found.eigenvalue**k, found.eigenvalue) for k in range(3)]
    s = WEIGHTS @ NODES**2
    assert moments[0] == pytest.approx(1, rel=1e-9)
    assert moments[1] == pytest.approx(WEIGHTS @ NODES, abs=1e-3)
    assert moments[2] == pytest.approx(s + SMOOTHING**2 * (s + r**2), rel=1e-3)


def test_without_a_given_r_it_is_the_root_mean_square():
    r = root_mean_square(NODES, WEIGHTS)
    assert r == pytest.approx(np.sqrt(0.2 * 4 + 0.3 * 9))
    for one, other in zip(
        vars(spectral_density(NODES, WEIGHTS)).values(),
        vars(spectral_density(NODES, WEIGHTS, r)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
