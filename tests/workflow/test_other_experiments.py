"""The table over all experiments keeps those that are not run this time."""

import copy
import shutil

import pandas as pd
import pytest

from .conftest import Workflow

TABLE = "results/measurements.csv"
OTHER = {
    "seeds": 1,
    "fusions": ["naive_fused"],
    "plots": ["accuracy"],
    "spaces": dict.fromkeys(["input", "parameter", "connectivity", "pair", "correlation"], False),
}
MODELS = ("parent_1", "parent_2", "naive_fused")


def experiments(workflow: Workflow) -> list[str]:
    """Those in the table, in its order; each in one piece."""
    names = pd.read_csv(workflow.folder / TABLE).experiment
    in_order = names[names != names.shift()].tolist()
    assert len(in_order) == len(set(in_order))
    return in_order


def log(workflow: Workflow) -> str:
    return (workflow.folder / "logs/collect_measurements.log").read_text()


@pytest.fixture
def beside(finished) -> Workflow:
    """A finished run, and the files of another experiment, by hand from its own."""
    finished.settings["experiments"] = {
        "other": copy.deepcopy(finished.tiny) | OTHER,
        "tiny": finished.tiny,
    }
    for model in MODELS:
        file = f"seed1/{model}/prediction_space.csv"
        target = finished.folder / "results/other" / file
        target.parent.mkdir(parents=True)
        text = (finished.folder / "results/tiny" / file).read_text()
        target.write_text(text.replace("\ntiny,", "\nother,"))
    return finished


def test_a_finished_experiment_is_in_the_table_and_nothing_of_it_is_planned(beside):
    before = pd.read_csv(beside.folder / TABLE)
    assert beside.planned() == {"collect_measurements": 1}
    beside.run()
    assert experiments(beside) == ["other", "tiny"]
    after = pd.read_csv(beside.folder / TABLE)
    pd.testing.assert_frame_equal(after[after.experiment == "tiny"].reset_index(drop=True), before)
    assert set(after[after.experiment == "other"].model) == set(MODELS)
    assert beside.planned() == {}
    # its weights, data and settings are nobody's affair, what was measured is
    beside.settings["experiments"]["other"]["accuracy_metric"] = "generalisation_gap"
    assert beside.planned() == {}
    shutil.rmtree(beside.folder / "results/other/seed1/parent_2")
    assert beside.planned() == {"collect_measurements": 1}
    beside.run()
    assert experiments(beside) == ["tiny"]
    assert beside.planned() == {}


@pytest.mark.parametrize("text", ["", "experiment,seed,model,space,metric,value\nother,1,m,s,a,1\n"])
def test_a_file_of_another_layout_breaks_nothing_and_the_log_says_so(beside, text):
    (beside.folder / "results/other/seed1/parent_1/prediction_space.csv").write_text(text)
    beside.run()
    assert experiments(beside) == ["tiny"]
    assert "other: left out, its files are of another layout; run it again" in log(beside)
    assert beside.planned() == {}


def test_another_experiment_may_be_wrong_as_long_as_nobody_runs_it(beside):
    beside.settings["experiments"]["other"]["fusions"] = ["no_such_fusion"]
    assert beside.planned() == {}


@pytest.mark.slow
def test_experiments_that_are_run_one_after_the_other_end_as_if_they_were_run_together(finished):
    one_by_one = finished.copy(finished.folder.parent / "one_by_one")
    for workflow in (finished, one_by_one):
        workflow.settings["experiments"]["other"] = copy.deepcopy(finished.tiny) | OTHER
    one_by_one.settings["run"] = ["other"]
    one_by_one.run()
    assert one_by_one.planned() == {}
    finished.settings["run"] = ["other", "tiny"]
    finished.run()
    assert experiments(finished) == ["tiny", "other"]  # as in the configuration
    assert one_by_one.csv_files() == finished.csv_files()
    finished.settings["run"] = ["tiny"]
    finished.run()
    assert one_by_one.csv_files() == finished.csv_files()
