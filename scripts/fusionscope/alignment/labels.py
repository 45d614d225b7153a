"""Which neuron every element of every activation belongs to, followed through the traced graph.

A network is run on a small batch. Beside each activation go two whole-number tensors of its shape: the
`neuron` an element belongs to, and its `place` among that neuron's elements (a pixel, a token). What is
kept true all along: if neurons are permuted, the value at (neuron, place) is afterwards found at (the
neuron's new number, place); two elements with one label have one value.

Operations that only move elements (view, permute, chunk, channel shuffle, ...) are simply run on those
two tensors. Operations that combine elements tie neurons, which then move together, and note a `AxisUse`: two
neurons can change places only if they have the same places wherever they are used. Numbers below zero
are anchors: elements that are the same whatever moves, as the network's input. What is not known to treat
neurons alike ties them to an anchor, which says why they cannot move. `alignment` makes groups of what
is left.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from fusionscope.graph import operations as known

WRITER, READER, OTHER = "writer", "reader", "other"  # how a parameter's axis meets a neuron
CLASS_OUTPUT = "an output of the network"
NETWORK_INPUT = "added to or joined with the network's input"
GATE = "one channel that acts on all others"
USED_OTHERWISE = "its weights are also used in another way"
LARGEST = 2**60  # number of a place, that 64 bits hold


@dataclass(frozen=True)
class Labels:
    """Two int64 tensors of an activation's shape."""

    neuron: Tensor
    place: Tensor


@dataclass(frozen=True)
class AxisUse:
    """An axis along which neurons are told apart: of a parameter, of an activation, or of both.

    Two neurons can change places only if at every use they have the same place_ids.
    """

    neurons: np.ndarray  # (length,)
    place_ids: np.ndarray  # (length,)
    role: str = OTHER
    parameter: str | None = None  # None: the axis of an activation alone
    axis: int = 0
    blocks: int = 1  # of a grouped convolution: its input axis is seen as one of all channels
    node: str | None = None  # the activation that is read or written along `dim`
    dim: int = 0


@dataclass
class Labelling:
    """What following a network's neurons has found."""

    uses: list[AxisUse] = field(default_factory=list)
    ties: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)  # why nothing tied to anchor -1, -2, ... can move
    neurons: int = 0  # they are 0, 1, ...


def label(traced: fx.GraphModule, images: Tensor, weights: Mapping[str, Tensor]) -> tuple[Labelling, object]:
    """Follow the neurons of `traced` through one forward pass of `images`, in eval mode; also its output.

    `weights`: the network's own state dict; only what is in it can be moved. Two images or more show
    what a network does across a batch.
    """
    labeller = Labeller(traced, weights)
    with torch.no_grad():
        output = labeller.run(images)
    labeller.freeze_fixed()
    return labeller.found, output


class Labeller(fx.Interpreter):
    """Runs a graph and, beside each tensor, its labels."""

    def __init__(self, traced: fx.GraphModule, weights: Mapping[str, Tensor]):
        super().__init__(traced)
        self.found = Labelling()
        self.labels: dict[fx.Node, object] = {}  # Labels, or as many as the node has outputs
        self.write_counts: dict[fx.Node, list[int]] = {}  # of a node's tensors: counts changes in place
        self.data: set[fx.Node] = set()  # numbers that depend on the images
        self.weights = list(weights.values())
        self.names: dict[int, list[str]] = defaultdict(list)  # of a parameter, known by its address
        for name, tensor in weights.items():
            self.names[tensor.data_ptr()].append(name)
        self.axes: dict[tuple[int, int], np.ndarray] = {}  # (address of a parameter, axis) -> neurons
        self.blocks: dict[tuple[int, int], int] = {}  # the same -> of the convolution that has it
        self.fixed = overlapping(self.weights)  # addresses of parameters that cannot move

    def run_node(self, node: fx.Node) -> object:
        value = super().run_node(node)
        if node.op == "output":
            self.freeze(node.all_input_nodes, CLASS_OUTPUT)
            return value
        labels = self.label_node(node, value)
        if labels is not None:
            self.labels[node], self.write_counts[node] = labels, write_counts(value)
        for unneeded in self.user_to_last_uses.get(node, []):
            self.labels.pop(unneeded, None)
        self.notice_changes(node, value)
        return value

    def label_node(self, node: fx.Node, value: object) -> object:
        if not write_counts(value):
            return self.label_number(node)
        if node.op == "placeholder":
            return self.frozen_like(value, self.anchor(NETWORK_INPUT))
        if node.op == "get_attr":
            return self.label_parameter(node, value)
        sources = [self.labels[source] for source in node.all_input_nodes if source in self.labels]
        labels = None
        if sources and self.data.isdisjoint(node.all_input_nodes):
            if node.op == "call_module":
                labels = self.label_module(node, self.fetch_attr(node.target), sources, value)
            else:
                labels = self.label_function(node, known.function_name(node), sources, value)
        return self.label_unknown(node, value) if labels is None else labels

    def label_number(self, node: fx.Node) -> None:
        """A result without tensors may depend on values (item); sizes do not."""
        if known.function_name(node) not in known.SHAPE_FUNCTIONS:
            if any(source in self.labels or source in self.data for source in node.all_input_nodes):
                self.data.add(node)
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
                anchor = self.freeze(
                    [node, other], f"changed in place by {known.describe(node, self.module)}"
                )
                self.labels[other] = self.frozen_like(held, anchor)

    # modules and functions

    def label_module(
        self, node: fx.Node, module: nn.Module, sources: Sequence, value: object
    ) -> Labels | None:
        source = sources[0]
        one = len(sources) == 1 and isinstance(source, Labels) and isinstance(value, Tensor)
        if not one or not known.is_plain(module, self.names):
            return None
        if isinstance(module, known.CONVOLUTIONS):
            return self.label_convolution(node, module, source, value)
        if isinstance(module, nn.Linear):
            return self.label_linear(node, module, source, value)
        if isinstance(module, known.POOLS):
            return self.label_pool(source, value, known.spatial_rank(type(module).__name__))
        if isinstance(module, known.PADDINGS):
            return self.label_padding(source, value, module.padding)
        if isinstance(module, known.ELEMENTWISE_MODULES):
            return source
        if isinstance(module, known.MOVING_MODULES):
            return Labels(module(source.neuron), module(source.place))
        return self.label_norm(node, module, source)

    def label_function(self, node: fx.Node, name: str | None, sources: Sequence, value: object) -> object:
        if name == "getitem" and isinstance(sources[0], tuple):
            return sources[0][node.args[1]] if isinstance(node.args[1], int | slice) else None
        if not all(isinstance(source, Labels) for source in sources):
            return None
        if name in known.JOINING_FUNCTIONS:
            return self.label_join(node)
        if (name in known.MOVING_FUNCTIONS and len(sources) == 1) or name in known.SHAPED_AS_FUNCTIONS:
            return self.label_movement(node, value)
        if not isinstance(value, Tensor):
            return None
        if name in known.ELEMENTWISE_FUNCTIONS:
            return self.label_elementwise(sources, value)
        if name in known.POOL_FUNCTIONS and len(sources) == 1:
            return self.label_pool(sources[0], value, known.spatial_rank(name))
        if name in known.REDUCING_FUNCTIONS and len(sources) == 1:
            return self.label_reduction(node, sources[0], value)
        if node.target is F.pad and len(sources) == 1:
            return self.label_pad_function(node, sources[0], value)
        if node.target is F.layer_norm:
            return self.label_layer_norm(node)
        return None

    # layers with parameters

    def label_convolution(self, node: fx.Node, module, source: Labels, value: Tensor) -> Labels | None:
        if source.neuron.dim() != module.weight.dim():
            return None  # a picture without a batch: channels are not axis 1
        weight, name, wider = module.weight, f"{node.target}.weight", module.out_channels
        neurons, place_ids = self.collapse_onto_axis(source, axis=1)
        if module.groups == module.in_channels > 1:  # depthwise: an output is a place of its input
            several = wider // module.in_channels
            outputs = neurons.repeat(several)
            place_ids = place_ids.repeat(several) * several + np.tile(np.arange(several), module.in_channels)
        else:
            seen = numbers_of_blocks(module.in_channels, module.groups) * (place_ids.max() + 1) + place_ids
            read_from = {"blocks": module.groups, "node": node.all_input_nodes[0].name, "dim": 1}
            self.record_parameter(weight, AxisUse(neurons, seen, READER, name, 1, **read_from))
            outputs, place_ids = self.outputs(weight, wider), numbers_of_blocks(wider, module.groups)
        self.record_parameter(weight, AxisUse(outputs, place_ids, WRITER, name, 0, node=node.name, dim=1))
        if module.bias is not None:
            self.record_parameter(module.bias, AxisUse(outputs, place_ids, parameter=f"{node.target}.bias"))
        return spread(outputs, place_ids, value, axis=1)

    def label_linear(self, node: fx.Node, module: nn.Linear, source: Labels, value: Tensor) -> Labels:
        weight, name, last = module.weight, f"{node.target}.weight", value.dim() - 1
        neurons, place_ids = self.collapse_onto_axis(source, axis=-1)
        self.record_parameter(
            weight, AxisUse(neurons, place_ids, READER, name, 1, node=node.all_input_nodes[0].name, dim=last)
        )
        outputs, place_ids = (
            self.outputs(weight, module.out_features),
            np.zeros(module.out_features, np.int64),
        )
        self.record_parameter(weight, AxisUse(outputs, place_ids, WRITER, name, 0, node=node.name, dim=last))
        if module.bias is not None:
            self.record_parameter(module.bias, AxisUse(outputs, place_ids, parameter=f"{node.target}.bias"))
        return spread(outputs, place_ids, value, axis=-1)

    def label_norm(self, node: fx.Node, module: nn.Module, source: Labels) -> Labels | None:
        """Statistics or slopes for each channel, or over sets of them: alike for all in the set."""
        dims, axis, sets = source.neuron.dim(), 1, 1
        if isinstance(module, known.INSTANCE_NORMS):
            if dims != known.spatial_rank(type(module).__name__) + 2:
                return None  # without a batch
        elif isinstance(module, nn.GroupNorm):
            sets = module.num_groups
        elif isinstance(module, known.LAST_AXIS_NORMS) and len(module.normalized_shape) == 1:
            axis = -1
        elif isinstance(module, nn.PReLU) and module.num_parameters == 1:
            return source
        elif not isinstance(module, known.BATCH_NORMS | nn.PReLU) or dims < 2:
            return None
        neurons, place_ids = self.collapse_onto_axis(source, axis)
        place_ids = numbers_of_blocks(len(place_ids), sets) * (place_ids.max() + 1) + place_ids
        for part in known.TENSORS_OF_LAYERS:
            tensor = getattr(module, part, None)
            if tensor is not None:
                self.record_parameter(tensor, AxisUse(neurons, place_ids, parameter=f"{node.target}.{part}"))
        return self.normalised(source, axis, neurons, place_ids)

    def label_layer_norm(self, node: fx.Node) -> Labels | None:
        """F.layer_norm over the last axis, whose weight and bias come as labelled parameters."""
        given = (
            dict(zip(("input", "normalized_shape", "weight", "bias"), node.args, strict=False)) | node.kwargs
        )
        shape = fx.node.map_arg(given["normalized_shape"], lambda source: self.env[source])
        parameters = [self.labels[given[name]].neuron for name in ("weight", "bias") if given.get(name)]
        if len(shape) != 1 or any((parameter < 0).any() for parameter in parameters):
            return None
        source = self.labels[given["input"]]
        neurons, place_ids = self.collapse_onto_axis(source, axis=-1)
        for parameter in parameters:
            self.tie(neurons, parameter.numpy())
        return self.normalised(source, -1, neurons, place_ids)

    def normalised(self, source: Labels, axis: int, neurons: np.ndarray, place_ids: np.ndarray) -> Labels:
        self.use(neurons, place_ids)
        along = [1] * source.neuron.dim()
        along[axis] = -1
        neuron = torch.from_numpy(neurons).view(along).expand(source.neuron.shape)
        return Labels(
            neuron, paired(source.place, torch.from_numpy(place_ids).view(along).expand_as(source.place))
        )

    def label_parameter(self, node: fx.Node, value: Tensor) -> Labels:
        """A parameter with one axis has neurons of its own, to be tied to what it meets."""
        long = [axis for axis, size in enumerate(value.shape) if size > 1]
        if value.data_ptr() not in self.names or len(long) != 1 or not value.is_floating_point():
            self.fixed |= {value.data_ptr()} | overlapping([*self.weights, value])
            return self.frozen_like(value, self.anchor(f"used with the tensor {node.target}"))
        neurons, place_ids = self.outputs(value, value.numel(), long[0]), np.zeros(value.numel(), np.int64)
        self.record_parameter(value, AxisUse(neurons, place_ids, parameter=node.target, axis=long[0]))
        return Labels(
            torch.from_numpy(neurons).view(value.shape), torch.zeros(value.shape, dtype=torch.int64)
        )

    # what has none

    def label_pool(self, source: Labels, value: Tensor, rank: int) -> Labels | None:
        """Windows of pixels, channel by channel."""
        if not source.neuron.dim() == value.dim() == rank + 2:
            return None  # a picture without a batch
        neurons, place_ids = self.collapse_onto_axis(source, axis=1)
        self.use(neurons, place_ids)
        return spread(neurons, place_ids, value, axis=1)

    def label_padding(self, source: Labels, value: Tensor, padding: Sequence[int]) -> Labels:
        """A constant around (or cropped); the same wherever it is put, whatever moves."""
        anchor = self.anchor("a constant that is padded")
        return Labels(F.pad(source.neuron, padding, value=anchor), F.pad(source.place + 1, padding))

    def label_pad_function(self, node: fx.Node, source: Labels, value: Tensor) -> Labels | None:
        arguments, options = self.fetch_args_kwargs_from_env(node)
        given = dict(zip(("input", "pad", "mode"), arguments, strict=False)) | options
        if given.get("mode", "constant") != "constant":
            return None
        return self.label_padding(source, value, given["pad"])

    def label_reduction(self, node: fx.Node, source: Labels, value: Tensor) -> Labels | None:
        """Over some axes; each element of the result belongs to the neuron of those it is made of."""
        arguments, options = self.fetch_args_kwargs_from_env(node)
        dims = options.get("dim", arguments[1] if len(arguments) > 1 else None)
        dims = [dims] if isinstance(dims, int) else dims
        if not isinstance(dims, tuple | list) or not dims:
            return None  # over everything
        dims = [dim % source.neuron.dim() for dim in dims]
        last = list(range(-len(dims), 0))
        parts = (part.movedim(dims, last).flatten(-len(dims)) for part in (source.neuron, source.place))
        neurons, place_ids = self.collapse_onto_axis(
            Labels(*(part.reshape(-1, part.shape[-1]) for part in parts)), axis=0
        )
        self.use(neurons, place_ids)
        return Labels(*(torch.from_numpy(part).view(value.shape) for part in (neurons, place_ids)))

    def label_movement(self, node: fx.Node, value: object) -> Labels | tuple[Labels, ...] | None:
        neuron, place = (self.rerun(node, part) for part in ("neuron", "place"))
        if isinstance(neuron, Tensor):  # view(dtype) would not only move
            return Labels(neuron, place) if neuron.dtype == torch.int64 else None
        return tuple(Labels(*parts) for parts in zip(neuron, place, strict=True))

    def label_join(self, node: fx.Node) -> Labels | None:
        """Concatenation; what is joined first is another place than what comes second."""
        if not node.args or not isinstance(node.args[0], list | tuple):
            return None
        operands = [self.labels.get(source) for source in node.args[0]]
        (_, *arguments), options = self.fetch_args_kwargs_from_env(node)
        if not all(isinstance(operand, Labels) for operand in operands):
            return None
        neuron = node.target([operand.neuron for operand in operands], *arguments, **options)
        numbered = [operand.place * len(operands) + number for number, operand in enumerate(operands)]
        return Labels(neuron, renumbered(node.target(numbered, *arguments, **options)))

    def label_elementwise(self, sources: Sequence[Labels], value: Tensor) -> Labels | None:
        """Elements at one position are tied. Anchored ones tie nobody: their places are told apart."""
        if not all(broadcasts(source.neuron.shape, value.shape) for source in sources):
            return None
        if len(sources) > 1:
            sources = self.without_gates(sources)
        neuron, place, *others = (
            part.expand(value.shape) for source in sources for part in (source.neuron, source.place)
        )
        for other, other_place in zip(others[::2], others[1::2], strict=True):
            both = (neuron >= 0) & (other >= 0)
            self.tie(neuron[both].numpy(), other[both].numpy())
            neuron, place = torch.where(neuron < 0, other, neuron), paired(place, other_place)
        for source in sources:
            if (source.neuron < 0).all() and tells_all_apart(neuron, place):  # else they are just alone
                reason = self.found.anchors[-1 - int(source.neuron.flatten()[0])]
                self.freeze_neurons(neuron.unique().numpy(), reason)
                break
        return Labels(neuron, place)

    def without_gates(self, sources: Sequence[Labels]) -> list[Labels]:
        """One channel that acts on several others cannot move; then it ties nobody."""
        counts = [len(source.neuron.unique()) for source in sources]
        shown = []
        for source, count in zip(sources, counts, strict=True):
            if count == 1 < max(counts) and source.neuron.flatten()[0] >= 0:
                anchor = self.freeze_neurons(source.neuron.unique().numpy(), GATE)
                source = Labels(torch.full_like(source.neuron, anchor), source.place)
            shown.append(source)
        return shown

    def label_unknown(self, node: fx.Node, value: object) -> object:
        if node.op == "call_module":
            module = self.fetch_attr(node.target)
            self.fixed |= {tensor.data_ptr() for tensor in module.state_dict().values()}
        return self.frozen_like(value, self.freeze(node.all_input_nodes, self.because_of(node)))

    def because_of(self, node: fx.Node) -> str:
        return f"read or made by {known.describe(node, self.module)}"

    # neurons, uses, ties, anchors

    def outputs(self, parameter: Tensor, size: int, axis: int = 0) -> np.ndarray:
        """Fresh neurons (size,); a parameter that was met before keeps those it had."""
        met = self.axes.get((parameter.data_ptr(), axis))
        if met is not None and len(met) == size:
            return met
        first = self.found.neurons
        self.found.neurons += size
        return np.arange(first, first + size)

    def use(self, neurons: np.ndarray, place_ids: np.ndarray) -> None:
        if len(np.unique(place_ids)) > 1:  # else it tells nobody apart
            self.found.uses.append(AxisUse(neurons, place_ids))

    def record_parameter(self, parameter: Tensor, use: AxisUse) -> None:
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
        """Neuron and place_id (length,) of each slice along `axis`; what is in one slice is tied.

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

    def tie(self, one: np.ndarray, other: np.ndarray) -> None:
        different = one != other
        if different.any():
            pairs = np.unique(np.stack([one[different], other[different]]), axis=1)
            self.found.ties.append((pairs[0], pairs[1]))

    def anchor(self, reason: str) -> int:
        self.found.anchors.append(reason)
        return -len(self.found.anchors)

    def freeze_neurons(self, neurons: np.ndarray, reason: str) -> int:
        anchor = self.anchor(reason)
        self.tie(neurons, np.full_like(neurons, anchor))
        return anchor

    def freeze(self, nodes: Sequence[fx.Node], reason: str) -> int:
        parts = [part for node in nodes for part in leaves(self.labels.get(node)) if isinstance(part, Labels)]
        neurons = [part.neuron.unique().numpy() for part in parts]
        neurons = np.concatenate([*neurons, np.empty(0, np.int64)])
        return self.freeze_neurons(neurons[neurons >= 0], reason)

    def freeze_fixed(self) -> None:
        for (address, _), neurons in self.axes.items():
            if address in self.fixed:
                self.freeze_neurons(neurons, USED_OTHERWISE)

    def frozen_like(self, value: object, anchor: int) -> object:
        if isinstance(value, tuple | list):
            return tuple(self.frozen_like(part, anchor) for part in value)
        if not isinstance(value, Tensor):
            return None
        return Labels(torch.full(value.shape, anchor), torch.arange(value.numel()).view(value.shape))

    def rerun(self, node: fx.Node, part: str) -> object:
        """The node's own operation on labels instead of values."""

        def look_up(source: fx.Node) -> object:
            # contiguous, as labels may be expanded where a view of the activation itself is possible
            return (
                getattr(self.labels[source], part).contiguous() if source in self.labels else self.env[source]
            )

        arguments = fx.node.map_arg(node.args, look_up)
        options = fx.node.map_arg(node.kwargs, look_up)
        return getattr(self, node.op)(node.target, arguments, options)


def leaves(value: object) -> Iterator[object]:
    """What is in tuples of tuples."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def write_counts(value: object) -> list[int]:
    """How often each tensor's memory was changed in place; empty if there is no tensor."""
    return [part._version for part in leaves(value) if isinstance(part, Tensor)]


def same_memory(one: object, other: object) -> bool:
    """Whether two tensors are one, element by element."""
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and one.data_ptr() == other.data_ptr()
        and (one.shape, one.stride()) == (other.shape, other.stride())
    )


def overlapping(tensors: Iterable[Tensor]) -> set[int]:
    """Addresses of those that share memory with others without being the same, element by element."""
    found, seen = set(), defaultdict(list)
    for tensor in tensors:
        seen[tensor.untyped_storage().data_ptr()].append(tensor)
    for sharing in seen.values():
        sharing.sort(key=Tensor.data_ptr)
        furthest, end = sharing[0], 0
        for tensor in sharing:
            start = tensor.data_ptr()
            if start < end and not same_memory(furthest, tensor):
                found |= {furthest.data_ptr(), start}
            span = (
                sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
            )
            if start + span * tensor.element_size() > end:
                furthest, end = tensor, start + span * tensor.element_size()
    return found


def broadcasts(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    pairs = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(size in (1, want) for size, want in pairs)


def numbers_of_blocks(length: int, blocks: int) -> np.ndarray:
    """(length,): 0 ... 0 1 ... 1 and so on."""
    return np.arange(length) // (length // blocks)


def spread(neurons: np.ndarray, place_ids: np.ndarray, value: Tensor, axis: int) -> Labels:
    """Labels of `value`: `neurons` along `axis`; places count all other positions, apart for each id."""
    axis %= value.dim()
    along = [-1 if dim == axis else 1 for dim in range(value.dim())]
    others = [1 if dim == axis else size for dim, size in enumerate(value.shape)]
    count = int(np.prod(others))
    place = torch.from_numpy(place_ids).view(along) * count + torch.arange(count).view(others)
    return Labels(torch.from_numpy(neurons).view(along).expand(value.shape), place)


def row_numbers(rows: np.ndarray) -> np.ndarray:
    """(length, k) to (length,): equal rows get equal numbers."""
    if (rows == rows[:1]).all():
        return np.zeros(len(rows), np.int64)
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])


def paired(place: Tensor, other: Tensor) -> Tensor:
    """One number for each pair of two places (same shape)."""
    if torch.equal(place, other) or not (other != other.flatten()[0]).any():
        return place
    if int(place.max()) * int(other.max()) > LARGEST:
        place, other = renumbered(place), renumbered(other)
    return renumbered(place * (other.max() + 1) + other)


def renumbered(place: Tensor) -> Tensor:
    """Equal numbers stay equal and different ones different, but none is large."""
    return place.unique(return_inverse=True)[1]


def tells_all_apart(neuron: Tensor, place: Tensor) -> bool:
    """Whether there are several neurons and no two of them have a place in common."""
    free = neuron >= 0
    neurons, places = neuron[free].unique(return_inverse=True)[1], renumbered(place[free])
    if not len(neurons) or neurons.max() == 0:
        return False
    pairs = places * (neurons.max() + 1) + neurons
    return len(pairs.unique()) == int(places.max()) + 1
