"""Norms, and slopes for each channel: alike for all neurons in a set."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger
from fusionscope.alignment.labels.parameters import named
from fusionscope.alignment.labels.places import numbers_of_blocks, paired
from fusionscope.alignment.labels.records import Labels, ParameterUse
from fusionscope.graph.operations import TENSORS_OF_LAYERS, spatial_rank

FEWEST_AXES = 3  # of what an instance norm reads: images, channels, places


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


def label_batch_norm_function(ledger: Ledger, call: Call) -> Labels | None:
    given = call.given("input", "running_mean", "running_var", "weight", "bias")
    return label_norm_function(ledger, call, given, axis=1)


def label_instance_norm_function(ledger: Ledger, call: Call) -> Labels | None:
    given = call.given("input", "running_mean", "running_var", "weight", "bias")
    without_batch = call.labels_of(given["input"]).neuron.dim() < FEWEST_AXES
    return None if without_batch else label_norm_function(ledger, call, given, axis=1)


def label_group_norm_function(ledger: Ledger, call: Call) -> Labels | None:
    given = call.given("input", "num_groups", "weight", "bias")
    return label_norm_function(ledger, call, given, axis=1, sets=call.value_of(given["num_groups"]))


def label_last_axis_norm_function(ledger: Ledger, call: Call) -> Labels | None:
    given = call.given("input", "normalized_shape", "weight", "bias")
    if len(call.value_of(given["normalized_shape"])) != 1:
        return None
    return label_norm_function(ledger, call, given, axis=-1)


def label_norm(ledger: Ledger, call: Call, *, axis: int, sets: int = 1) -> Labels:
    """Statistics or slopes for each neuron along `axis`, or over `sets` of them."""
    neurons, place_ids = neurons_in_sets(ledger, call.source, axis, sets)
    for part in TENSORS_OF_LAYERS:
        tensor = getattr(call.module, part, None)
        if tensor is not None:
            ledger.record_parameter(tensor, ParameterUse(neurons, place_ids, f"{call.name}.{part}"))
    return normalised(ledger, call.source, axis, neurons, place_ids)


def label_norm_function(
    ledger: Ledger, call: Call, given: Mapping[str, Any], *, axis: int, sets: int = 1
) -> Labels | None:
    """The same of a function; None where a parameter that it is `given` is not known neuron by neuron."""
    source = call.labels_of(given["input"])
    parameters = [given[part] for part in TENSORS_OF_LAYERS if given.get(part) is not None]
    if not all(has_neurons(ledger, call, each) for each in parameters):
        return None
    neurons, place_ids = neurons_in_sets(ledger, source, axis, sets)
    for each in parameters:
        own = named(ledger, call, each)
        if own is not None:
            ledger.record_parameter(own.tensor, ParameterUse(neurons, place_ids, own.name))
        else:  # made of parameters
            computed = call.labels_of(each).neuron.numpy()
            ledger.tie(neurons, computed)
            ledger.record_use(computed, place_ids)
    return normalised(ledger, source, axis, neurons, place_ids)


def has_neurons(ledger: Ledger, call: Call, parameter: object) -> bool:
    """Whether it is the network's own, or made of such so that each of its numbers belongs to a neuron."""
    if named(ledger, call, parameter) is not None:
        return True
    labels = call.labels.get(parameter)  # type: ignore[call-overload]  # any object may be asked for
    return isinstance(labels, Labels) and labels.neuron.dim() == 1 and bool((labels.neuron >= 0).all())


def neurons_in_sets(ledger: Ledger, source: Labels, axis: int, sets: int) -> tuple[np.ndarray, np.ndarray]:
    """Neurons along `axis` and their place ids, apart for each of `sets` sets of as many side by side."""
    neurons, place_ids = ledger.collapse_onto_axis(source, axis)
    return neurons, numbers_of_blocks(len(place_ids), sets) * (place_ids.max() + 1) + place_ids


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
