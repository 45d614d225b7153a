"""Operations that only put elements elsewhere: they are run on the labels themselves."""

import torch
from torch import Tensor

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger
from fusionscope.alignment.labels.places import renumbered
from fusionscope.alignment.labels.records import Labels


def label_movement_module(_ledger: Ledger, call: Call) -> Labels:
    return Labels(call.module(call.source.neuron), call.module(call.source.place))


def label_movement(_ledger: Ledger, call: Call) -> Labels | tuple[Labels, ...] | None:
    neuron, place = call.rerun("neuron"), call.rerun("place")
    if isinstance(neuron, Tensor):  # view(dtype) would not only move
        return Labels(neuron, place) if neuron.dtype == torch.int64 else None
    return tuple(Labels(*parts) for parts in zip(neuron, place, strict=True))


def label_join(_ledger: Ledger, call: Call) -> Labels | None:
    """Concatenation; what is joined first is another place than what comes second."""
    joined = call.node.args[0] if call.node.args else None
    if not isinstance(joined, list | tuple):
        return None
    operands = [call.labels.get(source) for source in joined]  # type: ignore[call-overload]  # nodes
    parts = [operand for operand in operands if isinstance(operand, Labels)]
    if len(parts) < len(operands) or not callable(call.node.target):
        return None
    (_, *arguments), options = call.arguments()
    neuron = call.node.target([part.neuron for part in parts], *arguments, **options)
    numbered = [part.place * len(parts) + number for number, part in enumerate(parts)]
    return Labels(neuron, renumbered(call.node.target(numbered, *arguments, **options)))
