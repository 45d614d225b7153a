"""What a plot or a table is made again for: its own module, what several plots share, and nothing else."""

from pathlib import Path

import pytest

from fusionscope.report.plot_table import PLOTS
from machinery.code_hashes import METRIC_NAMES, entry_hashes, script_hashes

HERE = Path(__file__).parent
CORRELATION = "fusionscope.statistics.correlation"
OTHER_TABLES = ("collect_measurements", "collect_results", "summarise", "plot")
NAMELESS = ("learning_curves", "spectral_density", "similarity", "activation_variance")  # plots


def modules(plot: str) -> set[str]:
    return set(entry_hashes(PLOTS[plot].draw, HERE, keep=(METRIC_NAMES,)))


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_depends_on_its_own_module_and_on_no_other_plots(name):
    of_plots = {module for module in modules(name) if module.startswith("fusionscope.report.plots.")}
    assert of_plots == {PLOTS[name].draw.split(":")[0]}
    assert "fusionscope.report.style" in modules(name)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_depends_on_the_names_of_metrics_only_where_it_shows_them(name):
    assert (METRIC_NAMES in modules(name)) == (name not in NAMELESS)


def test_only_what_correlates_depends_on_how():
    for rule in ("correlate", "correlate_pooled"):
        assert CORRELATION in script_hashes(rule)
    for rule in OTHER_TABLES:
        assert CORRELATION not in script_hashes(rule)
    for name in PLOTS:
        assert CORRELATION not in modules(name)


def test_a_table_does_not_depend_on_how_another_is_made():
    assert "fusionscope.report.summary" in script_hashes("summarise")
    for rule in ("collect_measurements", "collect_results", "correlate", "plot"):
        assert not {"fusionscope.report.summary", "fusionscope.report.latex"} & set(script_hashes(rule))
