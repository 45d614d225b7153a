"""What `make results` is expected to give on a fresh machine; CI runs this after it."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from fusionscope.measures.names import METRICS

RESULTS = Path(__file__).parents[1] / "results"
EXPERIMENTS = ("digits_vgg11", "digits_resnet18")
PARENTS, CHILDREN = ("parent_1", "parent_2"), ("naive_fused", "geometric_fused")
REPAIRED = "activations_repaired"
README = Path(__file__).parents[1] / "README.md"
SAME = 0.05  # accuracies of parents on 359 images: trainings differ from processor to processor

pytestmark = pytest.mark.default_run


@pytest.fixture(scope="module")
def accuracy() -> pd.Series:
    """Test accuracy by experiment, model and seed."""
    measurements = pd.read_csv(RESULTS / "measurements.csv")
    chosen = measurements[measurements.metric == "accuracy"]
    return chosen.set_index(["experiment", "model", "seed"]).value.sort_index()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_parent_of_every_seed_is_above_95_percent(accuracy, experiment):
    for parent in PARENTS:
        values = accuracy[experiment, parent]
        assert len(values) == 3
        assert values.min() > 0.95


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_children_fall_far_behind_their_parents(accuracy, experiment):
    """As published for networks this small without fine-tuning; a child at its parents' level is a bug."""
    for child in CHILDREN:
        assert accuracy[experiment, child].max() < 0.8


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_child_that_is_aligned_by_activations_and_repaired_works(accuracy, experiment):
    mean = accuracy[experiment].groupby("model").mean()
    assert mean[REPAIRED] > 0.5
    assert mean[REPAIRED] > mean[list(CHILDREN)].max() + 0.2


def test_the_readme_s_excerpt_is_of_this_run():
    """Each row exists; accuracies of parents and their ensemble, which hardly vary, are those of the run."""
    excerpt = README.read_text().split("```\nModel,")[1].split("```")[0]
    tables = pd.read_csv(StringIO(f"Model,{excerpt}")), pd.read_csv(RESULTS / "digits_vgg11/results.csv")
    assert list(tables[0].columns) == list(tables[1].columns)
    shown, results = (table.set_index(["Model", "Space", "Metric"]).Value for table in tables)
    assert len(shown) >= 6
    for (model, space, metric), value in shown.items():
        assert (model, space, metric) in results.index
        if metric == "parents_ensemble_accuracy" or (metric == "accuracy" and model.startswith("parent")):
            assert abs(results[model, space, metric] - value) < SAME


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_lower_bounds_of_the_lipschitz_constant_stay_below_the_upper_bound(experiment):
    measurements = pd.read_csv(RESULTS / "measurements.csv")
    mine = measurements[(measurements.experiment == experiment) & (measurements.space == "input_space")]
    values = mine.pivot(index=["model", "seed"], columns="metric", values="value")
    assert len(values) == 3 * 5
    for lower in ("lipschitz_constant", "local_lipschitz_max", "local_lipschitz_mean"):
        assert (values[lower] <= values.lipschitz_upper_bound).all()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_results_csv_is_complete(experiment):
    results = pd.read_csv(RESULTS / experiment / "results.csv")
    assert (results.Value.notna() == results.Reason.isna()).all()
    measured = results[results.Space != "correlation_space"]
    margins = ("inverse_margin", "log_normalised_inverse_margin")  # none where a margin is below zero
    counted = measured[~measured.Metric.isin(margins)].groupby("Model").size()
    for seed in (1, 2, 3):
        of_all = 4 + 18 + 9 + 6
        assert [counted[f"{parent}_seed{seed}"] for parent in PARENTS] == [of_all] * 2
        # children: the ensemble, connectivity; those that are aligned: the pair
        children = [counted[f"{child}_seed{seed}"] for child in (*CHILDREN, REPAIRED)]
        assert children == [of_all + 1 + 5, of_all + 1 + 5 + 4, of_all + 1 + 5 + 4]
        assert counted[f"parents_seed{seed}"] == 5
    assert len(measured[measured.Metric.isin(margins) & measured.Model.str.startswith("parent")]) == 3 * 2 * 2


def test_the_metrics_that_are_measured_are_those_that_have_an_entry():
    measurements = pd.read_csv(RESULTS / "measurements.csv")
    found = measurements[["metric", "space"]].drop_duplicates()
    assert dict(zip(found.metric, found.space, strict=True)) == {name: m.space for name, m in METRICS.items()}
