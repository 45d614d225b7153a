"""What following a network's neurons notes down: labels of activations, uses of axes, why something stays."""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

WRITER, READER, OTHER = "writer", "reader", "other"  # how a parameter's axis meets a neuron
CLASS_OUTPUT = "an output of the network"
NETWORK_INPUT = "added to or joined with the network's input"
GATE = "one channel that acts on all others"
USED_OTHERWISE = "its weights are also used in another way"


@dataclass(frozen=True)
class Labels:
    """Two int64 tensors of an activation's shape."""

    neuron: Tensor
    place: Tensor


@dataclass(frozen=True)
class AxisUse:
    """An axis along which neurons are told apart.

    Two neurons can change places only if at every use they have the same places.
    """

    neurons: np.ndarray  # (length,)
    place_ids: np.ndarray  # (length,): equal where neurons have the same place


@dataclass(frozen=True)
class ParameterUse(AxisUse):
    """An axis of a parameter: a bias, a scale of a norm, a weight."""

    parameter: str  # its name in the state dict
    axis: int = 0
    role: str = OTHER
    blocks: int = 1  # of a grouped convolution: its input axis is seen as one of all channels


@dataclass(frozen=True)
class WeightUse(ParameterUse):
    """An axis of a layer's weight, and the axis of the activation that it writes or reads."""

    node: str = ""  # whose output is the activation
    dim: int = 0  # the activation's axis


@dataclass
class Labelling:
    """What following a network's neurons has found."""

    uses: list[AxisUse] = field(default_factory=list)
    ties: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)  # why nothing tied to anchor -1, -2, ... can move
    neurons: int = 0  # they are 0, 1, ...
