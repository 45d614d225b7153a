# Reads and checks the configuration, and says which files belong to which experiment.
import hashlib
import os
import re
import sys
from functools import cache
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from fusionscope.configuration import check_schema, foreign_weights, plain, resolve_experiments
from fusionscope.errors import InputError
from fusionscope.sources import source_hashes

SCHEMA = Path(workflow.basedir) / "schemas" / "config.schema.yaml"
FOLDER = "experiments/{experiment}/{experiment}_seed{seed}"
PARENTS = ["parent_1", "parent_2"]
LONG_LIST = 5  # names in a sentence

try:
    check_schema(config, yaml.safe_load(SCHEMA.read_text()))
    validate(config, str(SCHEMA))  # puts the defaults in
    EXPERIMENTS = resolve_experiments(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

GPU = 0 if config["device"] == "cpu" else 1
FUSIONS = list(dict.fromkeys(name for e in EXPERIMENTS.values() for name in e["fusions"]))
TRAINED = [name for name, e in EXPERIMENTS.items() if e["weights"] == "trained"]


def any_of(names):
    """A pattern that matches one of `names`, or nothing at all if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    experiment=any_of(EXPERIMENTS),
    seed=r"\d+",
    parent="1|2",
    fusion=any_of(FUSIONS),
    model=any_of([*PARENTS, *FUSIONS]),


def code_of(rule):
    """The hashes of the modules that a rule's script runs, as a parameter: changed code is stale."""
    return source_hashes(Path(workflow.basedir) / "scripts" / f"{rule}.py")


def setting(*keys):
    """A parameter function: the entry of the experiment's configuration under `keys`."""

    def look_up(wildcards):
        value = EXPERIMENTS[wildcards.experiment]
        for key in keys:
            value = value[key]
        return plain(value)

    return look_up


def network_of(wildcards):
    experiment = EXPERIMENTS[wildcards.experiment]
    return plain({key: experiment[key] for key in ("model_type", "width")})


def models_of(experiment):
    return [*PARENTS, *EXPERIMENTS[experiment]["fusions"]]


def weights_file(experiment, seed, model):
    return f"{FOLDER.format(experiment=experiment, seed=seed)}/{model}.pth"


def record_file(model):
    """What the workflow writes beside (and before) the weights of a model it made itself."""
    return f"{model}_learning_curve.csv" if model in PARENTS else f"{model}_alignment.csv"


def foreign_files(experiment):
    """Weights in the experiment's folders that were not made by the workflow."""
    records = {f"{model}.pth": record_file(model) for model in models_of(experiment)}
    records |= {f"{parent}_initial_weights.pth": record_file(parent) for parent in PARENTS}
    folders = [FOLDER.format(experiment=experiment, seed=s) for s in EXPERIMENTS[experiment]["seeds"]]
    return [f"{folder}/{name}" for folder in folders for name in foreign_weights(Path(folder), records)]


def check_weights_in_place():
    """Weights that somebody brought are never overwritten; weights that were promised are there."""
    for name, experiment in EXPERIMENTS.items():
        if name in TRAINED:
            foreign = foreign_files(name)
            if foreign:
                raise WorkflowError(
                    f"{foreign[0]}: was not made by this workflow and would be overwritten; "
                    f"set 'weights: provided' for {name} in config.yaml, or move the file away"
                )
            continue
        missing = [
            path
            for seed in experiment["seeds"]
            for path in (weights_file(name, seed, parent) for parent in PARENTS)
            if not os.path.exists(path)
        ]
        if missing:
            more = f" and {len(missing) - LONG_LIST} more" if len(missing) > LONG_LIST else ""
            raise WorkflowError(
                f"{', '.join(missing[:LONG_LIST])}{more}: no such file, though {name} has "
                "'weights: provided'; put the weights there, or set 'weights: trained'"
            )


check_weights_in_place()


def data_file(wildcards):
    """The prepared data of an experiment; image folders are prepared for each experiment of their own."""
    dataset = EXPERIMENTS[wildcards.experiment]["dataset"]
    return (
        f"data/{dataset}.npz" if dataset != "image_folder" else f"data/{dataset}_{wildcards.experiment}.npz"
    )


def measurement_files(experiment):
    """One CSV for each seed, model and space that the experiment measures."""
    settings = EXPERIMENTS[experiment]
    return [
        f"results/{experiment}/seed{seed}/{model}/{space}_space.csv"
        for seed in settings["seeds"]
        for model in models_of(experiment)
        for space in settings["spaces"]
        if space != "correlation"
    ]


def measurements_of(wildcards):
    return measurement_files(wildcards.experiment)


def all_measurements(wildcards):
    return [path for experiment in EXPERIMENTS for path in measurement_files(experiment)]


def data_source(wildcards):
    """What a prepared file is made of: a registry entry, and for image folders which pictures."""
    if not wildcards.dataset.startswith("image_folder_"):
        return {"name": wildcards.dataset}
    folder = EXPERIMENTS[wildcards.dataset.removeprefix("image_folder_")]["image_folder"]
    return {"folder": folder, "name": "image_folder", "pictures": listing_hash(folder)}


@cache
def listing_hash(folder):
    """A hash of the names and sizes of all files: reading every picture at each start would be slow."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder)} {path.stat().st_size}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def fused_here():
    """Experiments whose children are made here, except for files of weights that the user brought."""
    brought = [path for name in EXPERIMENTS if name not in TRAINED for path in foreign_files(name)]
    paths = [path.removeprefix("experiments/") for path in brought]
    return f"(?!(?:{any_of(paths)})$)(?:{any_of(EXPERIMENTS)})"


def fusion_of(wildcards):
    return plain(EXPERIMENTS[wildcards.experiment]["fusions"][wildcards.fusion])


def parents_of(wildcards):
    """For a child the weights of its parents; none for a parent."""
    if wildcards.model in PARENTS:
        return []
    return [weights_file(wildcards.experiment, wildcards.seed, parent) for parent in PARENTS]


def origins_of(wildcards):
    """Where a model set out from: a child from its parents, a parent from its initial weights if known."""
    if wildcards.model not in PARENTS:
        return parents_of(wildcards)
    initial = weights_file(wildcards.experiment, wildcards.seed, f"{wildcards.model}_initial_weights")
    return [initial] if wildcards.experiment in TRAINED or os.path.exists(initial) else []


def batch_size_of(wildcards):
    """Images evaluated at once: a resource, since it changes speed and memory but no result."""
    return EXPERIMENTS[wildcards.experiment]["measurements"]["batch_size"]


def learning_curves_of(wildcards):
    seeds = EXPERIMENTS[wildcards.experiment]["seeds"]
    folders = [FOLDER.format(experiment=wildcards.experiment, seed=seed) for seed in seeds]
    return [f"{folder}/{record_file(parent)}" for folder in folders for parent in PARENTS]


def correlation_of(wildcards):
    """The experiment's correlations, where it has any."""
    wanted = wildcards.experiment in correlated()
    return [f"results/{wildcards.experiment}/correlation_space.csv"] if wanted else []


def densities_of(wildcards):
    return [
        f"results/{wildcards.experiment}/seed{seed}/{model}/hessian_spectral_density.csv"
        for seed in EXPERIMENTS[wildcards.experiment]["seeds"]
        for model in models_of(wildcards.experiment)
    ]


def plots_of(experiment):
    """The names of the plots that the experiment's spaces allow."""
    settings = EXPERIMENTS[experiment]
    needs = {
        "learning_curves": experiment in TRAINED,
        "accuracy": "prediction" in settings["spaces"],
        "metrics_against_accuracy": "prediction" in settings["spaces"],
        "spectral_density": "parameter" in settings["spaces"],
        "correlation": "correlation" in settings["spaces"],
    }
    return [name for name, possible in needs.items() if possible]


def results_of(experiment):
    """Every file that `all` asks for in one experiment."""
    folder = f"results/{experiment}"
    tables = ["results.csv", "summary.csv", "tables/summary.tex"]
    if "correlation" in EXPERIMENTS[experiment]["spaces"]:
        tables.append("correlation_space.csv")
    plots = [f"plots/{name}.{kind}" for name in plots_of(experiment) for kind in ("png", "pdf")]
    return [f"{folder}/{name}" for name in (*tables, *plots)]


def all_results():
    files = [path for experiment in EXPERIMENTS for path in results_of(experiment)]
    if len(correlated()) > 1:
        files.append("results/correlation_space.csv")
    return [*files, "results/measurements.csv"]


def correlated():
    """The experiments that have a correlation space."""
    return [name for name, e in EXPERIMENTS.items() if "correlation" in e["spaces"]]
