"""The campaign: every try is counted, and the table of them ends the run."""

import pytest

from .tally import NAME, table


def pytest_collection_modifyitems(items):
    for item in items:
        if "faults" in item.path.parts[-2:]:
            item.add_marker(pytest.mark.faults)


def pytest_terminal_summary(terminalreporter):
    reports = [
        report
        for kind in ("passed", "failed", "xfailed", "xpassed")
        for report in terminalreporter.stats.get(kind, [])
    ]
    rows = [tuple(value) for report in reports for name, value in report.user_properties if name == NAME]
    if rows:
        terminalreporter.section("what became of every try")
        terminalreporter.write_line("\n".join(table(rows)))
