"""How much noise a permuted copy may carry until the methods no longer find the permutation.

    python benchmarks/recovery.py [--output docs/recovery.md]

A network is trained on digits. Its copy has the neurons of every group in another random order, and normal
noise on every learned parameter, in units of that parameter's own standard deviation. Printed is the share
of neurons that a method matches right; by chance it would be one over the size of a group.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.alignment.groups import (
    alignment_groups,
)
from fusionscope.alignment.move import (
    move,
)
from fusionscope.fusion.pair import Pair, permutation_map
from fusionscope.fusion.steps import match_neurons
from fusionscope.images import Images
from fusionscope.networks.build import build
from fusionscope.networks.initialise import initialise
from fusionscope.seeding import generator
from fusionscope.training.preparation import prepare
from fusionscope.training.train import train
from fusionscope.weights import Weights

NOISE = (0.0, 0.01, 0.1, 0.3, 1.0, 3.0)
MODEL_TYPES = ("VGG11", "RESNET18")
WIDTH = 0.125
EPOCHS = 3
IMAGES = 256  # for matching by activations
BY_WEIGHTS = {"method": "optimal_transport", "align_by": "weights", "solver": "exact"}
BY_ACTIVATIONS = {"method": "optimal_transport", "align_by": "activations", "solver": "exact"}
METHODS = {
    "transport, weights": BY_WEIGHTS,
    "transport, weights, cosine": BY_WEIGHTS | {"ground_metric": "cosine"},
    "transport, weights, both sides": BY_WEIGHTS | {"sides": "both"},
    "transport, weights, mass by importance": BY_WEIGHTS | {"mass": "importance"},
    "transport, weights, Sinkhorn 0.05": BY_WEIGHTS | {"solver": "sinkhorn", "reg": 0.05},
    "transport, activations (post)": BY_ACTIVATIONS,
    "transport, activations (pre)": BY_ACTIVATIONS | {"activations": "pre"},
    "transport, activations, Euclidean": BY_ACTIVATIONS | {"ground_metric": "euclidean"},
    "transport, activations, Sinkhorn 0.01": BY_ACTIVATIONS | {"solver": "sinkhorn", "reg": 0.01},
    "weight matching": {"method": "weight_matching"},
}


def share_recovered(
    network: nn.Module, weights: Weights, noise: float, *, images: Images, seed: int, **options: object
) -> float:
    """The share of neurons that are matched right between `weights` and their noisy, permuted copy."""
    groups = alignment_groups(network)
    random = generator("recovery", seed)
    orders = [torch.randperm(group.size, generator=random) for group in groups.groups]
    copy = move(weights, groups, groups, [permutation_map(order) for order in orders], like=weights)
    for name in dict(network.named_parameters()):
        drawn = torch.randn(copy[name].shape, generator=random, dtype=copy[name].dtype)
        copy[name] = copy[name] + noise * copy[name].std(correction=0) * drawn
    pair = Pair(network, network, weights, copy)
    match = match_neurons(images=images, pair=pair, seed=seed, **options)
    right = sum(
        int((coupling.argmax(0) == order).sum())
        for coupling, order in zip(match.couplings, orders, strict=True)
    )
    return right / sum(group.size for group in groups.groups)


def digits() -> dict[str, Images]:
    arrays = prepare("digits", "unused")
    return {
        split: Images(
            pixels=torch.from_numpy(arrays[f"{split}_pixels"]),
            labels=torch.from_numpy(arrays[f"{split}_labels"]).long(),
            mean=torch.from_numpy(arrays["mean"]),
            std=torch.from_numpy(arrays["std"]),
            num_classes=int(arrays["num_classes"]),
        )
        for split in ("train", "validation")
    }


def trained(model_type: str, images: dict[str, Images]) -> tuple[nn.Module, Weights]:
    network = build(10, model_type=model_type, width=WIDTH)
    initialise(network, generator("recovery", model_type))
    recipe = {
        "epochs": EPOCHS,
        "batch_size": 32,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "schedule": {"kind": "constant"},
        "augmentation": "none",
    }
    order = generator("recovery", model_type, "order")
    return network, train(network, images["train"], images["validation"], order=order, **recipe).best_weights


def report() -> str:
    images = digits()
    sample = images["train"].sample(IMAGES, generator("recovery images"))
    lines = [
        "# Recovery of a permuted copy",
        "",
        "`python benchmarks/recovery.py --output docs/recovery.md`",
        "",
        f"Networks of width {WIDTH}, with batch norm, {EPOCHS} epochs on digits; {IMAGES} of their images",
        "serve for activations. B is a copy of A: the neurons of every group in a random order, then normal",
        "noise on every learned parameter, in units of that parameter's standard deviation. The table has",
        "the share of neurons that a method matches right.",
    ]
    for model_type in MODEL_TYPES:
        network, weights = trained(model_type, images)
        lines += [
            "",
            f"## {model_type}",
            "",
            "| method | " + " | ".join(f"noise {n:g}" for n in NOISE) + " |",
        ]
        lines.append("| --- |" + " ---: |" * len(NOISE))
        for name, options in METHODS.items():
            shares = [share_recovered(network, weights, n, images=sample, seed=1, **options) for n in NOISE]
            lines.append(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="also write the tables there")
    output = parser.parse_args().output
    text = report()
    print(text, end="")
    if output:
        output.write_text(text)


if __name__ == "__main__":
    main()
