"""The campaign's own count: what is bad fails, and is told with all that repeats it."""

import pytest

from .tally import LOST, NAME, RIGHT, SENTENCE, TRACEBACK, Tally, table


def test_tracebacks_and_losses_fail_and_are_counted_all_the_same():
    kept = []
    tally = Tally("a campaign")
    for outcome in (RIGHT, RIGHT, SENTENCE, LOST, TRACEBACK):
        tally.add(outcome, f"seed of {outcome}")
    with pytest.raises(
        AssertionError, match=r"(?s)2 bad of 5:\nlost: seed of lost\ntraceback: seed of trace"
    ):
        tally.end(lambda *given: kept.append(given))
    assert kept == [(NAME, ("a campaign", {RIGHT: 2, SENTENCE: 1, LOST: 1, TRACEBACK: 1}))]


def test_a_campaign_without_bad_tries_passes():
    tally = Tally("a campaign")
    tally.add(SENTENCE)
    tally.end(lambda *given: None)


def test_the_table_adds_up_what_several_tests_counted():
    head, line = table([("a campaign", {RIGHT: 2}), ("a campaign", {RIGHT: 1, LOST: 1})])
    assert head.split() == ["campaign", "tries", "right", "one", "sentence", "traceback", "lost"]
    assert line.split() == ["a", "campaign", "4", "3", "0", "0", "1"]
