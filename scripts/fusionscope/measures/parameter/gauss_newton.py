"""The trace of the Hessian of a piecewise linear network, from gradients alone.

The Hessian of the cross-entropy is that of Gauss and Newton, J^T S J with S = diag(p) - p p^T, plus a part
with the second derivatives of the logits. Where each weight enters through one layer and all else is
piecewise linear (ReLU, max pooling, batch norm in eval mode), logits are piecewise linear in every single
weight: that part has a zero diagonal, and the trace is Gauss and Newton's.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from fusionscope.evaluation import predict
from fusionscope.graph.operations import LAYERS, Kind, is_own, kind_of_module, look_up, of_module
from fusionscope.graph.trace import operation, trace_network
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.seeding import generator

FEWEST_DRAWS = 2  # where an error is asked for instead of a number of draws
IMAGES_AT_ONCE = 16  # more are slower on CPUs
NUMBERS_AT_ONCE = 2**25  # of the gradients of single images: 128 MiB


def is_piecewise_linear(network: nn.Module) -> bool:
    """Whether logits are known to be piecewise linear in every single weight, in eval mode."""
    try:
        traced = trace_network(network.eval())
    except Exception:  # whatever the network's own code raises when it meets a proxy
        return False
    called = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    done = {node: operation(node, traced) for node in called}
    with_weights = [node.target for node in called if has_weights(done[node])]
    return len(with_weights) == len(set(with_weights)) and all(
        node.op != "get_attr" and is_known(done[node]) for node in called
    )


def has_weights(done: object) -> bool:
    """Whether an operation is a layer or a batch norm, whose weights may enter only once."""
    return isinstance(done, nn.Module) and kind_of_module(done) in (*LAYERS, Kind.BATCH_NORM)


def is_known(done: object) -> bool:
    """Whether an operation is piecewise linear in what it reads, and in each of its weights."""
    if not isinstance(done, nn.Module):
        known = look_up(done)
    elif not is_own(done):
        return False  # somebody's own layer, or one whose weights are computed from others
    elif isinstance(done, _BatchNorm) and not done.track_running_stats:
        return False
    else:
        known = of_module(done)
    return known is not None and known.piecewise_linear


def gauss_newton_trace(
    network: nn.Module,
    images: Images,
    batch_size: int,
    *,
    seed: int,
    draws: int | None = None,
    target_error: float | None = None,
) -> Measurement:
    """tr J^T S J of the mean loss on `images`: the mean over images of E norm(J_i^T (e_c - p_i))^2, c ~ p_i.

    That is the Fisher information's trace (Kunstner et al. 2019, arXiv 1905.12558, equation 5). Classes are
    drawn in proportion to p_c norm(e_c - p)^2, so that images of which two classes share all probability
    have no variance; `draws` for each image, or as many as bring the standard error to `target_error` of
    the trace. With as many draws as classes the sum over classes is taken instead: exact, and no standard
    error.
    """
    p = predict(network, images, batch_size).softmax(1).double()
    classes = p.shape[1]
    residuals = torch.eye(classes, dtype=p.dtype, device=p.device) - p.unsqueeze(1)  # (n, c, :) is e_c - p
    masses = p * residuals.square().sum(2)  # (n, classes)
    found = torch.empty(len(p), 0, dtype=p.dtype, device=p.device)
    while found.shape[1] < (draws or classes):
        if (draws or found.shape[1] + FEWEST_DRAWS) >= classes:
            squares = squared_vjp_norms(network, images, residuals * p.sqrt().unsqueeze(2))
            return Measurement(squares.sum(1).mean().item())
        stream = generator(seed, "trace classes", found.shape[1])
        # an image that is sure has no masses left: whichever class is drawn counts nothing
        chosen = torch.multinomial(
            (masses + 1e-300).cpu(), draws or FEWEST_DRAWS, replacement=True, generator=stream
        )
        picked = residuals.gather(1, chosen.to(p.device).unsqueeze(2).expand(-1, -1, classes))
        directions = picked / picked.norm(dim=2, keepdim=True).clamp_min(1e-150)
        directions *= masses.sum(1).sqrt().view(-1, 1, 1)
        found = torch.cat([found, squared_vjp_norms(network, images, directions)], 1)
        value = found.mean().item()
        std_error = (found.var(1).sum() / found.shape[1]).sqrt().item() / len(found)
        if target_error is None or std_error <= target_error * value:
            return Measurement(value, std_error)
    raise AssertionError("as many draws as classes are exact")


def squared_vjp_norms(network: nn.Module, images: Images, directions: Tensor) -> Tensor:
    """norm(J_i^T d)^2 (n, k) for each of the `directions` d (n, k, classes); J_i: logits by weights."""
    network.eval()
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def of_one(x: Tensor, directions: Tensor) -> Tensor:
        def logits(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(network, parameters, (x[None],))[0]

        _, pull = vjp(logits, parameters)  # type: ignore[misc]  # three only with has_aux
        # all gradients of an image at once would take as many times the memory
        gradients = (pull(direction)[0] for direction in directions)
        return torch.stack([sum(part.square().sum() for part in g.values()) for g in gradients])

    numbers = sum(p.numel() for p in parameters.values())
    at_once = max(1, min(IMAGES_AT_ONCE, NUMBERS_AT_ONCE // numbers))
    batches = zip(images.batches(IMAGES_AT_ONCE), directions.split(IMAGES_AT_ONCE), strict=True)
    squares = [vmap(of_one, chunk_size=at_once)(x, d.to(x.dtype)) for (x, _), d in batches]
    return torch.cat(squares).double()
