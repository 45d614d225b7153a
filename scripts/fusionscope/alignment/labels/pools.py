"""Windows of pixels, borders around them, and reductions over some axes."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger
from fusionscope.alignment.labels.places import spread
from fusionscope.alignment.labels.records import Labels
from fusionscope.graph.operations import function_name, spatial_rank


def label_pool_module(ledger: Ledger, call: Call) -> Labels | None:
    return label_pool(ledger, call, spatial_rank(type(call.module).__name__))


def label_pool_function(ledger: Ledger, call: Call) -> Labels | None:
    name = function_name(call.node)
    return None if name is None else label_pool(ledger, call, spatial_rank(name))


def label_pool(ledger: Ledger, call: Call, rank: int) -> Labels | None:
    """Windows over `rank` axes, channel by channel."""
    if not call.source.neuron.dim() == call.value.dim() == rank + 2:
        return None  # an image without a batch
    neurons, place_ids = ledger.collapse_onto_axis(call.source, axis=1)
    ledger.record_use(neurons, place_ids)
    return spread(neurons, place_ids, call.value, axis=1)


def label_padding_module(ledger: Ledger, call: Call) -> Labels:
    return label_padding(ledger, call, call.module.padding)


def label_pad_function(ledger: Ledger, call: Call) -> Labels | None:
    given = call.value_of(call.given("input", "pad", "mode"))
    return label_padding(ledger, call, given["pad"]) if given.get("mode", "constant") == "constant" else None


def label_padding(ledger: Ledger, call: Call, padding: Sequence[int]) -> Labels:
    """A constant around (or cropped); the same wherever it is put, whatever moves."""
    anchor = ledger.anchor("a constant that is padded")
    source = call.source
    return Labels(F.pad(source.neuron, padding, value=anchor), F.pad(source.place + 1, padding))


def label_reduction(ledger: Ledger, call: Call) -> Labels | None:
    """Over some axes; each element of the result belongs to the neuron of those it is made of."""
    arguments, options = call.arguments()
    dims = options.get("dim", arguments[1] if len(arguments) > 1 else None)
    dims = [dims] if isinstance(dims, int) else dims
    if not isinstance(dims, tuple | list) or not dims:
        return None  # over everything
    dims = [dim % call.source.neuron.dim() for dim in dims]
    last = list(range(-len(dims), 0))
    neuron, place = (
        part.movedim(dims, last).flatten(-len(dims)) for part in (call.source.neuron, call.source.place)
    )
    rows = Labels(neuron.reshape(-1, neuron.shape[-1]), place.reshape(-1, place.shape[-1]))
    neurons, place_ids = ledger.collapse_onto_axis(rows, axis=0)
    ledger.record_use(neurons, place_ids)
    shape = call.value.shape
    return Labels(torch.from_numpy(neurons).view(shape), torch.from_numpy(place_ids).view(shape))
