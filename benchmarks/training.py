"""Training recipes against networks: test accuracies of every model type, the worst of several seeds.

    python benchmarks/training.py [--recipes robust paper] [--data digits fashion_mnist] [--full-width]
        [--config config.yaml] [--data-dir DIR] [--processes 2]

The recipes are those of `training` in the given configuration. Digits are taken whole, of Fashion-MNIST 2,000
training, 500 validation and 2,000 test images; accuracies are of the epoch with the smallest validation loss.
Networks have the widths of the default run, or are as published. DIR holds FashionMNIST/raw/ (torchvision's
layout), or it is downloaded there.
"""

import argparse
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.errors import InputError  # noqa: E402
from fusionscope.evaluation import accuracy, predict  # noqa: E402
from fusionscope.images import load_images  # noqa: E402
from fusionscope.networks.build import initialised  # noqa: E402
from fusionscope.networks.model_types import MODEL_TYPES  # noqa: E402
from fusionscope.options import check  # noqa: E402
from fusionscope.seeding import generator  # noqa: E402
from fusionscope.training.preparation import prepare  # noqa: E402
from fusionscope.training.recipes import TrainingRecipe  # noqa: E402
from fusionscope.training.train import train  # noqa: E402
from fusionscope.weights import set_weights  # noqa: E402

SEEDS = (1, 2, 3)
DATA_SETS = ("digits", "fashion_mnist")
WIDTHS = {"VGG11": 0.125, "RESNET18": 0.0625, "MLP": 64}  # those of the default run, and of digits_mlp
MOST_IMAGES = {"train": 2_000, "validation": 500, "test": 2_000}
DIVERGED = float("nan")


@dataclass(frozen=True)
class Job:
    """One training."""

    file: Path  # the prepared data
    data_set: str
    recipe_name: str
    recipe: dict[str, Any]
    model_type: str
    width: float | None  # None: the usual one
    seed: int


@dataclass(frozen=True)
class Result:
    """What a training came to; `accuracy` is DIVERGED where it did."""

    job: Job
    accuracy: float
    seconds: float


def run(job: Job) -> Result:
    """Train and test the network of `job`: on the GPU if there is one, else on one thread."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    role = ("training", job.data_set, job.model_type, job.seed)
    images = {
        split: load_images(job.file, split)
        .sample(most, generator("training", job.data_set, split))
        .to(device)
        for split, most in MOST_IMAGES.items()
    }
    recipe = dict(job.recipe)
    network = initialised(
        generator(*role, "initial weights"),
        images["train"].num_classes,
        initialisation=recipe.pop("initialisation"),
        model_type=job.model_type,
        width=job.width,
    ).to(device)
    started = time.perf_counter()
    try:
        order = generator(*role, "order")
        trained = train(network, images["train"], images["validation"], order=order, **recipe)
    except InputError as error:
        print(job, error, file=sys.stderr)
        return Result(job, DIVERGED, time.perf_counter() - started)
    seconds = time.perf_counter() - started
    set_weights(network, trained.best_weights)
    logits = predict(network, images["test"], 500)
    return Result(job, accuracy(logits, images["test"].labels), seconds)


def table(results: list[Result]) -> str:
    """By network and recipe: the worst accuracy over the seeds and, in brackets, the median, in percent."""
    recipes = list(dict.fromkeys(result.job.recipe_name for result in results))
    lines = [["network", *recipes], ["---", *["---:"] * len(recipes)]]
    for model_type in MODEL_TYPES:
        own = [result for result in results if result.job.model_type == model_type]
        lines.append([f"`{model_type}`", *(cell(of_recipe(own, name)) for name in recipes)])
    times = [[result.seconds for result in of_recipe(results, name)] for name in recipes]
    lines.append(["seconds of a training", *(f"{statistics.median(seconds):.0f}" for seconds in times)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_recipe(results: list[Result], name: str) -> list[Result]:
    return [result for result in results if result.job.recipe_name == name]


def cell(results: list[Result]) -> str:
    found = [result.accuracy for result in results]
    diverged = sum(map(math.isnan, found))
    if diverged:
        return f"{diverged} of {len(found)} diverged"
    return f"{100 * min(found):.1f} ({100 * statistics.median(found):.1f})"


def width(model_type: str, full: bool) -> float | None:
    return None if full else WIDTHS[model_type.split("_")[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["robust", "paper"])
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=DATA_SETS)
    parser.add_argument("--full-width", action="store_true")
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    given = yaml.safe_load(arguments.config.read_text())["training"]
    recipes = {name: check(TrainingRecipe, given[name], name).model_dump() for name in arguments.recipes}
    processes = ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder, processes as pool:
        for data_set in arguments.data:
            file = Path(folder) / f"{data_set}.npz"
            np.savez(file, **prepare(data_set, arguments.data_dir))
            jobs = [
                Job(file, data_set, name, recipe, model_type, width(model_type, arguments.full_width), seed)
                for name, recipe in recipes.items()
                for model_type in MODEL_TYPES
                for seed in SEEDS
            ]
            results = []
            for result in pool.map(run, jobs):
                results.append(result)
                job = result.job
                numbers = f"{result.accuracy:.4f}, {result.seconds:.1f} s"
                print(
                    data_set, job.recipe_name, job.model_type, job.seed, numbers, file=sys.stderr, flush=True
                )
            print(f"{data_set}\n\n{table(results)}\n", flush=True)


if __name__ == "__main__":
    main()
