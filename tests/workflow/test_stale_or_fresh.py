"""Stale or fresh: a run redoes what a change touches and nothing else."""

import os
import shutil

import pytest
from PIL import Image

from fusionscope.report.plot_table import PLOTS as PLOT_TABLE

from .conftest import CODE, ROOT

SEEDS, PARENTS, CHILDREN = 2, 2, 2
TABLES = ("correlate", "predict", "collect_results", "collect_measurements", "summarise", "report")
OF_MODELS = ("input", "hessian", "scales", "complexity", "prediction")
OF_CHILDREN = (*OF_MODELS, "connectivity")


def measured(parts, models: int) -> dict[str, int]:
    return {f"measure_{part}": SEEDS * models for part in parts}


OF_PREDICTORS = {"plot_predictors": 3}  # a figure for each outcome


def results(plots: int) -> dict[str, int]:
    """All tables, the page for people, so many plots, and those of predictors."""
    return dict.fromkeys(TABLES, 1) | {"plot": plots} | OF_PREDICTORS


PLOTS = 12
OF_SEVERAL_SEEDS = 4  # plots more, of three seeds: metrics within models
# accuracy, connectivity (it shows the ensemble), metrics of five spaces, correlation
FROM_MEASUREMENTS = results(8)

FROM_CONNECTIVITY = results(10)  # and similarity and variance
FROM_CHILDREN = results(11)  # all but the learning curves
ALIGNED = measured(["alignment"], 1)  # one of the children is a plain mean
MEASURES = measured(OF_MODELS, PARENTS + CHILDREN) | measured(["connectivity"], CHILDREN)
MEASURES |= measured(["pair"], 1) | ALIGNED
ALL_BUT_DATA = {"train": SEEDS * PARENTS, "fuse": SEEDS * CHILDREN} | MEASURES | results(PLOTS)


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
    finished.append("scripts/fusionscope/report/style.py", "AN_EDIT = 1\n")
    assert finished.planned() == {"plot": PLOTS, "report": 1} | OF_PREDICTORS


def test_one_plot_s_own_style_redraws_one_plot(finished):
    finished.append("scripts/fusionscope/report/plots/accuracy.py", "AN_EDIT = 1\n")
    assert finished.planned() == {"plot": 1, "report": 1}


def test_edited_statistics_make_what_shows_correlations_again(finished):
    finished.append("scripts/fusionscope/statistics/correlation.py", "AN_EDIT = 1\n")
    tables = {"correlate": 1, "predict": 1, "collect_results": 1}
    assert finished.planned() == tables | {"plot": 1, "report": 1} | OF_PREDICTORS


@pytest.mark.parametrize("module", ["twelve", "complexity"])
def test_an_edited_formula_takes_seconds_and_neither_hessians_nor_searches(finished, module):
    finished.append(f"scripts/fusionscope/measures/parameter/{module}.py", "AN_EDIT = 1\n")
    assert finished.planned() == measured(["complexity"], PARENTS + CHILDREN) | FROM_MEASUREMENTS


def test_a_further_metric_takes_seconds_one_s_own_too(finished):
    (finished.folder / "my_norms.py").write_text("def largest(subject): ...\n")
    finished.settings["measurements"]["tiny"]["complexity"].append("my_norms:largest")
    expected = measured(["complexity"], PARENTS + CHILDREN) | FROM_MEASUREMENTS
    assert finished.planned() == expected


def test_a_further_plot_of_one_s_own_is_one_job(finished):
    (finished.folder / "my_plots.py").write_text("def view(measurements): ...\n")
    drawn = [name for name, plot in PLOT_TABLE.items() if plot.fewest_seeds <= SEEDS]
    finished.tiny["plots"] = [*drawn, "my_plots:view"]
    assert finished.planned() == {"plot": 1, "report": 1}


def test_repair_s_choice_of_layers_reruns_one_space_of_the_children_where_nothing_is_repaired(finished):
    finished.append("scripts/fusionscope/networks/biases.py", "AN_EDIT = 1\n")
    assert finished.planned() == measured(["connectivity"], CHILDREN) | FROM_CONNECTIVITY


def test_another_network_s_and_another_method_s_code_reruns_nothing(finished):
    for path in ("networks/resnet", "fusion/weight_matching", "training/torchvision_sets"):
        finished.append(f"scripts/fusionscope/{path}.py", "AN_EDIT = 1\n")
    assert finished.planned() == {}


def test_a_new_tolerance_of_sigma_searches_again_and_leaves_the_hessian(finished):
    finished.settings["measurements"]["tiny"]["flatness"]["tolerance"] = 1.5
    expected = measured(["scales", "complexity"], PARENTS + CHILDREN)
    assert finished.planned() == expected | FROM_MEASUREMENTS


def test_a_new_seed_trains_two_networks(finished):
    finished.tiny["seeds"] = 3
    each = {"train": 2, "fuse": 2, "measure_connectivity": 2, "measure_pair": 1, "measure_alignment": 1}
    each |= {f"measure_{part}": 4 for part in OF_MODELS}
    assert finished.planned() == each | results(PLOTS + OF_SEVERAL_SEEDS)


def test_a_new_fusion_makes_and_measures_one_child_a_seed(finished):
    finished.settings["fusions"] = {"another": {"method": "average"}}
    finished.tiny["fusions"] = ["naive_fused", "geometric_fused", "another"]
    each = {"fuse": SEEDS} | measured(OF_CHILDREN, 1)
    assert finished.planned() == each | FROM_CHILDREN


def test_edited_fusion_code_fuses_again_and_does_not_retrain(finished):
    finished.append("scripts/fusionscope/fusion/fuse.py", "AN_EDIT = 1\n")
    expected = {"fuse": SEEDS * CHILDREN} | measured(OF_CHILDREN, CHILDREN) | ALIGNED
    assert finished.planned() == expected | FROM_CHILDREN


def test_edited_code_of_a_method_fuses_its_children_again_and_measures_no_parent(finished):
    finished.append("scripts/fusionscope/fusion/optimal_transport.py", "AN_EDIT = 1\n")
    assert finished.planned() == {"fuse": SEEDS} | measured(OF_CHILDREN, 1) | ALIGNED | FROM_CHILDREN


def test_another_number_of_points_between_parents_measures_one_space_of_the_children_again(finished):
    finished.settings["measurements"]["tiny"]["connectivity"]["points"] = 5
    expected = measured(["connectivity"], CHILDREN)
    assert finished.planned() == expected | FROM_CONNECTIVITY


def test_other_images_of_the_gradients_compare_the_parents_again_and_nothing_else(finished):
    finished.settings["measurements"]["tiny"]["pair_space"]["images"] = 17
    assert finished.planned() == measured(["pair"], 1) | ALIGNED | FROM_MEASUREMENTS


def test_edited_code_of_one_space_measures_that_space_again(finished):
    finished.append("scripts/fusionscope/measures/input/lipschitz.py", "AN_EDIT = 1\n")
    assert finished.planned() == measured(["input"], PARENTS + CHILDREN) | FROM_MEASUREMENTS


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
    assert "measure_scales" in finished.planned()


@pytest.mark.parametrize("module", ["gpus", "checkpoint", "run_lock", "job", "compute"])
def test_machinery_that_cannot_change_a_number_reruns_nothing(finished, module):
    finished.append(f"scripts/machinery/{module}.py", "AN_EDIT = 1\n")
    assert finished.planned() == {}


def test_the_solver_of_one_fusion_makes_and_measures_one_child_a_seed(finished):
    fusion = {"method": "optimal_transport", "align_by": "weights", "solver": "sinkhorn", "reg": 0.05}
    finished.settings["fusions"] = {"geometric_fused": fusion}
    expected = {"fuse": SEEDS} | measured(OF_CHILDREN, 1) | ALIGNED
    assert finished.planned() == expected | FROM_CHILDREN


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
    assert finished.planned() == MEASURES | results(PLOTS)


def test_a_deleted_seed_is_measured_again_though_the_tables_are_there(finished):
    shutil.rmtree(finished.folder / "results/tiny/seed1")
    of_one_seed = {job: count // SEEDS for job, count in MEASURES.items()}
    assert finished.planned() == of_one_seed | results(PLOTS - 1)


OF_HESSIAN = {"measure_hessian": 1} | results(9)


@pytest.mark.parametrize(
    ("path", "jobs"),
    [
        ("results/measurements.csv", {"collect_measurements": 1}),
        ("results/tiny/results.csv", {"collect_results": 1}),
        ("results/tiny/plots/accuracy.png", {"plot": 1, "report": 1}),
        ("results/tiny/seed1/parent_1/hessian.csv", OF_HESSIAN),
    ],
)
@pytest.mark.parametrize("damage", ["emptied", "edited"])
def test_a_result_that_is_no_longer_what_was_written_is_made_again(finished, path, jobs, damage):
    file = finished.folder / path
    content = file.read_bytes()
    changed = b"" if damage == "emptied" else content[:-1] + bytes([content[-1] ^ 1])
    file.write_bytes(changed)
    assert finished.planned() == jobs
    assert file.read_bytes() == changed  # a dry run touches nothing
    assert f"kept as *.changed): {path}" in finished.snakemake("-n").stdout


def test_what_was_damaged_is_the_same_again(finished):
    files = [finished.folder / "results" / name for name in ("measurements.csv", "tiny/results.csv")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    finished.run()
    assert [file.read_bytes() for file in files] == before
    assert finished.planned() == {}


def test_an_edited_result_is_kept_where_it_is_touched(finished):
    file = finished.folder / "results/tiny/results.csv"
    file.write_text("mine")
    assert finished.snakemake("--touch", "--cores", "1").returncode == 0
    assert finished.planned() == {}
    assert file.read_text() == "mine"


@pytest.mark.parametrize("gone", [".snakemake", ".snakemake/metadata"])
def test_without_snakemake_s_records_a_change_is_still_noticed(finished, gone):
    shutil.rmtree(finished.folder / gone)
    assert finished.planned() == {}
    shutil.rmtree(finished.folder / gone)
    finished.settings["training"]["tiny"]["learning_rate"] = 0.06
    assert finished.planned() == ALL_BUT_DATA


def test_pictures_of_another_content_are_prepared_again_and_touched_ones_are_not(fresh):
    pictures = [fresh.folder / f"photos/{half}/{name}/1.png" for half in ("train", "test") for name in "ab"]
    for number, picture in enumerate(pictures):
        picture.parent.mkdir(parents=True)
        for copy in range(1, 13):
            save_picture(picture.with_stem(str(copy)), (copy, number))
    fresh.tiny.update(dataset="image_folder", image_folder="photos")
    data_file = "data/image_folder_tiny.npz"
    fresh.run(data_file)
    for picture in pictures:
        os.utime(picture)
    assert fresh.planned(data_file) == {}
    size = pictures[0].stat().st_size
    save_picture(pictures[0], (200, 0))
    assert pictures[0].stat().st_size == size
    assert fresh.planned(data_file) == {"prepare_data": 1}
    fresh.run(data_file)
    assert fresh.planned(data_file) == {}


def save_picture(path, colour: tuple[int, int]) -> None:
    Image.new("RGB", (8, 8), (*colour, 0)).save(path)
