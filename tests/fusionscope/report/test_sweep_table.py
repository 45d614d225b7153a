"""The table of a sweep, its figure and its sentences, of settings made by hand."""

import numpy as np
import pandas as pd
import pytest

from fusionscope.measurement import COLUMNS, Measurement, tidy_rows
from fusionscope.report.page.sweep_section import sweep_findings
from fusionscope.report.plots.sweep import draw
from fusionscope.report.sweep_table import sweep_table

AXES = {"width": ["16", "32"], "weight": ["0.3", "0.5"]}  # the second is an option of a fusion
CHILDREN = {"plain": {}, "mixed.weight~0.3": {"weight": "0.3"}, "mixed.weight~0.5": {"weight": "0.5"}}


def measured(experiment: str, seed: int, model: str, **metrics: float) -> list[dict]:
    measurements = {name: Measurement(value) for name, value in metrics.items()}
    return tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="prediction_space")


def points() -> dict:
    children = {name: {"fusion": name.split(".")[0], "values": values} for name, values in CHILDREN.items()}
    return {f"s.width~{width}": {"values": {"width": width}, "fusions": children} for width in AXES["width"]}


def table(seeds: int = 3) -> pd.DataFrame:
    rows = []
    for setting, level in zip(points(), (0.8, 0.9), strict=True):
        for seed in range(1, seeds + 1):
            rows += measured(setting, seed, "parent_1", accuracy=level)
            rows += measured(setting, seed, "parent_2", accuracy=level + 0.02)
            for place, child in enumerate(CHILDREN):
                outcome = {"accuracy": level - 0.1 * (place + 1), "loss_barrier": float(place)}
                rows += measured(setting, seed, child, parents_ensemble_accuracy=level + 0.05, **outcome)
    measurements = pd.DataFrame(rows, columns=COLUMNS)
    return sweep_table(measurements.assign(value=pd.to_numeric(measurements.value)), points(), AXES)


def test_every_model_of_every_seed_and_setting_has_a_row():
    found = table()
    assert list(found.columns[:2]) == list(AXES)
    assert len(found) == 2 * 3 * (2 + len(CHILDREN))
    row = found[(found.width == "32") & (found.seed == 2) & (found.model == "mixed.weight~0.5")].iloc[0]
    assert (row.fusion, row.weight, row.experiment) == ("mixed", "0.5", "s.width~32")
    assert row.accuracy == pytest.approx(0.6)
    assert row.relative_accuracy == pytest.approx(0.6 - 0.91)
    assert row.loss_barrier == 2
    beside = found[(found.width == "16") & (found.seed == 1)].set_index("model")
    assert beside.accuracy["parents"] == pytest.approx(0.81)
    assert beside.accuracy["ensemble"] == pytest.approx(0.85)
    assert found[found.fusion != "mixed"].weight.isna().all()


def test_a_line_for_each_fusion_and_what_is_beside_it():
    figure = draw(table(), "width", AXES, "mine")
    accuracy = figure.axes[0]
    assert figure.get_suptitle() == "mine: along width, median and range of 3 seeds"
    lowest = figure.axes[-1]  # the panels of a column share their ticks
    assert [tick.get_text() for tick in lowest.get_xticklabels()] == AXES["width"]
    plain, mixed, parents, ensemble = accuracy.lines
    np.testing.assert_allclose(plain.get_ydata(), [70, 80])
    np.testing.assert_allclose(mixed.get_ydata(), [60, 70])  # of the first column, where its weight is 0.3
    np.testing.assert_allclose(parents.get_ydata(), [81, 91])
    np.testing.assert_allclose(ensemble.get_ydata(), [85, 95])


def test_what_an_axis_does_not_concern_is_level():
    figure = draw(table(), "weight", AXES, "mine")
    plain, mixed, *_ = figure.axes[0].lines  # of the first width
    np.testing.assert_allclose(plain.get_ydata(), [70, 70])
    np.testing.assert_allclose(mixed.get_ydata(), [60, 50])


def test_sentences_say_where_each_fusion_is_worst_and_best():
    first, parents, ensembles, plain, mixed = sweep_findings(table(), AXES)
    assert first == "2 settings of width (16, 32) and weight (0.3, 0.5), 3 seeds each."
    assert parents.startswith("The parents: right on 81.0 % of the test images at width 16 and on 91.0 % at")
    assert ensembles.startswith("Their ensembles: right on 85.0 %")
    assert plain.startswith("Plain: right on 70.0 % of the test images at width 16 and on 80.0 % at width 32")
    assert (
        "on 50.0 % of the test images at width 16, weight 0.5 and on 70.0 % at width 32, weight 0.3" in mixed
    )
