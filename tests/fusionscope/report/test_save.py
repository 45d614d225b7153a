"""Figures become the same files in every run."""

import pytest
from plot_cases import FOUR, TEN_CLASSES, correlation, measured

from fusionscope.report.plots import accuracy
from fusionscope.report.plots import correlation as correlation_plot
from fusionscope.report.save import save_figure

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("name", ["figure.png", "figure.pdf"])
def test_a_saved_figure_has_the_same_bytes_every_time(tmp_path, monkeypatch, name):
    contents = []
    for time in ("0", "1000000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", time)
        figure = correlation_plot.draw(correlation(FOUR[:1]), "accuracy")
        for _ in range(2):
            save_figure(figure, [tmp_path / name])
            contents.append((tmp_path / name).read_bytes())
    assert len(set(contents)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = accuracy.draw(measured(), TEN_CLASSES)
    monkeypatch.setattr(figure, "savefig", lambda partial, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_figure(figure, [path])
    assert path.read_bytes() == b"old"
