"""What became of each try: counted, told at the end of the run, and no bad one is let pass."""

import os
from collections import Counter

LONG = os.environ.get("FAULTS") == "long"  # the counts of the issue; else a sample, for CI

RIGHT, SENTENCE, TRACEBACK, LOST = "right", "one sentence", "traceback", "lost"
OUTCOMES = (RIGHT, SENTENCE, TRACEBACK, LOST)
NAME = "tally"  # of the property of a test's report: (campaign, outcome -> tries)
SHOWN = 20  # bad tries that a failing test lists


def tries(long: int, short: int) -> int:
    return long if LONG else short


class Tally:
    """The tries of one campaign. A try that ends badly is kept with all that is needed to repeat it."""

    def __init__(self, campaign: str) -> None:
        self.campaign = campaign
        self.counts: Counter[str] = Counter()
        self.bad: list[str] = []

    def add(self, outcome: str, repeat: str = "") -> None:
        assert outcome in OUTCOMES, outcome
        self.counts[outcome] += 1
        if outcome in (TRACEBACK, LOST):
            self.bad.append(f"{outcome}: {repeat}")

    def end(self, record_property) -> None:
        """Hand the counts over to the table, and fail for every traceback and every loss."""
        record_property(NAME, (self.campaign, dict(self.counts)))
        assert not self.bad, f"{len(self.bad)} bad of {self.counts.total()}:\n" + "\n".join(self.bad[:SHOWN])


def table(rows: list[tuple[str, dict[str, int]]]) -> list[str]:
    """Lines of a table, the rows of a campaign added up."""
    sums: dict[str, Counter[str]] = {}
    for campaign, counts in rows:
        sums.setdefault(campaign, Counter()).update(counts)
    width = max(map(len, sums), default=0)
    head = f"{'campaign':{width}}  {'tries':>6}  " + "  ".join(f"{name:>12}" for name in OUTCOMES)
    return [head] + [
        f"{campaign:{width}}  {counts.total():6}  " + "  ".join(f"{counts[name]:12}" for name in OUTCOMES)
        for campaign, counts in sorted(sums.items())
    ]
