"""Weights that the user brings are used as they are and never written to."""

import pandas as pd
import pytest
import torch

CONNECTIVITY = {"loss_barrier", "loss_barrier_above_mean", "accuracy_barrier", "mean_cka"}
CONNECTIVITY |= {"activation_variance_ratio"}


@pytest.fixture
def provided(finished):
    """Parents of one seed, and a child, copied from a finished run as if from somewhere else."""
    source = finished.folder / "experiments/tiny/tiny_seed1"
    target = finished.folder / "experiments/mine/mine_seed1"
    target.mkdir(parents=True)
    for model in ("parent_1", "parent_2"):
        (target / f"{model}.pth").write_bytes((source / f"{model}.pth").read_bytes())
    child = torch.load(source / "parent_1.pth", weights_only=True)
    torch.save(child, target / "geometric_fused.pth")
    finished.settings["run"] = ["mine"]
    finished.settings["experiments"]["mine"] = dict(finished.tiny, weights="provided", seeds=1)
    return finished


def test_provided_weights_are_never_trained_nor_made_again(provided):
    planned = provided.planned()
    assert "train" not in planned
    assert planned["plot"] == 10  # all but the learning curves
    assert planned["fuse"] == 1  # naive_fused alone: geometric_fused was brought along
    assert planned["measure_prediction"] == 4


@pytest.mark.slow
def test_a_run_on_provided_weights_leaves_them_alone_and_measures_all_but_init(provided):
    folder = provided.folder / "experiments/mine/mine_seed1"
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    provided.run()
    assert all((path.read_bytes(), path.stat().st_mtime_ns) == state for path, state in before.items())
    assert provided.planned() == {}
    measurements = pd.read_csv(provided.folder / "results/measurements.csv")
    measurements = measurements[measurements.experiment == "mine"]  # beside the finished tiny
    by_model = measurements.groupby("model").metric.agg(set)
    without_origin = {name for name in by_model["naive_fused"] if name.endswith("_init")}
    assert len(without_origin) == 4
    for parent in ("parent_1", "parent_2"):
        of_children = {"parents_ensemble_accuracy"} | CONNECTIVITY
        assert by_model["naive_fused"] - by_model[parent] == without_origin | of_children
    # nobody knows how the parents of a child that was brought were aligned
    assert not by_model["geometric_fused"] & CONNECTIVITY
    values = measurements.set_index(["model", "metric"]).value
    assert values["geometric_fused", "accuracy"] == values["parent_1", "accuracy"]  # as it was brought


def test_provided_parents_at_chance_are_told_once_their_accuracy_is_known(provided):
    path = provided.folder / "experiments/mine/mine_seed1/parent_2.pth"
    weights = torch.load(path, weights_only=True)
    torch.save({name: torch.zeros_like(tensor) for name, tensor in weights.items()}, path)
    said = provided.run("results/mine/seed1/parent_2/prediction_space.csv")
    assert "mine, seed 1, parent_2: test accuracy 0.100 on 359 images, where 0.103 is chance" in said


def test_initial_weights_that_are_brought_give_the_init_measures(provided):
    target = provided.folder / "experiments/mine/mine_seed1"
    source = provided.folder / "experiments/tiny/tiny_seed1"
    for parent in ("parent_1", "parent_2"):
        name = f"{parent}_initial_weights.pth"
        (target / name).write_bytes((source / name).read_bytes())
    provided.run("results/mine/seed1/parent_1/complexity.csv")
    measured = pd.read_csv(provided.folder / "results/mine/seed1/parent_1/complexity.csv")
    assert measured.metric.str.endswith("_init").sum() == 4


def test_a_child_that_was_brought_is_not_made_for_the_sake_of_its_other_files(provided):
    child = provided.folder / "experiments/mine/mine_seed1/geometric_fused.pth"
    before = child.read_bytes()
    provided.refused("experiments/mine/mine_seed1/geometric_fused_aligned.pth")
    assert provided.planned("experiments/mine/mine_seed1/naive_fused_aligned.pth")["fuse"] == 1
    assert child.read_bytes() == before
