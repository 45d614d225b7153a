"""How strong the attack is that finds alpha, on the parents and children of a finished run.

    python benchmarks/sharpness.py RUN EXPERIMENT SEED MODEL [MODEL ...] [--threads N]

where RUN is a folder in which `snakemake` has built EXPERIMENT (of config.yaml: digits_vgg11, say). Prints
rows of the tables in docs/measures.md; a minute or two for a model on a free core. Work is images evaluated
+ 3 x images differentiated, seconds are process time.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.evaluation import margins  # noqa: E402
from fusionscope.images import load_images  # noqa: E402
from fusionscope.measures.parameter.attack import Target  # noqa: E402
from fusionscope.measures.parameter.landscape import Landscape, fastest_layout  # noqa: E402
from fusionscope.measures.parameter.scales import even_box, find_scales  # noqa: E402
from fusionscope.networks.build import load_network  # noqa: E402
from fusionscope.seeding import generator, seed_for  # noqa: E402

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
RECIPE = CONFIG["measurements"]["quick"]["flatness"]
NEARER = 0.95  # of the alpha that is reported: what others find here is more than we did
PUBLISHED = {"draws": 15, "steps": 20, "batch": 64}  # Jiang et al. 2019, as the study set it
GRADIENT_COST = 3


def landscape_of(run: Path, experiment: str, seed: int, model: str) -> Landscape:
    """As the workflow's job has it."""
    setting = CONFIG["experiments"][experiment]
    images = load_images(run / "data" / f"{setting['dataset']}.npz", "train", 32)
    sample = images.sample(RECIPE["images"], generator(experiment, "flatness images"))
    weights = run / "experiments" / experiment / f"{experiment}_seed{seed}" / f"{model}.pth"
    network = load_network(
        weights,
        images.num_classes,
        model_type=setting["model_type"],
        width=setting["width"],
        biases=model.endswith("repaired"),
    )
    return Landscape(network.to(memory_format=fastest_layout(network)), sample, 256)


def alpha(landscape: Landscape, seed: int, factor: int = 1, name: str = "sharpness_alpha") -> tuple:
    """Value or reason, seconds and work, with `factor` times the starts and steps of the recipe `quick`."""
    options = {
        "starts": factor * RECIPE["starts"],
        "ascent_steps": factor * RECIPE["ascent_steps"],
        **{key: RECIPE[key] for key in ("draws", "images_per_draw", "tolerance", "scale_range")},
    }
    before, start = work(landscape), time.process_time()
    found = find_scales(landscape, [name], seed=seed, **options)[name]
    return found, time.process_time() - start, work(landscape) - before


def work(landscape: Landscape) -> int:
    return landscape.evaluated + GRADIENT_COST * landscape.differentiated


# Other attacks: what each finds in a box


def lost(target: Target, logits: Tensor) -> float:
    return (target.correct.double().mean() - logits.argmax(1).eq(target.landscape.y).double().mean()).item()


def ascend(
    target: Target,
    scale: float,
    losses: Callable,
    choose: Callable,
    steps: int,
    start: int | None,
    length: float,
) -> float:
    """The most accuracy lost on the way up `losses` on the images that `choose` picks at each step's logits.

    Signed steps of `length` half-widths in all, along a cosine, from w (None) or a random point.
    """
    landscape, worst = target.landscape, 0.0
    with landscape.restoring_weights():
        if start is not None:
            stream = generator("sharpness", start)
            landscape.move(
                lambda w, p: w + (2 * torch.rand(w.shape, generator=stream) - 1) * target.size(scale, w)
            )
        for step in range(steps):
            index = choose(step)
            gradient, _ = landscape.gradient(index, losses)
            share = 1 + math.cos(math.pi * step / steps)  # whose mean is 1

            def uphill(w: Tensor, p: Tensor, g: Tensor, part: float = share * length / steps) -> Tensor:
                box = target.size(scale, w)
                return torch.clamp(p + part * box * g.sign(), w - box, w + box)

            landscape.move(uphill, gradient)
            if step % 4 == 3 or step == steps - 1:
                worst = max(worst, lost(target, landscape.logits()))
    return worst


def softplus(logits: Tensor, labels: Tensor) -> Tensor:
    return -F.softplus(margins(logits, labels))


def hinge(logits: Tensor, labels: Tensor) -> Tensor:
    return -F.relu(margins(logits, labels))


def logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits over that of the first and third (Croce & Hein 2020, arXiv 2003.01690)."""
    ordered = logits.sort(1, descending=True).values
    return -margins(logits, labels) / (ordered[:, 0] - ordered[:, 2]).clamp_min(1e-12)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def others(landscape: Landscape, scale: float, factor: int) -> dict[str, float]:
    """Accuracy lost by each of the other attacks in a box of `scale`, with `factor` times their steps."""
    target = Target(landscape, landscape.correct(), even_box)
    everything = torch.arange(len(landscape))
    easiest = target.nearest(landscape.logits(), round(1.75 * target.needed))

    def again(step: int) -> Tensor:
        return target.nearest(landscape.logits(), round(1.75 * target.needed))

    steps = 16 * factor
    go = partial(ascend, target, scale, length=8.0)
    published = PUBLISHED["batch"], PUBLISHED["steps"] * factor
    return {
        "cross-entropy, all images, from w": go(cross_entropy, lambda step: everything, steps, None),
        "cross-entropy, all images, random": go(cross_entropy, lambda step: everything, steps, 0),
        "softplus, easiest images": go(softplus, lambda step: easiest, steps, None),
        "softplus, chosen anew": go(softplus, again, steps, None),
        "hinge, chosen anew": go(hinge, again, steps, None),
        "difference of logits, chosen anew": go(logits_ratio, again, steps, None),
        "published": max(
            ascend(
                target, scale, cross_entropy, batches(landscape, published[0], draw), published[1], draw, 2.5
            )
            for draw in range(PUBLISHED["draws"])
        ),
    }


def batches(landscape: Landscape, size: int, draw: int) -> Callable[[int], Tensor]:
    stream = generator("sharpness", "batches", draw)
    return lambda step: torch.randint(len(landscape), (size,), generator=stream)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("experiment", choices=CONFIG["run"])
    parser.add_argument("seed", type=int)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", default="scale,double,mag,others")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for model in arguments.models:
        landscape = landscape_of(arguments.run, arguments.experiment, arguments.seed, model)
        seed = seed_for(arguments.experiment, arguments.seed, model, "flatness")
        head = f"{arguments.experiment}, {model} (accuracy {landscape.correct().double().mean():.3f})"
        found, *cost = alpha(landscape, seed)
        print(f"{head}: alpha {found}, seconds and work {cost}", flush=True)
        if "mag" in arguments.parts:
            mag, *cost = alpha(landscape, seed, name="sharpness_mag_alpha")
            print(f"{head}: alpha' {mag}, {cost}", flush=True)
        if "others" in arguments.parts and found.value is not None:
            for name, share in others(landscape, NEARER * found.value, 1).items():
                print(f"{head}: {name}: {100 * share:.1f} points", flush=True)
        if "double" in arguments.parts:
            twice, *cost = alpha(landscape, seed, 2)
            print(f"{head}: alpha with twice the starts and steps {twice}, {cost}", flush=True)


if __name__ == "__main__":
    main()
