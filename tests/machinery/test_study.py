"""The study in one process: what is asked for, and what each job is told."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from studies import ROOT, TINY, study_of, tiny_settings

from fusionscope.errors import InputError
from fusionscope.report.plot_table import PLOTS
from machinery.experiment import PARTS
from machinery.study import Study, any_of

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
FOLDER = "experiments/tiny/tiny_seed1"
IN_PARAMETER_SPACE = ("hessian", "scales", "complexity")


def tiny(existing=(), **changed) -> Study:
    return study_of(tiny_settings(**changed), existing)


def job(**wildcards) -> SimpleNamespace:
    """The wildcards of a job of the tiny experiment."""
    return SimpleNamespace(**{"experiment": "tiny", "seed": "1"} | wildcards)


def measured(study: Study, experiment: str = "tiny") -> dict[str, int]:
    """How many models each part is measured of."""
    files = study.measurement_files(experiment)
    assert len(set(files)) == len(files)
    counts = {part: sum(path.endswith(f"/{file}") for path in files) for part, file in PARTS.items()}
    return {part: count for part, count in counts.items() if count}


# what is asked for


def test_every_model_of_every_seed_is_measured_in_every_part():
    assert measured(tiny()) == dict.fromkeys(PARTS, 2 * 4) | {"connectivity": 2 * 2, "pair": 2 * (1 + 1)}
    found = measured(tiny(seeds=1, parents=3))
    assert found == dict.fromkeys(PARTS, 5) | {"connectivity": 2, "pair": 1 + 1}


def test_parents_are_measured_beside_each_other_once_a_seed_and_once_for_each_way_to_align_them():
    fusions = {
        "mean": {"method": "average", "repair": True},
        "matched": {"method": "weight_matching"},
        "own": {"method": "my_package.fusions:Mine"},
    }
    study = study_of(tiny_settings(fusions=list(fusions), seeds=[3]) | {"fusions": fusions})
    folder = "results/tiny/seed3"
    assert study.pair_files("tiny") == [
        f"{folder}/pair_space.csv",
        f"{folder}/matched/pair_space.csv",
        f"{folder}/own/pair_space.csv",
    ]
    assert study.measurement_files("tiny")[-3:] == study.pair_files("tiny")
    assert f"{folder}/matched/weight_distance.csv" in study.results()


@pytest.mark.parametrize("part", [*PARTS, "parameter"])
def test_a_part_that_is_switched_off_is_not_measured(part):
    off = {"prediction": False, "correlation": False} if part == "prediction" else {part: False}
    gone = IN_PARAMETER_SPACE if part == "parameter" else (part,)
    study = tiny(spaces=off)
    assert set(measured(study)) == set(PARTS) - set(gone)
    plots = set(study.plots("tiny"))
    assert ("spectral_density" in plots) == ("hessian" not in gone)
    for plot in ("connectivity", "similarity", "activation_variance"):
        assert (plot in plots) == ("connectivity" not in gone)
    assert ("accuracy" in plots) == (part != "prediction")
    for space in ("input", "parameter", "connectivity", "pair"):
        drawn = part not in ("prediction", space)
        assert (f"metrics_against_accuracy_{space}" in plots) == drawn


def test_what_needs_several_seeds_is_drawn_of_one_only_where_it_is_asked_for():
    within = {name for name in PLOTS if name.startswith("metrics_within_models_")}
    assert set(tiny(seeds=3).plots("tiny")) == set(PLOTS)
    assert set(PLOTS) - set(tiny(seeds=2).plots("tiny")) == within
    assert set(PLOTS) - set(tiny(seeds=1).plots("tiny")) == within | {"correlation"}
    assert list(tiny(seeds=1, plots=["correlation"]).plots("tiny")) == ["correlation"]


def test_what_is_not_correlated_has_no_table_and_no_plot_of_it():
    study = tiny(spaces={"correlation": False})
    assert not [path for path in study.results() if "correlation" in path]
    assert study.correlation(job()) == []
    assert study.correlated_measurements() == []


def test_two_correlated_experiments_are_correlated_together():
    mine = tiny_settings()
    mine["experiments"]["other"] = dict(mine["experiments"]["tiny"], seeds=1)
    assert "results/correlation_space.csv" not in study_of(mine).results()
    mine["run"] = ["tiny", "other"]
    study = study_of(mine)
    assert "results/correlation_space.csv" in study.results()
    assert study.accuracy_metrics() == dict.fromkeys(["tiny", "other"], "accuracy")
    assert len(study.all_measurements()) == 5 * 12 + 6 + 3 * 2


@pytest.mark.parametrize("name", SHIPPED["experiments"])
def test_every_experiment_that_ships_is_a_study(name):
    study = study_of({"run": [name]})
    for experiment in study.wholes[name]:
        children = len(experiment.seeds) * len(experiment.fusions)
        assert measured(study, experiment.name)["connectivity"] == children
    assert len(study.results()) == len(set(study.results()))


def test_ten_lines_add_an_experiment_to_the_shipped_configuration():
    mine = {"dataset": "digits", "model_type": "RESNET18", "width": 0.25, "training": "digits"}
    study = study_of({"run": ["mine"], "experiments": {"mine": mine}})
    assert study.experiments["mine"].seeds == [1, 2, 3, 4, 5]


def test_plots_are_those_that_an_experiment_asks_for_its_own_among_them():
    study = tiny(plots=["accuracy", "my_package.plots:my_view"])
    assert list(study.plots("tiny")) == ["accuracy", "my_view"]
    wildcards = job(plot="my_view")
    assert study.plot_entry(wildcards) == "my_package.plots:my_view"
    assert study.plot_tables(wildcards) == {"measurements": study.measurement_files("tiny")}
    assert study.plot_labels(wildcards) == {"plot": "my view"}
    assert study.plot_options(wildcards) == {}


def test_a_plot_is_given_the_tables_and_options_of_its_entry():
    study = tiny(accuracy_metric="generalisation_gap")
    assert study.plot_options(job(plot="correlation")) == {"accuracy_metric": "generalisation_gap"}
    assert study.plot_tables(job(plot="correlation")) == {
        "correlation": ["results/tiny/correlation_space.csv"]
    }
    of_a_space = study.plot_options(job(plot="metrics_against_accuracy_pair"))
    assert of_a_space == {"accuracy_metric": "generalisation_gap", "space": "pair_space"}
    assert study.plot_tables(job(plot="accuracy"))["chance"] == ["data/digits.npz"]
    curves = study.plot_tables(job(plot="learning_curves"))["learning_curves"]
    assert curves[0] == f"{FOLDER}/parent_1_learning_curve.csv"
    assert len(curves) == 4


# what jobs are told


def test_parents_are_alike_but_for_their_widths_and_a_child_is_as_wide_as_its_reference():
    fusion = {"method": "optimal_transport", "reference": 3, "repair": True}
    mine = tiny_settings(parents=3, width=[1, 0.5, 0.25], fusions=["to_the_third"])
    mine["fusions"] = {"to_the_third": fusion}
    study = study_of(mine)
    networks = study.parent_networks(job())
    assert [network.pop("width") for network in networks] == [1, 0.5, 0.25]
    assert networks == [{"model_type": "VGG11_NOBIAS", "input_size": 32, "channels": 3}] * 3
    child = study.network(job(model="to_the_third"))
    assert child == networks[0] | {"width": 0.25, "biases": True}
    assert study.reference(job(model="to_the_third")) == "parent_3"
    assert study.origin_files(job(model="to_the_third")) == [f"{FOLDER}/parent_3.pth"]


def test_an_architecture_has_no_width_unless_it_is_asked_for_one():
    mine = tiny_settings(architecture="torchvision:alexnet", input_size=64)
    del mine["experiments"]["tiny"]["model_type"], mine["experiments"]["tiny"]["width"]
    network = study_of(mine).trained_network(job(parent="1"))
    assert network == {"architecture": "torchvision:alexnet", "input_size": 64, "channels": 3}


def test_a_child_is_measured_beside_its_parents_and_a_parent_from_its_initial_weights():
    study = tiny()
    parents = [f"{FOLDER}/parent_1.pth", f"{FOLDER}/parent_2.pth"]
    child, parent = job(model="naive_fused"), job(model="parent_1")
    assert study.ensemble_files(child) == study.origin_files(child) == parents
    assert len(study.ensemble_networks(child)) == 2
    assert study.ensemble_files(parent) == study.ensemble_networks(parent) == []
    assert study.origin_files(parent) == [f"{FOLDER}/parent_1_initial_weights.pth"]


def test_the_search_for_the_scales_is_read_where_there_is_one():
    assert tiny().scale_files(job(model="parent_1")) == ["results/tiny/seed1/parent_1/scale_search.csv"]
    assert tiny(spaces={"scales": False}).scale_files(job(model="parent_1")) == []


def test_measures_that_cost_little_go_by_their_last_name():
    mine = tiny_settings()
    mine["measurements"]["tiny"]["complexity"] = ["path_norm", "my_package.norms:largest_weight"]
    measures = study_of(mine).complexity_measures(job(model="parent_1"))
    assert list(measures) == ["path_norm", "largest_weight"]
    assert measures["path_norm"].startswith("fusionscope.measures.")
    assert measures["largest_weight"] == "my_package.norms:largest_weight"


@pytest.mark.parametrize(
    ("definition", "runs"),
    [
        ({"method": "average"}, False),
        ({"method": "average", "repair": True}, True),
        ({"method": "average", "finetune": {"epochs": 1, "learning_rate": 0.01}}, True),
        ({"method": "optimal_transport"}, False),
        ({"method": "optimal_transport", "align_by": "activations"}, True),
        ({"method": "my_package.fusions:Mine"}, True),
    ],
)
def test_a_gpu_is_for_fusions_that_run_networks(definition, runs):
    mine = tiny_settings(fusions=["mine"])
    mine["fusions"] = {"mine": definition}
    assert study_of(mine).runs_networks(job(fusion="mine")) == runs


def test_a_fusion_knows_its_parents_recipe_only_where_it_trains_on():
    mine = tiny_settings(fusions=["plain", "trained_on"])
    finetune = {"epochs": 1, "learning_rate": 0.01}
    mine["fusions"] = {
        "plain": {"method": "average"},
        "trained_on": {"method": "average", "finetune": finetune},
    }
    study = study_of(mine)
    assert study.finetune_recipe(job(fusion="plain")) is None
    assert study.finetune_recipe(job(fusion="trained_on"))["momentum"] == 0.9
    assert "initialisation" not in study.finetune_recipe(job(fusion="trained_on"))  # its weights are there
    assert study.fusion(job(fusion="trained_on"))["finetune"] == finetune


def test_settings_that_mean_the_same_look_the_same():
    mine = tiny_settings()
    mine["training"]["tiny"]["weight_decay"] = 0
    recipe = dict(reversed(mine["measurements"]["tiny"]["hessian"].items()))
    mine["measurements"]["tiny"]["hessian"] = recipe
    for keys in (("training",), ("measurements", "hessian")):
        assert repr(study_of(mine).setting(*keys)(job())) == repr(tiny().setting(*keys)(job()))


def test_image_folders_are_prepared_for_each_experiment_and_known_by_their_files(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/a.png").write_bytes(b"1")
    study = tiny(dataset="image_folder", image_folder=str(tmp_path))
    assert study.data_file(job()) == "data/image_folder_tiny.npz"
    source = study.data_source(SimpleNamespace(dataset="image_folder_tiny"))
    assert source["folder"] == str(tmp_path)
    assert re.fullmatch("[0-9a-f]{16}", source["images"])
    assert study.data_source(SimpleNamespace(dataset="digits")) == {"name": "digits"}


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        (".", "'.' has no folder train/ in it"),
        ("/", "'/' has no folder train/ in it"),
        ("/proc", "'/proc' has no folder train/ in it"),
        (__file__, "has no folder train/ in it"),
    ],
)
def test_folders_that_hold_no_images_are_refused_while_planning(folder, sentence):
    with pytest.raises(InputError, match=rf"^config: experiments\.tiny\.image_folder: .*{sentence}; give"):
        tiny(dataset="image_folder", image_folder=folder).check_image_folders()


def test_folders_with_both_halves_pass(tmp_path):
    (tmp_path / "train").mkdir()
    study = tiny(dataset="image_folder", image_folder=str(tmp_path))
    with pytest.raises(InputError, match="has no folder test/"):
        study.check_image_folders()
    (tmp_path / "test").mkdir()
    study.check_image_folders()


def test_images_that_are_normalised_otherwise_are_prepared_for_their_experiment_alone(tmp_path):
    mine = tiny_settings()
    constants = {"mean": [0.5, 0.5, 0.5], "std": [1.0, 1, 0.25]}
    mine["experiments"]["other"] = dict(mine["experiments"]["tiny"], normalisation=constants)
    mine["run"] = ["tiny", "other"]
    study = study_of(mine)
    assert study.data_file(job()) == "data/digits.npz"
    assert study.data_file(job(experiment="other")) == "data/digits_other.npz"
    assert study.data_source(SimpleNamespace(dataset="digits")) == {"name": "digits"}
    assert study.data_source(SimpleNamespace(dataset="digits_other")) == {
        "name": "digits",
        "normalisation": {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 0.25]},
    }
    study = tiny(dataset="image_folder", image_folder=str(tmp_path), normalisation="measured")
    source = study.data_source(SimpleNamespace(dataset="image_folder_tiny"))
    assert (source["name"], source["normalisation"]) == ("image_folder", "measured")


@pytest.mark.parametrize(
    ("changed", "file", "source"),
    [
        ({"channels": 1}, "digits", {"name": "digits"}),  # they are grey whatever networks take
        ({"input_size": 8}, "digits_8x8", {"name": "digits", "size": 8}),
        ({"input_size": 28}, "digits", {"name": "digits"}),  # resized when they are read
        (
            {"dataset": "fashion_mnist", "input_size": 28, "channels": 1},
            "fashion_mnist_28x28",
            {"name": "fashion_mnist", "size": 28},
        ),
        ({"dataset": "cifar10"}, "cifar10", {"name": "cifar10"}),
        ({"dataset": "cifar10", "channels": 1}, "cifar10_1_channel", {"name": "cifar10", "channels": 1}),
        (
            {"input_size": 8, "channels": 1, "normalisation": {"mean": [0.5], "std": [1]}},
            "digits_tiny",
            {"name": "digits", "size": 8, "channels": 1, "normalisation": {"mean": [0.5], "std": [1]}},
        ),
    ],
)
def test_data_of_one_shape_are_prepared_once_for_all_experiments(changed, file, source):
    study = tiny(**changed)
    assert study.data_file(job()) == f"data/{file}.npz"
    assert study.data_source(SimpleNamespace(dataset=file)) == source


def test_networks_are_told_of_channels_and_layers():
    study = tiny(model_type="MLP", width=8, depth=2, channels=1, input_size=8)
    expected = {"model_type": "MLP", "width": 8, "depth": 2, "channels": 1, "input_size": 8}
    assert study.network(job(model="parent_1")) == expected
    assert study.network(job(model="naive_fused")) == expected


# weights that the user provides


def test_provided_children_are_not_made_and_provided_initial_weights_are_origins():
    files = ["parent_1.pth", "parent_2.pth", "parent_2_initial_weights.pth", "naive_fused.pth"]
    study = tiny([f"{FOLDER}/{file}" for file in files], weights="provided", seeds=1)
    assert study.origin_files(job(model="parent_1")) == []
    assert study.origin_files(job(model="parent_2")) == [f"{FOLDER}/parent_2_initial_weights.pth"]
    assert measured(study) == dict.fromkeys(PARTS, 4) | {"connectivity": 1, "pair": 2}
    made = re.compile(rf"experiments/(?P<e>{study.fused_pattern()})/tiny_seed1/(naive|geometric)_fused.*")
    assert made.match(f"{FOLDER}/geometric_fused_aligned.pth")
    assert not made.match(f"{FOLDER}/naive_fused_aligned.pth")
    assert "learning_curves" not in study.plots("tiny")
    assert study.trained_pattern() == any_of([])


def test_a_child_that_was_made_here_is_not_taken_for_a_provided_one():
    made = [f"{FOLDER}/naive_fused.pth", f"{FOLDER}/naive_fused_alignment.csv"]
    assert tiny(made, weights="provided", seeds=1).provided == frozenset()


@pytest.mark.parametrize(
    "name", ["parent_1", "parent_2_initial_weights", "naive_fused", "naive_fused_aligned"]
)
def test_weights_that_would_be_overwritten_are_named(name):
    there = {f"{FOLDER}/{name}.pth"}
    with pytest.raises(InputError, match=rf"{name}\.pth: would be overwritten, and "):
        tiny(there).check_weights(there.__contains__)


def test_weights_that_are_promised_and_not_there_are_named():
    there = {f"{FOLDER}/parent_1.pth"}
    study = tiny(there, weights="provided", seeds=4)
    with pytest.raises(InputError, match=r"seed1/parent_2\.pth, .* and 2 more: no such file, though tiny"):
        study.check_weights(there.__contains__)


def test_a_pattern_of_no_names_matches_nothing():
    assert not re.search(any_of([]), "anything or nothing")
    assert re.fullmatch(any_of(["a+b", "c"]), "a+b")


def test_planning_imports_no_heavy_package():
    program = (
        "import sys; import machinery.provided_weights; from studies import *\n"
        "from types import SimpleNamespace as S\n"
        "study = study_of(TINY); study.results(); study.check_own_code()\n"
        "job = S(experiment='tiny', seed='1', model='naive_fused', fusion='naive_fused', plot='accuracy')\n"
        "study.code('fuse')(job)\n"
        "print({'torch', 'numpy', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    path = ":".join(str(ROOT / folder) for folder in ("scripts", "tests/support"))
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_the_tiny_configuration_is_left_as_it_is():
    before = repr(TINY)
    tiny(seeds=7)
    assert repr(TINY) == before


def test_predictors_are_sought_where_there_are_children_and_seeds_and_correlations_are_wanted():
    assert tiny().predicted("tiny") == ["accuracy", "relative_accuracy", "loss_barrier"]
    assert tiny(spaces={"connectivity": False}).predicted("tiny") == ["accuracy", "relative_accuracy"]
    for less in ({"seeds": 1}, {"fusions": []}, {"spaces": {"correlation": False}}):
        study = tiny(**less)
        assert study.predicted("tiny") == []
        assert not [path for path in study.results() if "predictors" in path]


def test_predictors_wait_for_all_of_parents_and_pairs_and_for_the_outcomes_of_children():
    study = tiny(seeds=2, fusions=["geometric_fused"])
    files = study.measurements_of_whole(SimpleNamespace(whole="tiny"))
    of_seed = {path.removeprefix("results/tiny/seed1/") for path in files if "/seed1/" in path}
    parents = {
        f"parent_{number}/{file}.csv"
        for number in (1, 2)
        for file in ("input_space", "hessian", "scales", "complexity", "prediction_space")
    }
    children = {f"geometric_fused/{space}_space.csv" for space in ("prediction", "connectivity", "pair")}
    assert of_seed == {"pair_space.csv", *parents, *children}
    assert len(files) == 2 * len(of_seed)
