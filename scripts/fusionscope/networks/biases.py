"""Which layers REPAIR renormalises, and room in them for the bias that it folds in."""

import logging
from collections.abc import Collection, Iterator
from functools import cache

from torch import fx, nn

from fusionscope.graph import operations
from fusionscope.graph.operations import Kind, kind_of_call, kind_of_module
from fusionscope.graph.trace import NotTraceable, operation, trace_operations
from fusionscope.weights import weights_of


def renormalised_layers(network: nn.Module) -> tuple[str, ...]:
    """The convolutions and linear layers that repair renormalises, in forward order.

    They are hidden, i.e. some other layer stands between them and the class outputs, and not read by
    batch norms alone, whose statistics do that work. A layer that is called more than once has no one
    statistic and is left out; so is one that is not what its class says (see `is_plain`). None where
    torch.fx cannot trace the network: a warning says so, once per process.
    """
    try:
        traced = trace_operations(network)
    except NotTraceable as error:
        warn_once(
            f"repair: torch.fx cannot trace {type(network).__name__} ({error}): "
            "its layers stay as they are, only the statistics of its batch norms are renewed"
        )
        return ()
    addresses = {tensor.data_ptr(): name for name, tensor in weights_of(network).items()}
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    layers = [node for node in calls if is_layer(node, traced)]
    outputs = making_outputs(traced, layers)
    targets = [node.target for node in calls]
    return tuple(
        str(node.target)
        for node in layers
        if node not in outputs
        and targets.count(node.target) == 1
        and operations.is_plain(traced.get_submodule(str(node.target)), addresses)
        and not only_normalised(node, traced)
    )


@cache
def warn_once(message: str) -> None:
    """A line in the log, however often a job comes by here."""
    logging.getLogger("fusionscope").warning(message)


def is_layer(node: fx.Node, traced: fx.GraphModule) -> bool:
    done = operation(node, traced)
    return isinstance(done, nn.Module) and kind_of_module(done) in operations.LAYERS


def making_outputs(traced: fx.GraphModule, layers: Collection[fx.Node]) -> set[fx.Node]:
    """The nodes whose values come to the class outputs without a layer in between, also by work in place."""
    found: set[fx.Node] = set()
    waiting = [node for node in traced.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        sources = [] if node in layers else node.all_input_nodes
        for source in (*sources, *overwriting(node, traced)):
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def overwriting(node: fx.Node, traced: fx.GraphModule) -> Iterator[fx.Node]:
    """What changes the output of `node` in place, or a view of it."""
    for user in node.users:
        done = operation(user, traced)
        kind = kind_of_module(done) if isinstance(done, nn.Module) else kind_of_call(user)
        if operations.works_in_place(user, done) and user.all_input_nodes[0] is node:
            yield user
        elif kind is Kind.MOVEMENT:
            yield from overwriting(user, traced)


def only_normalised(node: fx.Node, traced: fx.GraphModule) -> bool:
    """Whether nothing but batch norms reads the output of `node`."""
    readers = [operation(user, traced) for user in node.users]
    return all(
        isinstance(reader, nn.Module) and kind_of_module(reader) is Kind.BATCH_NORM for reader in readers
    )


def give_biases(network: nn.Module) -> None:
    """A zero bias, in place, for each renormalised layer without: room for what repair folds into it."""
    for name in renormalised_layers(network):
        layer = network.get_submodule(name)
        if layer.bias is None:
            weight = layer.get_parameter("weight")
            layer.bias = nn.Parameter(weight.new_zeros(len(weight)))
