"""What there is to say about one fusion of one pair of parents: what was aligned, and how it went."""

import io

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fusionscope.report.eigenvalue_axis import set_eigenvalue_axis
from fusionscope.report.page.findings import percent, rows_of
from fusionscope.report.parents import is_parent
from fusionscope.report.spectra import smoothed_alike
from fusionscope.report.style import GREY, NORMAL, SMALL, empty_figure, look, style_axes, wrapped

PANEL_WIDTH, HEIGHT = 3.3, 2.6  # inches
MOST_LAYERS = 8  # with names under an axis


def card(
    experiment: str,
    seed: int,
    child: str,
    measurements: pd.DataFrame,
    alignment: pd.DataFrame,
    paths: pd.DataFrame,
    densities: pd.DataFrame,
    variances: pd.DataFrame,
) -> dict[str, object]:
    """The card of one child: its title, accuracies, what was aligned, the frozen layers, a drawing.

    Tables of its experiment: `measurements` (measurement.COLUMNS), `alignment` of this child and seed
    (fusion.summary.COLUMNS), `paths`, `densities` and `variances` as the plots take them; any may be empty.
    """
    accuracy = rows_of(measurements[measurements.seed == seed], "accuracy").set_index("model").value
    shown = [model for model in accuracy.index if is_parent(model) or model == child]
    frozen = alignment[alignment.frozen_because.notna() & (alignment.frozen_because != "")]
    moved = alignment.drop(frozen.index)
    return {
        "seed": seed,
        "child": child,
        "accuracies": [(wrapped(model, 99), percent(accuracy[model])) for model in shown],
        "aligned": aligned_sentence(alignment, moved),
        "groups": moved.to_dict("records"),
        "frozen": [
            {"layer": row.group, "neurons": row.neurons, "reason": row.frozen_because}
            for row in frozen.itertuples()
        ],
        "drawing": drawing(
            f"{experiment} {seed} {child}",
            child,
            paths[(paths.seed == seed) & (paths.fusion == child)] if len(paths) else paths,
            densities[(densities.seed == seed) & densities.model.isin([child, *filter(is_parent, shown)])]
            if len(densities)
            else densities,
            variances[(variances.seed == seed) & (variances.model == child)] if len(variances) else variances,
        ),
    }


def aligned_sentence(alignment: pd.DataFrame, moved: pd.DataFrame) -> str:
    if alignment.empty:
        return "Nothing is aligned: neurons are merged by their numbers."
    share = percent(alignment.share_that_moves.iloc[0])
    changed = int(moved.moved.sum())
    return (
        f"{share} of the hidden neurons may move, in {moved.group.nunique()} groups; "
        f"{changed} of {int(moved.neurons.sum())} neurons that may did."
    )


def drawing(
    name: str, child: str, paths: pd.DataFrame, densities: pd.DataFrame, variances: pd.DataFrame
) -> str:
    """An SVG of what there is: accuracy between the parents, spectra, activation variance; '' for nothing."""
    panels = [
        (draw, table)
        for draw, table in ((draw_paths, paths), (draw_spectra, densities), (draw_variances, variances))
        if len(table)
    ]
    if not panels:
        return ""
    figure = empty_figure(PANEL_WIDTH * len(panels), HEIGHT)
    for axes, (draw, table) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, table, child)
        style_axes(axes)
    return as_svg(figure, name)


def draw_paths(axes: Axes, paths: pd.DataFrame, child: str) -> None:
    """Test accuracy along the way from each aligned parent to the reference."""
    colour, shape = look(child, [child])
    for _, path in paths.groupby("parent"):
        axes.plot(path.share, 100 * path.accuracy, color=colour, marker=shape, markersize=3, linewidth=1.2)
    axes.set_ylim(0, 101)
    axes.set_xlabel("share of the reference parent", fontsize=SMALL)
    axes.set_title("test accuracy between the parents (%)", fontsize=NORMAL)


def draw_spectra(axes: Axes, densities: pd.DataFrame, child: str) -> None:
    """The Hessian's spectral density of the child and of its parents."""
    densities, _ = smoothed_alike(densities)
    models = list(densities.model.unique())
    for model, rows in densities.groupby("model", sort=False):
        line = rows[rows.density > 0].sort_values("eigenvalue")
        axes.plot(
            line.eigenvalue,
            line.density,
            color=look(str(model), models)[0],
            linewidth=1,
            label=wrapped(str(model)),
        )
    set_eigenvalue_axis(axes, densities)
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-9 * densities.density.max())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=SMALL, frameon=False)
    axes.set_xlabel("eigenvalue", fontsize=SMALL)
    axes.set_title("density of the Hessian's spectrum", fontsize=NORMAL)


def draw_variances(axes: Axes, variances: pd.DataFrame, child: str) -> None:
    """The variance of the child's activations over its parents', layer by layer."""
    colour, shape = look(child, [child])
    ratios = variances.ratio.astype(float).clip(lower=1e-9).to_numpy()
    axes.plot(range(len(ratios)), ratios, color=colour, marker=shape, markersize=3, linewidth=1.2)
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1)
    axes.set_yscale("log")
    axes.minorticks_off()
    every = -(-len(ratios) // MOST_LAYERS)
    axes.set_xticks(range(0, len(ratios), every), list(variances.layer)[::every], rotation=40, ha="right")
    axes.set_title("variance of activations over the parents'", fontsize=NORMAL)


def as_svg(figure: Figure, name: str) -> str:
    """The figure as an element for a page; text stays text. `name`: no other figure's on the page."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):  # ids of clips come from it
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()[file.getvalue().index("<svg") :]
