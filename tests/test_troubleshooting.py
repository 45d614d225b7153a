"""docs/troubleshooting.md says what is really seen: every mistake of it is made."""

from pathlib import Path

import mistakes
import pytest

PAGE = (Path(__file__).parents[1] / "docs/troubleshooting.md").read_text(encoding="utf-8")
REMAKE = "the sentence has changed; `make docs` writes the page anew"


@pytest.mark.parametrize("mistake", mistakes.MISTAKES, ids=lambda mistake: mistake.what)
def test_the_page_has_the_sentence_that_a_mistake_is_answered_with(mistake):
    assert mistakes.section(mistake) in PAGE, REMAKE


@pytest.mark.slow
@pytest.mark.parametrize("mistake", mistakes.RUN_MISTAKES, ids=lambda mistake: mistake.what)
def test_the_page_has_what_a_run_says(mistake):
    assert mistakes.section(mistake) in PAGE, REMAKE


def test_the_page_has_no_more():
    headings = [line[3:] for line in PAGE.splitlines() if line.startswith("## ")]
    assert headings == [mistake.what for mistake in mistakes.MISTAKES + mistakes.RUN_MISTAKES]
    assert PAGE.startswith(mistakes.INTRODUCTION)
    assert len(headings) >= 20
