"""The parameter space's measures against the published procedure written out plainly, and PyHessian.

    python benchmarks/measures.py --data-dir DIR [--output docs/measures.md] [PART ...]

where DIR holds FashionMNIST/raw/ (torchvision's layout), or it is downloaded there. Without parts all are
run: some two hours on one core. PyHessian is not among the project's dependencies: pip install
pyhessian==0.1. Seconds are those of one core's work (process time), so that work beside it counts little.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
TESTS = ("support", "fusionscope/measures/parameter", "fusionscope/measures/input")
sys.path[:0] = [str(ROOT / "scripts"), *(str(ROOT / "tests" / folder) for folder in TESTS)]

from fusionscope.images import Images, load_images  # noqa: E402
from fusionscope.measurement import NOT_CENSORED  # noqa: E402
from fusionscope.measures.parameter.gauss_newton import gauss_newton_trace  # noqa: E402
from fusionscope.measures.parameter.hessian import hessian_operator, lanczos, measure_hessian, trace  # noqa: E402
from fusionscope.measures.parameter.landscape import Landscape  # noqa: E402
from fusionscope.measures.parameter.perturbation import Scale  # noqa: E402
from fusionscope.measures.parameter.scales import (  # noqa: E402
    even_box,
    even_noise,
    find_scales,
    gaussian_drops,
    magnitude_box,
    magnitude_noise,
    random_like,
)
from fusionscope.measures.parameter.search import MAX_DROP  # noqa: E402
from fusionscope.networks.build import build, initialised  # noqa: E402
from fusionscope.seeding import generator  # noqa: E402
from fusionscope.training.preparation import prepare  # noqa: E402
from fusionscope.training.train import train  # noqa: E402

NETWORKS = {"vgg11": "VGG11_NOBIAS_NOBN", "resnet18": "RESNET18_NOBIAS_NOBN"}
WIDTH, TRAIN_IMAGES, SAMPLE = 0.25, 12_800, 2048
TRAINING = {
    "epochs": 4,
    "batch_size": 64,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "schedule": {"kind": "one_cycle"},
    "augmentation": "none",
}
SCALE_RANGE = (1e-6, 100.0)
OURS = {
    "images_per_draw": 64,
    "draws": 64,
    "starts": 8,
    "ascent_steps": 20,
    "tolerance": 0.005,
    "scale_range": SCALE_RANGE,
}
SEEDS = 20  # of ours
PLAIN_SEEDS = {"vgg11": 5, "resnet18": 3}  # of the plain procedure, which takes its time
BATCH = 64  # images, of the plain procedure
# The published procedure (Jiang et al. 2019, appendix; the study's settings): bisection steps, draws,
# batches.
PLAIN_NOISE, PLAIN_BOX = (30, 20, 20), (20, 15, 10)
ASCENT_STEPS = 20  # of one batch each
# Its spread is seen in the steps that can go either way: from a factor of 2 around ours, 9 halvings of
# log(scale).
NEAR, NEAR_STEPS = math.log(2), 9
GRADIENT_COST = 3  # a gradient costs about as much as three evaluations


class Counter:
    """What a piece of work costs: images evaluated and differentiated, and one core's seconds."""

    def __init__(self, landscape: Landscape):
        self.landscape = landscape

    def __enter__(self) -> "Counter":
        self.before = self.landscape.evaluated, self.landscape.differentiated, time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        after = self.landscape.evaluated, self.landscape.differentiated, time.process_time()
        self.evaluated, self.differentiated, self.seconds = (
            a - b for a, b in zip(after, self.before, strict=True)
        )

    @property
    def work(self) -> int:
        return self.evaluated + GRADIENT_COST * self.differentiated


# networks and images


@cache
def images(data_dir: str) -> dict[str, Images]:
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **prepare("fashion_mnist", data_dir))
        train_images = load_images(file.name, "train", 32)
        validation = load_images(file.name, "validation", 32)
    return {
        "train": train_images.sample(TRAIN_IMAGES, generator("measures", "train images")),
        "validation": validation.sample(2000, generator("measures", "validation")),
    }


@cache
def trained(name: str, data_dir: str) -> nn.Module:
    model_type = NETWORKS[name]
    network = initialised(generator("measures", model_type, "init"), 10, model_type=model_type, width=WIDTH)
    order = generator("measures", model_type, "order")
    splits = images(data_dir)
    best = train(network, splits["train"], splits["validation"], order=order, **TRAINING).best_weights
    network.load_state_dict(best)
    return network.eval().to(memory_format=torch.channels_last)


def landscape_of(name: str, data_dir: str, sample_seed: int = 0) -> Landscape:
    sample = images(data_dir)["train"].sample(SAMPLE, generator("measures", "sample", sample_seed))
    return Landscape(trained(name, data_dir), sample, 256)


# the published procedure, plainly


def batches(everything: Landscape, count: int, stream: torch.Generator) -> Iterator[Tensor]:
    for _ in range(count):
        yield torch.randint(len(everything), (BATCH,), generator=stream)


def accuracy(everything: Landscape, count: int, stream: torch.Generator) -> float:
    correct = [everything.correct(index) for index in batches(everything, count, stream)]
    return torch.cat(correct).double().mean().item()


def plain_noise_drop(everything: Landscape, correct: float, size: Callable, scale: float, stream) -> float:
    """Accuracy lost, the mean over draws, each on batches of its own."""
    _, draws, count = PLAIN_NOISE
    found = []
    for _ in range(draws):
        with everything.restoring_weights():
            everything.move(lambda w, p: w + size(scale, w) * random_like(w, torch.randn, stream))
            found.append(accuracy(everything, count, stream))
    return correct - statistics.mean(found)


def plain_box_drop(everything: Landscape, correct: float, size: Callable, scale: float, stream) -> float:
    """Accuracy lost, the worst of the draws: each goes up the loss in the box, by Madry's signed steps."""
    _, draws, count = PLAIN_BOX
    found = []

    def uphill(w: Tensor, p: Tensor, slope: Tensor) -> Tensor:
        box = size(scale, w)
        return torch.clamp(p + 2.5 / ASCENT_STEPS * box * slope.sign(), w - box, w + box)

    for _ in range(draws):
        with everything.restoring_weights():
            everything.move(lambda w, p: w + (2 * random_like(w, torch.rand, stream) - 1) * size(scale, w))
            for index in batches(everything, ASCENT_STEPS, stream):
                everything.move(uphill, everything.gradient(index)[0])
            found.append(accuracy(everything, count, stream))
    return correct - min(found)


def bisect(drop: Callable[[float], float], low: float, high: float, steps: int) -> float:
    """log(scale), by blind bisection."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if drop(math.exp(middle)) <= MAX_DROP else (low, middle)
    return (low + high) / 2


PLAIN = {
    "pac_bayes_sigma": (plain_noise_drop, even_noise, PLAIN_NOISE),
    "pac_bayes_mag_sigma": (plain_noise_drop, magnitude_noise, PLAIN_NOISE),
    "sharpness_alpha": (plain_box_drop, even_box, PLAIN_BOX),
    "sharpness_mag_alpha": (plain_box_drop, magnitude_box, PLAIN_BOX),
}


def plain_search(
    name: str, everything: Landscape, metric: str, guess: float, censored: bool, seeds: int
) -> dict:
    """log(scale) for each seed, and what one complete search costs: so many times one of its steps."""
    drop_of, size, (depth, *_) = PLAIN[metric]
    correct = everything.correct().double().mean().item()
    logs, costs = [], []
    steps = 1 if censored else NEAR_STEPS  # at the end of the range nothing varies: one step for the clock
    for seed in range(1 if censored else seeds):
        drop = partial(drop_of, everything, correct, size, stream=generator("plain", name, metric, seed))
        with Counter(everything) as counter:
            logs.append(bisect(drop, math.log(guess) - NEAR, math.log(guess) + NEAR, steps))
        costs.append((depth / steps * counter.seconds, depth / steps * counter.work))
    seconds, work = np.mean(costs, 0)
    return {"logs": logs, "seconds": seconds, "work": work}


# searches


def searches(name: str, data_dir: str) -> str:
    """Ours and the plain procedure on one network; and how well the errors are calibrated."""
    landscape = landscape_of(name, data_dir)
    everything = Landscape(trained(name, data_dir), images(data_dir)["train"], BATCH)
    found = {metric: [] for metric in PLAIN}
    costs = {metric: [] for metric in PLAIN}
    for seed in range(SEEDS):
        for metric in PLAIN:
            with Counter(landscape) as counter:
                scale = ours(landscape, metric, seed)
            found[metric].append(scale)
            costs[metric].append((counter.seconds, counter.work))
    rows, totals = [], np.zeros(4)
    for metric, scales in found.items():
        logs = np.log([scale.value for scale in scales])
        censored = [scale.censored for scale in scales if scale.censored != NOT_CENSORED]
        guess = math.exp(logs.mean())
        plain = plain_search(name, everything, metric, guess, bool(censored), PLAIN_SEEDS[name])
        seconds, work = np.mean(costs[metric], 0)
        totals += (plain["seconds"], seconds, plain["work"], work)
        values, spreads = f"censored ({censored[0]}) |" if censored else "", "|"  # two cells each
        if not censored:
            values = f"{math.exp(np.mean(plain['logs'])):.4g} | {guess:.4g}"
            spreads = f"{100 * np.std(plain['logs'], ddof=1):.1f} % | {100 * logs.std(ddof=1):.1f} %"
        rows.append(
            f"| {metric} | {values} | {spreads} | {plain['work']:,.0f} | {work:,.0f} "
            f"| {plain['seconds']:.0f} | {seconds:.1f} | {plain['seconds'] / seconds:.0f} |"
        )
    rows.append(
        f"| all four | | | | | {totals[2]:,.0f} | {totals[3]:,.0f} | {totals[0]:.0f} | {totals[1]:.1f} "
        f"| **{totals[0] / totals[1]:.0f}** |"
    )
    accuracy_here = landscape.correct().double().mean()
    return f"""## Searches: {name} ({NETWORKS[name]}, accuracy on the sample {accuracy_here:.3f})

| scale | plain | ours | its spread | ours | its work | ours | its seconds | ours | ratio |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

{other_samples(name, data_dir)}
{antithetic(landscape, found["pac_bayes_sigma"][0].value)}
{profile(landscape)}"""


def noise(name: str, data_dir: str, seeds: int = 12, draws: int = 192) -> str:
    """The two searches with noise again: the plain one over more seeds, ours with more draws."""
    landscape = landscape_of(name, data_dir)
    everything = Landscape(trained(name, data_dir), images(data_dir)["train"], BATCH)
    rows = []
    for metric in list(PLAIN)[:2]:
        with Counter(landscape) as counter:
            scales = [ours(landscape, metric, seed, draws) for seed in range(SEEDS)]
        logs = np.log([scale.value for scale in scales])
        plain = plain_search(name, everything, metric, math.exp(logs.mean()), False, seeds)
        rows.append(
            f"| {metric} | {100 * np.std(plain['logs'], ddof=1):.1f} % | {100 * logs.std(ddof=1):.1f} % "
            f"| {plain['work']:,.0f} | {counter.work / SEEDS:,.0f} | {plain['seconds']:.0f} "
            f"| {counter.seconds / SEEDS:.1f} | {plain['seconds'] * SEEDS / counter.seconds:.0f} |"
        )
    return f"""## Noise, {name}: the plain procedure over {seeds} seeds, ours with {draws} draws

| scale | plain spread | ours | plain work | ours | plain seconds | ours | ratio |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}
"""


def calibration_row(name: str, metric: str, scales: list) -> str:
    spread = np.std(np.log([scale.value for scale in scales]), ddof=1)
    reported = math.sqrt(np.mean([scale.log_error**2 for scale in scales]))
    return f"| {name} | {metric} | {spread:.4f} | {reported:.4f} | {spread / reported:.2f} |"


def digits() -> Landscape:
    """A network so small that its alpha' need not be censored, on all its training images."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **prepare("digits", "unused"))
        splits = [load_images(file.name, split, 32) for split in ("train", "validation")]
    network = initialised(generator("digits", "init"), 10, model_type=NETWORKS["vgg11"], width=0.125)
    recipe = TRAINING | {"epochs": 12}
    network.load_state_dict(
        train(network, *splits, order=generator("digits", "order"), **recipe).best_weights
    )
    return Landscape(network.to(memory_format=torch.channels_last), splits[0], 256)


def calibration(data_dir: str) -> str:
    """The spread of each scale over seeds, and the errors that are reported."""
    landscapes = {"vgg11": landscape_of("vgg11", data_dir), "vgg11, width 0.125, digits": digits()}
    rows = []
    for name, landscape in landscapes.items():
        for metric in list(PLAIN)[:2]:  # an attack has no error
            rows.append(
                calibration_row(name, metric, [ours(landscape, metric, seed) for seed in range(SEEDS)])
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return f"""## Standard errors

| network | scale | spread of log over {SEEDS} seeds | reported error | ratio |
| --- | --- | ---: | ---: | ---: |
{chr(10).join(rows)}
"""


def ours(landscape: Landscape, metric: str, seed: int, draws: int = OURS["draws"]) -> Scale:
    from fusionscope.measures.parameter import scales, search

    correct = landscape.correct()
    limits = {"low": SCALE_RANGE[0], "high": SCALE_RANGE[1], "tolerance": OURS["tolerance"]}
    drop_of, size, _ = PLAIN[metric]
    if drop_of is plain_noise_drop:
        drops = partial(
            gaussian_drops, landscape, correct, size, seed=seed, images_per_draw=OURS["images_per_draw"]
        )
        spread = math.hypot(scales.BINOMIAL_SPREAD / math.sqrt(OURS["images_per_draw"]), scales.DRAW_SPREAD)
        return search.largest_mean_scale(drops, draws=draws, spread=spread, **limits)
    return find_scales(landscape, [metric], seed=seed, **OURS)[metric]


def other_samples(name: str, data_dir: str, count: int = 6) -> str:
    """How much of a difference the choice of the sample makes, beside that of the draws."""
    found = []
    for seed in range(count):
        landscape = landscape_of(name, data_dir, sample_seed=1 + seed)
        found.append([math.log(ours(landscape, metric, seed).value) for metric in list(PLAIN)[:2]])
    sigma, sigma_mag = 100 * np.std(found, 0, ddof=1)
    return (
        f"With another sample of {SAMPLE} images each time ({count} of them) the spread of sigma is "
        f"{sigma:.1f} %, of sigma' {sigma_mag:.1f} %.\n"
    )


def antithetic(landscape: Landscape, sigma: float, pairs: int = 40) -> str:
    """The correlation of what u and -u lose: below zero, pairs would lower the variance."""
    correct = landscape.correct()
    lost = []
    for draw in range(pairs):
        both = []
        for sign in (1, -1):
            stream = generator("antithetic", draw)
            with landscape.restoring_weights():
                landscape.move(
                    lambda w, p, sign=sign, stream=stream: (
                        w + sign * sigma * random_like(w, torch.randn, stream)
                    )
                )
                both.append((correct.double().mean() - landscape.correct().double().mean()).item())
        lost.append(both)
    found = np.corrcoef(np.array(lost).T)[0, 1]
    return (
        f"Antithetic pairs: what u and -u lose has a correlation of {found:+.2f} over {pairs} pairs at "
        f"sigma = {sigma:.3g}; only below zero would pairs lower the variance.\n"
    )


def profile(landscape: Landscape) -> str:
    """The share of convolutions in the time of a search."""
    kinds = ("convolution", "mkldnn", "conv2d")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        ours(landscape, "pac_bayes_sigma", 0)
    sigma = share(profiler, kinds), share(profiler, ("normal_",))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        ours(landscape, "sharpness_alpha", 0)
    alpha = share(profiler, kinds)
    return (
        f"Profile: convolutions take {100 * sigma[0]:.0f} % of a search for sigma (drawing noise "
        f"{100 * sigma[1]:.0f} %), and {100 * alpha:.0f} % of one for alpha.\n"
    )


def share(profiler: torch.profiler.profile, kinds: tuple[str, ...]) -> float:
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return sum(e.self_cpu_time_total for e in events if any(kind in e.key for kind in kinds)) / total


# the Hessian


def hessian(data_dir: str, count: int = 256, seeds: int = 10) -> str:
    """Top eigenvalue and trace against PyHessian's on the same images."""
    rows, calibration = [], []
    for name in NETWORKS:
        network = trained(name, data_dir)
        sample = images(data_dir)["train"].sample(count, generator("measures", "hessian"))
        theirs = [pyhessian(network, sample, seed) for seed in range(seeds)]
        mine = [ours_of_hessian(network, sample, seed) for seed in range(max(seeds, SEEDS))]
        exact = gauss_newton_trace(network, sample, count, seed=0, draws=10).value
        top = lanczos(hessian_operator(network, sample, count), 40, 0).values[-1]
        for label, found in (("PyHessian", theirs), ("ours", mine[:seeds])):
            tops, traces, products, seconds = (
                np.array(column) for column in zip(*[f[:4] for f in found], strict=True)
            )
            rows.append(
                f"| {name} | {label} | {100 * np.abs(tops / top - 1).max():.2g} % | "
                f"{100 * (traces.mean() / exact - 1):+.1f} % | {100 * traces.std(ddof=1) / exact:.1f} % "
                f"| {products.mean():.0f} | {seconds.mean():.2f} |"
            )
        ratio = np.mean([f[3] for f in theirs]) / np.mean([f[3] for f in mine[:seeds]])
        rows.append(f"| {name} | ratio | | | | | **{ratio:.1f}** |")
        calibration += trace_calibration(name, network, sample, exact)
    return f"""## Hessian

{count} images, {seeds} seeds; PyHessian 0.1 with its defaults (at most 100 products for each, tolerance
0.001), on one batch whose graph it keeps. Ours: {HESSIAN};
the trace, which is exact here, costs a gradient of each single image and class, which is not among the
products. The truth: 40 Lanczos steps, and the trace by the sum over classes.

| network | | top eigenvalue, largest error | trace, bias | trace, spread | products | seconds |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

| network | estimator of the trace | spread over {SEEDS} seeds | reported error | ratio |
| --- | --- | ---: | ---: | ---: |
{chr(10).join(calibration)}
"""


HESSIAN = {"lanczos_steps": 8, "density_starts": 1, "eigenvalue_tolerance": 0.01, "trace_draws": 2}


def ours_of_hessian(network: nn.Module, sample: Images, seed: int) -> tuple:
    start = time.process_time()
    found, _ = measure_hessian(network, sample, len(sample), seed=seed, **HESSIAN)
    seconds = time.process_time() - start
    trace_found = found["hessian_trace"]
    return (
        found["hessian_top_eigenvalue"].value,
        trace_found.value,
        HESSIAN["lanczos_steps"],
        seconds,
    )


def pyhessian(network: nn.Module, sample: Images, seed: int) -> tuple:
    from pyhessian import hessian as PyHessian

    module = sys.modules["pyhessian.hessian"]
    product, done = module.hessian_vector_product, 0

    def counted(*arguments: object) -> object:
        nonlocal done
        done += 1
        return product(*arguments)

    module.hessian_vector_product = counted
    torch.manual_seed(seed)
    start = time.process_time()
    try:
        found = PyHessian(
            network, nn.CrossEntropyLoss(), data=(sample.normalised(), sample.labels), cuda=False
        )
        values, _ = found.eigenvalues()
        mean = float(np.mean(found.trace()))
    finally:
        module.hessian_vector_product = product
        network.zero_grad(set_to_none=True)
    return values[0], mean, done, time.process_time() - start


def trace_calibration(name: str, network: nn.Module, sample: Images, exact: float) -> list[str]:
    operator = hessian_operator(network, sample, len(sample))
    hutchpp = [trace(operator, lanczos(operator, 8, seed), seed=seed, draws=6) for seed in range(SEEDS)]
    estimators = {
        "Hutch++, 8 Lanczos steps and 6 draws": ([t.value for t in hutchpp], [t.std_error for t in hutchpp]),
    }
    lines = []
    for label, (values, errors) in estimators.items():
        spread, reported = np.std(values, ddof=1), math.sqrt(np.mean(np.square(errors)))
        lines.append(
            f"| {name} | {label} | {100 * spread / exact:.2f} % | {100 * reported / exact:.2f} % "
            f"| {spread / reported:.2f} |"
        )
    return lines


# what pays on this processor


def options(data_dir: str) -> str:
    """Memory layout, batch size, vmap over draws and torch.compile."""
    rows, notes = [], []
    sample = images(data_dir)["train"].sample(256, generator("measures", "options"))
    for name in NETWORKS:
        for layout in (torch.contiguous_format, torch.channels_last):
            network = build(10, model_type=NETWORKS[name], width=WIDTH)
            network.load_state_dict(trained(name, data_dir).state_dict())
            network.to(memory_format=layout)
            for size in (64, 256):
                large = Images(
                    sample.pixels.repeat(4, 1, 1, 1), sample.labels.repeat(4), sample.mean, sample.std, 10, 32
                )
                landscape = Landscape(network, large, size)
                everything = torch.arange(len(large))
                forward = len(large) / clock(landscape.correct)
                gradient = len(large) / clock(lambda at=landscape, index=everything: at.gradient(index))
                operator = hessian_operator(network, sample, size)
                v = torch.ones(operator.shape[1])
                product = len(sample) / clock(lambda operator=operator, v=v: operator @ v, 2)
                kind = "channels last" if layout is torch.channels_last else "channels first"
                rows.append(
                    f"| {name} | {kind} | {size} | {forward:,.0f} | {gradient:,.0f} | {product:,.0f} |"
                )
        notes += [vmapped(name, data_dir, sample), compiled(name, data_dir, sample)]
    return f"""## What pays on this processor

Images a second on one core: forward, gradient, Hessian-vector product (256 images).

| network | layout | batch | forward | gradient | product |
| --- | --- | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

{chr(10).join(notes)}
"""


def clock(work: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of several runs, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def vmapped(name: str, data_dir: str, sample: Images, draws: int = 4) -> str:
    network = trained(name, data_dir)
    noisy = {
        n: p.detach().expand(draws, *p.shape) + 0.01 * torch.randn(draws, *p.shape)
        for n, p in network.named_parameters()
    }
    x = sample.normalised().unflatten(0, (draws, -1))
    call = partial(torch.func.functional_call, network)
    with torch.no_grad():
        together = clock(lambda: torch.func.vmap(lambda p, x: call(p, (x,)))(noisy, x))
        apart = clock(lambda: [call({n: p[i] for n, p in noisy.items()}, (x[i],)) for i in range(draws)])
    return f"- {name}: `vmap` over {draws} draws takes {together / apart:.2f} times as long as one by one."


def compiled(name: str, data_dir: str, sample: Images) -> str:
    network, x = trained(name, data_dir), sample.take(torch.arange(64)).normalised()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        fast = torch.compile(network)
        fast(x)
        takes = time.perf_counter() - start
        ratio = clock(lambda: network(x), 10) / clock(lambda: fast(x), 10)
    return f"- {name}: `torch.compile` takes {takes:.0f} s, then a forward pass is {ratio:.2f} times as fast."


# memory


def memory(data_dir: str) -> str:
    """What searches and Lanczos runs add at their peak, full-width ResNet18, in copies of its parameters."""
    rows = []
    for work in ("flatness 1", "flatness 32", "hessian 10", "hessian 40"):
        command = [sys.executable, __file__, "--added", work]
        added = float(subprocess.run(command, check=True, capture_output=True).stdout)
        rows.append(f"| {work} | {added:.2f} |")
    return f"""## Memory

Full-width ResNet18 (float32): what tensors hold at the peak beside the network and its images, by PyTorch's
allocator, in copies of the parameters; the network's own are not counted, activations and what is made for a
single layer are. `flatness B`: all four searches, B images a
batch. `hessian K`: K Lanczos steps, one image.

| | copies |
| --- | ---: |
{chr(10).join(rows)}
"""


def added_memory(work: str) -> float:
    from test_landscape import peak_bytes

    kind, number = work.split()
    torch.manual_seed(0)
    network = build(10, model_type="RESNET18_NOBIAS_NOBN", width=1.0)
    count = int(number) if kind == "flatness" else 1
    sample = Images(
        torch.randint(0, 256, (max(count, 2), 3, 32, 32), dtype=torch.uint8),
        torch.arange(max(count, 2)) % 10,
        torch.full((3,), 0.5),
        torch.full((3,), 0.25),
        10,
    )
    copy = 4 * sum(p.numel() for p in network.parameters())
    with tempfile.TemporaryDirectory() as folder:
        return peak_bytes(partial(run, kind, int(number), network, sample, count), Path(folder)) / copy


def run(kind: str, number: int, network: nn.Module, sample: Images, count: int) -> None:
    if kind == "flatness":
        find_scales(
            Landscape(network, sample, count), seed=0, draws=4, images_per_draw=count, starts=2,
            ascent_steps=2, tolerance=0.5, scale_range=(1e-4, 1.0),
        )  # fmt: skip
    else:
        measure_hessian(
            network, sample, 1, seed=0, lanczos_steps=number, density_starts=1, eigenvalue_tolerance=1.0,
            trace_draws=2,
        )  # fmt: skip


# truths


def truths() -> str:
    """Relative errors where the right answer is known otherwise; the tests' own problems."""
    rows = [*truths_of_searches(), *truths_of_hessians(), *truths_of_lipschitz()]
    return f"""## Truths

| | relative error |
| --- | ---: |
{chr(10).join(f"| {label} | {error} |" for label, error in rows)}
"""


def truths_of_searches() -> Iterator[tuple[str, str]]:
    from flatness_cases import OPTIONS, Problem
    from test_scales import NOISES, noise_drops

    from fusionscope.measures.parameter.search import largest_mean_scale

    problem, limits = Problem(), {"low": 1e-4, "high": 1e2}
    for kind, (size, deviation) in NOISES.items():
        truth = problem.noise_scale(deviation(problem))
        drops = noise_drops(problem, size, seed=0)
        found = largest_mean_scale(drops, draws=4096, spread=0.08, tolerance=1e-4, **limits)
        error = f"{found.value / truth - 1:+.4f} (standard error {found.log_error:.4f})"
        yield f"sigma of a linear classifier, {kind} noise: mean of Phi(margin / deviation)", error
    truth = problem.largest_radius(2 * problem.x.sum(1), 0.0)
    found = find_scales(problem.landscape, ["sharpness_alpha"], **OPTIONS | {"tolerance": 1e-9})
    error = found["sharpness_alpha"].value / truth - 1
    yield "alpha where one corner of the box is worst for all images", f"{error:+.1e}"


def truths_of_hessians() -> Iterator[tuple[str, str]]:
    from measure_cases import dense_hessian, random_images, randomise, smooth_network
    from test_gauss_newton import Residual

    sample = random_images(12, size=4, classes=3, seed=2)
    options = {"lanczos_steps": 60, "density_starts": 1, "eigenvalue_tolerance": 1e-6, "trace_draws": 200}
    for label, network in (("ReLU", randomise(Residual(), 3)), ("tanh", smooth_network())):
        matrix = dense_hessian(network, sample)
        found, _ = measure_hessian(network, sample, 12, seed=0, **options)
        top, total = torch.linalg.eigvalsh(matrix)[-1].item(), matrix.trace().item()
        yield (
            f"top eigenvalue of the dense Hessian of a {label} network",
            f"{found['hessian_top_eigenvalue'].value / top - 1:+.1e}",
        )
        reported = (found["hessian_trace"].std_error or 0.0) / total
        yield (
            f"its trace, by {'gradients' if label == 'ReLU' else 'Hutch++'}",
            f"{found['hessian_trace'].value / total - 1:+.1e} (standard error {reported:.1e})",
        )


def truths_of_lipschitz() -> Iterator[tuple[str, str]]:
    from measure_cases import random_images, randomise
    from test_lipschitz import CONVOLUTIONS, dense_norm

    from fusionscope.measures.input.lipschitz import measure_input_space
    from fusionscope.measures.input.operator_norms import convolution_norm

    errors = []
    for number, (options, shape) in enumerate(CONVOLUTIONS.values()):
        layer = randomise(nn.Conv2d(shape[0], 4, **options), seed=number)
        errors.append(abs(convolution_norm(layer, shape) / dense_norm(layer, shape) - 1))
    yield f"norms of {len(errors)} convolutions against their matrices, the largest", f"{max(errors):.1e}"
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    u = F.normalize(torch.randn(1, 3072, generator=generator("ridge")).double())
    with torch.no_grad():
        network[1].weight.copy_(torch.cat([u, -u]))
        network[1].bias.zero_()
        network[3].weight.fill_(3.0)
    found = measure_input_space(network, random_images(4), seed=0, starts=2, power_iterations=10)
    for name in ("lipschitz_constant", "local_lipschitz_max"):
        yield f"{name} of 3 abs(u x), which is 3", f"{found[name].value / 3 - 1:+.1e}"
    upper = found["lipschitz_upper_bound"].value
    yield "lipschitz_upper_bound of it, the norms of two layers: 6", f"{upper / 6 - 1:+.1e}"


PARTS: dict[str, Callable[[str], str]] = {
    "vgg11": partial(searches, "vgg11"),
    "resnet18": partial(searches, "resnet18"),
    "noise": partial(noise, "vgg11"),
    "calibration": calibration,
    "hessian": hessian,
    "options": options,
    "memory": memory,
    "truths": lambda data_dir: truths(),
}
HEAD = f"""# The measures of the parameter space: work, spread, errors

`python benchmarks/measures.py --data-dir DIR --output docs/measures.md`, one core. The study's networks at
a quarter of their width, Fashion-MNIST, {TRAIN_IMAGES:,} training images, 4 epochs.

*Plain* is the published procedure: blind bisection of log(scale) over the range below; for
noise {PLAIN_NOISE[0]} steps of {PLAIN_NOISE[1]} draws on {PLAIN_NOISE[2]} batches of {BATCH}; for the
worst case {PLAIN_BOX[0]} steps of {PLAIN_BOX[1]} draws, each with {ASCENT_STEPS} ascent steps on a batch of
{BATCH} (Madry's signed steps, 2.5 half-widths of the box in all) and {PLAIN_BOX[2]} batches to judge by. All
its steps cost the same: seconds and work of the whole are those of the {NEAR_STEPS} steps that were run
from a factor of 2 around our value, scaled up; earlier steps cannot go either way, later ones are smaller
than its noise.
*Ours*: {OURS},
a sample of {SAMPLE} images. *Work*: images evaluated + {GRADIENT_COST} x images differentiated. *Spread*:
standard deviation of log(scale) over seeds, {SEEDS} of ours, {PLAIN_SEEDS} of the plain procedure.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--data-dir", default=str(ROOT / "data"))
    parser.add_argument("--output", type=Path, help="also write the tables there")
    parser.add_argument("--added", metavar="WORK", help="only print the memory that this adds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.added:
        print(added_memory(arguments.added))
        return
    text = "\n".join([HEAD, *(PARTS[part](arguments.data_dir) for part in arguments.parts or PARTS)])
    print(text, end="")
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
