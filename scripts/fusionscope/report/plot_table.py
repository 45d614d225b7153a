"""The plots of an experiment by name: what draws each, from which tables, in which words. Imports no pandas.

A plot is a function that takes tables (pandas) by the names of their kinds, and options by theirs, and
returns a Figure (matplotlib).
"""

from dataclasses import dataclass

MEASUREMENTS = "measurements"  # tidy rows, measurement.COLUMNS
LEARNING_CURVES = "learning_curves"  # a row per seed, parent and epoch
DENSITIES = "densities"  # of the Hessian's spectrum: model, seed, eigenvalue, density, ritz_weight
PATHS = "paths"  # between parents: seed, fusion, parent, share, loss, accuracy
SIMILARITIES = "similarities"  # seed, model, parent, group, cka, reason
VARIANCES = "variances"  # seed, model, layer, child_variance, parents_variance, ratio
CORRELATION = "correlation"  # tables.CORRELATION_COLUMNS
KINDS = (MEASUREMENTS, LEARNING_CURVES, DENSITIES, PATHS, SIMILARITIES, VARIANCES, CORRELATION)


@dataclass(frozen=True)
class Plot:
    """One plot of an experiment."""

    draw: str  # module:function
    label: str  # in the report's list of plots
    caption: str
    inputs: tuple[str, ...]  # KINDS, names of the function's arguments
    needs: tuple[str, ...] = ()  # parts of an experiment that must be measured
    options: tuple[str, ...] = ()  # keys of an experiment, names of further arguments


PLOTS: dict[str, Plot] = {
    "learning_curves": Plot(
        draw="fusionscope.report.plots.learning_curves:draw",
        label="learning curves of the parents",
        caption="Loss and accuracy of the parents on train and validation images, epoch by epoch.",
        inputs=(LEARNING_CURVES,),
    ),
    "accuracy": Plot(
        draw="fusionscope.report.plots.accuracy:draw",
        label="accuracy of parents and children",
        caption="Test accuracy of each model: a dot per seed, their mean and standard deviation.",
        inputs=(MEASUREMENTS,),
        needs=("prediction",),
    ),
    "metrics_against_accuracy": Plot(
        draw="fusionscope.report.plots.metrics_against_accuracy:draw",
        label="each metric against accuracy",
        caption="Each metric (across) against the accuracy or the gap (up), a point per model and seed.",
        inputs=(MEASUREMENTS,),
        needs=("prediction",),
        options=("accuracy_metric",),
    ),
    "spectral_density": Plot(
        draw="fusionscope.report.plots.spectral_density:draw",
        label="spectral density of the Hessian",
        caption="Density of the eigenvalues of the Hessian of the train loss, a line per seed; ticks are the "
        "Ritz values, smoothed by a tenth of their size (at least of the typical one).",
        inputs=(DENSITIES,),
        needs=("hessian",),
    ),
    "connectivity": Plot(
        draw="fusionscope.report.plots.connectivity:draw",
        label="the line between the parents",
        caption="Test loss and accuracy on the straight line between the aligned parents.",
        inputs=(PATHS, MEASUREMENTS),
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
    ),
}
