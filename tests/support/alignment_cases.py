"""What tests of labels and alignment share: a network's function before and after a random permutation."""

import importlib.util
import sys
from pathlib import Path

import torch
from torch import nn

from fusionscope.alignment.groups import Alignment, alignment_groups

path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
coverage = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = coverage
spec.loader.exec_module(coverage)

ROUNDING = coverage.ROUNDING


def prepared(make, seed: int = 1, shape: tuple[int, ...] = (3, 8, 8)) -> nn.Module:
    """A network in float64 with random values everywhere, for small images."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # .double() would part what shares memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make().eval()
    torch.set_default_dtype(usual)
    network.input_shape = shape
    coverage.randomise(network, torch.Generator().manual_seed(seed))
    return network


def change_when_permuted(network: nn.Module, alignment: Alignment | None = None, seed: int = 2) -> float:
    """Of the output on three images, relative to its size, over two rounds of random permutations."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(3, *network.input_shape, dtype=torch.float64, generator=random)
    groups = alignment_groups(network) if alignment is None else alignment
    return max(coverage.change_of_output(network, groups, images, random) for _ in range(2))


def moving(network: nn.Module) -> dict[str, int]:
    """Layer -> how many of its output channels move."""
    found: dict[str, int] = {}
    for group in alignment_groups(network).groups:
        for member in group.writers:
            layer = member.parameter.removesuffix(".weight")
            found[layer] = found.get(layer, 0) + member.positions.numel()
    return found


def reasons(network: nn.Module) -> dict[str, set[str]]:
    """Layer -> why some of its channels do not move."""
    found: dict[str, set[str]] = {}
    for part in alignment_groups(network).frozen:
        found.setdefault(part.layer, set()).add(part.reason)
    return found
