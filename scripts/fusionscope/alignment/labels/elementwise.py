"""Operations element by element: what stands at one position is tied."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger
from fusionscope.alignment.labels.places import broadcasts, paired, renumbered
from fusionscope.alignment.labels.records import GATE, Labels


def label_elementwise_module(_ledger: Ledger, call: Call) -> Labels:
    return call.source


def label_typed_as(_ledger: Ledger, call: Call) -> Labels | None:
    """The first tensor in another type; one that says which has no other part in it."""
    return call.labels_of(call.node.all_input_nodes[0])


def label_elementwise(ledger: Ledger, call: Call) -> Labels | None:
    """Elements at one position are tied. Anchored ones tie nobody: their places are told apart."""
    sources, shape = call.sources, call.value.shape
    if not all(broadcasts(source.neuron.shape, shape) for source in sources):
        return None
    if len(sources) > 1:
        sources = without_gates(ledger, sources)
    neuron, place = sources[0].neuron.expand(shape), sources[0].place.expand(shape)
    for source in sources[1:]:
        other = source.neuron.expand(shape)
        both = (neuron >= 0) & (other >= 0)
        ledger.tie(neuron[both].numpy(), other[both].numpy())
        neuron, place = torch.where(neuron < 0, other, neuron), paired(place, source.place.expand(shape))
    for source in sources:
        if (source.neuron < 0).all() and tells_all_apart(neuron, place):  # else they are just alone
            reason = ledger.reason(int(source.neuron.flatten()[0]))
            ledger.freeze_neurons(neuron.unique().numpy(), reason)
            break
    return Labels(neuron, place)


def without_gates(ledger: Ledger, sources: Sequence[Labels]) -> list[Labels]:
    """One channel that acts on several others cannot move; then it ties nobody."""
    counts = [len(source.neuron.unique()) for source in sources]
    shown = []
    for source, count in zip(sources, counts, strict=True):
        if count == 1 < max(counts) and source.neuron.flatten()[0] >= 0:
            anchor = ledger.freeze_neurons(source.neuron.unique().numpy(), GATE)
            source = Labels(torch.full_like(source.neuron, anchor), source.place)
        shown.append(source)
    return shown


def tells_all_apart(neuron: Tensor, place: Tensor) -> bool:
    """Whether there are several neurons and no two of them have a place in common."""
    free = neuron >= 0
    neurons, places = neuron[free].unique(return_inverse=True)[1], renumbered(place[free])
    if not len(neurons) or neurons.max() == 0:
        return False
    pairs = places * (neurons.max() + 1) + neurons
    return len(pairs.unique()) == int(places.max()) + 1
