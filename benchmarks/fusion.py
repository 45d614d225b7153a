"""Fusion against the published procedure written out plainly; its solver against POT's; its memory.

    python benchmarks/fusion.py [--output docs/fusion_speed.md]

Random weights at width 1.0, float32; runs take turns, and the best of a few counts, as other work only adds.
"""

import argparse
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import ot
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.alignment.groups import Alignment, Group, alignment_groups
from fusionscope.fusion.fuse import Fusion, fuse
from fusionscope.fusion.transport import assignment
from fusionscope.images import Images
from fusionscope.networks.build import build

MODEL_TYPES = ("VGG11_NOBIAS_NOBN", "RESNET18_NOBIAS_NOBN")  # the study's
REPEATS = 3
FEW_REPEATS = 2  # of what takes long
ACTIVATION_IMAGES = 200  # as published
BATCH = 64  # of images, where they are not passed one at a time
SIZES = (512, 2048)
IMAGES = (200, 1000, 5000)
MEMORY_REPEATS = 5  # the allocator's noise is some MB
GEOMETRIC = {"method": "optimal_transport", "align_by": "weights", "solver": "exact"}
ACTIVATIONS = {"method": "optimal_transport", "align_by": "activations", "solver": "exact"}
PUBLISHED_ACTIVATIONS = ACTIVATIONS | {"activations": "pre", "ground_metric": "euclidean"}


# the plain transcription


def plain_fusion(
    network: nn.Module,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    costs: Sequence[Tensor] | None = None,
) -> dict[str, Tensor]:
    """Layer by layer, from input to output: move columns, match rows, move rows; then the mean.

    As published (Singh & Jaggi 2020, github.com/sidak/otfusion, with its option of distances by matrix
    products): unit-norm rows, Euclidean distances, POT's emd, T normalised, applied by matrix products. With
    `costs` (n, m) of each group, neurons are matched by these instead. Which layers share neurons is read off
    the library's groups (found before the clock starts), so that ResNet18's streams are traversed as in
    the library's first pass; the library's further passes and its search for groups are its own burden.
    """
    alignment = network.groups
    maps: dict[int, Tensor] = {}
    for number, group in enumerate(alignment.groups):
        cost = weight_cost(alignment, group, a, b, maps) if costs is None else costs[number]
        n, m = cost.shape
        coupling = ot.emd(np.full(n, 1 / n), np.full(m, 1 / m), cost.double().numpy())
        coupling = torch.from_numpy(coupling).float()
        maps[number] = coupling / coupling.sum(0)
    aligned = {}
    for name, tensor in a.items():
        tensor = moved_columns(tensor, maps.get(reads(alignment, name)))
        group = writes(alignment, name)
        aligned[name] = tensor if group is None else torch.tensordot(maps[group].T, tensor, 1)
    return {name: (aligned[name] + b[name]) / 2 for name in a}


def weight_cost(
    alignment: Alignment,
    group: Group,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    maps: Mapping[int, Tensor],
) -> Tensor:
    """(n, m): the distances of unit rows, added up over the writers whose inputs have been matched."""
    cost = torch.zeros(group.size, group.size)
    for writer in group.writers:
        before = reads(alignment, writer.parameter)
        if before is None or before in maps:
            rows = moved_columns(a[writer.parameter], maps.get(before))
            cost = cost + distances(unit_rows(rows), unit_rows(b[writer.parameter]))
    return cost


@torch.no_grad()
def activation_costs(networks: Sequence[nn.Module], images: Images, batch_size: int) -> list[Tensor]:
    """(n, m) for each group: distances of what its writers put out for all images, kept in memory.

    As published: of all images and places, before the activation function.
    """
    groups = networks[0].groups.groups
    layers = {writer.parameter.removesuffix(".weight") for group in groups for writer in group.writers}
    answers = [outputs(network, layers, images, batch_size) for network in networks]
    costs = []
    for group in groups:
        names = [writer.parameter.removesuffix(".weight") for writer in group.writers]
        costs.append(sum(distances(answers[0][name], answers[1][name]) for name in names))
    return costs


def outputs(network: nn.Module, layers: set[str], images: Images, batch_size: int) -> dict[str, Tensor]:
    """What each of `layers` puts out: (channels, images x places)."""
    kept: dict[str, list[Tensor]] = {name: [] for name in layers}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, kept=kept[name]: kept.append(out)
        )
        for name in layers
    ]
    for batch, _ in images.batches(batch_size):
        network(batch)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts).movedim(1, 0).flatten(1) for name, parts in kept.items()}


def reads(alignment: Alignment, parameter: str) -> int | None:
    found = alignment.axes.get(parameter, {}).get((1, 1))
    return found[0][0] if found else None


def writes(alignment: Alignment, parameter: str) -> int | None:
    found = alignment.axes.get(parameter, {}).get((0, 1))
    return found[0][0] if found else None


def moved_columns(weight: Tensor, map_: Tensor | None) -> Tensor:
    return weight if map_ is None else torch.tensordot(weight, map_, dims=([1], [0])).movedim(-1, 1)


def unit_rows(weight: Tensor) -> Tensor:
    rows = weight.flatten(1)
    return rows / rows.norm(dim=1, keepdim=True)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) Euclidean distances of rows, by a matrix product."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1)
    return (squares - 2 * a @ b.T).clamp(min=0).sqrt()


# clocks


CLOCKS = ("processor's time of one thread, which other work changes little", "wall-clock time")


def clock_of(threads: int) -> Callable[[], float]:
    return time.process_time if threads == 1 else time.perf_counter


def seconds(*runs: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """The shortest of several runs of each, one after the other in turn."""
    clock = clock_of(torch.get_num_threads())
    times = [float("inf")] * len(runs)
    for _ in range(repeats):
        for number, run in enumerate(runs):
            start = clock()
            run()
            times[number] = min(times[number], clock() - start)
    return times


def random_images(count: int) -> Images:
    return Images(
        pixels=torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8),
        labels=torch.zeros(count, dtype=torch.int64),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        num_classes=10,
    )


def pair_of(model_type: str, width: float = 1.0) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    networks = [build(10, model_type=model_type, width=width) for _ in range(2)]
    return networks, [network.state_dict() for network in networks]


def pair_with_groups(model_type: str) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    """The same with the groups that the plain procedure is given."""
    networks, parents = pair_of(model_type)
    networks[0].groups = alignment_groups(networks[0])
    return networks, parents


def largest_difference(child: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return max((child[name] - other[name]).abs().max().item() for name in child)


def weight_rows() -> list[str]:
    lines = []
    for model_type in MODEL_TYPES:
        networks, parents = pair_with_groups(model_type)
        fusion = fuse(networks, parents, **GEOMETRIC)
        difference = largest_difference(fusion.child, plain_fusion(networks[0], *parents))
        theirs, ours = seconds(
            lambda n=networks, p=parents: plain_fusion(n[0], *p),
            lambda n=networks, p=parents: fuse(n, p, **GEOMETRIC),
        )
        lines.append(
            f"| {model_type} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.2f} "
            f"| {fusion.records[0].passes} | {difference:.0e} |"
        )
    return lines


def activation_rows() -> list[str]:
    lines = []
    for model_type in MODEL_TYPES:
        networks, parents = pair_with_groups(model_type)
        images = random_images(ACTIVATION_IMAGES)

        def plain(batch_size: int, n=networks, p=parents, images=images) -> dict[str, Tensor]:
            return plain_fusion(n[0], *p, activation_costs(n, images, batch_size))

        def ours(n=networks, p=parents, images=images) -> Fusion:
            return fuse(n, p, images=images, **PUBLISHED_ACTIVATIONS)

        difference = largest_difference(ours().child, plain(BATCH))
        one, batched, mine = seconds(lambda: plain(1), lambda: plain(BATCH), ours, repeats=FEW_REPEATS)
        lines.append(
            f"| {model_type} | {one:.2f} | {batched:.2f} | {mine:.2f} | {one / mine:.2f} "
            f"| {batched / mine:.2f} | {difference:.0e} |"
        )
    return lines


def published_statistics_seconds(model_type: str) -> float:
    """What it takes to print, for each layer, statistics of the differences between all pairs of neurons.

    One neuron of A at a time: all differences of a layer at once would take gigabytes.
    """
    networks, _ = pair_with_groups(model_type)
    layers = {
        writer.parameter.removesuffix(".weight") for g in networks[0].groups.groups for writer in g.writers
    }
    images = random_images(ACTIVATION_IMAGES)
    with torch.no_grad():
        one, other = (outputs(network, layers, images, BATCH) for network in networks)
    clock = clock_of(torch.get_num_threads())
    sides = {name: math.isqrt(one[name].shape[1] // ACTIVATION_IMAGES) for name in layers}
    start = clock()
    for name in layers:
        for row in one[name]:
            squares = (other[name] - row).abs().square().unflatten(1, (ACTIVATION_IMAGES, sides[name], -1))
            roots = squares.sum(2).sqrt().flatten(1)  # over the height, as published
            (roots.mean(1), roots.amax(1), roots.amin(1), roots.std(1))
    return clock() - start


def solver_rows() -> list[str]:
    lines = []
    for n in SIZES:
        cost = torch.from_numpy(np.random.default_rng(n).random((n, n)))
        mass = np.full(n, 1 / n)
        ours, theirs = seconds(
            lambda cost=cost: assignment(cost),
            lambda c=cost, m=mass: ot.emd(m, m, c.numpy(), numItermax=10_000_000),
        )
        lines.append(f"| {n} | {1000 * theirs:.0f} | {1000 * ours:.0f} | {theirs / ours:.0f} |")
    return lines


# memory


def added_memory(count: int) -> float:
    """MB at the peak of matching by activations, beyond what this process held before."""
    networks, parents = pair_of("VGG11", width=0.25)
    images = random_images(count)
    alignment_groups(networks[0])  # what is imported on the way
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew; getrusage's would be the parent's
    before = memory("VmRSS")
    fuse(networks, parents, images=images, **ACTIVATIONS)
    return memory("VmHWM") - before


def memory(entry: str) -> float:
    """MB, from what Linux knows of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(entry))


def memory_rows() -> list[str]:
    found = []
    for count in IMAGES:
        command = [sys.executable, __file__, "--memory", str(count)]
        runs = [subprocess.run(command, check=True, capture_output=True) for _ in range(MEMORY_REPEATS)]
        found.append(np.median([float(run.stdout) for run in runs]))
    return [
        f"| {count} | {added:.0f} | {added / found[0]:.2f} |"
        for count, added in zip(IMAGES, found, strict=True)
    ]


def report(threads: int) -> str:
    torch.set_num_threads(threads)
    return f"""# Speed and memory of fusion

`python benchmarks/fusion.py --threads {threads} --output docs/fusion_speed.md` ({platform.machine()})

Pairs of width 1.0 (float32, random weights) are fused by ours and by the published procedure (Singh &
Jaggi 2020) written out plainly: distances by matrix products, POT's `emd`, couplings normalised and applied
by matrix products, one pass from input to output. Ours includes what the plain one is given: finding out
what moves together; and, with residual streams, the passes that follow. Runs take turns, and a time is the
shortest of {REPEATS} (by activations {FEW_REPEATS}): {CLOCKS[threads > 1]}.
*Difference*: the largest between the weights of the two children. Where a ratio is below 1, ours takes
longer: it works in float64, finds the groups, and goes on until residual streams agree.

By weights, `geometric_fused`:

| pair | plain, s | ours, s | plain / ours | passes | difference |
| --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(weight_rows())}

By what neurons answer to {ACTIVATION_IMAGES} images of 32x32 before the activation function, Euclidean. The
published code passes images through the networks one at a time and keeps all activations; *in batches* is
the same with {BATCH} at a time. Ours streams them, in float64. The published code also prints statistics of
all differences between activations, which are no part of the procedure and not counted here: for VGG11 they
alone take {published_statistics_seconds("VGG11_NOBIAS_NOBN"):.1f} s.

| pair | plain, s | in batches, s | ours, s | plain / ours | in batches / ours | difference |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(activation_rows())}

Assignment (SciPy) against network simplex (POT's `emd`), uniform masses, random costs:

| neurons | emd, ms | assignment, ms | ratio |
| ---: | ---: | ---: | ---: |
{chr(10).join(solver_rows())}

What matching by activations adds at its peak to the memory of a fresh process (VGG11, width 0.25, random
images of 32x32, which are held before), the median of {MEMORY_REPEATS}:

| images | MB | of the first |
| ---: | ---: | ---: |
{chr(10).join(memory_rows())}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="also write the tables there")
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="only print the MB for so many images")
    parser.add_argument("--threads", type=int, default=1, help="of both procedures")
    arguments = parser.parse_args()
    if arguments.memory:
        print(added_memory(arguments.memory))
        return
    text = report(arguments.threads)
    print(text, end="")
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
