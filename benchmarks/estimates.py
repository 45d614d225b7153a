"""How far the Hessian's trace, its density and the Lipschitz constant can be trusted, on models of a run.

    python benchmarks/estimates.py RUN EXPERIMENT SEED MODEL [MODEL ...] [--seeds N] [--only PART ...]

where RUN is a folder in which `snakemake` has built EXPERIMENT (of config.yaml: digits_vgg11, say). Prints
rows of the tables in docs/measures.md, some minutes for a model on a free core. Parts:

    lipschitz  what twice the starts and twice the iterations find more
    scores     (value - exact) / std_error of the trace over seeds, its classes drawn though they are few
    images     the exact trace on samples of the images: what other images would change
    density    mean square of the density's nodes over that of the Hessian
"""

import argparse
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import yaml
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.evaluation import predict  # noqa: E402
from fusionscope.images import Images, load_images  # noqa: E402
from fusionscope.measures.input.lipschitz import lipschitz_constant  # noqa: E402
from fusionscope.measures.parameter import gauss_newton, hessian  # noqa: E402
from fusionscope.measures.parameter.density import spectral_density  # noqa: E402
from fusionscope.networks.build import load_network  # noqa: E402
from fusionscope.seeding import generator  # noqa: E402

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
RECIPE = CONFIG["measurements"]["quick"]
SAMPLES, SHOWN = 2000, (5, 50, 95)  # samples of the images, and which of their percentiles are told
FEW_IMAGES, FEW_DRAWS = 32, 64  # where the error of the trace is tried
PRODUCTS = 12  # for the mean square of what the outliers leave


def network_of(run: Path, experiment: str, seed: int, model: str) -> nn.Module:
    setting = CONFIG["experiments"][experiment]
    return load_network(
        run / "experiments" / experiment / f"{experiment}_seed{seed}" / f"{model}.pth",
        load_images(run / "data" / f"{setting['dataset']}.npz", "test").num_classes,
        model_type=setting["model_type"],
        width=setting["width"],
        biases=model.endswith("repaired"),
    )


def images_of(run: Path, experiment: str, split: str) -> Images:
    return load_images(run / "data" / f"{CONFIG['experiments'][experiment]['dataset']}.npz", split, 32)


def lipschitz(network: nn.Module, test: Images) -> str:
    options = {key: RECIPE["input_space"][key] for key in ("starts", "power_iterations")}
    x = test.sample(RECIPE["input_space"]["images"], generator("input space images")).normalised()
    once, twice = (
        lipschitz_constant(network, x, seed=1, **{key: factor * value for key, value in options.items()})
        for factor in (1, 2)
    )
    return f"{once:.5g}, with starts and iterations doubled {twice:.5g} ({twice / once - 1:+.1%})"


def slopes_of_all(network: nn.Module, images: Images) -> tuple[Tensor, Tensor]:
    """Probabilities and squared slopes (n, classes) of all pairs of an image and a class."""
    p = predict(network, images, 256).double().softmax(1)
    pairs = gauss_newton.pairs_with_mass(p)
    slopes = torch.zeros_like(p)
    slopes[pairs.image, pairs.label] = gauss_newton.squared_slopes(network, images, p, pairs)
    return p, slopes


def scores(network: nn.Module, train: Images, seeds: int) -> str:
    """The estimator itself; only what it computes of a pair is looked up."""
    images = train.sample(FEW_IMAGES, generator("estimates"))
    p, slopes = slopes_of_all(network, images)
    exact = gauss_newton.sums_over_classes(network, images, p).mean().item()
    logits = predict(network, images, 256)
    with (
        patch.multiple(gauss_newton, EXACT_CLASSES=1, FEWEST_DRAWS=FEW_DRAWS, predict=lambda *_: logits),
        patch.object(
            gauss_newton, "squared_slopes", lambda _, __, ___, pairs: slopes[pairs.image, pairs.label]
        ),
    ):
        found = [gauss_newton.gauss_newton_trace(network, images, 256, seed=k, draws=2) for k in range(seeds)]
    z = np.array([(one.value - exact) / one.std_error for one in found if one.std_error])
    if not len(z):
        return "all pairs that matter are taken: exact"
    beyond = ", ".join(f"{np.mean(np.abs(z) > limit):.2%} beyond {limit}" for limit in (2, 3))
    return f"exact {exact:.5g}; of {len(z)} seeds {beyond}"


def other_images(network: nn.Module, train: Images) -> str:
    p = predict(network, train, 256).double().softmax(1)
    each = gauss_newton.sums_over_classes(network, train, p).numpy()
    stream = np.random.default_rng(0)
    parts = [f"all {len(each)} images {each.mean():.4g}, the largest {each.max() / each.sum():.0%} of it"]
    for count in (32, 64, 256):
        means = [each[stream.permutation(len(each))[:count]].mean() for _ in range(SAMPLES)]
        parts.append(f"{count}: " + ", ".join(f"{value:.3g}" for value in np.percentile(means, SHOWN)))
    return "; ".join(parts)


def density(network: nn.Module, train: Images, experiment: str) -> str:
    recipe = RECIPE["hessian"]
    steps = recipe["lanczos_steps"]
    images = train.sample(recipe["images"], generator(experiment, "hessian images"))
    operator = hessian.hessian_operator(network, images, 256)
    values, vectors = hessian.converged(hessian.lanczos(operator, 20, 0, "outliers"))
    rest = [
        hessian.outside(vectors, operator @ hessian.outside(vectors, hessian.random_signs(operator, k)))
        for k in range(PRODUCTS)
    ]
    mean_square = np.sum(values**2) + np.mean([part.square().sum().item() for part in rest])
    ratios = []
    for seed in range(3):
        known, basis = hessian.converged(hessian.lanczos(operator, steps, seed, 0))
        nodes, weights = hessian.deflated_quadrature(operator, known, basis, steps, 1, seed)
        drawn = spectral_density(nodes, weights)
        of_drawn = np.trapezoid(drawn.density * drawn.eigenvalue**2, drawn.eigenvalue)
        ratios.append(of_drawn * operator.shape[1] / mean_square)
    return "mean square over the Hessian's, three seeds: " + ", ".join(f"{ratio:.3f}" for ratio in ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("experiment")
    parser.add_argument("seed", type=int)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=400, help="of the scores")
    parser.add_argument("--only", nargs="+", metavar="PART")
    arguments = parser.parse_args()
    test, train = (images_of(arguments.run, arguments.experiment, split) for split in ("test", "train"))
    for model in arguments.models:
        network = network_of(arguments.run, arguments.experiment, arguments.seed, model)
        parts = {
            "lipschitz": lambda network=network: lipschitz(network, test),
            "scores": lambda network=network: scores(network, train, arguments.seeds),
            "images": lambda network=network: other_images(network, train),
            "density": lambda network=network: density(network, train, arguments.experiment),
        }
        for part in arguments.only or parts:
            print(
                f"{arguments.experiment} seed {arguments.seed} {model}, {part}: {parts[part]()}", flush=True
            )


if __name__ == "__main__":
    main()
