"""An edit of one entry of a table changes the code hashes of the jobs that use it, and of no others."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from studies import ROOT, study_of, tiny_settings

from fusionscope.fusion.options import ALIGNMENTS, MERGES
from fusionscope.measures.names import METRICS
from fusionscope.networks.model_types import MODEL_TYPES
from fusionscope.registry import resolve
from fusionscope.report.plot_table import PLOTS
from fusionscope.training.data_sets import DATA_SETS
from machinery import code_hashes, entries
from machinery.study import Study

OF_MODELS = ("measure_input", "measure_hessian", "measure_scales", "measure_complexity", "measure_prediction")
OF_EXPERIMENTS = ("correlate", "collect_results", "summarise")
OWN_CODE = {
    "my_things/nets.py": "from my_things.parts import Stem\n",
    "my_things/parts.py": "class Stem: ...\n",
    "my_things/fusions.py": "class Mine: ...\n",
    "my_things/norms.py": "def largest(subject): ...\n",
    "my_things/views.py": "def view(measurements): ...\n",
}


def forget() -> None:
    """What is known of the tree's files."""
    for function in (code_hashes.script_hashes, code_hashes.entry_hashes, code_hashes.module_files_below):
        function.cache_clear()


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Iterator[Path]:
    """A copy of the scripts, which hashes are taken of, in the folder in which things of one's own lie."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in OWN_CODE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    read_module = code_hashes.read_module.__wrapped__
    read_once = cache(lambda path, root, text: read_module(path, root))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_hashes, "SCRIPTS", folder / "scripts")
        patch.setattr(code_hashes, "read_module", lambda path, root: read_once(path, root, path.read_text()))
        patch.chdir(folder)
        yield folder
    forget()


def fusions() -> dict[str, dict]:
    return {
        "naive": {"method": "average"},
        "matched": {"method": "weight_matching"},
        "repaired": {"method": "optimal_transport", "repair": True},
        "trained_on": {"method": "optimal_transport", "finetune": {"epochs": 1, "learning_rate": 0.01}},
        "own": {"method": "my_things.fusions:Mine"},
    }


def settings() -> dict:
    """Two experiments, with a network each, and entries of every table; things of one's own in the second."""
    mine = tiny_settings(fusions=["naive", "matched", "repaired", "trained_on"], seeds=3)
    other = dict(mine["experiments"]["tiny"], fusions=["naive", "own"], measurements="other")
    del other["model_type"], other["width"]
    other |= {"architecture": "my_things.nets:make", "plots": ["accuracy", "my_things.views:view"]}
    mine["experiments"] |= {
        "residual": dict(mine["experiments"]["tiny"], model_type="RESNET18", fusions=["naive"]),
        "other": other,
    }
    mine["measurements"]["other"] = dict(mine["measurements"]["tiny"], complexity=["my_things.norms:largest"])
    mine["run"], mine["fusions"] = ["tiny", "residual", "other"], fusions()
    return mine


def jobs_of(study: Study) -> Iterator[tuple[str, dict[str, str]]]:
    """Rule and wildcards of each job, one per model: tables over experiments are left out."""
    yield "prepare_data", {"dataset": "digits"}
    for name, experiment in study.experiments.items():
        of_all = {"experiment": name, "seed": "1"}
        yield "train", of_all | {"parent": "1"}
        for fusion in experiment.fusions:
            yield "fuse", of_all | {"fusion": fusion}
            yield "measure_connectivity", of_all | {"model": fusion}
            if experiment.aligns(fusion):
                yield "measure_alignment", of_all | {"model": fusion}
        yield "measure_pair", of_all
        for model in experiment.models:
            for rule in OF_MODELS:
                yield rule, of_all | {"model": model}
        for rule in OF_EXPERIMENTS:
            yield rule, of_all
        for plot in study.plots(name):
            yield "plot", of_all | {"plot": plot}


def codes(study: Study) -> dict[str, object]:
    """`rule experiment what` -> the code parameter of that job."""
    forget()
    return {
        " ".join([rule, *(v for k, v in wildcards.items() if k != "seed")]): study.code(rule)(
            SimpleNamespace(**wildcards)
        )
        for rule, wildcards in jobs_of(study)
    }


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of(settings())


@pytest.fixture(scope="module")
def changed_by(tree, study) -> Callable[[str], set[str]]:
    """The jobs whose code parameter is another when a statement is added to a file."""
    before = codes(study)
    assert codes(study) == before

    def edit(path: str) -> set[str]:
        text = (tree / path).read_text()
        (tree / path).write_text(text + "AN_EDIT = 1\n")
        after = codes(study)
        (tree / path).write_text(text)
        return {job for job in before if before[job] != after[job]}

    return edit


def file_of(entry: str) -> str:
    return f"scripts/{entry.split(':')[0].replace('.', '/')}.py"


def of(jobs: set[str], rule: str) -> set[str]:
    return {job.removeprefix(f"{rule} ") for job in jobs if job.startswith(f"{rule} ")}


def test_a_network_s_module_is_code_of_its_experiments_alone(changed_by):
    changed = changed_by(file_of(MODEL_TYPES["RESNET18"].network))
    assert {job.split()[1] for job in changed} == {"residual"}
    of_pairs = {"measure_connectivity", "measure_pair"}
    assert {job.split()[0] for job in changed} == {"train", "fuse", *OF_MODELS, *of_pairs}


def test_a_way_to_align_is_code_of_its_fusions_alone(changed_by):
    assert changed_by(file_of(ALIGNMENTS["weight_matching"])) == {"fuse tiny matched"}


def test_the_way_to_merge_is_code_of_the_fusions(changed_by):
    assert {job.split()[0] for job in changed_by(file_of(MERGES["mean"]))} == {"fuse"}


def test_repair_is_code_of_what_is_repaired_and_of_where_children_are_compared_with_parents(changed_by):
    changed = changed_by(file_of(entries.REPAIR))
    assert {job for job in changed if job.startswith("fuse ")} == {"fuse tiny repaired"}
    assert {job.split()[0] for job in changed} == {"fuse", "measure_connectivity"}


def test_repair_s_choice_of_layers_is_code_of_what_is_repaired_and_of_no_parent(changed_by):
    changed = changed_by(file_of(entries.BIASES))
    others = {job for job in changed if not job.startswith("measure_connectivity ")}
    assert others == {f"{rule} tiny repaired" for rule in ("fuse", *OF_MODELS)}


def test_fine_tuning_is_code_of_what_is_fine_tuned(changed_by):
    assert changed_by(file_of(entries.FINETUNE)) == {"fuse tiny trained_on"}


def test_training_is_code_of_parents_and_of_what_is_fine_tuned(changed_by):
    changed = changed_by("scripts/fusionscope/training/train.py")
    assert changed == {"train tiny 1", "train residual 1", "train other 1", "fuse tiny trained_on"}


def test_the_reader_of_a_data_set_is_code_of_its_preparation(changed_by):
    assert changed_by(file_of(DATA_SETS["digits"].read)) == {"prepare_data digits"}
    assert changed_by(file_of(DATA_SETS["cifar10"].read)) == set()


def test_a_measure_that_costs_little_is_code_of_one_rule(changed_by):
    changed = changed_by(file_of(METRICS["path_norm"].compute))
    assert {job.split()[0] for job in changed} == {"measure_complexity"}


@pytest.mark.parametrize("module", ["twelve", "complexity"])
def test_a_formula_is_code_of_what_takes_seconds(changed_by, module):
    changed = changed_by(f"scripts/fusionscope/measures/parameter/{module}.py")
    assert {job.split()[0] for job in changed} == {"measure_complexity"}


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_s_module_is_code_of_that_plot(changed_by, plot):
    changed = changed_by(file_of(PLOTS[plot].draw))
    assert {job.split()[::2][0] for job in changed} == {"plot"}
    drawn_by_it = {name for name, other in PLOTS.items() if other.draw == PLOTS[plot].draw}
    assert {job.split()[2] for job in changed} == drawn_by_it


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("my_things/fusions.py", {"fuse other own"}),
        (
            "my_things/norms.py",
            {f"measure_complexity other {m}" for m in ("parent_1", "parent_2", "naive", "own")},
        ),
        ("my_things/views.py", {"plot other view"}),
    ],
)
def test_what_is_one_s_own_is_code_of_the_jobs_that_name_it(changed_by, name, jobs):
    assert changed_by(name) == jobs


def test_the_parts_of_one_s_own_network_are_code_of_its_experiment(changed_by):
    changed = changed_by("my_things/parts.py")
    assert {job.split()[1] for job in changed} == {"other"}
    assert "train other 1" in changed


def test_metrics_names_are_code_of_what_shows_them_and_of_no_measure(changed_by):
    changed = {job.split()[0] for job in changed_by("scripts/fusionscope/measures/names.py")}
    assert "plot" in changed
    assert not [rule for rule in changed if rule.startswith(("measure", "train", "fuse", "prepare"))]


@pytest.mark.parametrize(
    "table", sorted(code_hashes.TABLES - {code_hashes.METRIC_NAMES}), ids=lambda name: name.split(".", 1)[1]
)
def test_a_further_entry_of_a_table_changes_no_job(changed_by, table):
    assert changed_by(f"scripts/{table.replace('.', '/')}.py") == set()


@pytest.mark.parametrize(
    "module", ["job", "compute", "gpus", "checkpoint", "run_lock", "progress", "provenance"]
)
def test_machinery_that_cannot_change_a_number_changes_no_job(changed_by, module):
    assert changed_by(f"scripts/machinery/{module}.py") == set()


def test_threads_and_kernels_are_code_of_every_job(changed_by, study):
    assert changed_by("scripts/machinery/numerics.py") == set(codes(study))


def test_correlation_s_statistics_are_code_of_what_computes_them(changed_by):
    changed = changed_by("scripts/fusionscope/statistics/correlation.py")
    assert {job.split()[0] for job in changed} == {"correlate"}


def test_every_entry_names_something():
    named = [entries.BIASES, entries.REPAIR, entries.FINETUNE, *ALIGNMENTS.values(), *MERGES.values()]
    named += [entry.network for entry in MODEL_TYPES.values()] + [plot.draw for plot in PLOTS.values()]
    named += [data_set.read for data_set in DATA_SETS.values()]
    named += [metric.compute for metric in METRICS.values() if metric.compute]
    assert all(callable(resolve(entry)) for entry in named)
