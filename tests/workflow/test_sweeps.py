"""Sweeps in the real Snakemake: what settings share, what a value that is added plans, the table."""

import pandas as pd
import pytest
import torch

from .conftest import Workflow

SETTINGS = {
    "run": ["grid"],
    "experiments": {
        "grid": {
            "dataset": "digits",
            "model_type": "MLP",
            "input_size": 8,
            "channels": 1,
            "seeds": 2,
            "training": "quickly",
            "measurements": "tiny",
            "fusions": ["naive_fused", "activations_repaired"],
            "spaces": {"input": False, "parameter": False, "correlation": False},
            "plots": [],
            "sweep": {"width": [8, 16], "training.weight_decay": [0, 0.01]},
        }
    },
    "training": {"quickly": {"epochs": 1, "learning_rate": 0.1}},
    "measurements": {"tiny": {"connectivity": {"images": 32, "points": 3, "similarity_images": 16}}},
}
SETTING = {"train": 4, "fuse": 4, "measure_prediction": 8, "measure_connectivity": 4}  # of two seeds
SETTING |= {"measure_pair": 2, "measure_alignment": 2}
OWN_TABLES = {"collect_results": 1, "summarise": 1}
OVER_ALL = {"collect_measurements": 1, "tabulate_sweep": 1, "plot_sweep": 2, "report": 1}


def times(jobs: dict[str, int], factor: int) -> dict[str, int]:
    return {rule: factor * count for rule, count in jobs.items()}


@pytest.mark.slow
def test_a_sweep_of_two_by_two(tmp_path):
    workflow = Workflow.fresh(tmp_path / "workflow", SETTINGS)
    jobs = times(SETTING | OWN_TABLES, 4) | OVER_ALL | {"prepare_data": 1}
    assert workflow.planned() == jobs
    workflow.run()
    assert workflow.planned() == {}
    check_table(workflow)
    check_what_is_shared(workflow)
    assert "4 settings of width (8, 16) and weight decay (0, 0.01)" in page(workflow)
    sweep = workflow.settings["experiments"]["grid"]["sweep"]

    sweep["width"] = [8, 16, 32]
    assert workflow.planned() == times(SETTING | OWN_TABLES, 2) | OVER_ALL
    sweep["width"] = [8]
    assert workflow.planned() == OVER_ALL

    sweep.update({"width": [8, 16], "fusions.activations_repaired.weight": [0.3, 0.5]})
    planned = workflow.planned()
    assert "train" not in planned
    assert planned["fuse"] == planned["measure_connectivity"] == 4 * 2 * 2
    assert planned["measure_prediction"] == 4 * 2 * 2  # of these children alone


def page(workflow: Workflow) -> str:
    return (workflow.folder / "results/report.html").read_text()


def check_table(workflow: Workflow) -> None:
    """Each number in the table of the sweep is the one that was measured."""
    results = workflow.folder / "results"
    table = pd.read_csv(results / "grid/sweep.csv")
    measured = pd.read_csv(results / "measurements.csv").set_index(["experiment", "seed", "model", "metric"])
    assert len(table) == 4 * 2 * 4  # settings, seeds; parents, ensemble and two children
    for row in table[~table.model.isin(["parents", "ensemble"])].to_dict("records"):
        assert row["experiment"] == f"grid.width~{row['width']}_weight_decay~{row['weight_decay']:g}"
        place = row["experiment"], row["seed"]
        parents = [measured.value[(*place, f"parent_{number}", "accuracy")] for number in (1, 2)]
        accuracy = measured.value[(*place, row["model"], "accuracy")]
        assert row["accuracy"] == accuracy
        assert row["relative_accuracy"] == pytest.approx(accuracy - sum(parents) / 2)
        assert row["loss_barrier"] == measured.value[(*place, row["model"], "loss_barrier")]
    for figure in ("sweep_width.png", "sweep_weight_decay.pdf"):
        assert (results / "grid/plots" / figure).stat().st_size > 1000


def check_what_is_shared(workflow: Workflow) -> None:
    """Networks of one shape set out from the same weights, whatever they are trained with."""
    folders = [workflow.folder / f"experiments/grid.width~8_weight_decay~{decay}" for decay in ("0", "0.01")]
    first, second = (
        torch.load(next(folder.glob("*_seed1")) / "parent_1_initial_weights.pth", weights_only=True)
        for folder in folders
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(list((workflow.folder / "data").glob("*.npz"))) == 1
