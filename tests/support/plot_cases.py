"""Made-up tables for plots, and what a figure shows."""

import math

import numpy as np
import pandas as pd

from fusionscope.measurement import COLUMNS
from fusionscope.measures.connectivity.paths import PATH_COLUMNS
from fusionscope.measures.connectivity.variance import VARIANCE_COLUMNS
from fusionscope.report.chance import Chance
from fusionscope.report.correlations import CORRELATION_COLUMNS

ACCURACIES = {"parent_1": 0.97, "parent_2": 0.968, "naive_fused": 0.1, "geometric_fused": 0.4}
FOUR = list(ACCURACIES)
LONG = "geometric_fused_by_activations_with_sinkhorn_regularisation_0.05_and_repair"
SIX = [*FOUR, "activation_fused", LONG]
METRICS = {  # typical sizes
    "input_space": {"lipschitz_constant": 30, "lipschitz_upper_bound": 1e5},
    "parameter_space": {"hessian_trace": 900, "pac_bayes_sigma": 0.02, "sharpness_orig": 1e11},
    "prediction_space": {"train_loss": 0.01, "generalisation_gap": 0.02},
}
NAMES = {metric for metrics in METRICS.values() for metric in metrics}
EXPERIMENT = "digits_vgg11"
TEN_CLASSES = Chance(images=360, commonest=37, classes=10)


def measured(models=FOUR, seeds=3):
    stream = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for model in models:
            key = [EXPERIMENT, seed, model]
            accuracy = ACCURACIES.get(model, 0.6) + 0.01 * stream.random()
            rows.append([*key, "prediction_space", "accuracy", accuracy, 0.01, "no", ""])
            if not model.startswith("parent"):
                rows.append([*key, "prediction_space", "parents_ensemble_accuracy", 0.98, 0.01, "no", ""])
            for space, metrics in METRICS.items():
                for metric, size in metrics.items():
                    rows.append([*key, space, metric, size * stream.lognormal(), math.nan, "no", ""])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def curves(seeds=2, epochs=5, parents=2):
    rows = [
        [seed, parent, epoch, 0.1, 2 / epoch, 1 - 0.5 / epoch, 2.2 / epoch, 0.95 - 0.5 / epoch]
        for seed in range(seeds)
        for parent in range(1, parents + 1)
        for epoch in range(1, epochs + 1)
    ]
    columns = ["seed", "parent", "epoch", "learning_rate"]
    columns += ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    return pd.DataFrame(rows, columns=columns).assign(experiment=EXPERIMENT)


def densities(models=FOUR, seeds=2, sizes=(1, 1, 1, 1, 1, 1)):
    grids = []
    for model, size in zip(models, sizes, strict=False):
        eigenvalue = np.linspace(-size / 4, size, 200)
        density = np.exp(-((eigenvalue / size * 60) ** 2)) / size  # zero in its tails
        weight = (np.arange(200) % 20 == 0) / 10  # of Ritz values
        for seed in range(seeds):
            grid = {"model": model, "seed": seed, "eigenvalue": eigenvalue, "density": density}
            grid["ritz_weight"] = weight
            grids.append(pd.DataFrame(grid))
    return pd.concat(grids, ignore_index=True).assign(experiment=EXPERIMENT)


def correlation(models=FOUR, metrics=("hessian_trace", "train_loss")):
    shown = [-0.75, 0.001, 0.01, -0.9, -0.5, 5, 5, "lower goes with better (adjusted p 0.01)", ""]
    described = [-0.8, None, None, None, None, 5, 5, "", ""]
    rows = [
        [EXPERIMENT, model, "some_space", metric, coefficient, *numbers]
        for model in models
        for metric in metrics
        for coefficient, numbers in (("kendall", shown), ("pearson", described), ("spearman", described))
    ]
    return pd.DataFrame(rows, columns=CORRELATION_COLUMNS)


def paths(fusions=FOUR[2:], seeds=2, points=5, top=2.0, parent="parent_1"):
    """Parabolas of loss from 0.3 over `top` (halved from fusion to fusion) back to 0.2; seeds differ."""
    rows = []
    for number, fusion in enumerate(fusions):
        for seed in range(seeds):
            for share in np.arange(points) / (points - 1):
                loss = 0.3 - 0.1 * share + (top / 2**number + 0.1 * seed) * 4 * share * (1 - share)
                rows.append([seed, fusion, parent, share, loss, 0.9 * math.exp(-loss)])
    return pd.DataFrame(rows, columns=list(PATH_COLUMNS)).assign(experiment=EXPERIMENT)


def similarity(children=FOUR[2:], parents=2, groups=("features.0", "features.4", "features.10"), seeds=2):
    """Groups in an order of their own; each value tells its cell."""
    rows = [
        [seed, child, f"parent_{parent}", group, 0.9 - 0.2 * row - 0.05 * parent - 0.02 * seed]
        for seed in range(seeds)
        for child in children
        for parent in range(1, parents + 1)
        for row, group in enumerate(groups)
    ]
    table = pd.DataFrame(rows, columns=["seed", "model", "parent", "group", "cka"])
    return table.assign(cka=table.cka.clip(0, 1), reason=math.nan, experiment=EXPERIMENT)


def variances(children=FOUR[2:], layers=("conv1", "layer2", "layer10"), seeds=2):
    """Layers in an order of their own; from child to child, layer to layer and seed to seed another ratio."""
    rows = [
        [seed, child, layer, 0.8 * 0.9**place * 0.7**number * 1.1**seed]
        for seed in range(seeds)
        for number, child in enumerate(children)
        for place, layer in enumerate(layers)
    ]
    table = pd.DataFrame(rows, columns=["seed", "model", "layer", "ratio"])
    table = table.assign(child_variance=2 * table.ratio, parents_variance=2.0)[list(VARIANCE_COLUMNS)]
    return table.assign(experiment=EXPERIMENT)


def render(figure):
    figure.draw_without_rendering()
    return figure


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def titles(figure):
    return [axes.get_title() for axes in panels(figure)]


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def cell_texts(axes):
    return [text.get_text() for text in axes.texts]
