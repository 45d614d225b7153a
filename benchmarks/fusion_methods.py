"""Every fusion method on one problem: test accuracy of the child and the barrier between its parents.

VGG11 with batch norm at a quarter of its width, Fashion-MNIST, 12,800 training images, 4 epochs, two seeds.
Run: python benchmarks/fusion_methods.py --data-dir DIR [--output docs/fusion_methods.md]
where DIR holds FashionMNIST/raw/ (torchvision's layout), or it is downloaded there.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.evaluation import accuracy, predict  # noqa: E402
from fusionscope.fusion.fuse import fuse  # noqa: E402
from fusionscope.fusion.repair import repaired_mean  # noqa: E402
from fusionscope.images import load_images  # noqa: E402
from fusionscope.measures.connectivity.paths import highest, line, measure_path, repaired_line  # noqa: E402
from fusionscope.measures.prediction.prediction import ensemble_accuracy  # noqa: E402
from fusionscope.networks.build import build, initialised  # noqa: E402
from fusionscope.seeding import generator, seed_for  # noqa: E402
from fusionscope.training.preparation import prepare  # noqa: E402
from fusionscope.training.train import train  # noqa: E402
from fusionscope.weights import set_weights  # noqa: E402

SEEDS = (1, 2)
NETWORK = {"model_type": "VGG11", "width": 0.25}
TRAIN_IMAGES, FUSION_IMAGES, PATH_IMAGES, POINTS = 12_800, 512, 2_000, 11
RECIPE = {
    "epochs": 4,
    "batch_size": 64,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": None,
    "schedule": {"kind": "one_cycle"},
    "augmentation": "none",
}
FINETUNING = RECIPE | {"epochs": 1, "learning_rate": 0.01, "schedule": {"kind": "constant"}}
TRANSPORT = {"method": "optimal_transport", "solver": "exact"}
METHODS = {
    "naive": {"method": "average"},
    "optimal transport, weights": TRANSPORT | {"align_by": "weights"},
    "optimal transport, weights, both sides": TRANSPORT | {"align_by": "weights", "sides": "both"},
    "weight matching": {"method": "weight_matching"},
    "optimal transport, activations (post, correlation)": TRANSPORT | {"align_by": "activations"},
    "optimal transport, activations (pre, Euclidean)": TRANSPORT
    | {"align_by": "activations", "activations": "pre", "ground_metric": "euclidean"},
}


class Bench:
    """Images and what is done with them, for one seed."""

    def __init__(self, data: Path, seed: int):
        self.seed = seed
        self.train = load_images(data, "train").sample(TRAIN_IMAGES, generator("bench", "train images"))
        self.validation = load_images(data, "validation").sample(2_000, generator("bench", "validation"))
        self.test = load_images(data, "test")
        self.sample = self.train.sample(FUSION_IMAGES, generator("bench", "fusion images"))
        self.path_images = self.test.sample(PATH_IMAGES, generator("bench", "path images"))
        self.network = build(10, **NETWORK)

    def parent(self, number: int) -> dict:
        role = ("bench", self.seed, f"parent_{number}")
        network = initialised(generator(*role, "initial weights"), 10, **NETWORK)
        order = generator(*role, "order")
        return train(network, self.train, self.validation, order=order, **RECIPE).best_weights

    def logits(self, weights: dict) -> torch.Tensor:
        set_weights(self.network, weights)
        return predict(self.network, self.test, 500)

    def accuracy(self, weights: dict) -> float:
        return accuracy(self.logits(weights), self.test.labels)

    def one_more_epoch(self, weights: dict, name: str) -> float:
        set_weights(self.network, weights)
        order = generator("bench", self.seed, name, "finetuning order")
        trained = train(self.network, self.train, self.validation, order=order, **FINETUNING)
        return self.accuracy(trained.best_weights)

    def barriers(self, point) -> dict:
        path = measure_path(self.network, point, self.path_images, points=POINTS, batch_size=500)
        return {name: number.value for name, number in highest([path]).items()}


def run_seed(data: Path, seed: int) -> dict[str, dict[str, float]]:
    """Row -> column -> number, for one seed."""
    bench = Bench(data, seed)
    parents = [bench.parent(number) for number in (1, 2)]
    rows = {f"parent {number}": {"accuracy": bench.accuracy(w)} for number, w in enumerate(parents, 1)}
    ensemble = ensemble_accuracy([bench.logits(w) for w in parents], bench.test.labels)
    children = {}
    for name, definition in METHODS.items():
        fusion = fuse([bench.network] * 2, parents, images=bench.sample, seed=seed_for(seed), **definition)
        rows[name] = {"accuracy": bench.accuracy(fusion.child)} | bench.barriers(line(*fusion.aligned))
        child = repaired_mean(bench.network, fusion.aligned, fusion.shares, bench.sample)
        children[name] = child
        point = repaired_line(bench.network, bench.sample, *fusion.aligned)
        rows[f"{name} + REPAIR"] = {"accuracy": bench.accuracy(child)} | bench.barriers(point)
        print(seed, name, rows[name], rows[f"{name} + REPAIR"], file=sys.stderr, flush=True)
    rows["ensemble of the parents"] = {"accuracy": ensemble.value}
    best = max(children, key=lambda name: rows[f"{name} + REPAIR"]["accuracy"])
    rows["best child after one epoch of fine-tuning"] = {
        "accuracy": bench.one_more_epoch(children[best], "child")
    }
    rows["parent 1 after the same epoch"] = {"accuracy": bench.one_more_epoch(parents[0], "parent")}
    return rows


COLUMNS = {
    "accuracy": "test accuracy",
    "accuracy_barrier": "accuracy barrier",
    "loss_barrier": "loss barrier",
}


def table(results: dict[int, dict[str, dict[str, float]]]) -> str:
    keys = [(column, seed) for column in COLUMNS for seed in results]
    names = dict.fromkeys(name for rows in results.values() for name in rows)
    lines = [["network", *(f"{COLUMNS[column]}, seed {seed}" for column, seed in keys)]]
    lines.append(["---"] + ["---:"] * len(keys))
    lines += [[name, *(cell(results[seed][name], column) for column, seed in keys)] for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(row: dict[str, float], column: str) -> str:
    if column not in row:
        return ""
    return f"{row[column]:.2f}" if column == "loss_barrier" else f"{100 * row[column]:.1f} %"


HEAD = f"""# Fusion methods compared

VGG11 with batch norm, quarter width, Fashion-MNIST: {TRAIN_IMAGES:,} images, {RECIPE["epochs"]} epochs,
parents that differ in their random seed. Children are means of aligned parents, nothing trained; REPAIR and
activations use {FUSION_IMAGES:,} training images. Accuracy on all 10,000 test images; barriers (as in REPAIR:
the largest excess over the line between the ends) on {PATH_IMAGES:,} of them, {POINTS} points.

Made by `python benchmarks/fusion_methods.py --data-dir DIR --output docs/fusion_methods.md`.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "fashion_mnist.npz"
        np.savez(data, **prepare("fashion_mnist", arguments.data_dir))
        page = HEAD + table({seed: run_seed(data, seed) for seed in SEEDS}) + "\n"
    print(page)
    if arguments.output:
        arguments.output.write_text(page)


if __name__ == "__main__":
    main()
