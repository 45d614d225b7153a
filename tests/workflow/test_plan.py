"""What Snakemake plans; tests/machinery/test_study.py says in one process what is asked for in which case."""

import yaml
from pages import blocks

from .conftest import ROOT, TINY

OF_ALL_MODELS = ("input", "hessian", "scales", "complexity", "prediction")


def test_the_jobs_of_two_experiments_are_theirs_and_tables_over_both(fresh):
    """Nothing of the configuration before is remembered."""
    one = fresh.planned()
    fresh.tiny.update(parents=3, width=[0.125, 0.0625, 0.125], seeds=1, fusions=["geometric_fused"])
    fresh.settings["experiments"]["other"] = dict(TINY["experiments"]["tiny"], spaces={"connectivity": False})
    fresh.settings["run"] = ["tiny", "other"]
    assert fresh.planned() == {f"measure_{part}": 4 + 2 * 4 for part in OF_ALL_MODELS} | {
        "measure_connectivity": 1,
        "measure_pair": 1 + 2,
        "measure_alignment": 1 + 2,
        "prepare_data": 1,
        "train": 3 + 2 * 2,
        "fuse": 1 + 2 * 2,
        "correlate": 2,
        "correlate_pooled": 1,
        "predict": 1,  # not of one seed
        "plot_predictors": 2,
        "collect_measurements": 1,
        "collect_results": 2,
        "summarise": 2,
        "plot": 11 + 8,
        "report": 1,
    }
    fresh.settings["experiments"]["tiny"] = dict(TINY["experiments"]["tiny"])
    fresh.settings["run"] = ["tiny"]
    assert fresh.planned() == one


def test_every_experiment_that_ships_can_be_planned(fresh):
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())["experiments"]
    fresh.settings["run"] = list(shipped)
    planned = fresh.planned()
    data_sets = {(one["dataset"], one.get("channels", 3)) for one in shipped.values()}
    assert planned["prepare_data"] == len(data_sets)
    assert planned["correlate_pooled"] == 1


def readme_s_experiments() -> list[dict]:
    found = blocks((ROOT / "README.md").read_text())
    return [yaml.safe_load(block.text) for block in found if block.language == "yaml"]


def test_the_readme_s_own_experiment_can_be_planned(fresh):
    fresh.settings = readme_s_experiments()[0]
    planned = fresh.planned()
    assert planned["train"] == 6
    assert planned["measure_hessian"] == 12


def test_the_readme_s_experiment_with_another_network_can_be_planned(fresh):
    fresh.settings = readme_s_experiments()[1]
    planned = fresh.planned()
    assert planned["train"] == planned["fuse"] == 2


def test_a_space_and_a_part_that_are_switched_off_are_not_measured(fresh):
    fresh.tiny["spaces"] = {"input": False, "scales": False, "correlation": False}
    planned = fresh.planned()
    assert {"measure_input", "measure_scales", "correlate"}.isdisjoint(planned)
    assert planned["measure_complexity"] == planned["measure_hessian"] == 8


def test_weights_that_would_be_overwritten_are_looked_for_once_a_run_and_not_by_its_jobs(fresh):
    folder = fresh.folder / "experiments/tiny/tiny_seed1"
    folder.mkdir(parents=True)
    (folder / "parent_1.pth").write_bytes(b"brought by somebody")
    assert "would be overwritten" in fresh.refused("-n")
    job = ["--target-jobs", "prepare_data:dataset=digits", "--allowed-rules", "prepare_data", "--force"]
    assert fresh.planned("--mode", "remote", "--nolock", *job) == {"prepare_data": 1}
