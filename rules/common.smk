# Reads and checks the configuration, and says which files belong to which experiment.
import hashlib
import re
import sys
from functools import cache
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from machinery import run_lock
from machinery.settings import check_schema, foreign_weights, plain, resolve_experiments
from fusionscope.fusion.defaults import DEFAULT_IMAGES, DEFAULT_REFERENCE
from fusionscope.errors import InputError
from machinery.code_hashes import module_hashes, source_hashes

if workflow.is_main_process:
    run_lock.remove_stale_lock()
    if not workflow.dryrun:
        run_lock.start_run(local=workflow.local_exec)

SCHEMA = Path(workflow.basedir) / "schemas" / "config.schema.yaml"
FOLDER = "experiments/{experiment}/{experiment}_seed{seed}"
# Where and when a job runs, not what it computes: no result depends on these modules.
CHANGE_NO_RESULT = {"machinery.run_lock", "machinery.gpus", "machinery.checkpoint"}
LONG_LIST = 5  # names in a sentence

try:
    check_schema(config, yaml.safe_load(SCHEMA.read_text()))
    validate(config, str(SCHEMA))  # puts the defaults in
    EXPERIMENTS = resolve_experiments(config)
    # the user's own networks are code too: found, as the jobs do it, from the folder we start in
    ARCHITECTURES = {
        name: module_hashes(e.get("architecture", "torchvision").split(":")[0], Path.cwd())
        for name, e in EXPERIMENTS.items()
    }
except InputError as error:
    raise WorkflowError(str(error)) from None

GPU = 0 if config["device"] == "cpu" else 1
FUSIONS = list(dict.fromkeys(name for e in EXPERIMENTS.values() for name in e["fusions"]))
TRAINED = [name for name, e in EXPERIMENTS.items() if e["weights"] == "trained"]
PARENTS = [f"parent_{number + 1}" for number in range(max(e["parents"] for e in EXPERIMENTS.values()))]


def any_of(names):
    """A pattern that matches one of `names`, or nothing at all if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    experiment=any_of(EXPERIMENTS),
    seed=r"\d+",
    parent=any_of(parent.removeprefix("parent_") for parent in PARENTS),
    fusion=any_of(FUSIONS),
    model=any_of([*PARENTS, *FUSIONS]),


def growing(amount):
    """A resource that grows with each attempt: what was short of time or memory gets more of it."""
    return lambda wildcards, attempt: amount * attempt


def code_of(rule):
    """The hashes of the modules that a rule's script runs, as a parameter: changed code is stale."""
    hashes = source_hashes(Path(workflow.basedir) / "scripts" / f"{rule}.py")
    return {module: code for module, code in hashes.items() if module not in CHANGE_NO_RESULT}


def code_with_network(rule):
    """As code_of, with the user's own architecture where the experiment has one."""
    own = code_of(rule)

    def look_up(wildcards):
        theirs = ARCHITECTURES[wildcards.experiment]
        return own | {"architecture": theirs} if theirs else own

    return look_up


def setting(*keys):
    """A parameter function: the entry of the experiment's configuration under `keys`."""

    def look_up(wildcards):
        value = EXPERIMENTS[wildcards.experiment]
        for key in keys:
            value = value[key]
        return plain(value)

    return look_up


def parents_in(experiment):
    return PARENTS[: EXPERIMENTS[experiment]["parents"]]


def models_of(experiment):
    return [*parents_in(experiment), *EXPERIMENTS[experiment]["fusions"]]


def parent_network(experiment, parent):
    """What networks.build is told to make a parent: all parents alike but for their widths."""
    settings = EXPERIMENTS[experiment]
    network = {key: settings[key] for key in ("model_type", "architecture", "input_size") if key in settings}
    width = settings["widths"][PARENTS.index(parent)]
    return plain(network if width is None else network | {"width": width})


def definition_of(experiment, fusion):
    return EXPERIMENTS[experiment]["fusions"][fusion]


def child_network(experiment, fusion):
    """As wide as the reference; with room for what repair folds into biases."""
    network = parent_network(experiment, reference_of(experiment, fusion))
    return network | {"biases": True} if definition_of(experiment, fusion).get("repair") else network


def reference_of(experiment, fusion):
    """The parent that the others are aligned to."""
    return f"parent_{definition_of(experiment, fusion).get('reference', DEFAULT_REFERENCE)}"


def network_of(wildcards):
    """The network of a model."""
    network = parent_network if wildcards.model in PARENTS else child_network
    return network(wildcards.experiment, wildcards.model)


def trained_network_of(wildcards):
    return parent_network(wildcards.experiment, f"parent_{wildcards.parent}")


def parent_networks_of(wildcards):
    """The networks of all parents, in the order of parents_of."""
    return [parent_network(wildcards.experiment, parent) for parent in parents_in(wildcards.experiment)]


def weights_file(experiment, seed, model):
    return f"{FOLDER.format(experiment=experiment, seed=seed)}/{model}.pth"


def record_file(model):
    """What the workflow writes beside (and before) the weights of a model it made itself."""
    return f"{model}_learning_curve.csv" if model in PARENTS else f"{model}_alignment.csv"


def is_there(path):
    """Whether a file is where results are kept: in the storage that Snakemake was given, else here."""
    return exists(path)


@cache
def foreign_files(experiment):
    """Weights in the experiment's folders that were not made by the workflow."""
    records = {f"{model}.pth": record_file(model) for model in models_of(experiment)}
    records |= {f"{parent}_initial_weights.pth": record_file(parent) for parent in parents_in(experiment)}
    records |= {f"{fusion}_aligned.pth": record_file(fusion) for fusion in EXPERIMENTS[experiment]["fusions"]}
    folders = [FOLDER.format(experiment=experiment, seed=s) for s in EXPERIMENTS[experiment]["seeds"]]
    return [f"{folder}/{name}" for folder in folders for name in foreign_weights(folder, records, is_there)]


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
            for path in (weights_file(name, seed, parent) for parent in parents_in(name))
            if not is_there(path)
        ]
        if missing:
            more = f" and {len(missing) - LONG_LIST} more" if len(missing) > LONG_LIST else ""
            raise WorkflowError(
                f"{', '.join(missing[:LONG_LIST])}{more}: no such file, though {name} has "
                "'weights: provided'; put the weights there, or set 'weights: trained'"
            )


if workflow.is_main_process:  # for jobs of a cluster it has been done, and asking a storage takes its time
    check_weights_in_place()


# Looked for once: functions of wildcards cannot ask a storage.
BROUGHT_INITIAL_WEIGHTS = {
    path
    for name in EXPERIMENTS
    if name not in TRAINED
    for seed in EXPERIMENTS[name]["seeds"]
    for path in (weights_file(name, seed, f"{parent}_initial_weights") for parent in parents_in(name))
    if is_there(path)
}


def data_file(wildcards):
    """The prepared data of an experiment; image folders are prepared for each experiment of their own."""
    dataset = EXPERIMENTS[wildcards.experiment]["dataset"]
    return (
        f"data/{dataset}.npz" if dataset != "image_folder" else f"data/{dataset}_{wildcards.experiment}.npz"
    )


def measurement_files(experiment):
    """One CSV for each seed, model and space that the experiment measures."""
    settings = EXPERIMENTS[experiment]
    files = [
        f"results/{experiment}/seed{seed}/{model}/{space}_space.csv"
        for seed in settings["seeds"]
        for model in models_of(experiment)
        for space in settings["spaces"]
        if space not in ("connectivity", "correlation")
    ]
    return files + connectivity_files(experiment, "connectivity_space.csv")


def connectivity_files(experiment, name):
    """One file for each seed and child that was made here: of others nobody knows the aligned parents."""
    settings = EXPERIMENTS[experiment]
    if "connectivity" not in settings["spaces"]:
        return []
    brought = [] if experiment in TRAINED else foreign_files(experiment)
    return [
        f"results/{experiment}/seed{seed}/{fusion}/{name}"
        for seed in settings["seeds"]
        for fusion in settings["fusions"]
        if weights_file(experiment, seed, fusion) not in brought
    ]


def connectivity_paths_of(wildcards):
    return connectivity_files(wildcards.experiment, "connectivity_path.csv")


def similarities_of(wildcards):
    return connectivity_files(wildcards.experiment, "similarity.csv")


def parent_networks_by_name(wildcards):
    return dict(zip(parents_in(wildcards.experiment), parent_networks_of(wildcards), strict=True))


def repair_images_of(wildcards):
    """On how many images a fusion repairs; 0 if it does not."""
    definition = definition_of(wildcards.experiment, wildcards.model)
    return definition.get("images", DEFAULT_IMAGES) if definition.get("repair") else 0


def measurements_of(wildcards):
    return measurement_files(wildcards.experiment)


def correlated_measurements(wildcards):
    return [path for experiment in correlated() for path in measurement_files(experiment)]


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
    """Experiments whose children are made here, except for children that the user brought."""
    brought = [path for name in EXPERIMENTS if name not in TRAINED for path in foreign_files(name)]
    children = [
        path.removeprefix("experiments/").removesuffix(".pth").removesuffix("_aligned") for path in brought
    ]
    files = rf"(?:{any_of(children)})(?:\.pth|_aligned\.pth|_alignment\.csv)$"
    return f"(?!{files})(?:{any_of(EXPERIMENTS)})"


def fusion_of(wildcards):
    return plain(definition_of(wildcards.experiment, wildcards.fusion))


def finetune_recipe_of(wildcards):
    """How children are trained on, for what their fusion leaves open: as the parents were. None without."""
    wanted = "finetune" in definition_of(wildcards.experiment, wildcards.fusion)
    return setting("training")(wildcards) if wanted else None


def fusion_gpu(wildcards):
    """A GPU where a fusion runs networks on images; matching weights alone does without."""
    definition = definition_of(wildcards.experiment, wildcards.fusion)
    runs = definition.get("align_by") == "activations" or definition.get("repair") or "finetune" in definition
    return GPU if runs else 0


def parents_of(wildcards):
    """The weights of all parents of a seed."""
    parents = parents_in(wildcards.experiment)
    return [weights_file(wildcards.experiment, wildcards.seed, parent) for parent in parents]


def ensemble_of(wildcards):
    """For a child the weights of its parents; none for a parent."""
    return [] if wildcards.model in PARENTS else parents_of(wildcards)


def ensemble_networks_of(wildcards):
    return [] if wildcards.model in PARENTS else parent_networks_of(wildcards)


def origins_of(wildcards):
    """Where a model set out from: a child from the parents that are as wide as it is, a parent from its
    initial weights if known."""
    if wildcards.model not in PARENTS:
        widths = EXPERIMENTS[wildcards.experiment]["widths"]
        width = widths[PARENTS.index(reference_of(wildcards.experiment, wildcards.model))]
        return [path for path, other in zip(parents_of(wildcards), widths, strict=True) if other == width]
    initial = weights_file(wildcards.experiment, wildcards.seed, f"{wildcards.model}_initial_weights")
    return [initial] if wildcards.experiment in TRAINED or initial in BROUGHT_INITIAL_WEIGHTS else []


def batch_size_of(wildcards):
    """Images evaluated at once: a resource, since it changes speed and memory but no result."""
    return EXPERIMENTS[wildcards.experiment]["measurements"]["batch_size"]


def learning_curves_of(wildcards):
    seeds = EXPERIMENTS[wildcards.experiment]["seeds"]
    folders = [FOLDER.format(experiment=wildcards.experiment, seed=seed) for seed in seeds]
    parents = parents_in(wildcards.experiment)
    return [f"{folder}/{record_file(parent)}" for folder in folders for parent in parents]


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
        "connectivity": bool(connectivity_files(experiment, "connectivity_path.csv")),
        "similarity": bool(connectivity_files(experiment, "similarity.csv")),
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


def all_results(wildcards):
    files = [path for experiment in EXPERIMENTS for path in results_of(experiment)]
    if len(correlated()) > 1:
        files.append("results/correlation_space.csv")
    return [*files, "results/measurements.csv"]


def correlated():
    """The experiments that have a correlation space."""
    return [name for name, e in EXPERIMENTS.items() if "correlation" in e["spaces"]]
