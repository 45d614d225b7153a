"""The study of REPAIR's published numbers: its table, and accuracy against width as a figure.

    python benchmarks/repair_mlp.py [--measurements FILE] [--figure docs/studies/repair_mlp.png]

Reads the results/measurements.csv of `snakemake --configfile docs/studies/repair_mlp.yaml`,
whichever widths that measured.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.report.save import save_figure  # noqa: E402
from fusionscope.report.style import (  # noqa: E402
    GREY,
    NORMAL,
    empty_figure,
    legend_below,
    marker,
    style_axes,
)

EXPERIMENT = "repair_mlp_"  # and the width
KINDS = ("parents", "averaged", "permuted", "permuted_repaired")
NAMES = dict(zip(KINDS, (*KINDS[:3], "permuted + REPAIR"), strict=True))
LOOKS = dict(
    zip(KINDS, (("#0072B2", "o"), ("#D55E00", "^"), ("#E69F00", "s"), ("#009E73", "D")), strict=True)
)
# Test accuracies in per cent by width, of one pair each: the figure data of Jordan et al. 2023 (2211.08403).
PUBLISHED = pd.DataFrame(
    {
        32: (83.7, 10.0, 28.0, 46.3),
        64: (86.1, 10.0, 34.0, 66.0),
        128: (87.7, 10.0, 26.7, 70.1),
        256: (88.7, 10.0, 15.3, 72.0),
        512: (89.5, 10.0, 14.9, 73.5),
        1024: (89.8, 10.0, 71.8, 83.0),
    },
    index=KINDS,
).T


def accuracies(measurements: pd.DataFrame) -> pd.DataFrame:
    """Rows width, seed, kind, accuracy in per cent; the two parents of a seed are two rows."""
    rows = measurements[
        measurements.experiment.str.startswith(EXPERIMENT) & (measurements.metric == "accuracy")
    ]
    is_parent = rows.model.str.startswith("parent_")
    return pd.DataFrame(
        {
            "width": rows.experiment.str.removeprefix(EXPERIMENT).astype(int),
            "seed": rows.seed,
            "kind": rows.model.where(~is_parent, "parents"),
            "accuracy": 100 * rows.value.astype(float),
        }
    )


def over_seeds(ours: pd.DataFrame) -> pd.DataFrame:
    """Median, smallest and largest accuracy of each width and kind."""
    return ours.groupby(["width", "kind"]).accuracy.agg(["median", "min", "max"])


def table(ours: pd.DataFrame) -> str:
    """Markdown: of each width what is published, and below it our median and range."""
    found = over_seeds(ours)
    lines = [["width", "", *NAMES.values()], ["---:", "---", *["---:"] * len(KINDS)]]
    for width in sorted(ours.width.unique()):
        published = [f"{PUBLISHED.loc[width, kind]:.1f}" for kind in KINDS]
        own = ["{median:.1f} ({min:.1f} to {max:.1f})".format(**found.loc[(width, kind)]) for kind in KINDS]
        lines += [[str(width), "published", *published], ["", "ours", *own]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(ours: pd.DataFrame) -> Figure:
    """Accuracy against width: published on dashed lines, ours as each seed and a line through medians."""
    figure = empty_figure(6.6, 4.4)
    axes = figure.subplots()
    found = over_seeds(ours)["median"].unstack()
    for kind in KINDS:
        colour, shape = LOOKS[kind]
        axes.plot(PUBLISHED.index, PUBLISHED[kind], shape, ls="--", lw=1, mfc="white", color=colour)
        axes.plot(found.index, found[kind], color=colour, lw=1.8)
        own = ours[ours.kind == kind]
        axes.plot(own.width, own.accuracy, shape, color=colour, ms=5, mew=0, alpha=0.75)
    label_axes(axes)
    handles = [marker(*LOOKS[kind], label=NAMES[kind]) for kind in KINDS]
    handles += [
        marker(GREY, "o", "published, one pair", face="white"),
        marker(GREY, "o", "ours, a seed; line: median"),
    ]
    legend_below(figure, handles, columns=3)
    return figure


def label_axes(axes: Axes) -> None:
    style_axes(axes)
    axes.set_xscale("log", base=2)
    axes.set_xticks(PUBLISHED.index, [str(width) for width in PUBLISHED.index])
    axes.set_ylim(0, 100)
    axes.set_xlabel("units of each of 11 hidden layers", fontsize=NORMAL)
    axes.set_ylabel("test accuracy (%)", fontsize=NORMAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--measurements", type=Path, default=ROOT / "results/measurements.csv")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/studies/repair_mlp.png")
    arguments = parser.parse_args()
    ours = accuracies(pd.read_csv(arguments.measurements))
    print(table(ours))
    save_figure(draw(ours), [arguments.figure])


if __name__ == "__main__":
    main()
