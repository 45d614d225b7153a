"""The code of docs/adding.md that is about metrics and plots does what the page says."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from matplotlib.figure import Figure
from plot_cases import FOUR, measured, render

from fusionscope.measures import names
from fusionscope.measures.names import METRICS, Metric
from fusionscope.registry import load_own
from fusionscope.report import plot_table
from fusionscope.report.plot_table import KINDS, PLOTS, Plot
from fusionscope.report.save import save_figure

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "adding.md").read_text()

pytestmark = pytest.mark.filterwarnings("error")


def blocks(section: str, language: str) -> list[str]:
    """The code of `language` in a section of the page, in its order."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def own(tmp_path, monkeypatch) -> Callable[[str], Callable]:
    """Writes a block to the file that its first line names, and gives what an entry names in it."""
    monkeypatch.chdir(tmp_path)

    def load(code: str, entry: str) -> Callable:
        path = tmp_path / code.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
        return load_own(entry, "the page's")

    return load


def entry_of(code: str, table: object) -> tuple[str, object]:
    """The name and the entry that a block adds to a table of the module `table`."""
    ((name, entry),) = eval(f"{{{code}}}", vars(table)).items()
    return name, entry


def mine(section: str) -> dict:
    (settings,) = blocks(section, "yaml")
    return yaml.safe_load(settings)


def test_a_metric_of_ones_own_is_a_function_of_a_subject(own):
    known, entry = mine("A metric")["measurements"]["mine"]["complexity"]
    assert METRICS[known].compute
    metric = own(blocks("A metric", "python")[0], entry)
    assert metric(SimpleNamespace(weights=[torch.tensor([1.0, -3.0]), torch.tensor([[2.0]])])) == 3.0


def test_a_metric_of_the_repository_has_a_whole_entry():
    name, metric = entry_of(blocks("A metric", "python")[1], names)
    assert isinstance(metric, Metric)
    assert metric.compute == f"fusionscope.measures.parameter.complexity:{name}"
    assert f"def {name}(subject)" in blocks("A metric", "python")[0]
    assert metric.direction in (names.HIGHER, names.LOWER)


def test_a_plot_of_ones_own_is_drawn_from_measurements(own, tmp_path):
    *known, entry = mine("A plot")["experiments"]["mine"]["plots"]
    assert set(known) < set(PLOTS)
    figure = own(blocks("A plot", "python")[0], entry)(measurements=measured())
    assert isinstance(figure, Figure)
    assert [line.get_label() for line in figure.axes[0].lines] == sorted(FOUR)
    save_figure(figure, [tmp_path / "own.png"])


def test_a_plot_of_the_repository_is_a_module_and_an_entry():
    module, entry = blocks("A plot", "python")[1:]
    name, plot = entry_of(entry, plot_table)
    assert isinstance(plot, Plot)
    assert plot.draw == f"fusionscope.report.plots.{name}:draw"
    assert f"report/plots/{name}.py" in PAGE
    assert set(plot.inputs) <= set(KINDS)
    code: dict = {}
    exec(module, code)
    table = measured()
    errors = table[table.metric == "train_loss"].assign(metric="expected_calibration_error")
    (axes,) = render(code["draw"](measurements=errors)).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [3] * len(FOUR)
    assert len(render(code["draw"](measurements=table)).texts) == 1  # a note
