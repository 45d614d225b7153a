"""From tables to figures: one look for every plot, in which a model keeps its colour and its marker."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fusionscope.measurement import NOT_CENSORED
from fusionscope.report.tables import ALL_MODELS

PNG_DPI = 160
# what a format would otherwise stamp with the time of the run or the version of its writer
METADATA = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}

PARENT = re.compile(r"parent_(\d+)")

# Okabe & Ito 2008, "Color universal design": told apart by the colour-blind. Parents are all blue.
PARENT_COLOURS = ("#0072B2", "#56B4E9", "#003A66", "#8FA8D9", "#4B55C4")
PARENT_MARKERS = ("o", "s", "*", "d", "8", "H")  # 30 parents before a look comes twice
CHILD_LOOKS = {
    "naive_fused": ("#D55E00", "^"),
    "geometric_fused": ("#009E73", "D"),
}
OTHER_COLOURS = ("#CC79A7", "#E69F00", "#000000")
OTHER_MARKERS = ("v", "P", "X", "h", "<", "p", ">")  # with 3 colours: 21 models before a look comes twice
GREY, PALE = "0.4", "0.88"
SPLITS = {"validation": ("-", "o"), "train": ("--", "x")}  # marker: where one epoch makes no line

PATH_TICKS = ([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
PATH_MARKERS = 11  # on a mean line, at most

SMALL, NORMAL, LARGE = 8, 9, 11  # font sizes, points
NAME_WIDTH, WIDE_NAME = 22, 30  # characters before a text is broken into lines
PANEL_COLUMNS, PANEL_WIDTH, PANEL_HEIGHT = 6, 2.3, 2.0  # inches, as all sizes here
HEADER_HEIGHT, LEGEND_HEIGHT, MIN_WIDTH = 0.4, 0.5, 6.6
LINE_PLOT_WIDTH, LINE_PLOT_HEIGHT = 9.0, 4.3  # two panels side by side
MARGIN = 0.07
LEGEND_ENTRY = 2.2  # holds a name of NAME_WIDTH
CURVE_LEGEND_COLUMNS = 6  # of short names on LINE_PLOT_WIDTH
CELL_WIDTH, CELL_HEIGHT = 0.52, 0.22
LABEL_WIDTH, MAP_FRAME, MIN_MAP_WIDTH = 2.6, 1.4, 4.6  # around the cells: left and right; above and below
NARROWEST_BLOCK = 1.2
TALLEST_MAP = 8.0  # of rows of cells; more rows make them flatter
TEXT_PITCH = 0.135  # from one line of SMALL text to the next, just legible
CHARACTER_WIDTH = 0.075  # of SMALL text, on average
LANE_HEIGHT, LINE_HEIGHT = 0.5, 0.16
FAN = 0.22  # half the height over which seeds are spread, as a share of a model's lane

PERCENT, POINTS, NATS = "%", "%\N{NO-BREAK SPACE}points", "nats"
UNITS = {
    "accuracy": PERCENT,
    "train_accuracy": PERCENT,
    "parents_ensemble_accuracy": PERCENT,
    "generalisation_gap": POINTS,
    "expected_calibration_error": POINTS,
    "accuracy_barrier": POINTS,
    "train_loss": NATS,
    "test_loss": NATS,
    "loss_barrier": NATS,
    "loss_barrier_above_mean": NATS,
}
METRIC_NAMES = {  # where it is more than the name without its underscores
    "accuracy": "test accuracy",
    "parents_ensemble_accuracy": "ensemble of the parents",
    "expected_calibration_error": "calibration error",
    "accuracy_barrier": "test accuracy barrier",
    "loss_barrier": "test loss barrier",
    "loss_barrier_above_mean": "test loss barrier above the mean",
    "mean_cka": "mean linear CKA",
    "lipschitz_constant": "Lipschitz constant",
    "local_lipschitz_max": "local Lipschitz max",
    "local_lipschitz_mean": "local Lipschitz mean",
    "lipschitz_upper_bound": "Lipschitz upper bound",
    "hessian_top_eigenvalue": "Hessian top eigenvalue",
    "hessian_trace": "Hessian trace",
    "pac_bayes_sigma": "PAC-Bayes σ",
    "pac_bayes_mag_sigma": "PAC-Bayes mag σ′",
    "sharpness_alpha": "sharpness α",
    "sharpness_mag_alpha": "sharpness mag α′",
    "pac_bayes_flatness": "PAC-Bayes flatness",
    "pac_bayes_mag_flat": "PAC-Bayes mag flat",
}
COEFFICIENT_NAMES = {"kendall": "Kendall τ", "pearson": "Pearson r", "spearman": "Spearman ρ"}
SIGNIFICANT = 0.05
DARK_CELL = 0.65  # colours of coefficients beyond it need white text
DARK_SHADE = 0.7  # and those of similarities

WIDE_SPAN = 100.0  # largest to smallest (or typical) size beyond which an axis is logarithmic
SMALLEST_MARGIN = 0.005  # on each side of an axis, as a share of the largest size on it
SYMLOG_SPAN = 1e3  # largest size to the end of the linear part
DENSITY_FLOOR = 1e-9  # of the peak: less than one eigenvalue among 1e8 weighs, so only tails of bumps
DENSITY_HEADROOM = 5.0  # over the peak
COMPARABLE = 10.0  # ratio of the models' eigenvalue ranges up to which they share their axes


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Loss and accuracy over the epochs: a thin line per seed and, where there are several, their median.

    `curves`: one row per epoch with seed, parent (1, 2, ...), epoch, train_loss, train_accuracy,
    validation_loss, validation_accuracy; losses in nats, accuracies in [0, 1].
    """
    if curves.empty:
        return note("no network was trained")
    figure = empty_figure(LINE_PLOT_WIDTH, LINE_PLOT_HEIGHT)
    loss, accuracy = figure.subplots(1, 2)
    for parent, mine in curves.groupby("parent"):
        colour, _ = look(f"parent_{parent}")
        for split in SPLITS:
            draw_curves(loss, mine, split, "loss", colour)
            draw_curves(accuracy, mine, split, "accuracy", colour)
    for axes in (loss, accuracy):
        style(axes)
        axes.set_xlabel("epoch", fontsize=NORMAL)
        axes.set_xlim(curves.epoch.min() - 0.5, curves.epoch.max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    loss.set_yscale("log", nonpositive="mask")
    loss.yaxis.set_major_formatter("{x:g}")
    loss.set_ylabel("loss (nats)", fontsize=NORMAL)
    accuracy.set_ylim(0, 101)
    accuracy.set_ylabel("accuracy (%)", fontsize=NORMAL)
    handles = curve_handles(curves)
    legend_below(figure, handles, columns=min(len(handles), CURVE_LEGEND_COLUMNS))
    return figure


def accuracies(measurements: pd.DataFrame) -> Figure:
    """Test accuracy of each model: a dot per seed, their mean and standard deviation.

    `measurements`: tidy rows (measurement.COLUMNS) of one experiment. Where fused models carry
    `parents_ensemble_accuracy`, its mean and standard deviation are a line and a band.
    """
    rows = shown_values(measurements[measurements.metric == "accuracy"])
    if rows.empty:
        return note("test accuracy was not measured")
    models = in_order(rows.model)
    names = [wrapped(model, WIDE_NAME) for model in models]
    lane = LANE_HEIGHT + LINE_HEIGHT * max(name.count("\n") for name in names)
    figure = empty_figure(7.5, 1.2 + lane * len(models))
    axes = figure.subplots()
    handles = seed_handles(rows) + draw_ensemble(axes, measurements)
    for position, model in enumerate(models):
        draw_seeds(axes, position, rows[rows.model == model], look(model, models))
    style(axes)
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 100), ylim=(len(models) - 0.5, -0.5))
    axes.set_yticks(range(len(models)), names, fontsize=NORMAL)
    axes.set_xlabel(with_unit("accuracy"), fontsize=NORMAL)
    axes.set_title(heading(measurements, metric_name("accuracy")), fontsize=LARGE)
    legend_below(figure, handles, columns=len(handles))
    return figure


def metrics_against_accuracy(measurements: pd.DataFrame, accuracy_metric: str) -> Figure:
    """One panel per metric, by space: its value (x) and the model's accuracy (y), a point per seed.

    `measurements`: tidy rows (measurement.COLUMNS). `accuracy_metric`: 'accuracy' or
    'generalisation_gap'. Values that are bounds, where a search ended at the end of its range, are hollow.
    """
    keys = ["experiment", "seed", "model"]
    shown = shown_values(measurements)
    target = shown[shown.metric == accuracy_metric].set_index(keys)["value"].rename("target")
    points = shown[shown.metric != accuracy_metric].join(target, on=keys)
    if points.target.isna().all():
        return note(f"no metric to compare with the {metric_name(accuracy_metric)}")
    models = in_order(points.model)
    counts = points.groupby("space", sort=False).metric.nunique()
    columns = min(PANEL_COLUMNS, counts.max())
    heights = [math.ceil(count / columns) * PANEL_HEIGHT + HEADER_HEIGHT for count in counts]
    handles = model_handles(models, bounds=(points.censored != NOT_CENSORED).any())
    width = max(columns * PANEL_WIDTH, MIN_WIDTH)
    legend_columns = int(width / LEGEND_ENTRY)
    legend_height = LEGEND_HEIGHT * math.ceil(len(handles) / legend_columns)
    figure = empty_figure(width, sum(heights) + legend_height)
    parts = figure.subfigures(len(counts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (space, group) in zip(parts, points.groupby("space", sort=False), strict=True):
        part.suptitle(space_name(space), fontsize=LARGE, fontweight="bold", x=0.01, ha="left")
        part.supylabel(wrapped(with_unit(accuracy_metric)), fontsize=NORMAL)
        panels = panel_grid(part, counts[space], columns, sharey=True)
        for axes, (metric, mine) in zip(panels, group.groupby("metric", sort=False), strict=True):
            draw_metric(axes, metric, mine, models)
            axes.set_ylim(padded(points.target))
    legend_below(figure, handles, columns=legend_columns)
    return figure


def spectral_densities(densities: pd.DataFrame) -> Figure:
    """Spectral density of the Hessian: a panel per model, a thin line per seed.

    `densities`: columns model, seed, eigenvalue, density. Models share their axes where their eigenvalues
    are of comparable size; otherwise each panel has its own.
    """
    densities = densities[np.isfinite(densities.eigenvalue) & np.isfinite(densities.density)]
    if densities.empty:
        return note("the spectral density was not measured")
    models = in_order(densities.model)
    shared = comparable(densities)
    columns = min(len(models), 2 if len(models) == 4 else 3)
    size = (max(3.5 * columns, MIN_WIDTH), 2.7 * math.ceil(len(models) / columns) + 0.6)
    figure = empty_figure(*size)
    panels = panel_grid(figure, len(models), columns, sharex=shared, sharey=shared)
    for axes, model in zip(panels, models, strict=True):
        mine = densities[densities.model == model]
        draw_densities(axes, mine, look(model, models)[0])
        peak = (densities if shared else mine).density.max()
        axes.set_ylim(DENSITY_FLOOR * peak, DENSITY_HEADROOM * peak)
        axes.set_title(wrapped(model, WIDE_NAME), fontsize=NORMAL)
    ranges = "" if shared else " (each panel has its own range)"
    figure.supxlabel(f"eigenvalue of the Hessian{ranges}", fontsize=NORMAL)
    figure.supylabel("density (1 / eigenvalue)", fontsize=NORMAL)
    return figure


def correlation_heatmap(correlation: pd.DataFrame, accuracy_metric: str) -> Figure:
    """Each metric's correlation with accuracy: a heat map per coefficient, metrics down, models across.

    `correlation`: rows of one experiment in tables.CORRELATION_COLUMNS. `accuracy_metric`: what was
    correlated with; of the gap, as in tables.correlation_table, the sign is turned.
    """
    if correlation.empty:
        return note("no metric to correlate")
    models, rows = in_order(correlation.model), heatmap_rows(correlation)
    size = (4.2 + 3 * CELL_WIDTH * max(len(models), 3), 2.8 + CELL_HEIGHT * len(rows))
    figure = empty_figure(*size)
    panels = figure.subplots(1, len(COEFFICIENT_NAMES), sharey=True)
    for axes, (coefficient, name) in zip(panels, COEFFICIENT_NAMES.items(), strict=True):
        cells = correlation[correlation.coefficient == coefficient]
        image = draw_heatmap(axes, cells, rows, models)
        axes.set_title(name, fontsize=LARGE)
    panels[0].set_yticks(range(len(rows)), [row.label for row in rows], fontsize=NORMAL)
    for text, row in zip(panels[0].get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if row.is_header else "normal")
    bar = figure.colorbar(image, ax=panels, aspect=40, pad=0.01, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label("coefficient", fontsize=NORMAL)
    bar.ax.tick_params(labelsize=SMALL)
    sign = "minus the " if accuracy_metric == "generalisation_gap" else ""
    title = f"correlation with {sign}{metric_name(accuracy_metric)}, over seeds"
    figure.suptitle(heading(correlation, title), fontsize=LARGE)
    figure.supxlabel(heatmap_caption(correlation), fontsize=SMALL)
    return figure


def connectivity(paths: pd.DataFrame, measurements: pd.DataFrame) -> Figure:
    """Loss and accuracy on the straight line between (aligned) parents: a line per path, and their mean.

    `paths`: columns seed, fusion, parent (whence the path goes to the reference), share (of the reference,
    from 0 to 1), loss in nats, accuracy in [0, 1]. `measurements`: tidy rows (measurement.COLUMNS) of the
    same experiment; where fused models carry `parents_ensemble_accuracy`, it is a dashed line.
    """
    if paths.empty:
        return note("connectivity was not measured")
    fusions = in_order(paths.fusion)
    models = [*fusions, *measurements.model]  # so that a fusion looks as it does in the other plots
    looks = {fusion: look(fusion, models) for fusion in fusions}
    figure = empty_figure(LINE_PLOT_WIDTH, LINE_PLOT_HEIGHT)
    loss, accuracy = figure.subplots(1, 2)
    for fusion in fusions:
        mine = paths[paths.fusion == fusion]
        draw_path(loss, mine, "loss", looks[fusion])
        draw_path(accuracy, mine, "accuracy", looks[fusion])
    for axes in (loss, accuracy):
        style(axes)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks(*PATH_TICKS)
        axes.set_xlabel("share of the reference parent (at 0: the other parent)", fontsize=NORMAL)
    losses = paths.loss[np.isfinite(paths.loss)]
    if losses.max() > WIDE_SPAN * losses.min():
        loss.set_yscale("log", nonpositive="mask")
        loss.yaxis.set_major_formatter("{x:g}")
    loss.set_ylabel(with_unit("test_loss"), fontsize=NORMAL)
    accuracy.set_ylim(0, 101)
    accuracy.set_ylabel(with_unit("accuracy"), fontsize=NORMAL)
    figure.suptitle(heading(measurements, "on the line between the parents"), fontsize=LARGE)
    handles = path_handles(paths, looks) + draw_ensemble(accuracy, measurements, level=True)
    legend_columns = int(LINE_PLOT_WIDTH / LEGEND_ENTRY)
    figure.set_figheight(LINE_PLOT_HEIGHT + legend_height(handles, legend_columns) - LINE_HEIGHT)
    legend_below(figure, handles, columns=legend_columns)
    return figure


def similarity_heatmap(cka: pd.DataFrame) -> Figure:
    """Linear CKA of each child with each parent: a block per child, alignment groups down, parents across.

    `cka`: columns seed, model (the child), parent, group, cka in [0, 1]; shown is the mean over seeds.
    Groups keep their order. NaN, where a representation does not vary, is left out of the mean.
    """
    if cka.empty:
        return note("the similarity of representations was not measured")
    means = similarity_means(cka)
    groups, children, parents = means.index, means.columns.unique(0), means.columns.unique(1)
    block = max(CELL_WIDTH * len(parents), NARROWEST_BLOCK)
    titles = [wrapped(child, int(block / CHARACTER_WIDTH)) for child in children]
    width = max(LABEL_WIDTH + block * len(children), MIN_MAP_WIDTH)
    height = min(CELL_HEIGHT * len(groups), TALLEST_MAP)
    title_height = LINE_HEIGHT * max(title.count("\n") + 1 for title in titles)
    figure = empty_figure(width, MAP_FRAME + title_height + height)
    panels = figure.subplots(1, len(children), sharey=True, squeeze=False)[0]
    every = math.ceil(TEXT_PITCH * len(groups) / height)  # rows from one text to the next
    for axes, child, title in zip(panels, children, titles, strict=True):
        image = draw_similarity(axes, means[child].to_numpy(), numbers=every == 1)
        axes.set_xticks(range(len(parents)), [wrapped(parent) for parent in parents], rotation=90)
        axes.set_title(title, fontsize=SMALL)
    panels[0].set_yticks(range(0, len(groups), every), groups[::every])
    seeds = cka.seed.nunique()
    bar = figure.colorbar(image, ax=panels, aspect=25, pad=0.01, ticks=[0, 0.5, 1])
    bar.set_label("linear CKA" + (f", mean of {seeds} seeds" if seeds > 1 else ""), fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle("similarity of children to their parents", fontsize=LARGE)
    if means.isna().any(axis=None):
        figure.supxlabel("hatched: no number (constant, or not measured)", fontsize=SMALL)
    return figure


def save_figure(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Writes `figure` to each path, .png or .pdf, whole or not at all, with the same bytes in every run.

    Fixes the layout of `figure`: found anew for each path it would shift a little every time.
    """
    if layout := figure.get_layout_engine():
        layout.execute(figure)
    figure.set_layout_engine("none")
    for path in map(Path, paths):
        partial = path.with_name(f".{path.name}.partial")
        figure.savefig(partial, format=path.suffix[1:], dpi=PNG_DPI, metadata=METADATA[path.suffix])
        os.replace(partial, path)


def in_order(models: Iterable[str]) -> list[str]:
    """Each model once: parents first, then in order of appearance, all models pooled last."""
    unique = list(dict.fromkeys(models))
    parents = sorted(filter(PARENT.fullmatch, unique), key=parent_number)
    pooled = [model for model in unique if model == ALL_MODELS]
    return parents + [model for model in unique if model not in parents + pooled] + pooled


def parent_number(model: str) -> int:
    """parent_3 -> 3"""
    return int(PARENT.fullmatch(model)[1])


def look(model: str, models: Iterable[str] = ()) -> tuple[str, str]:
    """Colour and marker. A child without its own gets them by its place in the alphabet of `models`."""
    if PARENT.fullmatch(model):
        place, colours, markers = parent_number(model) - 1, PARENT_COLOURS, PARENT_MARKERS
    elif model in CHILD_LOOKS:
        return CHILD_LOOKS[model]
    else:
        others = sorted(name for name in set(models) - set(CHILD_LOOKS) if not PARENT.fullmatch(name))
        place, colours, markers = others.index(model), OTHER_COLOURS, OTHER_MARKERS
    return colours[place % len(colours)], markers[place % len(markers)]


def wrapped(name: str, width: int = NAME_WIDTH) -> str:
    """'naive_fused' -> 'naive fused', in lines of at most `width` characters."""
    return fill(name.replace("_", " "), width)


def metric_name(metric: str) -> str:
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def with_unit(metric: str) -> str:
    return f"{metric_name(metric)} ({UNITS[metric]})" if metric in UNITS else metric_name(metric)


def space_name(space: str) -> str:
    return space.removesuffix("_space") + " space"


def heading(table: pd.DataFrame, what: str) -> str:
    return f"{', '.join(table.experiment.unique())}: {what}"


def shown_values(measurements: pd.DataFrame) -> pd.DataFrame:
    """Values as an axis shows them: shares in per cent, NaN for what is infinite."""
    percent = measurements.metric.map(UNITS).isin([PERCENT, POINTS])
    values = measurements.value.astype(float).where(~percent, 100 * measurements.value)
    return measurements.assign(value=values.where(np.isfinite(values)))


def empty_figure(width: float, height: float) -> Figure:
    """The margin keeps texts whole in a PDF too, where they are a little wider than on the pixel grid."""
    layout = ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN)
    return Figure(figsize=(width, height), dpi=PNG_DPI, layout=layout)


def note(text: str) -> Figure:
    """A small figure that says why there is nothing to see."""
    figure = Figure(figsize=(MIN_WIDTH, 1))
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=LARGE, color=GREY)
    return figure


def style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=SMALL)


def panel_grid(figure: FigureBase, count: int, columns: int, **shared: bool) -> list[Axes]:
    """`count` panels in rows of `columns`; the places left over stay empty."""
    panels = figure.subplots(math.ceil(count / columns), columns, squeeze=False, **shared).ravel()
    for unused in panels[count:]:
        unused.remove()
    return list(panels[:count])


def legend_below(figure: Figure, handles: list[Line2D], *, columns: int) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=NORMAL)


def legend_height(handles: list[Line2D], columns: int) -> float:
    """Inches that `legend_below` takes for handles in this many columns."""
    lines = max(handle.get_label().count("\n") + 1 for handle in handles)
    return LINE_HEIGHT * lines * math.ceil(len(handles) / columns)


def marker(colour: str, shape: str, label: str, face: str | None = None) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=shape, color=colour, markerfacecolor=face or colour, label=label
    )


def draw_curves(axes: Axes, curves: pd.DataFrame, split: str, quantity: str, colour: str) -> None:
    """One parent's loss or accuracy over the epochs, a line per seed and their median."""
    dashes, shape = SPLITS[split]
    factor = 100 if quantity == "accuracy" else 1
    table = curves.pivot(index="epoch", columns="seed", values=f"{split}_{quantity}") * factor
    table = table.where(np.isfinite(table))
    shape = shape if len(table) == 1 else ""
    several = table.shape[1] > 1
    width, alpha = (0.6, 0.45) if several else (1.6, 1.0)
    axes.plot(table.index, table, dashes, color=colour, linewidth=width, alpha=alpha, marker=shape)
    if several:
        axes.plot(table.index, table.median(axis=1), dashes, color=colour, linewidth=2, marker=shape)


def curve_handles(curves: pd.DataFrame) -> list[Line2D]:
    parents = in_order(f"parent_{parent}" for parent in curves.parent)
    handles = [
        Line2D([], [], color=look(parent)[0], linewidth=2, label=wrapped(parent)) for parent in parents
    ]
    one_epoch = curves.epoch.nunique() == 1
    handles += [
        Line2D([], [], color=GREY, linestyle=dashes, marker=shape if one_epoch else "", label=split)
        for split, (dashes, shape) in SPLITS.items()
    ]
    if curves.seed.nunique() > 1:
        handles.append(Line2D([], [], color=GREY, linewidth=0.6, alpha=0.8, label="one seed"))
        handles.append(Line2D([], [], color=GREY, linewidth=2, label="median of seeds"))
    return handles


def draw_path(axes: Axes, path: pd.DataFrame, quantity: str, appearance: tuple[str, str]) -> None:
    """One fusion's loss or accuracy by share, a thin line per seed and parent, their mean with markers."""
    colour, shape = appearance
    factor = 100 if quantity == "accuracy" else 1
    table = path.pivot(index="share", columns=["seed", "parent"], values=quantity) * factor
    table = table.where(np.isfinite(table))
    if table.shape[1] > 1:
        axes.plot(table.index, table, color=colour, linewidth=0.6, alpha=0.45)
    mean = table.mean(axis=1, skipna=False)  # a path that fell out would let the mean jump
    every = math.ceil(len(table) / PATH_MARKERS)
    axes.plot(
        table.index,
        mean,
        color=colour,
        linewidth=2,
        marker=shape,
        markersize=5,
        markevery=every,
        clip_on=False,
    )


def path_handles(paths: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, linewidth=2, marker=shape, markersize=5, label=wrapped(fusion))
        for fusion, (colour, shape) in looks.items()
    ]
    if len(paths[["fusion", "seed", "parent"]].drop_duplicates()) > len(looks):
        single, mean = "one seed", "mean of seeds"
        if paths.groupby("fusion").parent.nunique().max() > 1:
            single, mean = "one seed and parent", "mean of all"
        handles.append(Line2D([], [], color=GREY, linewidth=0.6, alpha=0.8, label=single))
        handles.append(Line2D([], [], color=GREY, linewidth=2, label=mean))
    return handles


def draw_seeds(axes: Axes, position: int, rows: pd.DataFrame, appearance: tuple[str, str]) -> None:
    """A model's accuracies around the height `position`, fanned out by seed; mean and std in numbers too."""
    colour, shape = appearance
    values = rows.sort_values("seed").value.dropna()
    mean, std, n = values.mean(), values.std(), len(values)
    text = "no value" if n == 0 else f"{mean:.1f} %" if n == 1 else f"{mean:.1f} ± {std:.1f} %"
    beside = axes.get_yaxis_transform()  # x in widths of the axes, y in data
    axes.text(1.02, position, text, transform=beside, va="center", fontsize=NORMAL)
    if n == 0:
        return
    heights = position + (np.linspace(-FAN, FAN, n) if n > 1 else 0 * values)
    axes.plot(
        values, heights, shape, color=colour, alpha=0.75, markersize=5, markeredgewidth=0, clip_on=False
    )
    if n > 1:
        axes.errorbar(mean, position, xerr=std, fmt="|", color="black", markersize=13, capsize=3)


def seed_handles(rows: pd.DataFrame) -> list[Line2D]:
    handles = [marker(GREY, "o", "one seed")]
    if rows.seed.nunique() > 1:
        handles.append(
            Line2D([], [], color="black", marker="|", markersize=11, label="mean ± std of the seeds")
        )
    return handles


def draw_ensemble(axes: Axes, measurements: pd.DataFrame, *, level: bool = False) -> list[Line2D]:
    """Line and band for the parents' ensemble, which each fused model of a seed repeats; legend handles.

    Upright, where accuracy is the x axis, or `level`, where it is the y axis.
    """
    rows = shown_values(measurements[measurements.metric == "parents_ensemble_accuracy"])
    values = rows.drop_duplicates("seed").value.dropna()
    if values.empty:
        return []
    mean, std = values.mean(), values.std()
    draw_line, draw_band = (axes.axhline, axes.axhspan) if level else (axes.axvline, axes.axvspan)
    if len(values) > 1:
        draw_band(mean - std, mean + std, color=GREY, alpha=0.25, linewidth=0, zorder=0)
    line = draw_line(mean, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    line.set_label(f"{metric_name('parents_ensemble_accuracy')} ({mean:.1f} %)")
    return [line]


def draw_metric(axes: Axes, metric: str, points: pd.DataFrame, models: list[str]) -> None:
    """One panel: columns model, value, target and censored of `points`."""
    usable = points.dropna(subset=["value", "target"])
    for model, mine in usable.groupby("model"):
        colour, shape = look(model, models)
        bound = mine.censored != NOT_CENSORED
        for some, face in ((mine[~bound], colour), (mine[bound], "none")):
            axes.plot(
                some.value, some.target, shape, color=colour, markerfacecolor=face, markersize=5, alpha=0.8
            )
    style(axes)
    title = fill(with_unit(metric), WIDE_NAME)
    lost = len(points) - len(usable)
    axes.set_title(title + (f"\n{lost} of {len(points)} without a number" if lost else ""), fontsize=NORMAL)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    set_scale(axes, usable.value)


def set_scale(axes: Axes, values: pd.Series) -> None:
    """x axis: logarithmic where positive values span decades, symlog where others do, else plain."""
    if values.empty:
        axes.set_xticks([])
        return
    sizes = values.abs()
    if values.min() > 0 and values.max() > WIDE_SPAN * values.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
    elif values.min() <= 0 and sizes.max() > WIDE_SPAN * sizes.median():
        threshold = 10 ** math.floor(math.log10(sizes.max() / SYMLOG_SPAN))
        axes.set_xscale("symlog", linthresh=threshold)
        top = 10.0 ** math.floor(math.log10(sizes.max()))
        ticks = np.array([-top, -top / WIDE_SPAN, 0, top / WIDE_SPAN, top])
        axes.set_xticks(ticks[(ticks >= values.min()) & (ticks <= values.max())])
    else:
        axes.set_xlim(padded(values))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=True, useOffset=False)
        axes.xaxis.get_offset_text().set_fontsize(SMALL)
    axes.xaxis.set_minor_locator(NullLocator())


def padded(values: pd.Series) -> tuple[float, float]:
    """Limits of a plain axis: the outermost markers stay whole, a tiny range is not blown up."""
    low, high = values.min(), values.max()
    margin = max(0.08 * (high - low), SMALLEST_MARGIN * max(abs(low), abs(high))) or 1.0
    return low - margin, high + margin


def model_handles(models: list[str], *, bounds: bool) -> list[Line2D]:
    handles = [marker(*look(model, models), wrapped(model)) for model in models]
    if bounds:
        handles.append(marker(GREY, "o", "hollow: a bound (end\nof the search's range)", "none"))
    return handles


def comparable(densities: pd.DataFrame) -> bool:
    """Whether the models' eigenvalues are within a factor COMPARABLE of each other in size."""
    sizes = densities.eigenvalue.abs().groupby(densities.model).max()
    return sizes.max() <= COMPARABLE * sizes.min()


def draw_densities(axes: Axes, densities: pd.DataFrame, colour: str) -> None:
    """One model's densities, a line per seed; what is zero dives below the axis."""
    tiny = np.finfo(float).tiny
    for _, line in densities.sort_values("eigenvalue").groupby("seed"):
        axes.plot(line.eigenvalue, line.density.clip(lower=tiny), color=colour, linewidth=0.9, alpha=0.8)
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
    style(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelbottom=True)  # the panel below may be missing


@dataclass(frozen=True)
class Row:
    """A line of the heat map: a metric, or the name of the space that follows."""

    label: str
    space: str
    metric: str = ""

    @property
    def is_header(self) -> bool:
        return not self.metric


def heatmap_rows(correlation: pd.DataFrame) -> list[Row]:
    rows = []
    for space, group in correlation.groupby("space", sort=False):
        rows.append(Row(space_name(space), space))
        rows += [Row(metric_name(metric), space, metric) for metric in group.metric.unique()]
    return rows


def draw_heatmap(axes: Axes, cells: pd.DataFrame, rows: list[Row], models: list[str]) -> QuadMesh:
    """One coefficient: colour and number in each cell, hatching where there is no number."""
    keys = pd.MultiIndex.from_tuples([(row.space, row.metric) for row in rows])
    wide = cells.pivot(index=["space", "metric"], columns="model", values=["value", "p_value"])
    values, p_values = (
        wide[name].reindex(index=keys, columns=models).to_numpy(dtype=float) for name in ("value", "p_value")
    )
    corners = [np.arange(size + 1) - 0.5 for size in values.T.shape]
    image = axes.pcolormesh(
        *corners, np.ma.masked_invalid(values), cmap="RdBu", vmin=-1, vmax=1, edgecolors="white", linewidth=1
    )
    for (y, x), value in np.ndenumerate(values):
        if rows[y].is_header:
            continue
        if np.isnan(value):
            axes.add_patch(hatched((x - 0.5, y - 0.5)))
            continue
        star = "*" if p_values[y, x] < SIGNIFICANT else ""
        colour = "white" if abs(value) > DARK_CELL else "black"
        text = f"{value:z.2f}{star}".replace("-", "−")
        axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=colour)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    labels = [column_label(model, cells[cells.model == model].n) for model in models]
    axes.set_xticks(range(len(models)), labels, fontsize=SMALL, rotation=90)
    return image


def hatched(corner: tuple[float, float]) -> Rectangle:
    return Rectangle(corner, 1, 1, facecolor="0.95", edgecolor="0.75", hatch="////", linewidth=0)


def similarity_means(cka: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: groups down, in their order; (child, parent) across; NaN where there is none."""
    columns = pd.MultiIndex.from_product([in_order(cka.model), in_order(cka.parent)])
    means = cka.groupby(["group", "model", "parent"]).cka.mean().unstack(["model", "parent"])
    return means.reindex(index=cka.group.unique(), columns=columns)


def draw_similarity(axes: Axes, values: np.ndarray, *, numbers: bool) -> QuadMesh:
    """One child: colour for each group (row) and parent (column), hatching where there is no number."""
    rows, columns = values.shape
    corners = [np.arange(size + 1) - 0.5 for size in (columns, rows)]
    image = axes.pcolormesh(
        *corners,
        np.ma.masked_invalid(values),
        cmap="Blues",
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidth=0.5 if numbers else 0.2,
    )
    for (y, x), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.add_patch(hatched((x - 0.5, y - 0.5)))
        elif numbers:
            colour = "white" if value > DARK_SHADE else "black"
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color=colour)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL)
    return image


def column_label(model: str, n: pd.Series) -> str:
    """'naive fused (n = 5)', or (n = 3 to 5) where metrics differ in how many values could be used."""
    used = f"{n.min()}" if n.min() == n.max() else f"{n.min()}–{n.max()}"
    return wrapped(f"{model} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{used})", WIDE_NAME)


def heatmap_caption(correlation: pd.DataFrame) -> str:
    reasons = correlation.reason[correlation.value.isna()].dropna().unique()
    why = ", ".join(["not measured", *(reason for reason in reasons if reason)])
    return f"* p < {SIGNIFICANT}, each cell by itself    hatched: no coefficient ({why})    n: values used"
