"""How long experiments of config.yaml take that nobody has waited for, estimated from single pieces of work.

    python benchmarks/how_long.py EXPERIMENT [EXPERIMENT ...]

Times a forward pass, a gradient and a Hessian-vector product of the experiment's own network, with random
weights, on one thread (process time, the shortest of three), and multiplies them by the images that the
experiment passes through them. Prints rows of the table in docs/running.md. What costs little beside these is
left out: the input space, the cheap measures, fusions, and the start of each job.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.images import Images  # noqa: E402
from fusionscope.measures.parameter.hessian import hessian_operator  # noqa: E402
from fusionscope.measures.parameter.landscape import Landscape, fastest_layout  # noqa: E402
from fusionscope.networks.build import build  # noqa: E402
from machinery.settings import read_settings, resolve_experiments  # noqa: E402

# images that are trained on (nine tenths), test images, classes
DATA = {
    "digits": (1294, 359, 10),
    "fashion_mnist": (54000, 10000, 10),
    "cifar10": (45000, 10000, 10),
    "cifar100": (45000, 10000, 100),
}
# Images evaluated + 3 x images differentiated by the four searches of a model. quick: the mean of four models
# in docs/measures.md. full: one parent, VGG11_NOBIAS_NOBN of width 0.125 on Fashion-MNIST
SEARCH_WORK = {"quick": 125_000, "full": 2_100_000}
TIMED = 128  # images of a pass that is timed
JOBS_AT_ONCE = 1.9  # seconds of jobs per second of the default run on two cores: (1,217 + 327) / 812


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+")
    wanted = parser.parse_args().experiments
    torch.set_num_threads(1)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    resolved = resolve_experiments(read_settings(config | {"run": wanted}))
    print("| experiment | images/s: forward | gradient | product | hours of a core: training | scales |"
          " Hessian | other | hours on two cores |")  # fmt: skip
    print("| --- " + "| ---: " * 8 + "|")
    for name in wanted:
        recipe = config["experiments"][name].get("measurements", "full")
        print(row(name, resolved[name], SEARCH_WORK[recipe]), flush=True)


def row(name: str, experiment: Mapping[str, Any], search_work: int) -> str:
    """Speeds of the experiment's network, and the hours that its parts take at these speeds."""
    forward, gradient, product = seconds_per_image(experiment)
    parts = hours(experiment, search_work, forward, gradient, product)
    speeds = " | ".join(f"{1 / seconds:,.0f}" for seconds in (forward, gradient, product))
    numbers = " | ".join(f"{part:.2g}" for part in (*parts, sum(parts) / JOBS_AT_ONCE))
    return f"| {name} | {speeds} | {numbers} |"


def hours(
    experiment: Mapping[str, Any], search_work: int, forward: float, gradient: float, product: float
) -> tuple[float, float, float, float]:
    """Of one core: training, scales, Hessian, and the other forward passes.

    `forward`, `gradient`, `product`: seconds per image.
    """
    train_images, test_images, classes = DATA[experiment["dataset"]]
    recipe, seeds = experiment["measurements"], len(experiment["seeds"])
    parents, children = experiment["parents"] * seeds, len(experiment["fusions"]) * seeds
    models = parents + children
    hessian, path = recipe["hessian"], recipe["connectivity"]
    products = hessian["images"] * hessian["lanczos_steps"] * hessian["density_starts"]
    trace = hessian["images"] * classes  # a gradient of each image and class
    on_the_line = path["points"] * min(path["images"], test_images)
    seconds = (
        parents * experiment["training"]["epochs"] * train_images * gradient,
        models * search_work * forward,
        models * (products * product + trace * gradient),
        (models * (2 * train_images + test_images) + children * on_the_line) * forward,
    )
    return tuple(part / 3600 for part in seconds)


def seconds_per_image(experiment: Mapping[str, Any]) -> tuple[float, float, float]:
    """Of a forward pass, a gradient and a Hessian-vector product."""
    classes = DATA[experiment["dataset"]][2]
    size, channels = experiment["input_size"], experiment["channels"]
    torch.manual_seed(0)
    options = {key: experiment[key] for key in ("model_type", "depth") if key in experiment}
    network = build(classes, **options, width=experiment["widths"][0], channels=channels).eval()
    network.to(memory_format=fastest_layout(network))
    pixels = torch.randint(256, (TIMED, channels, size, size), dtype=torch.uint8)
    statistics = torch.full((channels,), 0.5), torch.full((channels,), 0.25)
    images = Images(pixels, torch.arange(TIMED) % classes, *statistics, classes, size, channels)
    landscape = Landscape(network, images, TIMED)
    everything = torch.arange(TIMED)
    hessian = hessian_operator(network, images, TIMED)
    v = torch.ones(hessian.shape[1])
    pieces = (landscape.correct, lambda: landscape.gradient(everything), lambda: hessian @ v)
    return tuple(shortest(piece) / TIMED for piece in pieces)


def shortest(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the shortest of several runs, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
