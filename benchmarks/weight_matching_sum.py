"""Why the sum that weight matching maximises says little about the child: what that sum is made of.

    python benchmarks/weight_matching_sum.py [--folder .] [--width 128]

Reads the parents and the data that docs/studies/what_predicts.yaml left in FOLDER. Parents are their initial
weights plus what training changed, so the sum over aligned weights has a part of each. For each recipe of
that study and each match: the sum, what the initial weights and what the changes have in it, and the child's
test accuracy in per cent; medians over seeds. Two matches go through the layers once, from the first to the
last, and match the weights that a neuron reads with: by their inner product w v, or by w C v with the second
moments C of what they read, which is the mean product of the two neurons' inputs to the ReLU.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.alignment.move import Map, make_map, move  # noqa: E402
from fusionscope.evaluation import accuracy, predict  # noqa: E402
from fusionscope.fusion.fuse import fuse  # noqa: E402
from fusionscope.fusion.pair import Pair, permutation_map  # noqa: E402
from fusionscope.fusion.transport import assignment  # noqa: E402
from fusionscope.images import Images, load_images  # noqa: E402
from fusionscope.networks.build import build  # noqa: E402
from fusionscope.seeding import generator  # noqa: E402
from fusionscope.weights import Weights, combine, load_weights, set_weights  # noqa: E402

STUDY = yaml.safe_load((ROOT / "docs/studies/what_predicts.yaml").read_text())["experiments"]["what_predicts"]
SIZE, BATCH = 28, 512
IMAGES = 512  # that activations are matched on, as fusions do unless told otherwise
MATCHES = {
    "weight matching": {"method": "weight_matching"},
    "weights": {"method": "optimal_transport"},
    "activations": {"method": "optimal_transport", "align_by": "activations"},
}
OF_CHANGES = "weight matching of the changes"
PLAIN, BY_MOMENTS = "layer by layer", "layer by layer, with the moments of what is read"
COLUMNS = ("sum", "initial weights", "changes", "child")


class Parents:
    """The two parents of a seed: their weights, and the parts that these are the sum of."""

    def __init__(self, folder: Path, setting: str, width: int, seed: int):
        self.network = build(
            10, model_type="MLP", depth=STUDY["depth"], width=width, input_size=SIZE, channels=1
        )
        place = folder / "experiments" / setting / f"{setting}_seed{seed}"
        self.weights = [load_weights(place / f"parent_{number}.pth", self.network) for number in (1, 2)]
        self.initial = [
            load_weights(place / f"parent_{number}_initial_weights.pth", self.network) for number in (1, 2)
        ]
        self.changes = [minus(*both) for both in zip(self.weights, self.initial, strict=True)]
        self.groups = Pair(self.network, self.network, self.weights[0], self.weights[1]).groups_a

    def maps(self, parents: Sequence[Weights], images: Images, **options: Any) -> list[Map]:
        """How a fusion moves the neurons of the first of `parents`."""
        fusion = fuse([self.network] * 2, parents, images=images, seed=1, **options)
        [couplings] = filter(None, fusion.couplings)
        return list(map(make_map, couplings))

    def matches(self, images: Images) -> dict[str, list[Map]]:
        found = {"none": [permutation_map(torch.arange(group.size)) for group in self.groups.groups]}
        found |= {name: self.maps(self.weights, images, **options) for name, options in MATCHES.items()}
        found[OF_CHANGES] = self.maps(self.changes, images, **MATCHES["weight matching"])
        moments = self.moments(images)
        found[PLAIN] = self.by_layer(
            {name: torch.eye(len(moment)).double() for name, moment in moments.items()}
        )
        return found | {BY_MOMENTS: self.by_layer(moments)}

    def by_layer(self, moments: Mapping[str, Tensor]) -> list[Map]:
        """Each hidden layer matched once, its inputs as the layer before was matched."""
        maps: list[Map] = []
        for name, moment in moments.items():
            one, other = (weights[f"{name}.weight"].double() for weights in self.weights)
            one = one[:, maps[-1].permutation] if maps else one
            maps.append(permutation_map(assignment(-(other @ moment @ one.T))))
        return maps

    def moments(self, images: Images) -> dict[str, Tensor]:
        """E[x x^T] of what each hidden layer of the second parent reads, by its name, from first to last."""
        set_weights(self.network, self.weights[1])
        read: dict[str, Tensor] = {}

        def keep(name: str, given: Tensor) -> None:
            read[name] = given.double().T @ given.double() / len(given)

        hooks = [
            layer.register_forward_pre_hook(lambda _, given, name=name: keep(f"hidden.{name}", given[0]))
            for name, layer in self.network.get_submodule("hidden").named_children()
            if isinstance(layer, nn.Linear)
        ]
        predict(self.network, images, len(images.labels))
        for hook in hooks:
            hook.remove()
        return read

    def moved(self, weights: Weights, maps: Sequence[Map]) -> Weights:
        return move(weights, self.groups, self.groups, maps, like=weights)

    def row(self, maps: Sequence[Map], test: Images) -> tuple[float, ...]:
        """What COLUMNS say of one match."""
        sums = [
            inner(self.moved(one, maps), other) for one, other in (self.weights, self.initial, self.changes)
        ]
        child = combine([self.moved(self.weights[0], maps), self.weights[1]], (0.5, 0.5))
        return *sums, self.accuracy(child, test)

    def untrained(self, images: Images) -> float:
        """The largest sum that weight matching finds between the initial weights alone."""
        maps = self.maps(self.initial, images, **MATCHES["weight matching"])
        return inner(self.moved(self.initial[0], maps), self.initial[1])

    def accuracy(self, weights: Weights, test: Images) -> float:
        set_weights(self.network, weights)
        return 100 * accuracy(predict(self.network, test, BATCH), test.labels)


def minus(one: Weights, other: Weights) -> Weights:
    return {name: tensor - other[name] for name, tensor in one.items()}


def inner(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The sum over all parameters of their products."""
    return sum((tensor.double() * other[name].double()).sum().item() for name, tensor in one.items())


def recipes() -> list[tuple[float, float]]:
    """Weight decay and learning rate of each setting of the study, at one width."""
    axes = STUDY["sweep"]
    return list(product(axes["training.weight_decay"], axes["training.learning_rate"]))


def setting_of(width: int, weight_decay: float, learning_rate: float) -> str:
    """Its name, as fusionscope writes it."""
    return f"what_predicts.width~{width}_weight_decay~{weight_decay:g}_learning_rate~{learning_rate:g}"


def table(folder: Path, width: int, train: Images, test: Images) -> str:
    """Markdown: a line for each recipe and match; medians over seeds."""
    lines = [
        ["weight decay", "learning rate", "match", *COLUMNS],
        ["---:", "---:", "---", *["---:"] * len(COLUMNS)],
    ]
    for decay, rate in recipes():
        setting = setting_of(width, decay, rate)
        seeds = [Parents(folder, setting, width, seed) for seed in range(1, STUDY["seeds"] + 1)]
        rows = [
            {name: parents.row(maps, test) for name, maps in parents.matches(train).items()}
            for parents in seeds
        ]
        for name in rows[0]:
            medians = [statistics.median(values) for values in zip(*(row[name] for row in rows), strict=True)]
            lines.append([f"{decay:g}", f"{rate:g}", name, *(f"{median:.1f}" for median in medians)])
        untrained = statistics.median(parents.untrained(train) for parents in seeds)
        lines.append(
            [f"{decay:g}", f"{rate:g}", "weight matching, untrained", *[f"{untrained:.1f}"] * 2, "", ""]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT)
    parser.add_argument("--width", type=int, default=max(STUDY["sweep"]["width"]))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (
        load_images(arguments.folder / "data/fashion_mnist_28x28.npz", split, SIZE, 1)
        for split in ("train", "test")
    )
    few = train.sample(IMAGES, generator("weight matching sum", "images"))
    print(table(arguments.folder, arguments.width, few, test))


if __name__ == "__main__":
    main()
