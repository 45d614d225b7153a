"""Debiased CKA against the published ratio: what each says of representations of which the truth is known.

    python benchmarks/similarity.py [--run FOLDER]

Prints a part of docs/measures.md. FOLDER: where the default run has ended, with its `experiments`, `results`
and `data`.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.images import Images, load_images
from fusionscope.measures.connectivity.family import (
    Family,
    load_family,
    measure_similarities,
    measure_variances,
)
from fusionscope.measures.connectivity.similarity import (
    add_products,
    cka,
    cka_by_group,
    gram_matrices,
    mean_similarity,
    u_centred,
)
from fusionscope.measures.connectivity.variance import mean_ratio
from fusionscope.networks.build import load_network
from fusionscope.seeding import generator

DRAWS = 400
IMAGES = 64
FEATURES = (16, 64, 256)
SHARED = 8  # dimensions of what two representations have in common
MANY = 20_000  # images that tell what CKA is in the limit
COUNTS = (16, 32, 64, 128, 359)
SAMPLES = 20
RUNS = {"digits_vgg11": ("VGG11_NOBIAS_NOBN", 0.125), "digits_resnet18": ("RESNET18_NOBIAS_NOBN", 0.0625)}
CHILDREN, SEEDS = ("naive_fused", "geometric_fused", "activations_repaired"), (1, 2, 3)


def published(x: Tensor, y: Tensor) -> float:
    """Kornblith et al. 2019, section 3, of representations (n, p) and (n, q)."""
    x, y = x - x.mean(0), y - y.mean(0)
    norm = torch.linalg.matrix_norm
    return (norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))).item()


def debiased(x: Tensor, y: Tensor) -> float:
    a, b = (centred_products(features) for features in (x, y))
    return cka(a, b).value or 0.0


def centred_products(x: Tensor) -> Tensor:
    gram = torch.zeros(len(x), len(x), dtype=torch.float64)
    add_products(gram, x)
    return u_centred(gram)


def representations(n: int, p: int, share: float, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two (n, p) of independent noise, and so much of what is the same in both."""
    common = torch.randn(n, SHARED, generator=stream, dtype=torch.float64)
    mixing = torch.Generator().manual_seed(p)  # the same for every draw
    return tuple(
        share * common @ torch.randn(SHARED, p, generator=mixing, dtype=torch.float64)
        + torch.randn(n, p, generator=stream, dtype=torch.float64)
        for _ in range(2)
    )


def simulation_rows() -> list[str]:
    lines = []
    for share in (0.0, 0.3):
        for p in FEATURES:
            stream = torch.Generator().manual_seed(0)
            truth = published(*representations(MANY, p, share, stream)) if share else 0.0
            pairs = [representations(IMAGES, p, share, stream) for _ in range(DRAWS)]
            biased, found = (np.array([how(*pair) for pair in pairs]) for how in (published, debiased))
            error = found.std(ddof=1) / math.sqrt(DRAWS)
            lines.append(
                f"| {'nothing' if not share else 'a part'} | {p} | {truth:.3f} | {biased.mean():.3f} "
                f"| {found.mean():.3f} ({error:.3f}) | {found.std(ddof=1):.3f} |"
            )
    return lines


def parents(run: Path, experiment: str) -> tuple[list[torch.nn.Module], Images]:
    """The two parents of seed 1, and the test images."""
    model_type, width = RUNS[experiment]
    folder = run / "experiments" / experiment / f"{experiment}_seed1"
    networks = [
        load_network(folder / f"parent_{number}.pth", 10, model_type=model_type, width=width)
        for number in (1, 2)
    ]
    return networks, load_images(run / "data" / "digits.npz", "test")


def mean_over_groups(networks: list[torch.nn.Module], one: Images, other: Images) -> float:
    grams = [
        gram_matrices(network, network.state_dict(), images, len(images))
        for network, images in zip(networks, (one, other), strict=True)
    ]
    return float(np.mean([number.value for number in cka_by_group(*grams).values()]))


def network_rows(run: Path) -> list[str]:
    lines = []
    for experiment in RUNS:
        networks, images = parents(run, experiment)
        for count in COUNTS:
            same, shuffled = [], []
            for number in range(SAMPLES if count < len(images) else 1):
                sample = images.sample(count, generator("similarity benchmark", number))
                again = sample.sample(count, generator("shuffled", number))
                same.append(mean_over_groups(networks, sample, sample))
                shuffled.append(mean_over_groups(networks, sample, again))
            spread = f"{np.std(same, ddof=1):.3f}" if len(same) > 1 else ""
            lines.append(
                f"| {experiment} | {len(sample)} | {np.mean(same):.3f} | {spread} "
                f"| {np.mean(shuffled):+.3f} |"
            )
    return lines


def family_of(folder: Path, child: str, spec: dict) -> Family:
    parents = ("parent_1", "parent_2")
    return load_family(
        folder / f"{child}.pth",
        folder / f"{child}_aligned.pth",
        [folder / f"{parent}.pth" for parent in parents],
        network=spec | {"biases": child.endswith("repaired")},
        parent_networks=dict.fromkeys(parents, spec),
        reference="parent_2",
        num_classes=10,
        device="cpu",
    )


def child_rows(run: Path) -> list[str]:
    """Means over seeds; of the ratio of variances the geometric one."""
    measured = pd.read_csv(run / "results" / "measurements.csv")
    accuracies = measured[measured.metric == "accuracy"].groupby(["experiment", "model"]).value.mean()
    test_images = load_images(run / "data" / "digits.npz", "test")
    lines = []
    for experiment, (model_type, width) in RUNS.items():
        for child in CHILDREN:
            similarities, ratios = [], []
            for seed in SEEDS:
                folder = run / "experiments" / experiment / f"{experiment}_seed{seed}"
                family = family_of(folder, child, {"model_type": model_type, "width": width})
                similar = mean_similarity(measure_similarities(family, test_images, 256))
                similarities.append(similar["mean_cka"].value)
                variances = measure_variances(family, test_images, 256)
                ratios.append(mean_ratio(variances)["activation_variance_ratio"].value)
            lines.append(
                f"| {experiment} | {child} | {accuracies[experiment, child]:.3f} "
                f"| {np.mean(similarities):.3f} | {np.exp(np.mean(np.log(ratios))):.4f} |"
            )
    return lines


def report(run: Path | None) -> str:
    return f"""## Similarity of representations

`python benchmarks/similarity.py --run .`, after the default run. Two representations of {IMAGES} images by
Gaussian features, {DRAWS} times. *Truth*: zero, or the ratio on {MANY:,} images; in brackets the standard
error of the mean.

| in common | features | truth | published CKA | debiased CKA | its spread |
| --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(simulation_rows())}
{"" if run is None else networks_report(run)}"""


def networks_report(run: Path) -> str:
    return f"""
Two parents of the default run (seed 1), mean over alignment groups, on samples of the test images
({SAMPLES} of them, except for the last row): mean and spread; and with the images of one of them shuffled.

| experiment | images | debiased CKA | spread | shuffled |
| --- | ---: | ---: | ---: | ---: |
{chr(10).join(network_rows(run))}

## Children beside their parents

The children of the default run on all test images: means over three seeds (of the ratio, geometric).

| experiment | child | accuracy | `mean_cka` | `activation_variance_ratio` |
| --- | --- | ---: | ---: | ---: |
{chr(10).join(child_rows(run))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="where the default run has ended")
    print(report(parser.parse_args().run), end="")


if __name__ == "__main__":
    main()
