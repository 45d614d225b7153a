"""Training at other precisions than single: what is rounded, and that nothing else changes."""

import pytest
import torch

from fusionscope.precision import arithmetic, rounded_products

MULTIPLYING = torch.backends.cuda.matmul, torch.backends.cudnn.conv


def exactly() -> list[str]:
    return [operation.fp32_precision for operation in MULTIPLYING]


@pytest.mark.parametrize("precision", ["single", "bfloat16"])
def test_a_gpu_multiplies_as_it_is_set_unless_told_to_round(precision):
    before = exactly()
    with rounded_products(precision):
        assert exactly() == before


def stop_while_rounding() -> None:
    with rounded_products("tf32"):
        assert exactly() == ["tf32", "tf32"]
        assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
        raise KeyboardInterrupt


@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_ends_with_what_it_is_for_even_if_that_fails(allowed):
    usual = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        before = exactly()
        with pytest.raises(KeyboardInterrupt):
            stop_while_rounding()
        assert exactly() == before
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is allowed
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = usual


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("single", torch.float32), ("tf32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_layers_multiply_in_the_type_of_their_precision(precision, dtype):
    layer = torch.nn.Linear(3, 2)
    with arithmetic(torch.device("cpu"), precision):
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer.weight.dtype == torch.float32
