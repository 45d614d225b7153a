"""Stale or fresh: a run redoes what a change touches and nothing else."""

import os
import shutil

import pytest

from .conftest import CODE, ROOT

SEEDS, PARENTS, CHILDREN = 2, 2, 2
PLOTS = {
    "plot_learning_curves",
    "plot_accuracy",
    "plot_metrics_against_accuracy",
    "plot_spectral_density",
    "plot_connectivity",
    "plot_similarity",
    "plot_correlation",
}
TABLES = {"correlate", "collect_results", "collect_measurements", "summarise"}
FROM_MEASUREMENTS = TABLES | {
    "plot_accuracy",
    "plot_metrics_against_accuracy",
    "plot_connectivity",  # which shows the ensemble of the parents
    "plot_correlation",
}
FROM_CHILDREN = FROM_MEASUREMENTS | {"plot_spectral_density", "plot_similarity"}
CHILD_SPACES = ["input", "parameter", "prediction", "connectivity"]


def once(rules):
    return dict.fromkeys(rules, 1)


def measured(spaces, models):
    return {f"measure_{space}": SEEDS * models for space in spaces}


MEASURES = measured(["input", "parameter", "prediction"], PARENTS + CHILDREN) | measured(
    ["connectivity"], CHILDREN
)
ALL_BUT_DATA = {"train": SEEDS * PARENTS, "fuse": SEEDS * CHILDREN} | MEASURES | once(TABLES | PLOTS)


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_a_touch_of_every_file_reruns_nothing(finished):
    for folder, _, files in os.walk(finished.folder):
        if ".snakemake" not in folder:
            for name in files:
                os.utime(os.path.join(folder, name))
    assert finished.planned() == {}


def test_a_fresh_checkout_of_the_same_content_reruns_nothing(finished):
    for name in CODE:
        path = finished.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, path, copy_function=shutil.copyfile)  # new times, as git gives
        else:
            shutil.copyfile(source, path)
    assert finished.planned() == {}


def test_a_new_plot_style_redraws_the_plots_only(finished):
    finished.append("scripts/fusionscope/report/plots.py", "AN_EDIT = 1\n")
    assert finished.planned() == once(PLOTS)


def test_a_new_tolerance_of_sigma_measures_one_space_again(finished):
    finished.settings["measurements"]["tiny"]["flatness"]["tolerance"] = 1.5
    expected = measured(["parameter"], PARENTS + CHILDREN)
    assert finished.planned() == expected | once(FROM_MEASUREMENTS | {"plot_spectral_density"})


def test_a_new_seed_trains_two_networks(finished):
    finished.tiny["seeds"] = 3
    each = {"train": 2, "fuse": 2, "measure_input": 4, "measure_parameter": 4, "measure_prediction": 4}
    each |= {"measure_connectivity": 2}
    assert finished.planned() == each | once(TABLES | PLOTS)


def test_a_new_fusion_makes_and_measures_one_child_a_seed(finished):
    finished.settings["fusions"] = {"another": {"method": "average"}}
    finished.tiny["fusions"] = ["naive_fused", "geometric_fused", "another"]
    each = {"fuse": SEEDS} | measured(CHILD_SPACES, 1)
    assert finished.planned() == each | once(FROM_CHILDREN)


def test_edited_fusion_code_fuses_again_and_does_not_retrain(finished):
    finished.append("scripts/fusionscope/fusion/fuse.py", "AN_EDIT = 1\n")
    expected = {"fuse": SEEDS * CHILDREN} | measured(CHILD_SPACES, CHILDREN)
    assert finished.planned() == expected | once(FROM_CHILDREN)


def test_edited_matching_code_fuses_again_and_measures_no_parent(finished):
    finished.append("scripts/fusionscope/fusion/by_weights.py", "AN_EDIT = 1\n")
    expected = {"fuse": SEEDS * CHILDREN} | measured(CHILD_SPACES, CHILDREN)
    assert finished.planned() == expected | once(FROM_CHILDREN)


def test_another_number_of_points_between_parents_measures_one_space_of_the_children_again(finished):
    finished.settings["measurements"]["tiny"]["connectivity"]["points"] = 5
    expected = measured(["connectivity"], CHILDREN)
    assert finished.planned() == expected | once(FROM_MEASUREMENTS | {"plot_similarity"})


def test_edited_code_of_one_space_measures_that_space_again(finished):
    finished.append("scripts/fusionscope/measures/input/lipschitz.py", "AN_EDIT = 1\n")
    assert finished.planned() == measured(["input"], PARENTS + CHILDREN) | once(FROM_MEASUREMENTS)


def test_edited_network_code_retrains_everything(finished):
    finished.append("scripts/fusionscope/networks/build.py", "AN_EDIT = 1\n")
    assert finished.planned() == ALL_BUT_DATA


def test_a_new_training_recipe_retrains_without_new_data(finished):
    finished.settings["training"]["tiny"]["learning_rate"] = 0.06
    assert finished.planned() == ALL_BUT_DATA


def test_two_settings_that_swap_their_values_are_noticed(finished):
    recipe = finished.settings["measurements"]["tiny"]["flatness"]
    assert recipe["draws"] == recipe["starts"]  # so make them differ by one of them first
    recipe["draws"] = 3
    finished.run("--touch")  # the state is now that of draws 3, starts 2
    recipe["draws"], recipe["starts"] = recipe["starts"], recipe["draws"]
    assert "measure_parameter" in finished.planned()


@pytest.mark.parametrize("module", ["machinery/gpus", "machinery/checkpoint", "machinery/run_lock"])
def test_code_that_decides_where_and_when_reruns_nothing(finished, module):
    finished.append(f"scripts/{module}.py", "AN_EDIT = 1\n")
    assert finished.planned() == {}


def test_the_solver_of_one_fusion_makes_and_measures_one_child_a_seed(finished):
    fusion = {"method": "optimal_transport", "align_by": "weights", "solver": "sinkhorn", "reg": 0.05}
    finished.settings["fusions"] = {"geometric_fused": fusion}
    expected = {"fuse": SEEDS} | measured(CHILD_SPACES, 1)
    assert finished.planned() == expected | once(FROM_CHILDREN)


@pytest.mark.parametrize("text", ["# only a comment\n", "\n\n"])
def test_comments_and_layout_rerun_nothing(finished, text):
    for path in ("scripts/train.py", "scripts/fusionscope/training/train.py", "rules/train.smk"):
        finished.append(path, text)
    assert finished.planned() == {}


def test_other_experiments_and_recipes_rerun_nothing(finished):
    finished.settings["experiments"]["other"] = dict(finished.tiny, seeds=7)
    finished.settings["training"]["mine"] = dict(finished.settings["training"]["tiny"])
    finished.settings["fusions"] = {"unused": {"method": "average"}}
    assert finished.planned() == {}


def test_where_and_how_fast_it_runs_changes_no_result_and_reruns_nothing(finished):
    finished.settings |= {"device": "cpu", "data_dir": "elsewhere"}
    finished.settings["measurements"]["tiny"]["batch_size"] = 32
    assert finished.planned("--resources", "gpu=1", "--set-threads", "train=2") == {}


def test_numbers_written_otherwise_rerun_nothing(finished):
    finished.settings["training"]["tiny"]["weight_decay"] = 0
    finished.tiny["seeds"] = [1, 2]
    finished.tiny["fusions"] = list(finished.settings.get("fusions", ["naive_fused", "geometric_fused"]))
    assert finished.planned() == {}


def test_deleted_results_are_made_again_without_retraining(finished):
    shutil.rmtree(finished.folder / "results")
    assert finished.planned() == MEASURES | once(TABLES | PLOTS)
