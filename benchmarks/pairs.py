"""The stated error of the cosine of two parents' gradients beside its spread over samples of images.

    python benchmarks/pairs.py --run FOLDER

Prints a part of docs/measures.md. FOLDER: where the default run has ended, with its `experiments` and `data`.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.images import Images, load_images
from fusionscope.measures.pair.gradients import gradient_cosine
from fusionscope.networks.build import load_network
from fusionscope.seeding import generator

COUNTS = (64, 256)
SAMPLES = 100
BATCH_SIZE = 256
RUNS = {"digits_vgg11": ("VGG11_NOBIAS_NOBN", 0.125), "digits_resnet18": ("RESNET18_NOBIAS_NOBN", 0.0625)}


def parents(run: Path, experiment: str) -> list[torch.nn.Module]:
    """The two parents of seed 1."""
    model_type, width = RUNS[experiment]
    folder = run / "experiments" / experiment / f"{experiment}_seed1"
    return [
        load_network(folder / f"parent_{number}.pth", 10, model_type=model_type, width=width)
        for number in (1, 2)
    ]


def drawn(images: Images, count: int, number: int) -> Images:
    """So many of the images, each drawn from all of them: a sample whose spread is known to be the whole."""
    stream = generator("pair benchmark", count, number)
    return images.take(torch.randint(len(images), (count,), generator=stream))


def rows(run: Path) -> list[str]:
    images = load_images(run / "data" / "digits.npz", "train")
    lines = []
    for experiment in RUNS:
        networks = parents(run, experiment)
        for count in COUNTS:
            found = [
                gradient_cosine(networks, [(0, 1)], drawn(images, count, number), BATCH_SIZE)
                for number in range(SAMPLES)
            ]
            values = np.array([each.value for each in found])
            stated = math.sqrt(np.mean([each.std_error**2 for each in found]))
            lines.append(
                f"| {experiment} | {count} | {values.mean():+.3f} | {values.std(ddof=1):.3f} | {stated:.3f} |"
            )
    return lines


def report(run: Path) -> str:
    return f"""`python benchmarks/pairs.py --run .`, after the default run. Two parents of it (seed 1), on
{SAMPLES} samples of the train images, drawn with replacement: mean and spread of
`parents_gradient_cosine`, and the root of the mean square of the errors that are stated.

| experiment | images | cosine | spread | stated error |
| --- | ---: | ---: | ---: | ---: |
{chr(10).join(rows(run))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="where the default run has ended")
    print(report(parser.parse_args().run), end="")


if __name__ == "__main__":
    main()
