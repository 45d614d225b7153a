"""Which architectures align: every classifier of torchvision with its neurons permuted at random.

    python benchmarks/coverage.py [names...] [--output docs/coverage.md]

For each architecture: fresh weights in float64 in which nothing is left constant (biases, scales, zero heads
and batch norm statistics included), a random permutation of every alignment group, and the largest change of
the output on a batch of two, relative to the largest output. A change beyond rounding (1e-10) means that a
group is wrong. Channels that are in no group are listed with the reason. Rows are printed as they come.
"""

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.alignment.groups import (
    Alignment,
    alignment_groups,
)
from fusionscope.alignment.labels.records import CLASS_OUTPUT
from fusionscope.alignment.move import (
    make_map,
    move,
)
from fusionscope.errors import InputError
from fusionscope.weights import set_weights

ROUNDING = 1e-10
CLASSES = 10
TRANSFORMERS = ("vit", "swin", "maxvit")  # all others are convolutional
SMALLEST = {"alexnet": 96, "inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56}  # pixels; others take 64
HEAD = """# Which architectures align

Every classification architecture of torchvision {version}: random weights in float64, nothing left constant
(batch norm statistics included); a random permutation of every alignment group; the largest change of the
output, relative to the largest output, on a batch of two. A right description of the network gives rounding
errors, a wrong one does not. *Moves*: the share of the output channels of all hidden layers that are in some
group. *Frozen*: how many are not, and why. *Seconds*: one thread, on a machine that did other things as well.
This page is made by

    python benchmarks/coverage.py --output docs/coverage.md

| architecture | pixels | hidden channels | moves | groups | largest change | frozen | seconds |
| --- | --: | --: | --: | --: | --: | --- | --: |
"""


@dataclass(frozen=True)
class Result:
    """How one architecture fared; nothing but the error where it cannot be traced."""

    name: str
    pixels: int
    seconds: float
    neurons: int = 0
    moving: int = 0
    groups: int = 0
    change: float = float("nan")
    frozen: tuple[tuple[str, int], ...] = ()  # reason, channels
    error: str = ""

    @property
    def share(self) -> float:
        return self.moving / max(self.neurons, 1)

    @property
    def passes(self) -> bool:
        return self.change <= ROUNDING and self.groups > 0

    def row(self) -> str:
        if self.error:
            return f"| {self.name} | {self.pixels} | | | | | {self.error} | {self.seconds:.0f} |"
        frozen = "; ".join(f"{reason}: {count:,}" for reason, count in self.frozen)
        return (
            f"| {self.name} | {self.pixels} | {self.neurons:,} | {self.share:.1%} | {self.groups} "
            f"| {self.change:.0e} | {frozen} | {self.seconds:.0f} |"
        )


@torch.no_grad()
def randomise(network: nn.Module, random: torch.Generator) -> None:
    """Give every parameter and statistic that is constant, as zeros or ones, values of its own, in place."""
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point() or tensor.numel() < 2 or (tensor != tensor.flatten()[0]).any():
            continue
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=random)
        else:
            tensor += 0.3 * torch.empty_like(tensor).normal_(generator=random)


def tensors(output: object) -> Iterator[Tensor]:
    """Of whatever a network returns."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | tuple | list):
        for part in output.values() if isinstance(output, dict) else output:
            yield from tensors(part)


@torch.no_grad()
def answers(network: nn.Module, images: Tensor) -> Tensor:
    """All that `network` puts out, in one row."""
    return torch.cat([part.flatten() for part in tensors(network(images))])


def change_of_output(
    network: nn.Module, alignment: Alignment, images: Tensor, random: torch.Generator
) -> float:
    """Permute every group at random, in place; the largest change over the largest output."""
    maps = [make_map(permutation_matrix(group.size, random)) for group in alignment.groups]
    before, weights = answers(network, images), network.state_dict()
    set_weights(network, move(weights, alignment, alignment, maps, weights))
    change = (answers(network, images) - before).abs().max() / before.abs().max()
    return change.item()


def permutation_matrix(size: int, random: torch.Generator) -> Tensor:
    return torch.eye(size, dtype=torch.float64)[torch.randperm(size, generator=random)]


def make(name: str, pixels: int) -> nn.Module:
    """An architecture with fresh weights, in float64 and eval mode."""
    options = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False}
    elif name.startswith("vit"):
        options = {"image_size": pixels}
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)
    network.input_shape = (3, pixels, pixels)
    return network.double().eval()


def cover(name: str, pixels: int | None = None, seed: int = 1) -> Result:
    """Try one architecture."""
    start = time.perf_counter()
    pixels = pixels or SMALLEST.get(name, 64)
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(name, pixels)
    randomise(network, random)
    images = torch.randn(2, 3, pixels, pixels, dtype=torch.float64, generator=random)
    try:
        alignment = alignment_groups(network)
    except InputError as error:
        return Result(name, pixels, time.perf_counter() - start, error=str(error))
    change = change_of_output(network, alignment, images, random)
    frozen = Counter()
    for part in alignment.frozen:
        if part.reason != CLASS_OUTPUT:
            frozen[generic(part.reason)] += part.neurons
    moving = round(alignment.share_that_moves * alignment.neurons)
    return Result(
        name,
        pixels,
        time.perf_counter() - start,
        alignment.neurons,
        moving,
        len(alignment.groups),
        change,
        tuple(frozen.most_common()),
    )


def generic(reason: str) -> str:
    """A reason without the name of the very layer: a table has no room for all of them."""
    return reason.split(" '")[0]


def summary(results: list[Result]) -> str:
    """The last line: how many pass, how many channels move, none wrong."""
    passing = [result for result in results if result.passes]
    wrong = [result.name for result in results if result.change > ROUNDING]
    convolutional = [result for result in results if not result.name.startswith(TRANSFORMERS)]
    lines = [f"**{len(passing)} of {len(results)} pass** (largest change at most {ROUNDING:.0e})"]
    for kind, among in (("all", results), ("convolutional ones", convolutional)):
        if among:
            moving, neurons = (sum(getattr(r, of) for r in among) for of in ("moving", "neurons"))
            least = min(among, key=lambda result: result.share)
            lines.append(
                f"of the hidden channels of {kind} {moving / max(neurons, 1):.1%} move "
                f"({moving:,} of {neurons:,}; least: {least.name}, {least.share:.1%})"
            )
    lines.append(f"wrong: {', '.join(wrong) or 'none'}.")
    return "; ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="architectures; default: all classifiers of torchvision")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    page = HEAD.format(version=torchvision.__version__.split("+")[0])
    print(page, end="", flush=True)
    results = []
    for name in arguments.names or torchvision.models.list_models(module=torchvision.models):
        results.append(cover(name))
        gc.collect()  # some have half a billion parameters: free them before the next
        print(results[-1].row(), flush=True)
        page += results[-1].row() + "\n"
    page += f"\n{summary(results)}\n"
    print(f"\n{summary(results)}")
    if arguments.output:
        arguments.output.write_text(page)


if __name__ == "__main__":
    main()
