"""What Snakemake plans for the configurations that ship, and for spaces that are switched off."""

import pytest
import yaml

from .conftest import ROOT, TINY


def test_a_study_experiment_plans_every_job_of_its_five_seeds(fresh):
    fresh.settings["run"] = ["vgg11_cifar10"]
    planned = fresh.planned()
    assert planned["prepare_data"] == 1
    assert planned["train"] == planned["fuse"] == 10
    assert [planned[f"measure_{space}"] for space in ("input", "parameter", "prediction")] == [20] * 3


def test_every_experiment_that_ships_can_be_planned(fresh):
    fresh.settings["run"] = [
        f"{network}_{dataset}"
        for network in ("vgg11", "resnet18")
        for dataset in ("cifar10", "cifar100", "fashion_mnist")
    ]
    planned = fresh.planned()
    assert planned["prepare_data"] == 3
    assert planned["train"] == 2 * 2 * (5 + 5 + 3)
    assert planned["correlate_pooled"] == 1


@pytest.mark.parametrize("space", ["input", "parameter", "prediction", "connectivity", "correlation"])
def test_a_space_that_is_switched_off_is_not_measured(fresh, space):
    off = {"prediction": False, "correlation": False} if space == "prediction" else {space: False}
    fresh.tiny["spaces"] = off
    planned = fresh.planned()
    assert f"measure_{space}" not in planned
    assert ("correlate" in planned) == ("correlation" not in off)
    assert planned["collect_results"] == planned["summarise"] == 1
    assert "plot_spectral_density" not in planned if space == "parameter" else True


def test_ten_lines_add_an_experiment_to_the_shipped_configuration(fresh):
    fresh.settings = {
        "run": ["mine"],
        "experiments": {
            "mine": {"dataset": "digits", "model_type": "RESNET18", "width": 0.25, "training": "digits"}
        },
    }
    assert fresh.planned()["train"] == 10  # five seeds by default


def test_the_readme_s_own_experiment_can_be_planned(fresh):
    readme = (ROOT / "README.md").read_text()
    fresh.settings = yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])
    planned = fresh.planned()
    assert planned["train"] == 6
    assert planned["measure_parameter"] == 12


def test_three_parents_are_trained_fused_together_and_measured(fresh):
    fresh.tiny.update(parents=3, seeds=2)
    planned = fresh.planned()
    assert planned["train"] == 2 * 3
    assert planned["fuse"] == 2 * 2
    assert [planned[f"measure_{space}"] for space in ("input", "parameter", "prediction")] == [2 * 5] * 3


def test_parents_of_an_experiment_may_differ_in_number_and_width(fresh):
    fresh.tiny.update(parents=3, width=[0.125, 0.0625, 0.125], seeds=1, fusions=["geometric_fused"])
    fresh.settings["experiments"]["other"] = dict(TINY["experiments"]["tiny"], seeds=1)
    fresh.settings["run"] = ["tiny", "other"]
    planned = fresh.planned()
    assert planned["train"] == 3 + 2
    assert planned["fuse"] == 1 + 2
    assert planned["measure_input"] == 4 + 4


def test_jobs_grow_with_experiments_seeds_and_models_and_tables_with_experiments(fresh):
    names = ["one", "two", "three"]
    fusions = ["naive_fused", "geometric_fused", "activations_fused", "weight_matching_fused"]
    each = dict(TINY["experiments"]["tiny"], seeds=4, fusions=fusions, spaces={"connectivity": False})
    fresh.settings |= {"run": names, "experiments": {name: dict(each) for name in names}}
    measured = {f"measure_{space}": 3 * 4 * (2 + 4) for space in ("input", "parameter", "prediction")}
    assert fresh.planned() == measured | {
        "prepare_data": 1,
        "train": 3 * 4 * 2,
        "fuse": 3 * 4 * 4,
        "correlate": 3,
        "correlate_pooled": 1,
        "collect_measurements": 1,
        "collect_results": 3,
        "summarise": 3,
        "plot_learning_curves": 3,
        "plot_accuracy": 3,
        "plot_metrics_against_accuracy": 3,
        "plot_spectral_density": 3,
        "plot_correlation": 3,
    }


def test_an_experiment_added_to_the_run_is_planned_beside_the_others(fresh):
    """Nothing of the configuration before is remembered."""
    before = fresh.planned()
    fresh.settings["experiments"]["other"] = dict(TINY["experiments"]["tiny"], seeds=1)
    fresh.settings["run"] = ["tiny", "other"]
    planned = fresh.planned()
    assert planned["train"] == before["train"] + 2
    assert planned["prepare_data"] == planned["correlate_pooled"] == 1
    fresh.settings["run"] = ["tiny"]
    assert fresh.planned() == before


def test_weights_that_would_be_overwritten_are_looked_for_once_a_run_and_not_by_its_jobs(fresh):
    folder = fresh.folder / "experiments/tiny/tiny_seed1"
    folder.mkdir(parents=True)
    (folder / "parent_1.pth").write_bytes(b"brought by somebody")
    assert "was not made by this workflow" in fresh.refused("-n")
    job = ["--target-jobs", "prepare_data:dataset=digits", "--allowed-rules", "prepare_data", "--force"]
    assert fresh.planned("--mode", "remote", "--nolock", *job) == {"prepare_data": 1}
