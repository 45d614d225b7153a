"""The plots of an experiment by name: what draws each, from which tables, in which words. Imports no pandas.

A plot is a function that takes tables (pandas) by the names of their kinds, and options by theirs, and
returns a Figure (matplotlib). Each table has the name of the experiment in a column `experiment`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fusionscope.measures.names import CONNECTIVITY, INPUT, PAIR, PARAMETER, PREDICTION

MEASUREMENTS = "measurements"  # tidy rows, measurement.COLUMNS
LEARNING_CURVES = "learning_curves"  # a row per seed, parent and epoch
DENSITIES = "densities"  # of the Hessian's spectrum: model, seed, eigenvalue, density, ritz_weight
PATHS = "paths"  # between parents: seed, fusion, parent, share, loss, accuracy
SIMILARITIES = "similarities"  # seed, model, parent, group, cka, reason
VARIANCES = "variances"  # seed, model, layer, child_variance, parents_variance, ratio
CORRELATION = "correlation"  # tables.CORRELATION_COLUMNS
CHANCE = "chance"  # no table: chance.Chance, what guessing is worth on the experiment's test images
KINDS = (MEASUREMENTS, LEARNING_CURVES, DENSITIES, PATHS, SIMILARITIES, VARIANCES, CORRELATION, CHANCE)


@dataclass(frozen=True)
class Plot:
    """One plot of an experiment."""

    draw: str  # module:function
    label: str  # in the report's list of plots
    caption: str
    inputs: tuple[str, ...]  # KINDS, names of the function's arguments
    needs: tuple[str, ...] = ()  # parts of an experiment that must be measured
    one_of: tuple[str, ...] = ()  # parts of which at least one must be
    options: tuple[str, ...] = ()  # keys of an experiment, names of further arguments
    arguments: Mapping[str, str] = field(default_factory=dict)  # further ones, with their values
    fewest_seeds: int = 1  # with fewer it is drawn only where it is asked for by name, and says so

    def lacks(self, parts: Collection[str]) -> list[str]:
        """What it needs and is not among the `parts` that are measured."""
        lacking = [part for part in self.needs if part not in parts]
        if self.one_of and not set(self.one_of) & set(parts):
            lacking.append(" and ".join(self.one_of))
        return lacking


SPACES = (INPUT, PARAMETER, PREDICTION, CONNECTIVITY, PAIR)
IN_PARAMETER_SPACE = ("hessian", "scales", "complexity")
IS_OF_PAIRS = {PAIR}  # no property of one of a pair's models, so that it is not correlated model by model


def metrics_against_accuracy(space: str) -> Plot:
    """The plot of all metrics of one space."""
    name = space.replace("_", " ")
    beside = " The pair's numbers stand at each of its children." if space in IS_OF_PAIRS else ""
    return Plot(
        draw="fusionscope.report.plots.metrics_against_accuracy:draw",
        label=f"{name}: each metric against accuracy",
        caption=f"Each metric of the {name} (across) against the accuracy or the gap (up), a point per model "
        f"and seed.{beside} Hollow markers are bounds, arrows point to the side of the true value.",
        inputs=(MEASUREMENTS,),
        needs=("prediction", *part_of(space)),
        one_of=IN_PARAMETER_SPACE if space == PARAMETER else (),
        options=("accuracy_metric",),
        arguments={"space": space},
    )


def metrics_within_models(space: str) -> Plot:
    """The same without what differs between models."""
    name = space.replace("_", " ")
    return Plot(
        draw="fusionscope.report.plots.metrics_within_models:draw",
        label=f"{name}: each metric against accuracy, within models",
        caption=f"Each metric of the {name} (across) against the accuracy or minus the gap (up), both less "
        "their mean over the seeds of a model and in its standard deviations: what is left of a relation "
        "when the differences between models are taken out. The line's slope is Pearson's r; Kendall's τ, "
        "which decides, has a star where its adjusted p-value is below 0.05.",
        inputs=(MEASUREMENTS, CORRELATION),
        needs=("prediction", "correlation", *part_of(space)),
        one_of=IN_PARAMETER_SPACE if space == PARAMETER else (),
        options=("accuracy_metric",),
        arguments={"space": space},
        fewest_seeds=3,
    )


def part_of(space: str) -> tuple[str, ...]:
    """The part of an experiment that measures a space; none of the parameter space, which has several."""
    return () if space == PARAMETER else (space.removesuffix("_space"),)


PLOTS: dict[str, Plot] = {
    "learning_curves": Plot(
        draw="fusionscope.report.plots.learning_curves:draw",
        label="learning curves of the parents",
        caption="Loss and accuracy of the parents on train and validation images, epoch by epoch. Rings mark "
        "the epoch whose weights were kept, that of the smallest validation loss.",
        inputs=(LEARNING_CURVES,),
    ),
    "accuracy": Plot(
        draw="fusionscope.report.plots.accuracy:draw",
        label="accuracy of parents and children",
        caption="Test accuracy of each model: a dot per seed, their mean and standard deviation. Where some "
        "models are far below the parents, the right half enlarges the parents and what comes near them. "
        "Chance is the share of the most frequent class.",
        inputs=(MEASUREMENTS, CHANCE),
        needs=("prediction",),
    ),
    **{
        f"metrics_against_accuracy_{space.removesuffix('_space')}": metrics_against_accuracy(space)
        for space in SPACES
    },
    **{
        f"metrics_within_models_{space.removesuffix('_space')}": metrics_within_models(space)
        for space in SPACES
        if space not in IS_OF_PAIRS
    },
    "spectral_density": Plot(
        draw="fusionscope.report.plots.spectral_density:draw",
        label="spectral density of the Hessian",
        caption="Density of the eigenvalues of the Hessian of the train loss, a line per seed; ticks are the "
        "Ritz values. All panels are smoothed alike: by a tenth of an eigenvalue's size, and at least of r, "
        "the typical size where eigenvalues are smallest.",
        inputs=(DENSITIES,),
        needs=("hessian",),
    ),
    "connectivity": Plot(
        draw="fusionscope.report.plots.connectivity:draw",
        label="the line between the parents",
        caption="Test loss and accuracy on the straight line between the aligned parents. Dotted: what lies "
        "straight between the values at the ends; a barrier is what lies above it (loss) or below it "
        "(accuracy). Dash-dotted: chance, of the loss that of equal odds for all classes.",
        inputs=(PATHS, MEASUREMENTS, CHANCE),
        needs=("connectivity",),
    ),
    "similarity": Plot(
        draw="fusionscope.report.plots.similarity:draw",
        label="similarity of children to their parents",
        caption="Debiased linear CKA of each child with each parent by alignment group, mean over seeds.",
        inputs=(SIMILARITIES,),
        needs=("connectivity",),
    ),
    "activation_variance": Plot(
        draw="fusionscope.report.plots.activation_variance:draw",
        label="variance of the children's activations",
        caption="Variance of each child's pre-activations over its parents', layer by layer.",
        inputs=(VARIANCES,),
        needs=("connectivity",),
    ),
    "correlation": Plot(
        draw="fusionscope.report.plots.correlation:draw",
        label="correlation of metrics with accuracy",
        caption="Correlation of each metric with the accuracy, or with minus the gap, over seeds.",
        inputs=(CORRELATION,),
        needs=("correlation",),
        options=("accuracy_metric",),
        fewest_seeds=2,
    ),
}
