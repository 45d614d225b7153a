"""What is known of the order of two values that may be bounds."""

import numpy as np
import pytest

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.statistics.pairs import pairs_within

NAN = float("nan")
UNKNOWN = None


def order_of(first, second):
    """The sign of `first` less `second`, both (value, censored), or UNKNOWN."""
    values, censored = (np.array(part).reshape(1, 1, 2) for part in zip(first, second, strict=True))
    pairs = pairs_within(values.astype(float), censored, np.array([[1.0, 2.0]]))
    sign, known = pairs.metric.item(), pairs.known.item()
    assert known or sign == 0
    return sign if known else UNKNOWN


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((2.0, NOT_CENSORED), (1.0, NOT_CENSORED), 1),
        ((1.0, NOT_CENSORED), (1.0, NOT_CENSORED), 0),
        # at least 2: above 1, and above an exact 2 (Gehan's convention), but perhaps not above 3
        ((2.0, RIGHT), (1.0, NOT_CENSORED), 1),
        ((2.0, RIGHT), (2.0, NOT_CENSORED), 1),
        ((2.0, RIGHT), (3.0, NOT_CENSORED), UNKNOWN),
        # at most 2
        ((2.0, LEFT), (3.0, NOT_CENSORED), -1),
        ((2.0, LEFT), (2.0, NOT_CENSORED), -1),
        ((2.0, LEFT), (1.0, NOT_CENSORED), UNKNOWN),
        # two bounds on one side say nothing of each other, wherever they are
        ((2.0, RIGHT), (1.0, RIGHT), UNKNOWN),
        ((2.0, RIGHT), (2.0, RIGHT), UNKNOWN),
        ((2.0, LEFT), (1.0, LEFT), UNKNOWN),
        ((2.0, LEFT), (2.0, LEFT), UNKNOWN),
        # at least 2 against at most 1, 2, 3
        ((2.0, RIGHT), (1.0, LEFT), 1),
        ((2.0, RIGHT), (2.0, LEFT), 1),
        ((2.0, RIGHT), (3.0, LEFT), UNKNOWN),
        ((NAN, NOT_CENSORED), (1.0, NOT_CENSORED), UNKNOWN),
        ((NAN, NOT_CENSORED), (NAN, NOT_CENSORED), UNKNOWN),
        ((NAN, RIGHT), (1.0, NOT_CENSORED), UNKNOWN),
        ((np.inf, NOT_CENSORED), (1.0, NOT_CENSORED), 1),
        ((np.inf, NOT_CENSORED), (np.inf, NOT_CENSORED), 0),
        ((np.inf, NOT_CENSORED), (2.0, RIGHT), UNKNOWN),
    ],
)
def test_the_order_of_two_values(first, second, expected):
    assert order_of(first, second) == expected
    assert order_of(second, first) == (expected if expected is UNKNOWN else -expected)


def test_a_known_order_holds_for_every_pair_of_true_values():
    # true values on a grid that leaves out the bounds themselves, where the convention decides
    grid = np.arange(-6, 6) + 0.5
    for a in range(-2, 3):
        for b in range(-2, 3):
            for side_a in (LEFT, RIGHT):
                for side_b in (LEFT, RIGHT, NOT_CENSORED):
                    possible_a = grid[grid > a] if side_a == RIGHT else grid[grid < a]
                    possible_b = {LEFT: grid[grid < b], RIGHT: grid[grid > b], NOT_CENSORED: np.array([b])}
                    signs = set(np.sign(np.subtract.outer(possible_a, possible_b[side_b])).ravel())
                    expected = signs.pop() if len(signs) == 1 else UNKNOWN
                    assert order_of((a, side_a), (b, side_b)) == expected, (a, side_a, b, side_b)


def test_pairs_lie_within_strata_and_have_an_outcome():
    values = np.arange(8.0).reshape(1, 2, 4)
    outcome = np.array([[1.0, NAN, 2.0, 0.0], [NAN, NAN, 5.0, 5.0]])
    pairs = pairs_within(values, np.full(values.shape, NOT_CENSORED), outcome)
    found = list(zip(pairs.stratum, pairs.first, pairs.second, strict=True))
    assert found == [(0, 0, 2), (0, 0, 3), (0, 2, 3), (1, 2, 3)]
    assert pairs.outcome[pairs.stratum, pairs.first, pairs.second].tolist() == [-1, 1, 1, 0]
    assert (pairs.metric == -1).all()
