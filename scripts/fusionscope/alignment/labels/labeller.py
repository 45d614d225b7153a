"""Which neuron every element of every activation belongs to, followed through the traced graph.

A network is run on a small batch. Beside each activation go two whole-number tensors of its shape: the
`neuron` an element belongs to, and its `place` among that neuron's elements (a pixel, a token). What is
kept true all along: if neurons are permuted, the value at (neuron, place) is afterwards found at (the
neuron's new number, place); two elements with one label have one value.

Operations that only move elements (view, permute, chunk, channel shuffle, ...) are simply run on those
two tensors. Operations that combine elements tie neurons, which then move together, and note an `AxisUse`:
two neurons can change places only if they have the same places wherever they are used. Numbers below zero
are anchors: elements that are the same whatever moves, as the network's input. What is not known to treat
neurons alike ties them to an anchor, which says why they cannot move. `alignment.groups` makes groups of
what is left.

What an operation does to neurons is said by the table in `graph.operations`; one function for each kind,
below, labels its result. One that gives None, or a kind that is not there: the operation is unknown.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, fx

from fusionscope.alignment.labels import elementwise, layers, movement, norms, pools
from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger, frozen_like
from fusionscope.alignment.labels.memory import same_memory, write_counts
from fusionscope.alignment.labels.parameters import fix_parameters, label_parameter
from fusionscope.alignment.labels.records import CLASS_OUTPUT, NETWORK_INPUT, Labelling, Labels
from fusionscope.graph.operations import (
    Kind,
    describe,
    function_name,
    is_plain,
    kind_of_call,
    kind_of_module,
)
from fusionscope.weights import weights_of

MODULES: dict[Kind, Callable[[Ledger, Call], Labels | None]] = {
    Kind.CONVOLUTION: layers.label_convolution,
    Kind.LINEAR: layers.label_linear,
    Kind.BATCH_NORM: norms.label_batch_norm,
    Kind.CHANNEL_SLOPE: norms.label_channel_slope,
    Kind.INSTANCE_NORM: norms.label_instance_norm,
    Kind.GROUP_NORM: norms.label_group_norm,
    Kind.LAST_AXIS_NORM: norms.label_last_axis_norm,
    Kind.AVERAGE_POOL: pools.label_pool_module,
    Kind.MAX_POOL: pools.label_pool_module,
    Kind.PADDING: pools.label_padding_module,
    Kind.ELEMENTWISE: elementwise.label_elementwise_module,
    Kind.MOVEMENT: movement.label_movement_module,
}
MOVEMENTS: dict[Kind, Callable[[Ledger, Call], Labels | tuple[Labels, ...] | None]] = {
    Kind.JOIN: movement.label_join,  # may give several tensors
    Kind.MOVEMENT: movement.label_movement,
    Kind.SHAPED_AS: movement.label_movement,
}
FUNCTIONS: dict[Kind, Callable[[Ledger, Call], Labels | None]] = {
    Kind.ELEMENTWISE: elementwise.label_elementwise,
    Kind.ADDITION: elementwise.label_elementwise,
    Kind.PRODUCT: elementwise.label_elementwise,
    Kind.AVERAGE_POOL: pools.label_pool_function,
    Kind.MAX_POOL: pools.label_pool_function,
    Kind.MEAN: pools.label_reduction,
    Kind.REDUCTION: pools.label_reduction,
    Kind.PADDING: pools.label_pad_function,
    Kind.CONVOLUTION: layers.label_convolution_function,
    Kind.LINEAR: layers.label_linear_function,
    Kind.BATCH_NORM: norms.label_batch_norm_function,
    Kind.INSTANCE_NORM: norms.label_instance_norm_function,
    Kind.GROUP_NORM: norms.label_group_norm_function,
    Kind.LAST_AXIS_NORM: norms.label_last_axis_norm_function,
    Kind.TYPED_AS: elementwise.label_typed_as,
}
OF_ONE_TENSOR = (
    Kind.MOVEMENT, Kind.AVERAGE_POOL, Kind.MAX_POOL, Kind.MEAN, Kind.REDUCTION, Kind.PADDING,
)  # fmt: skip


def label(
    traced: fx.GraphModule,
    images: Tensor,
    weights: Mapping[str, Tensor],
    constants: Mapping[str, Tensor] = MappingProxyType({}),
) -> tuple[Labelling, object]:
    """Follow the neurons of `traced` through one forward pass of `images`, in eval mode; also its output.

    `weights`: the network's own state dict; only what is in it can be moved. `constants`: values of buffers
    among them that stay what they are. Two images or more show what a network does across a batch.
    """
    labeller = Labeller(traced, weights, constants)
    with torch.no_grad():
        output = labeller.run(images)
    labeller.ledger.freeze_fixed()
    return labeller.ledger.found, output


class Labeller(fx.Interpreter):
    """Runs a graph and, beside each tensor, its labels."""

    def __init__(
        self, traced: fx.GraphModule, weights: Mapping[str, Tensor], constants: Mapping[str, Tensor]
    ):
        super().__init__(traced)
        self.ledger = Ledger(weights)
        self.constants = constants
        self.labels: dict[fx.Node, object] = {}  # Labels, or as many as the node has outputs
        self.write_counts: dict[fx.Node, list[int]] = {}  # of a node's tensors: changes in place
        self.data: set[fx.Node] = set()  # numbers that depend on the images

    def run_node(self, node: fx.Node) -> object:
        value = super().run_node(node)
        if node.op == "output":
            self.freeze(node.all_input_nodes, CLASS_OUTPUT)
            return value
        if write_counts(value):
            self.labels[node], self.write_counts[node] = self.label_node(node, value), write_counts(value)
        else:
            self.notice_number(node)
        for unneeded in self.user_to_last_uses.get(node, []):
            self.labels.pop(unneeded, None)
        self.notice_changes(node, value)
        return value

    def label_node(self, node: fx.Node, value: object) -> object:
        """Labels of what a node gave, a tensor or several."""
        if node.op == "placeholder":
            return frozen_like(value, self.ledger.anchor(NETWORK_INPUT))
        if node.op == "get_attr" and isinstance(value, Tensor):
            return label_parameter(self.ledger, str(node.target), value, self.constants)
        sources = [self.labels[source] for source in node.all_input_nodes if source in self.labels]
        labels: object = None
        if sources and self.data.isdisjoint(node.all_input_nodes):
            label_called = self.label_module if node.op == "call_module" else self.label_function
            labels = label_called(node, sources, value)
        fix_parameters(self.ledger, node, self.env, known=labels is not None)
        return self.label_unknown(node, value) if labels is None else labels

    def label_module(self, node: fx.Node, sources: list[object], value: object) -> object:
        module = self.fetch_attr(str(node.target))
        parts = [source for source in sources if isinstance(source, Labels)]
        one = len(parts) == len(sources) == 1 and isinstance(value, Tensor)
        kind = kind_of_module(module) if one and is_plain(module, self.ledger.names) else None
        if kind not in MODULES:
            return None
        return MODULES[kind](self.ledger, Call(node, parts, value, self.labels, self))

    def label_function(self, node: fx.Node, sources: list[object], value: object) -> object:
        if function_name(node) == "getitem" and isinstance(sources[0], tuple):  # of several outputs
            return sources[0][node.args[1]] if isinstance(node.args[1], int | slice) else None
        kind = kind_of_call(node)
        parts = [source for source in sources if isinstance(source, Labels)]
        if len(parts) < len(sources) or (kind in OF_ONE_TENSOR and len(parts) > 1):
            return None
        call = Call(node, parts, value, self.labels, self)
        if kind in MOVEMENTS:
            return MOVEMENTS[kind](self.ledger, call)
        return FUNCTIONS[kind](self.ledger, call) if kind in FUNCTIONS and isinstance(value, Tensor) else None

    def label_unknown(self, node: fx.Node, value: object) -> object:
        if node.op == "call_module":
            self.ledger.fix(weights_of(self.fetch_attr(str(node.target))).values())
        return frozen_like(value, self.freeze(node.all_input_nodes, self.because_of(node)))

    def notice_number(self, node: fx.Node) -> None:
        """A result without tensors may depend on values (item); sizes do not."""
        if kind_of_call(node) is not Kind.SIZE:
            if any(source in self.labels or source in self.data for source in node.all_input_nodes):
                self.data.add(node)
            fix_parameters(self.ledger, node, self.env, known=False)
            self.freeze(node.all_input_nodes, self.because_of(node))

    def notice_changes(self, node: fx.Node, value: object) -> None:
        """Work in place changes what other nodes hold: the very same tensor, or views of its memory."""
        for other in list(self.labels):
            before, held = self.write_counts[other], self.env.get(other, value)
            self.write_counts[other] = write_counts(held)
            if other is node or self.write_counts[other] == before:
                continue
            if same_memory(held, value) and isinstance(self.labels.get(node), Labels):
                self.labels[other] = self.labels[node]
            else:
                reason = f"changed in place by {describe(node, self.module)}"
                self.labels[other] = frozen_like(held, self.freeze([node, other], reason))

    def freeze(self, nodes: Iterable[fx.Node], reason: str) -> int:
        return self.ledger.freeze([self.labels.get(node) for node in nodes], reason)

    def because_of(self, node: fx.Node) -> str:
        return f"read or made by {describe(node, self.module)}"
