"""Parameters that a network uses by itself, outside of layers: scales, embeddings, tokens, masks."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fusionscope.alignment.labels.ledger import Ledger, anchored
from fusionscope.alignment.labels.memory import overlapping
from fusionscope.alignment.labels.records import Labels, ParameterUse


def label_parameter(ledger: Ledger, name: str, value: Tensor, constants: Mapping[str, Tensor]) -> Labels:
    """A parameter with one axis has neurons of its own, to be tied to what it meets.

    Where it is one of the `constants`, those of different values there are told apart.
    """
    long = [axis for axis, size in enumerate(value.shape) if size > 1]
    if value.data_ptr() not in ledger.names or len(long) != 1 or not value.is_floating_point():
        ledger.fixed |= {value.data_ptr()} | overlapping([*ledger.weights, value])
        return anchored(value, ledger.anchor(f"used with the tensor {name}"))
    neurons = ledger.neurons_along(value, value.numel(), long[0])
    place_ids = np.zeros(value.numel(), np.int64)
    if name in constants:
        place_ids = constants[name].flatten().unique(return_inverse=True)[1].cpu().numpy()
    ledger.record_parameter(value, ParameterUse(neurons, place_ids, name, long[0]))
    return Labels(torch.from_numpy(neurons).view(value.shape), torch.zeros(value.shape, dtype=torch.int64))
