"""The mistakes that people are most likely to make, made for real: docs/troubleshooting.md comes from them.

`make docs` writes the page; tests/test_troubleshooting.py makes each mistake anew and compares.
"""

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cases
import torch
import yaml
from PIL import Image
from processes import job_in, processes_in, wait_for
from studies import study_of, tiny_settings
from torch import nn
from workflows import Workflow

from fusionscope.errors import InputError
from fusionscope.fusion.fuse import fuse
from fusionscope.networks.build import build, initialised
from fusionscope.training.preparation import prepare
from fusionscope.training.train import train
from fusionscope.weights import load_weights
from machinery import compute, failures, settings
from machinery.job import Job

PARENT = Path("parent_1.pth")
INTRODUCTION = """# Troubleshooting

What goes wrong most often, what you see then, and what to do. Each sentence below was seen: a test makes
every mistake anew and compares. Sentences name the file, or the key of `config.yaml` with its full path.
Of a job that fails, the sentence is the last line of its log, which Snakemake shows. Nothing is lost by
a failed, killed or interrupted run: give the same command again.
"""


@dataclass(frozen=True)
class Mistake:
    """What people do, the deed itself (in an empty folder; it raises InputError or tells what was printed),
    and what helps."""

    what: str
    make: Callable[[], object]
    advice: str


# deeds


def plan(**of_experiment: Any) -> None:
    """Plan a run of the tiny experiment with changes."""
    plan_all(tiny_settings(**of_experiment))


def plan_all(changed: dict[str, Any]) -> None:
    study = study_of(changed)
    study.check_own_code()
    study.check_weights(os.path.exists)


def with_training(**changed: Any) -> None:
    mine = tiny_settings()
    mine["training"]["tiny"] |= changed
    plan_all(mine)


def with_fusion(name: str, definition: dict[str, Any]) -> None:
    mine = tiny_settings(fusions=[name])
    mine["fusions"] = {name: definition}
    plan_all(mine)


def with_architecture(architecture: str) -> None:
    mine = tiny_settings(architecture=architecture)
    del mine["experiments"]["tiny"]["model_type"], mine["experiments"]["tiny"]["width"]
    plan_all(mine)


def run_unknown() -> None:
    plan_all({**tiny_settings(), "run": ["resnet_cifar10"]})


def two_in_one_file() -> None:
    mine = tiny_settings()
    mine["fusions"] = {"Naive_fused": {"method": "average"}}
    plan_all(mine)


def read(text: str) -> None:
    Path("mine.yaml").write_text(text)
    settings.check_files(["mine.yaml"])
    yaml.safe_load(text)


def network(num_classes: int = 10, width: float = 0.125) -> nn.Module:
    return build(num_classes, model_type="VGG11", width=width)


def load(weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, PARENT)
    load_weights(PARENT, network())


def not_finite() -> dict[str, torch.Tensor]:
    weights = network().state_dict()
    weights["features.4.weight"][0, 0, 0, 0] = float("nan")
    return weights


def load_truncated() -> None:
    torch.save(network().state_dict(), PARENT)
    os.truncate(PARENT, PARENT.stat().st_size // 2)
    load_weights(PARENT, network())


def without_a_test_folder() -> None:
    Path("my_images/train/cats").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save("my_images/train/cats/cat.png")
    prepare("image_folder", "my_images")


def with_a_file_that_is_no_image() -> None:
    for folder in (
        Path("my_images", split, name) for split in ("train", "test") for name in ("cats", "dogs")
    ):
        folder.mkdir(parents=True)
        (folder / "1.png").write_text("<html>404</html>")
    prepare("image_folder", "my_images")


def with_one_class() -> None:
    for split in ("train", "test"):
        folder = Path("my_images", split, "all")
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "1.png")
    prepare("image_folder", "my_images")


class Branches(nn.Module):
    """What it computes depends on what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU(), nn.Linear(8, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.layers(images)
        return outputs if outputs.sum() > 0 else -outputs


def fuse_untraceable() -> None:
    networks = [Branches().eval() for _ in range(2)]
    for made in networks:
        made.input_shape = (3, 32, 32)
    fuse(networks, [made.state_dict() for made in networks], method="optimal_transport", seed=1)


def train_too_fast() -> None:
    images = cases.digits()
    train(
        initialised(torch.Generator().manual_seed(1), 10, model_type="VGG11_NOBIAS_NOBN", width=0.125),
        images["train"],
        images["validation"],
        order=torch.Generator().manual_seed(1),
        **cases.training_options(learning_rate=1.0e6, clip_norm=None),
    )


def job(**resources: Any) -> Job:
    logging.getLogger("fusionscope").setLevel(logging.CRITICAL)
    return Job(SimpleNamespace(log=["job.log"], resources=SimpleNamespace(**resources)))


def compute_on_a_gpu() -> None:
    if torch.cuda.is_available():
        raise InputError("config: device: 'cuda' was asked for and PyTorch finds no GPU; set auto or cpu")
    compute.device(job(device="cuda", gpu=1))


def take_images_of_one_pixel() -> None:
    build(10, model_type="VGG11", input_size=1)


def of_the_machine(deed: Callable[[], object]) -> str:
    """What a job says whose deed the machine refuses; how much room is left may vary."""
    try:
        deed()
    except Exception as error:
        said = failures.sentence_of(error, "results/tiny/seed1/parent_1/hessian.csv")
    assert said is not None
    return re.sub(r"\([\d.]+ MB left\)", "(0.0 MB left)", said).replace("/sys", "/read_only")


def kill_a_job() -> str:
    """What a run says at its end when a job was killed."""
    workflow = Workflow.fresh(Path("study").absolute(), tiny_settings(seeds=1))
    run = workflow.start("--cores", "1", "--retries", "0", "--until", "train")
    os.kill(wait_for(lambda: job_in(workflow.folder, "train"), 120), signal.SIGKILL)
    printed = "".join(run.communicate())
    return next(line for line in printed.splitlines() if line.startswith("a job was killed"))


MISTAKES = [
    Mistake(
        "A key of the configuration is misspelt",
        lambda: plan(seedz=3),
        "Write it as suggested; docs/reference/config.md has all keys.",
    ),
    Mistake(
        "A number is written as YAML does not know it",
        lambda: with_training(learning_rate="5e-2"),
        "YAML 1.1 wants a dot and a sign in the exponent: `5.0e-2`.",
    ),
    Mistake(
        "A number is outside of what makes sense",
        lambda: with_training(epochs=0),
        "docs/reference/config.md has every key's range.",
    ),
    Mistake(
        "A configuration is indented with tabs",
        lambda: read("run:\n\t- digits_vgg11\n"),
        "Indent with spaces. Files given by `--configfile` are read by Snakemake first: it says that the "
        "file is not valid YAML, without the line.",
    ),
    Mistake(
        "A key is given twice",
        lambda: read("device: cpu\nrun: [digits_vgg11]\ndevice: cuda\n"),
        "Keep one of the two.",
    ),
    Mistake("An experiment is not defined", run_unknown, "`run` names entries under `experiments`."),
    Mistake(
        "A recipe is not defined",
        lambda: plan(training="papper"),
        "`training` of an experiment names an entry.",
    ),
    Mistake(
        "A fusion has an option that it does not know",
        lambda: with_fusion("mine", {"method": "optimal_transport", "align_to": "activations"}),
        "docs/fusion.md and the reference list the options of each method.",
    ),
    Mistake(
        "A fusion's method is not known",
        lambda: with_fusion("mine", {"method": "transport"}),
        "Take one of those, or name a class of your own, `module:Class` (docs/adding_a_fusion.md).",
    ),
    Mistake(
        "Two names differ in case only",
        two_in_one_file,
        "Rename one of them, even where your own disk tells them apart.",
    ),
    Mistake(
        "An architecture is not one of torchvision's",
        lambda: with_architecture("torchvision:resnet5"),
        "`python -c 'from torchvision import models; print(models.list_models(module=models))'` lists them.",
    ),
    Mistake(
        "A network of one's own is not found",
        lambda: with_architecture("my_networks:make"),
        "Modules are looked for in the folder that you start `snakemake` in, then among installed packages.",
    ),
    Mistake(
        "An image is too small for the network",
        take_images_of_one_pixel,
        "Set `input_size` for the experiment.",
    ),
    Mistake(
        "Provided weights are missing",
        lambda: plan(weights="provided", seeds=1),
        "experiments/README.md says which file goes where.",
    ),
    Mistake(
        "Weights are of another width",
        lambda: load(network(width=0.25).state_dict()),
        "Set `width` to what the weights were trained with.",
    ),
    Mistake(
        "Weights are of a data set with other classes",
        lambda: load(network(num_classes=100).state_dict()),
        "Set `dataset` to the one that they were trained on.",
    ),
    Mistake(
        "Weights are not finite", lambda: load(not_finite()), "Their training diverged: train them again."
    ),
    Mistake(
        "A file of weights is truncated",
        load_truncated,
        "Copy or download it again. One that the workflow made may be deleted: it is made anew.",
    ),
    Mistake(
        "An image folder lacks train/ or test/",
        without_a_test_folder,
        "The folder holds train/ and test/, these one folder per class, alike in both.",
    ),
    Mistake(
        "An image folder has images, but no folders of classes",
        with_one_class,
        "Each class has a folder of its own, in train/ and in test/.",
    ),
    Mistake(
        "A file in an image folder is no image",
        with_a_file_that_is_no_image,
        "Delete it, or save it again as one.",
    ),
    Mistake(
        "A training diverges",
        train_too_fast,
        "docs/training.md compares recipes; `training: robust` trains all networks of the study.",
    ),
    Mistake(
        "A network is not traceable",
        fuse_untraceable,
        "Alignment needs the graph of the network: write it without `if` on values, or fuse it by "
        "`method: average`.",
    ),
    Mistake(
        "A GPU is asked for where there is none",
        compute_on_a_gpu,
        "`device: auto` takes a GPU if there is one. Else PyTorch's build or the driver is the reason: "
        "`python -c 'import torch; print(torch.version.cuda)'`.",
    ),
    Mistake(
        "A disk is full",
        lambda: of_the_machine(lambda: Path("/dev/full").write_text("a result")),
        "Make room on the disk that is named, and give the same command again.",
    ),
    Mistake(
        "A folder cannot be written",
        lambda: of_the_machine(lambda: Path("/sys/hessian.csv").write_text("a result")),
        "The folders that a run will write to are looked at before its first job; `-d` names another.",
    ),
    Mistake(
        "Memory runs out",
        lambda: of_the_machine(lambda: torch.empty(2**50, dtype=torch.uint8)),
        "`--resources mem_mb=` tells Snakemake how much there is, and it starts fewer jobs at once. A GPU's "
        "memory is another: jobs that run out of it are tried again with half the images at once.",
    ),
]


def run_twice() -> str:
    """A second run while a first one works; what Snakemake says."""
    mine = tiny_settings(seeds=1)
    mine["training"]["tiny"]["epochs"] = 1000
    workflow = Workflow.fresh(Path("study").absolute(), mine)
    first = workflow.start("--cores", "1", "--until", "train")
    try:
        wait_for(lambda: job_in(workflow.folder, "train"), 120)
        printed = workflow.refused("--until", "train")
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        wait_for(lambda: not list(processes_in(workflow.folder)), 60)
    said = re.search(r"Error: (Directory cannot be locked.*?argument\.)", printed, re.DOTALL)
    return said[1].replace(str(workflow.folder), "/home/me/study") if said else printed


def last_words(*arguments: str) -> str:
    """The last line that Snakemake says of itself, before it names its profile."""
    printed = Workflow.fresh(Path("study").absolute(), tiny_settings()).refused("-n", *arguments)
    lines = [line for line in printed.splitlines() if line.strip() and "profile" not in line]
    return lines[-1].replace(str(Path("study").absolute()), "/home/me/study")


# What takes a real run to be seen.
RUN_MISTAKES = [
    Mistake(
        "A job is killed",
        kill_a_job,
        "Mostly the system did it: `dmesg` tells of `oom-kill`. On a cluster the scheduler says so itself "
        "(`OUT_OF_MEMORY`), and the job is tried again with more.",
    ),
    Mistake(
        "A target follows --configfile",
        lambda: last_words("--configfile", "mine.yaml", "results/tiny/results.csv"),
        "Snakemake takes what follows for further configurations, and shows a traceback that ends so; "
        "likewise where a configuration is not there. Name targets first, or after another option.",
    ),
    Mistake(
        "A target is none of the run's files",
        lambda: last_words("results/mine/results.csv"),
        "Add its experiment to `run`, or correct the path; `snakemake -n --quiet rules` tells what is made.",
    ),
    Mistake(
        "Two runs work in one folder",
        run_twice,
        "Wait for the first one, or start the second in a clone of its own. The lock of a run that was "
        "killed is removed by the next run, so `--unlock` is not needed; where Snakemake asks for it, a job "
        "of the killed run still lives (`ps` shows it).",
    ),
]


@contextlib.contextmanager
def empty_folder() -> Iterator[None]:
    """An empty folder to work in, for a while."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def sentence(mistake: Mistake) -> str:
    """What is seen when a mistake is made; the folder that it is made in is called so in it."""
    with empty_folder():
        try:
            printed = mistake.make()
        except InputError as error:
            printed = str(error)
        if isinstance(printed, str):
            printed = re.sub(r"support/mistakes\.py:\d+", "my_package/nets.py:12", printed)
            return printed.replace(os.getcwd(), "/home/me/study")
    raise AssertionError(f"{mistake.what}: nothing was said")


def section(mistake: Mistake) -> str:
    return f"## {mistake.what}\n\n```text\n{sentence(mistake)}\n```\n\n{mistake.advice}\n"


def page() -> str:
    return "\n".join([INTRODUCTION, *map(section, MISTAKES + RUN_MISTAKES)])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
