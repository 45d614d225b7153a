"""Convolutions and linear layers: their outputs are new neurons."""

import numpy as np

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger
from fusionscope.alignment.labels.places import numbers_of_blocks, spread
from fusionscope.alignment.labels.records import READER, WRITER, Labels, ParameterUse, WeightUse


def label_convolution(ledger: Ledger, call: Call) -> Labels | None:
    module, weight, name = call.module, call.module.weight, f"{call.name}.weight"
    if call.source.neuron.dim() != weight.dim():
        return None  # an image without a batch: channels are not axis 1
    wider = module.out_channels
    neurons, place_ids = ledger.collapse_onto_axis(call.source, axis=1)
    if module.groups == module.in_channels > 1:  # depthwise: an output is a place of its input
        several = wider // module.in_channels
        outputs = neurons.repeat(several)
        place_ids = place_ids.repeat(several) * several + np.tile(np.arange(several), module.in_channels)
    else:
        seen = numbers_of_blocks(module.in_channels, module.groups) * (place_ids.max() + 1) + place_ids
        use = WeightUse(neurons, seen, name, 1, READER, module.groups, node=call.read_from, dim=1)
        ledger.record_parameter(weight, use)
        outputs, place_ids = ledger.neurons_along(weight, wider), numbers_of_blocks(wider, module.groups)
    use = WeightUse(outputs, place_ids, name, 0, WRITER, node=call.node.name, dim=1)
    ledger.record_parameter(weight, use)
    if module.bias is not None:
        ledger.record_parameter(module.bias, ParameterUse(outputs, place_ids, f"{call.name}.bias"))
    return spread(outputs, place_ids, call.value, axis=1)


def label_linear(ledger: Ledger, call: Call) -> Labels:
    module, weight, name = call.module, call.module.weight, f"{call.name}.weight"
    last = call.value.dim() - 1
    neurons, place_ids = ledger.collapse_onto_axis(call.source, axis=-1)
    use = WeightUse(neurons, place_ids, name, 1, READER, node=call.read_from, dim=last)
    ledger.record_parameter(weight, use)
    outputs = ledger.neurons_along(weight, module.out_features)
    place_ids = np.zeros(module.out_features, np.int64)
    use = WeightUse(outputs, place_ids, name, 0, WRITER, node=call.node.name, dim=last)
    ledger.record_parameter(weight, use)
    if module.bias is not None:
        ledger.record_parameter(module.bias, ParameterUse(outputs, place_ids, f"{call.name}.bias"))
    return spread(outputs, place_ids, call.value, axis=-1)
