"""Figures into files: the same bytes in every run."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from fusionscope.files import whole_file
from fusionscope.report.style import PNG_DPI

# what a format would otherwise stamp with the time of the run or the version of its writer
METADATA: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}


def save_figure(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Writes `figure` to each path, .png or .pdf, whole or not at all, with the same bytes in every run.

    Fixes the layout of `figure`: found anew for each path it would shift a little every time.
    """
    if layout := figure.get_layout_engine():
        layout.execute(figure)
    figure.set_layout_engine("none")
    for path in map(Path, paths):
        with whole_file(path) as partial:
            figure.savefig(partial, format=path.suffix[1:], dpi=PNG_DPI, metadata=METADATA[path.suffix])
