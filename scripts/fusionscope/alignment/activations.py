"""What neurons answer to images, gathered in constant memory however many images there are."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from fusionscope.alignment.groups import ActivationAxis
from fusionscope.graph.trace import reference_tensor, trace_network
from fusionscope.images import Images
from fusionscope.moments import JointMoments
from fusionscope.state import copy_of
from fusionscope.weights import set_weights


class Recorder(fx.Interpreter):
    """Runs a traced network and keeps the outputs of some of its nodes."""

    def __init__(self, traced: fx.GraphModule, nodes: Collection[str]):
        super().__init__(traced)
        self.nodes = set(nodes)
        self.kept: dict[str, Tensor] = {}

    def run_node(self, node: fx.Node) -> object:
        value = super().run_node(node)
        if node.name in self.nodes:
            self.kept[node.name] = value.clone()  # what follows may work in place
        return value


@torch.no_grad()
def record(traced: fx.GraphModule, batch: Tensor, nodes: Collection[str]) -> dict[str, Tensor]:
    """The outputs of the named nodes in one forward pass of `batch` (k, 3, h, w), as `traced` is set."""
    recorder = Recorder(traced, nodes)
    recorder.run(batch)
    return recorder.kept


def neurons(activation: Tensor, along: ActivationAxis) -> Tensor:
    """(n, examples) float64: each neuron that lies `along` an axis, at all images and all its places."""
    rows = activation.movedim(along.axis, 0)[along.positions.to(activation.device, non_blocking=True)]
    return rows.flatten(1).double()


def traced_with(network: nn.Module, weights: Mapping[str, Tensor]) -> fx.GraphModule:
    """A traced copy of `network` with `weights`, in eval mode."""
    network = copy_of(network).eval()
    set_weights(network, weights)  # all of them, of which the graph has those that forward reads
    return trace_network(network)


def joint_moments(
    one: fx.GraphModule,
    other: fx.GraphModule,
    axes: Sequence[tuple[ActivationAxis, ActivationAxis]],
    images: Images,
    batch_size: int,
) -> list[JointMoments]:
    """For each pair of `axes` the joint moments of the neurons of two networks that see the same images."""
    found = [JointMoments() for _ in axes]
    for number, x, y in answers(one, other, axes, images, batch_size):
        found[number].add(x, y)
    return found


def answers(
    one: fx.GraphModule,
    other: fx.GraphModule,
    axes: Sequence[tuple[ActivationAxis, ActivationAxis]],
    images: Images,
    batch_size: int,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number of a pair of `axes`, x (n, k) and y (m, k): batch by batch what two networks' neurons answer."""
    for batch, _ in images.batches(batch_size):
        kept_one = record(one, batch.to(dtype_of(one)), {axis.node for axis, _ in axes})
        kept_other = record(other, batch.to(dtype_of(other)), {axis.node for _, axis in axes})
        for number, (axis_one, axis_other) in enumerate(axes):
            x = neurons(kept_one[axis_one.node], axis_one)
            yield number, x, neurons(kept_other[axis_other.node], axis_other)


def dtype_of(network: nn.Module) -> torch.dtype:
    return reference_tensor(network).dtype
