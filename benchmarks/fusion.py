"""Fusion against the published procedure written out plainly; its solver against POT's; its memory.

    python benchmarks/fusion.py [--output docs/fusion_speed.md]

Random weights at width 1.0, float32; the best of a few runs, as other work on the machine only adds.
"""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import ot
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.alignment.groups import alignment_groups
from fusionscope.fusion.fuse import fuse
from fusionscope.fusion.transport import assignment
from fusionscope.images import Images
from fusionscope.networks.build import build

MODEL_TYPES = ("VGG11_NOBIAS_NOBN", "RESNET18_NOBIAS_NOBN")  # the study's
REPEATS = 3
CHUNK = 16  # rows of A at once: all differences of a full-width layer would take 9 GB
SIZES = (512, 2048)
IMAGES = (200, 1000, 5000)
MEMORY_REPEATS = 5  # the allocator's noise is some MB
GEOMETRIC = {"method": "optimal_transport", "align_by": "weights", "solver": "exact"}
ACTIVATIONS = {"method": "optimal_transport", "align_by": "activations", "solver": "exact"}


# the plain transcription


def plain_fusion(network: nn.Module, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layer by layer, from input to output: move columns, match rows, move rows; then the mean.

    As published (Singh & Jaggi 2020, github.com/sidak/otfusion): unit-norm rows, distances by broadcast
    differences, POT's emd, T normalised, applied by matrix products. Which layers share neurons is read off
    the library's groups (found before the clock starts), so that ResNet18's streams are traversed as in
    the library's first pass; the library's further passes and its search for groups are its own burden.
    """
    alignment = network.groups
    maps: dict[int, Tensor] = {}
    for number, group in enumerate(alignment.groups):
        cost = 0
        for writer in group.writers:
            before = reads(alignment, writer.parameter)
            if before is None or before in maps:
                rows = moved_columns(a[writer.parameter], maps.get(before))
                cost = cost + distances(unit_rows(rows), unit_rows(b[writer.parameter]))
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


def reads(alignment, parameter: str) -> int | None:
    found = alignment.axes.get(parameter, {}).get((1, 1))
    return found[0][0] if found else None


def writes(alignment, parameter: str) -> int | None:
    found = alignment.axes.get(parameter, {}).get((0, 1))
    return found[0][0] if found else None


def moved_columns(weight: Tensor, map_: Tensor | None) -> Tensor:
    return weight if map_ is None else torch.tensordot(weight, map_, dims=([1], [0])).movedim(-1, 1)


def unit_rows(weight: Tensor) -> Tensor:
    rows = weight.flatten(1)
    return rows / rows.norm(dim=1, keepdim=True)


def distances(a: Tensor, b: Tensor) -> Tensor:
    chunks = [(part[:, None] - b[None]).square().sum(-1).sqrt() for part in a.split(CHUNK)]
    return torch.cat(chunks)


# clocks


def seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """The shortest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def pair_of(model_type: str, width: float = 1.0) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    networks = [build(10, model_type=model_type, width=width) for _ in range(2)]
    return networks, [network.state_dict() for network in networks]


def fusion_rows(threads: int) -> list[str]:
    torch.set_num_threads(threads)
    lines = []
    for model_type in MODEL_TYPES:
        networks, parents = pair_of(model_type)
        networks[0].groups = alignment_groups(networks[0])
        fusion = fuse(networks, parents, **GEOMETRIC)
        plain = plain_fusion(networks[0], *parents)
        same = max((fusion.child[name] - plain[name]).abs().max().item() for name in plain)
        ours = seconds(lambda n=networks, p=parents: fuse(n, p, **GEOMETRIC))
        theirs = seconds(lambda n=networks, p=parents: plain_fusion(n[0], *p), repeats=1)
        lines.append(
            f"| {model_type} | {threads} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f} "
            f"| {fusion.records[0].passes} | {same:.0e} |"
        )
    return lines


def solver_rows() -> list[str]:
    lines = []
    for n in SIZES:
        cost = torch.from_numpy(np.random.default_rng(n).random((n, n)))
        mass = np.full(n, 1 / n)
        ours = seconds(lambda cost=cost: assignment(cost))
        theirs = seconds(lambda c=cost, m=mass: ot.emd(m, m, c.numpy(), numItermax=10_000_000))
        lines.append(f"| {n} | {1000 * theirs:.0f} | {1000 * ours:.0f} | {theirs / ours:.0f} |")
    return lines


# memory


def added_memory(count: int) -> float:
    """MB at the peak of matching by activations, beyond what this process held before."""
    networks, parents = pair_of("VGG11", width=0.25)
    images = Images(
        pixels=torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8),
        labels=torch.zeros(count, dtype=torch.int64),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        num_classes=10,
    )
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


def report() -> str:
    threads = torch.get_num_threads()
    table = fusion_rows(1) + (fusion_rows(threads) if threads > 1 else [])
    return f"""# Speed and memory of fusion

`python benchmarks/fusion.py --output docs/fusion_speed.md` ({platform.machine()}, at most {threads} threads)

Pairs of width 1.0 (float32, random weights) fused by weights, `geometric_fused`, against the published
procedure written out plainly: rows scaled to unit norm, distances by broadcast differences ({CHUNK} rows at a
time), POT's `emd`, couplings normalised and applied by matrix products, one pass from input to output. Ours
includes what the plain one is given: finding out what moves together; and, with residual streams, the
passes that follow. The last column is the largest difference between the two children.

| pair | threads | plain, s | ours, s | ratio | passes | difference |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(table)}

Assignment (SciPy) against network simplex (POT's `emd`), uniform masses, random costs:

| neurons | emd, ms | assignment, ms | ratio |
| ---: | ---: | ---: | ---: |
{chr(10).join(solver_rows())}

What matching by activations adds at its peak to the memory of a fresh process (VGG11, width 0.25, random
pictures of 32x32, which are held before), the median of {MEMORY_REPEATS}:

| images | MB | of the first |
| ---: | ---: | ---: |
{chr(10).join(memory_rows())}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="also write the tables there")
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="only print the MB for so many images")
    arguments = parser.parse_args()
    if arguments.memory:
        print(added_memory(arguments.memory))
        return
    text = report()
    print(text, end="")
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
