"""Where a network set out from: the initial weights of a parent, the parents of a child."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fusionscope.measures.parameter.landscape import flatten_parameters
from fusionscope.networks.biases import give_biases
from fusionscope.networks.build import load_network


def load_origin(path: str | Path, num_classes: int, spec: Mapping[str, Any]) -> nn.Module:
    """A network with the weights of the file at `path`, to compare with the network that `spec` builds."""
    origin = load_network(path, num_classes, **{**spec, "biases": False})
    if spec.get("biases"):
        give_biases(origin)  # zeros: the child has biases that its parents never had
    return origin


def farthest(w: Tensor, origins: Sequence[nn.Module]) -> nn.Module | None:
    """The one of `origins` whose parameters are at the largest distance from `w`; None if there are none."""

    def distance(origin: nn.Module) -> float:
        return (w - flatten_parameters(origin)).double().norm().item()

    return max(origins, key=distance, default=None)
