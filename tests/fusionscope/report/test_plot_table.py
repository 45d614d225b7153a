"""The table of plots says what their functions take."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from fusionscope.registry import resolve
from fusionscope.report.plot_table import KINDS, PLOTS, Plot

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_takes_its_inputs_and_options_by_name(name):
    plot = PLOTS[name]
    assert set(plot.inputs) <= set(KINDS)
    parameters = inspect.signature(resolve(plot.draw)).parameters
    assert set(parameters) == {*plot.inputs, *plot.options, *plot.arguments}
    module, function = plot.draw.split(":")
    assert function == "draw"
    assert name.startswith(module.removeprefix("fusionscope.report.plots."))


def test_each_plot_has_a_title_and_a_caption_of_its_own():
    assert len({plot.label for plot in PLOTS.values()}) == len(PLOTS)
    assert len({plot.caption for plot in PLOTS.values()}) == len(PLOTS)


def test_what_a_plot_lacks():
    plot = Plot("module:draw", "label", "caption", (), needs=("a", "b"), one_of=("c", "d"))
    assert plot.lacks(["a", "b", "d"]) == []
    assert plot.lacks(["a", "c", "d"]) == ["b"]
    assert plot.lacks(["a"]) == ["b", "c and d"]


def test_what_belongs_to_one_plot_is_in_its_module_alone():
    """Else a change of it would redraw others."""
    modules = {plot.draw.split(":")[0] for plot in PLOTS.values()}
    for path in (SCRIPTS / "fusionscope" / "report").rglob("*.py"):
        imported = [word for word in path.read_text().split() if word in modules]
        assert not imported, path


def test_the_tables_of_plots_and_metrics_import_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "matplotlib", "scipy"}
    code = "import sys, fusionscope.report.plot_table, fusionscope.measures.reference; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert "fusionscope.measures.names" in done.stdout, done.stderr
    assert not heavy & set(done.stdout.split())
