"""Which layers REPAIR renormalises, and room in them for the bias that it folds in."""

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm


def renormalised_layers(network: nn.Module) -> tuple[str, ...]:
    """The convolutions and linear layers that repair renormalises, in forward order.

    They are hidden, i.e. some other layer stands between them and the class outputs, and not read by
    batch norms alone, whose statistics do that work. A layer that is called more than once has no one
    statistic and is left out. None where torch.fx cannot trace the network.
    """
    try:
        traced = fx.symbolic_trace(network)
    except Exception:  # whatever the network's own code raises when it meets a proxy
        return ()
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    layers = {
        node: node.target
        for node in calls
        if isinstance(traced.get_submodule(node.target), nn.Conv2d | nn.Linear)
    }
    last, waiting = set(), [node for node in traced.graph.nodes if node.op == "output"]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in last:
                last.add(source)
                if source not in layers:
                    waiting.append(source)
    targets = [node.target for node in calls]
    return tuple(
        name
        for node, name in layers.items()
        if node not in last and targets.count(name) == 1 and not only_normalised(node, traced)
    )


def only_normalised(node: fx.Node, traced: fx.GraphModule) -> bool:
    """Whether nothing but batch norms reads the output of `node`."""
    return all(
        user.op == "call_module" and isinstance(traced.get_submodule(user.target), _BatchNorm)
        for user in node.users
    )


def give_biases(network: nn.Module) -> None:
    """A zero bias, in place, for each renormalised layer without: room for what repair folds into it."""
    for name in renormalised_layers(network):
        layer = network.get_submodule(name)
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
