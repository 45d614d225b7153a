"""Norms, and slopes for each channel: alike for all neurons in a set."""

import numpy as np
import torch

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger
from fusionscope.alignment.labels.places import numbers_of_blocks, paired
from fusionscope.alignment.labels.records import Labels, ParameterUse
from fusionscope.graph.operations import TENSORS_OF_LAYERS, spatial_rank


def label_batch_norm(ledger: Ledger, call: Call) -> Labels | None:
    return None if call.source.neuron.dim() < 2 else label_norm(ledger, call, axis=1)


def label_channel_slope(ledger: Ledger, call: Call) -> Labels | None:
    return call.source if call.module.num_parameters == 1 else label_batch_norm(ledger, call)


def label_instance_norm(ledger: Ledger, call: Call) -> Labels | None:
    if call.source.neuron.dim() != spatial_rank(type(call.module).__name__) + 2:
        return None  # without a batch
    return label_norm(ledger, call, axis=1)


def label_group_norm(ledger: Ledger, call: Call) -> Labels:
    return label_norm(ledger, call, axis=1, sets=call.module.num_groups)


def label_last_axis_norm(ledger: Ledger, call: Call) -> Labels | None:
    return label_norm(ledger, call, axis=-1) if len(call.module.normalized_shape) == 1 else None


def label_norm(ledger: Ledger, call: Call, *, axis: int, sets: int = 1) -> Labels:
    """Statistics or slopes for each neuron along `axis`, or over `sets` of them."""
    neurons, place_ids = ledger.collapse_onto_axis(call.source, axis)
    place_ids = numbers_of_blocks(len(place_ids), sets) * (place_ids.max() + 1) + place_ids
    for part in TENSORS_OF_LAYERS:
        tensor = getattr(call.module, part, None)
        if tensor is not None:
            ledger.record_parameter(tensor, ParameterUse(neurons, place_ids, f"{call.name}.{part}"))
    return normalised(ledger, call.source, axis, neurons, place_ids)


def label_layer_norm_function(ledger: Ledger, call: Call) -> Labels | None:
    """F.layer_norm over the last axis, whose weight and bias come as labelled parameters."""
    names = ("input", "normalized_shape", "weight", "bias")
    given = dict(zip(names, call.node.args, strict=False)) | call.node.kwargs
    parameters = [labels_of(call, given[name]).neuron for name in ("weight", "bias") if given.get(name)]
    if len(call.value_of(given["normalized_shape"])) != 1 or any((each < 0).any() for each in parameters):
        return None
    source = labels_of(call, given["input"])
    neurons, place_ids = ledger.collapse_onto_axis(source, axis=-1)
    for parameter in parameters:
        ledger.tie(neurons, parameter.numpy())
    return normalised(ledger, source, -1, neurons, place_ids)


def labels_of(call: Call, argument: object) -> Labels:
    """Those of an argument that is a node."""
    labels = call.labels[argument]  # type: ignore[index]  # any object may be asked for
    assert isinstance(labels, Labels)
    return labels


def normalised(
    ledger: Ledger, source: Labels, axis: int, neurons: np.ndarray, place_ids: np.ndarray
) -> Labels:
    """Labels after a norm: what is normalised together is one place more."""
    ledger.record_use(neurons, place_ids)
    along = [1] * source.neuron.dim()
    along[axis] = -1
    neuron = torch.from_numpy(neurons).view(along).expand(source.neuron.shape)
    ids = torch.from_numpy(place_ids).view(along).expand_as(source.place)
    return Labels(neuron, paired(source.place, ids))
