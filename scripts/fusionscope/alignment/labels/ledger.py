"""The books that are kept while neurons are followed: uses, ties, anchors, and what is fixed where it is."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fusionscope.alignment.labels.memory import leaves, overlapping
from fusionscope.alignment.labels.places import row_numbers
from fusionscope.alignment.labels.records import USED_OTHERWISE, AxisUse, Labelling, Labels, ParameterUse


class Ledger:
    """What has been found so far, and the network's parameters by their address."""

    def __init__(self, weights: Mapping[str, Tensor]):
        self.found = Labelling()
        self.weights = list(weights.values())
        self.names: dict[int, list[str]] = defaultdict(list)  # of a parameter, known by its address
        for name, tensor in weights.items():
            self.names[tensor.data_ptr()].append(name)
        self.axes: dict[tuple[int, int], np.ndarray] = {}  # (address of a parameter, axis) -> neurons
        self.blocks: dict[tuple[int, int], int] = {}  # the same -> of the convolution that has it
        self.fixed = overlapping(self.weights)  # addresses of parameters that cannot move

    # neurons and their uses

    def neurons_along(self, parameter: Tensor, size: int, axis: int = 0) -> np.ndarray:
        """Fresh neurons (size,); a parameter that was met before keeps those it had."""
        met = self.axes.get((parameter.data_ptr(), axis))
        if met is not None and len(met) == size:
            return met
        first = self.found.neurons
        self.found.neurons += size
        return np.arange(first, first + size)

    def record_use(self, neurons: np.ndarray, place_ids: np.ndarray) -> None:
        """Note that an operation without parameters tells neurons apart."""
        if len(np.unique(place_ids)) > 1:  # else it tells nobody apart
            self.found.uses.append(AxisUse(neurons, place_ids))

    def record_parameter(self, parameter: Tensor, use: ParameterUse) -> None:
        """Note the use of a parameter, under all names that it has; one that was met before is tied."""
        address = parameter.data_ptr()
        if self.blocks.setdefault((address, use.axis), use.blocks) != use.blocks:
            self.fixed.add(address)
        if address in self.fixed:
            self.freeze_neurons(use.neurons, USED_OTHERWISE)
        else:
            self.tie(self.axes.setdefault((address, use.axis), use.neurons), use.neurons)
        for name in dict.fromkeys([use.parameter, *self.names[address]]):
            self.found.uses.append(replace(use, parameter=name))

    def collapse_onto_axis(self, source: Labels, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Neuron and place id (length,) of each slice along `axis`; what is in one slice is tied.

        Slices of anchored elements alone are told apart: nothing may move them.
        """
        neuron, place = (
            part.movedim(axis, 0).reshape(part.shape[axis], -1).numpy()
            for part in (source.neuron, source.place)
        )
        first = (neuron >= 0).argmax(1)
        neurons = neuron[np.arange(len(neuron)), first]
        mixed = (neuron != neurons[:, None]) & (neuron >= 0)
        for column in mixed.any(0).nonzero()[0]:
            rows = mixed[:, column]
            self.tie(neurons[rows], neuron[rows, column])
        place_ids, anchored = row_numbers(place), neurons < 0
        place_ids[anchored] = place_ids.max() + 1 + np.arange(anchored.sum())
        return neurons, place_ids

    # ties and anchors

    def tie(self, one: np.ndarray, other: np.ndarray) -> None:
        """Neurons (k,) and (k,) that move together, one by one."""
        different = one != other
        if different.any():
            pairs = np.unique(np.stack([one[different], other[different]]), axis=1)
            self.found.ties.append((pairs[0], pairs[1]))

    def anchor(self, reason: str) -> int:
        """A new negative number: whatever is tied to it stays, for this reason."""
        self.found.anchors.append(reason)
        return -len(self.found.anchors)

    def reason(self, anchor: int) -> str:
        return self.found.anchors[-1 - anchor]

    def freeze_neurons(self, neurons: np.ndarray, reason: str) -> int:
        anchor = self.anchor(reason)
        self.tie(neurons, np.full_like(neurons, anchor))
        return anchor

    def freeze(self, labels: Iterable[object], reason: str) -> int:
        """Freeze all neurons in `labels`, of which some may be tuples or nothing."""
        parts = [part for each in labels for part in leaves(each) if isinstance(part, Labels)]
        neurons = [part.neuron.unique().numpy() for part in parts]
        together = np.concatenate([*neurons, np.empty(0, np.int64)])
        return self.freeze_neurons(together[together >= 0], reason)

    def fix(self, tensors: Iterable[Tensor]) -> None:
        """Parameters that cannot move: used by something unknown."""
        self.fixed |= {tensor.data_ptr() for tensor in tensors}

    def freeze_fixed(self) -> None:
        """Once all is followed: also what was met before its parameter was fixed."""
        for (address, _), neurons in self.axes.items():
            if address in self.fixed:
                self.freeze_neurons(neurons, USED_OTHERWISE)


def frozen_like(value: object, anchor: int) -> object:
    """Labels of `value`, or a tuple of them, that are all one anchor; places are told apart."""
    if isinstance(value, tuple | list):
        return tuple(frozen_like(part, anchor) for part in value)
    if not isinstance(value, Tensor):
        return None
    return anchored(value, anchor)


def anchored(value: Tensor, anchor: int) -> Labels:
    return Labels(torch.full(value.shape, anchor), torch.arange(value.numel()).view(value.shape))
