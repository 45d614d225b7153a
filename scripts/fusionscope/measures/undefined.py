"""What a network does not have, and the one place that decides whether PyTorch refused because of it."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from torch import Tensor

from fusionscope.graph.trace import explain, is_of_the_machine

LIBRARY = "fusionscope"
NETWORK_CODE = (
    "torch.nn.modules.module",
    "torch.autograd",
    "torch.func",
    "torch._functorch",
)  # passes through


class NotDefined(Exception):
    """A measure that a network does not have; the message says why."""


@contextmanager
def refusals_as_undefined() -> Iterator[None]:
    """What PyTorch refuses to do with a network, or its own code inside, becomes NotDefined, with the reason.

    Nothing else does: an error raised by the library's own code stays what it is (a user's mistake, or one
    of ours), and so does one that says that memory ran out.
    """
    try:
        yield
    except Exception as error:  # a network's own code raises any kind
        if is_of_the_machine(error) or not comes_from_network(error.__traceback__):
            raise
        raise NotDefined(explain(error)) from error


def comes_from_network(trace: TracebackType | None) -> bool:
    """Whether an error was raised in a forward pass or in derivatives, below all code of the library."""
    names = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(trace)]
    ours = names[-1].split(".")[0] == LIBRARY
    return not ours and any(name.startswith(NETWORK_CODE) for name in names)


def check_perturbable(parameters: Sequence[Tensor]) -> None:
    """Raise NotDefined unless there are `parameters`, and all are real numbers."""
    if not parameters:
        raise NotDefined("it has no parameters")
    if any(p.is_complex() for p in parameters):
        raise NotDefined("it has complex parameters")


def check_has_gradient(outputs: Tensor) -> None:
    """Raise NotDefined for `outputs` of a network that no gradient can be taken of."""
    if not outputs.requires_grad:
        raise NotDefined(
            "all its parameters are frozen (requires_grad is False), or its forward pass cuts gradients off"
        )
