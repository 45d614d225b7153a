"""What the accuracy of REPAIR's children depends on: variants of the match and of REPAIR, on trained parents.

    python benchmarks/repair_variants.py repair_mlp_64 [...] [--folder .]

Reads the parents and the data that `snakemake --configfile docs/studies/repair_mlp.yaml` left in FOLDER, and
prints a table of test accuracies: median and range over seeds.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.evaluation import accuracy, predict  # noqa: E402
from fusionscope.fusion.fuse import fuse  # noqa: E402
from fusionscope.fusion.repair import goals_of, repaired_mean  # noqa: E402
from fusionscope.images import Images, flip_and_crop, load_images  # noqa: E402
from fusionscope.networks.build import build  # noqa: E402
from fusionscope.seeding import generator  # noqa: E402
from fusionscope.weights import Weights, combine, load_weights, set_weights  # noqa: E402

STUDY = yaml.safe_load((ROOT / "docs/studies/repair_mlp.yaml").read_text())["experiments"]
SIZE = 28
FEW = 512  # images, as fusions take unless told otherwise
BATCH = 512
EQUAL = (0.5, 0.5)
MOVED = "moved as in training"
UNPERMUTED = "statistics of parent 1 before its permutation + REPAIR"
TRANSPORT = {"method": "optimal_transport", "align_by": "activations"}
MATCHES = {
    "correlation, after the ReLU": {},
    "correlation, before the ReLU": {"activations": "pre"},
    "Euclidean, after the ReLU": {"ground_metric": "euclidean"},
}


class Pair:
    """The two parents of a seed, and the accuracies of their children."""

    def __init__(self, folder: Path, experiment: str, seed: int):
        options = STUDY[experiment]
        shape = {key: options[key] for key in ("model_type", "depth", "width", "input_size", "channels")}
        self.network = build(10, **shape)
        place = folder / "experiments" / experiment / f"{experiment}_seed{seed}"
        self.parents = [load_weights(place / f"parent_{number}.pth", self.network) for number in (1, 2)]

    def aligned(self, images: Images, **options: str) -> Sequence[Weights]:
        """Parent 1 permuted to parent 2, and parent 2."""
        networks = [self.network, self.network]
        return fuse(networks, self.parents, images=images, seed=1, **TRANSPORT | options).aligned

    def accuracies(self, train: Images, test: Images) -> dict[str, float]:
        """Test accuracies in per cent of the children by the name of the variant."""
        children = {"averaged + REPAIR": repaired_mean(self.network, self.parents, EQUAL, train)}
        for name, options in MATCHES.items():
            aligned = self.aligned(train, **options)
            children |= self.permuted(name, aligned, train)
        for name, images in {MOVED: moved(train), f"{FEW} images": few(train)}.items():
            children |= self.permuted(name, self.aligned(images), images)
        for name, images in {UNPERMUTED: train, f"{MOVED}, {UNPERMUTED}": moved(train)}.items():
            children[name] = self.repaired_to_unpermuted(images)
        return {name: self.accuracy(child, test) for name, child in children.items()}

    def permuted(self, name: str, aligned: Sequence[Weights], images: Images) -> dict[str, Weights]:
        """The mean of aligned parents without REPAIR and with it."""
        return {
            name: combine(aligned, EQUAL),
            f"{name} + REPAIR": repaired_mean(self.network, aligned, EQUAL, images),
        }

    def repaired_to_unpermuted(self, images: Images) -> Weights:
        """REPAIR with the statistics of parent 1 before its permutation, as in the published notebook."""
        aligned = self.aligned(images)
        goals = goals_of(self.network, [self.parents[0], aligned[1]], images)
        return repaired_mean(self.network, aligned, EQUAL, images, goals)

    def accuracy(self, weights: Weights, test: Images) -> float:
        set_weights(self.network, weights)
        return 100 * accuracy(predict(self.network, test, BATCH), test.labels)


def moved(images: Images) -> Images:
    """Each image mirrored or not, and shifted over black."""
    return replace(images, pixels=flip_and_crop(images.pixels, generator("repair variants", "moved")))


def few(images: Images) -> Images:
    return images.sample(FEW, generator("repair variants", "few"))


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: a line for each variant, a column for each experiment."""
    lines = [["variant", *found], ["---", *["---:"] * len(found)]]
    lines += [
        [variant, *(cell([seed[variant] for seed in seeds]) for seeds in found.values())]
        for variant in next(iter(found.values()))[0]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=STUDY)
    parser.add_argument("--folder", type=Path, default=ROOT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (
        load_images(arguments.folder / "data/fashion_mnist_28x28.npz", split, SIZE, 1)
        for split in ("train", "test")
    )
    found = {
        experiment: [
            Pair(arguments.folder, experiment, seed).accuracies(train, test)
            for seed in range(1, STUDY[experiment]["seeds"] + 1)
        ]
        for experiment in arguments.experiments
    }
    print(table(found))


if __name__ == "__main__":
    main()
