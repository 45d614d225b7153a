"""What a finished run leaves behind, and how its jobs behaved."""

import csv
import io
import itertools
import json
import platform
import re
from datetime import datetime
from functools import partial

import pandas as pd
import pytest
import torch

from .conftest import Workflow

MODELS = ["parent_1", "parent_2", "naive_fused", "geometric_fused"]
OF_ALL_MODELS = ("input", "hessian", "scales", "complexity", "prediction")  # parts that are measured
PLOTS = 12


def table(workflow: Workflow, path: str) -> pd.DataFrame:
    return pd.read_csv(workflow.folder / "results" / path)


def test_every_file_of_the_contract_is_there(finished_run):
    folder = finished_run.folder
    for seed in (1, 2):
        weights = folder / f"experiments/tiny/tiny_seed{seed}"
        for model in (*MODELS, "parent_1_initial_weights", "parent_2_initial_weights"):
            assert (weights / f"{model}.pth").is_file()
        for model in MODELS:
            for file in ("input_space", "hessian", "scales", "complexity", "prediction_space"):
                assert (folder / f"results/tiny/seed{seed}/{model}/{file}.csv").is_file()
        for file in ("pair_space", "geometric_fused/pair_space", "geometric_fused/weight_distance"):
            assert (folder / f"results/tiny/seed{seed}/{file}.csv").is_file()
    plots = {path.name for path in (folder / "results/tiny/plots").iterdir()}
    names = ("learning_curves", "accuracy", "spectral_density", "correlation")
    spaces = ("input", "parameter", "prediction", "connectivity", "pair")
    names += tuple(f"metrics_against_accuracy_{space}" for space in spaces)
    names += ("connectivity", "similarity", "activation_variance")
    names += tuple(f"predictors_{outcome}" for outcome in ("accuracy", "relative_accuracy", "loss_barrier"))
    assert plots == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    assert not list(folder.rglob("*partial*"))


def test_results_csv_has_the_published_layout_and_says_why_a_value_is_missing(finished_run):
    text = (finished_run.folder / "results/tiny/results.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.startswith("Model,Space,Metric,Value,StdError,Censored,Reason\n")
    assert all(row[column] for row in rows for column in ("Model", "Space", "Metric", "Censored"))
    assert all((row["Value"] == "") == (row["Reason"] != "") for row in rows)
    assert all(cell.lower() != "nan" for row in rows for cell in row.values())
    spaces = {"input_space", "parameter_space", "prediction_space", "connectivity_space"}
    assert {row["Model"] for row in rows if row["Space"] in spaces} == {
        f"{model}_seed{seed}" for model in MODELS for seed in (1, 2)
    }
    assert len({(row["Model"], row["Space"], row["Metric"]) for row in rows}) == len(rows)


def test_tidy_measurements_hold_every_metric_of_every_model(finished_run):
    measurements = table(finished_run, "measurements.csv")
    assert list(measurements.columns) == [
        "experiment", "seed", "model", "space", "metric", "value", "std_error", "censored", "reason",
    ]  # fmt: skip
    assert (measurements.value.notna() == measurements.reason.isna()).all()
    counts = measurements.groupby(["model", "seed", "space"]).metric.nunique().unstack("space")
    of_pairs = counts.pop("pair_space").dropna()
    assert of_pairs.to_dict() == {
        (model, seed): count for model, count in (("geometric_fused", 4), ("parents", 5)) for seed in (1, 2)
    }
    counts = counts.drop("parents")
    assert (counts.input_space == 4).all()
    assert (counts.parameter_space == 2 + 4 + 12 + 3).all()
    assert (counts.prediction_space == [7, 7, 7, 7, 6, 6, 6, 6]).all()  # children: also the ensemble
    assert (counts.connectivity_space.dropna() == 5).all()
    assert counts.connectivity_space.count() == 4  # children only


def test_what_is_measured_of_pairs_agrees_with_the_weights_on_disk(finished_run):
    """The distances again by hand, from the files alone."""
    folder = finished_run.folder / "experiments/tiny/tiny_seed1"
    load = partial(torch.load, weights_only=True)
    one, other = (load(folder / f"{parent}.pth") for parent in ("parent_1", "parent_2"))
    aligned = load(folder / "geometric_fused_aligned.pth")
    aligned = {name: aligned[f"parent_1/{name}"] for name in one}

    def distance(a, b, names):
        a, b = (torch.cat([w[name].flatten() for name in names]).double() for w in (a, b))
        return ((a - b).norm() / (a.square().sum() + b.square().sum()).sqrt()).item()

    learned = [name for name in one if one[name].dim() and "running" not in name]
    values = table(finished_run, "tiny/seed1/pair_space.csv").set_index("metric").value
    of_fusion = table(finished_run, "tiny/seed1/geometric_fused/pair_space.csv").set_index("metric").value
    assert values["parents_weight_distance"] == pytest.approx(distance(one, other, learned), rel=1e-6)
    found = of_fusion["aligned_weight_distance"]
    assert found == pytest.approx(distance(aligned, other, learned), rel=1e-6)
    layers = table(finished_run, "tiny/seed1/geometric_fused/weight_distance.csv").set_index("layer")
    assert layers.before["features.0"] == pytest.approx(distance(one, other, ["features.0.weight"]), rel=1e-6)
    after = distance(aligned, other, ["features.0.weight"])
    assert layers.after["features.0"] == pytest.approx(after, rel=1e-6)
    groups = pd.read_csv(folder / "geometric_fused_alignment.csv")
    assert of_fusion["matching_cost_after"] == pytest.approx(groups.cost_after.sum())
    assert of_fusion["matching_cost_before"] == pytest.approx(groups.cost_before.sum())


def test_correlations_say_how_many_points_they_used(finished_run):
    correlation = table(finished_run, "tiny/correlation_space.csv")
    assert set(correlation.coefficient) == {"kendall", "pearson", "spearman"}
    assert set(correlation.model) == {*MODELS, "all_models"}
    assert (correlation.value.notna() | correlation.reason.notna()).all()
    single = correlation[correlation.model == "parent_1"]
    used = single[single.coefficient == "kendall"].n
    assert set(used) <= {0, 2}  # none where two searches ended at the same side of their range
    assert (used == 2).any()


def test_the_csv_agrees_with_the_weights_on_disk(finished_run):
    """Accuracy measured again by hand, from the files alone."""
    import numpy as np

    from fusionscope.networks.build import build

    data = np.load(finished_run.folder / "data/digits.npz")
    network = build(10, model_type="VGG11_NOBIAS", width=0.0625)
    folder = finished_run.folder / "experiments/tiny/tiny_seed2"
    network.load_state_dict(torch.load(folder / "parent_1.pth", weights_only=True))
    pixels = torch.from_numpy(data["test_pixels"]).float().repeat(1, 3, 1, 1) / 255
    mean, std = (torch.from_numpy(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        answers = network((pixels - mean) / std).argmax(1).numpy()
    measurements = table(finished_run, "tiny/seed2/parent_1/prediction_space.csv").set_index("metric")
    assert measurements.value["accuracy"] == pytest.approx((answers == data["test_labels"]).mean())


def test_parents_differ_in_initial_weights_and_between_seeds(finished_run):
    files = sorted((finished_run.folder / "experiments").rglob("parent_?_initial_weights.pth"))
    assert len(files) == 4
    first = [torch.load(path, weights_only=True)["features.0.weight"] for path in files]
    assert all(not torch.equal(a, b) for i, a in enumerate(first) for b in first[i + 1 :])


def test_jobs_use_the_threads_they_declare(finished_run):
    logs = [path.read_text() for path in (finished_run.folder / "logs").rglob("measure_*/*.log")]
    assert len(logs) == 8 * len(OF_ALL_MODELS) + 4 + 2 * 2
    assert all("computing on" in log and "with 1 thread(s)" in log for log in logs)


def test_run_json_tells_what_ran_with_what_and_what_it_took(finished_run):
    record = json.loads((finished_run.folder / "results/run.json").read_text())
    assert record["state"] == "succeeded"
    assert datetime.fromisoformat(record["started"]) < datetime.fromisoformat(record["ended"])
    assert "--configfile mine.yaml" in record["command"]
    assert record["experiments"] == ["tiny"]
    assert record["git"] == {"commit": None, "dirty": None}  # a copy outside git
    assert record["python"] == platform.python_version()
    assert record["packages"]["torch"] == torch.__version__.split("+")[0]
    assert (finished_run.folder / record["snakemake_log"][0]).is_file()
    once = {"prepare_data", "correlate", "collect_results", "collect_measurements", "summarise", "report"}
    expected = dict.fromkeys(once, 1) | {"train": 4, "fuse": 4, "measure_connectivity": 4, "plot": PLOTS}
    expected |= {"measure_pair": 2, "measure_alignment": 2, "predict": 1, "plot_predictors": 3}
    expected |= {f"measure_{part}": 8 for part in OF_ALL_MODELS}
    assert {rule: times["jobs"] for rule, times in record["rules"].items()} == expected
    jobs = sum(expected.values()) + 1  # and `all`
    assert record["jobs"] == {"planned": jobs, "done": jobs}
    for times in record["rules"].values():
        assert times["wall_seconds"] > 0
        assert 0 <= times["work_seconds"] <= times["wall_seconds"]
    assert record["rules"]["train"]["peak_memory_mb"] > 100


def test_run_json_tells_of_a_run_that_failed_and_a_dry_run_writes_none(fresh):
    fresh.planned()
    assert not (fresh.folder / "results").exists()
    fresh.append("scripts/prepare_data.py", 'raise ValueError("as this test wants it")\n')
    assert "as this test wants it" in fresh.refused("data/digits.npz")
    record = json.loads((fresh.folder / "results/run.json").read_text())
    assert record["state"] == "failed"
    assert record["jobs"] == {"planned": 1, "done": 0}


def test_a_run_that_cannot_write_run_json_says_so_and_succeeds(fresh):
    (fresh.folder / "results").write_text("a file where the folder should be")
    assert "results/run.json could not be written" in fresh.run("data/digits.npz")


def test_a_parent_at_chance_is_told_in_its_log_at_the_end_of_the_run_and_in_run_json(fresh):
    fresh.settings["training"]["tiny"]["learning_rate"] = 1.0e-9
    said = fresh.run("experiments/tiny/tiny_seed2/parent_1.pth")
    (line,) = (fresh.folder / "experiments/tiny/tiny_seed2").glob("*_learning_curve.csv")
    accuracy = float(pd.read_csv(line).validation_accuracy[0])
    told = rf"validation accuracy {accuracy:.3f} on 143 images, where 0\.105 is chance"
    found = f"tiny, seed 2, parent_1: {told}"
    assert re.search(rf"one parent is at chance:\n  {found}\n", said)
    (recorded,) = json.loads((fresh.folder / "results/run.json").read_text())["parents_at_chance"]
    assert re.fullmatch(found, recorded)
    log = (fresh.folder / "logs/train/tiny_seed2_parent_1.log").read_text()
    assert re.search(f"at chance: {told}", log)
    assert "try the recipe robust" in log


def test_a_run_tells_jobs_done_running_waiting_and_the_time_left(finished_run):
    (log,) = (finished_run.folder / ".snakemake/log").iterdir()
    pattern = r"^(\d+) of (\d+) jobs done, (\d+) running, (\d+) waiting(, about \d.* left)?$"
    lines = re.findall(pattern, log.read_text(), re.MULTILINE)
    assert len(lines) > 20
    assert all(
        int(done) + int(running) + int(waiting) == int(total) for done, total, running, waiting, _ in lines
    )
    assert [int(done) for done, *_ in lines] == sorted(int(done) for done, *_ in lines)
    assert {int(running) for _, _, running, *_ in lines} == {1, 2}  # on two cores
    assert lines[0][:4] == ("0", lines[0][1], "1", str(int(lines[0][1]) - 1))
    assert all(estimate for *_, estimate in lines[1:])


def working_time(log: str) -> tuple[datetime, datetime]:
    stamps = re.findall(r"^(\d{4}-\S+ \S+) ", log, re.MULTILINE)
    return tuple(datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f") for stamp in (stamps[0], stamps[-1]))


@pytest.mark.slow
def test_one_gpu_never_gets_two_jobs_at_once(fresh):
    fresh.tiny.update(seeds=1, spaces={"parameter": False})
    fresh.run("--resources", "gpu=1", cores=4)
    logs = [*(fresh.folder / "logs/train").iterdir(), *(fresh.folder / "logs").glob("measure_*/*.log")]
    times = sorted(working_time(path.read_text()) for path in logs)
    assert len(times) == 2 + 4 * 2 + 2 + 1 + 1  # trainings, measures of models, of children, of the pair
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))


@pytest.mark.slow
def test_two_clean_runs_give_byte_identical_csv_files(finished_run, fresh):
    fresh.run()
    assert fresh.csv_files() == finished_run.csv_files()


@pytest.mark.slow
def test_another_seed_changes_no_number_of_the_others(finished_run, finished):
    finished.tiny["seeds"] = [2, 1, 5]
    finished.run()
    before, after = finished_run.csv_files(), finished.csv_files()
    kept = [path for path in before if "/seed" in path]
    # per model five parts, the density and the search; children have four files more, the pair one, and the
    # child that is aligned two
    assert len(kept) == 2 * (4 * 7 + 2 * 4 + 1 + 2)
    assert all(before[path] == after[path] for path in kept)
    assert any("/seed5/" in path for path in after)
