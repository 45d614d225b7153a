"""How exactly a network computes: in single precision, or rounded, which is faster on a GPU.

Weights, gradients and the optimiser's state stay in single precision with all of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def arithmetic(device: torch.device, precision: str) -> torch.autocast:
    """Inside, a network on `device` multiplies in bfloat16 if that is the `precision`, else as usual."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def rounded_products(precision: str) -> Iterator[None]:
    """Inside, with 'tf32', a GPU rounds to 11 bits what matrix products and convolutions multiply.

    They still add in single precision. Afterwards, and with another `precision`, it is as it was before. A
    CPU does not round.
    """
    if precision != "tf32":
        yield
        return
    # not `fp32_precision`: once one operation's is set, PyTorch (2.14) raises where it asks for the whole
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = True
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
