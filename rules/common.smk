# Reads and checks the configuration and makes STUDY, which knows what every rule needs.
import os
import sys
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

ROOT = Path(str(workflow.current_basedir)).resolve().parent  # ours, also as a module of another workflow
if not ROOT.is_dir():
    raise WorkflowError(
        "fusionscope has to lie on this machine: clone it, and name the path of its Snakefile"
    )
if Path.cwd().resolve() != ROOT:  # then nothing is written there, not even what Python compiles
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1"}  # for the jobs

sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.errors import InputError
from machinery import provided_weights, run_lock, settings
from machinery.study import Study

MAIN = workflow.is_main_process
ALONE = workflow.modifier.is_main_snakefile()  # and no module of another workflow

PATHS = workflow.modifier.path_modifier  # ours: when jobs are planned, it is another's


def as_kept(path):
    """Where a file lies: as a module of another workflow, it may be below a prefix."""
    return PATHS.replace_prefix(path)


def is_there(path):
    """Whether a file is where results are kept: in the storage that Snakemake was given, else here."""
    return exists(as_kept(path))


SHIPPED = ROOT / "config.yaml"
try:
    settings.check_files([SHIPPED, *workflow.configfiles] if MAIN else [])
    SETTINGS = load_configfile(SHIPPED)
    update_config(SETTINGS, config)  # what the user says is laid over it, key by key
    SETTINGS = settings.read_settings(SETTINGS)
    STUDY = Study.read(settings.resolve_experiments(SETTINGS), is_there)
    if MAIN and ALONE:
        run_lock.begin(say=logger.warning)
    if MAIN:  # for jobs on a cluster it has been done
        STUDY.check_own_code(all_installed=not workflow.deployment_settings.deployment_method)
        STUDY.check_image_folders()
        provided_weights.check(STUDY, is_there, as_kept, workflow.storage_settings.default_storage_provider)
except InputError as error:
    raise WorkflowError(str(error)) from None

GPU = 0 if SETTINGS["device"] == "cpu" else 1


wildcard_constraints:
    experiment=STUDY.experiment_pattern(),
    seed=r"\d+",
    parent=STUDY.parent_pattern(),
    fusion=STUDY.fusion_pattern(),
    model=STUDY.model_pattern(),
    plot=STUDY.plot_pattern(),
    sweep=STUDY.sweep_pattern(),
    axis=STUDY.axis_pattern(),
    whole=STUDY.whole_pattern(),


def growing(amount):
    """A resource that grows with each attempt: what was short of time or memory gets more of it."""
    return lambda wildcards, attempt: amount * attempt


def fusion_gpu(wildcards):
    """A GPU where a fusion runs networks on images; matching weights alone does without."""
    return GPU if STUDY.runs_networks(wildcards) else 0
