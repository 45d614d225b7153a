"""The traced graph of a network: which operation feeds which, with shapes and modules at hand."""

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from fusionscope.networks import INPUT_SHAPE


def trace(network: nn.Module) -> fx.GraphModule:
    """`network` as a graph of operations whose nodes carry the shape of their output."""
    traced = fx.symbolic_trace(network)
    reference = next(network.parameters())
    with torch.no_grad():
        ShapeProp(traced).propagate(reference.new_zeros(1, *INPUT_SHAPE))
    return traced


def operation(node: fx.Node, traced: fx.GraphModule) -> object:
    """What a node does: the module it calls, or the function (torch.flatten, operator.add, ...)."""
    return traced.get_submodule(node.target) if node.op == "call_module" else node.target


def shape(node: fx.Node) -> torch.Size:
    """The shape of a node's output for one image: (1, channels, ...)."""
    return node.meta["tensor_meta"].shape
