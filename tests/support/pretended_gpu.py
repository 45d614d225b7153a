"""A GPU for tests where there is none: its tensors lie on a device of their own and compute on the CPU.

PyTorch itself believes in the device, which is registered as the backend 'pretended' (a CUDA device cannot
be pretended: asking for it starts CUDA). So `device`, conversions of modules, autograd, `torch.func` and
autocast are the real thing, and what needs a dispatcher is answered here, operation by operation:

- an operation on tensors of both devices raises, as on a GPU; allowed are copies, numbers (tensors without
  an axis), and indices on the CPU;
- moments at which the host would wait for the device are counted: see `wait_of`.

By hand, since PyTorch has no hook for them in Python: deep copies, addresses, inference mode (no_grad
here), and random streams, which draw the CPU's numbers but know their device. What a GPU's own kernels do
(rounding, determinism, memory) cannot be seen.

It changes PyTorch for the whole process: only for processes of its own.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

CPU = torch.device("cpu")
NAME = "pretended"
LIBRARY = "/scripts/fusionscope/"
WAITS: list[str] = []  # moments at which the host would have waited for the device, and why

# Operations that look at values to know the size of what they give, or to raise for what they cannot do
WAITING = (
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2",
    "unique_consecutive", "bincount", "repeat_interleave", "_linalg_eigh", "_linalg_svd",
    "_linalg_check_errors",
)  # fmt: skip


class Mixed(RuntimeError):
    """An operation on tensors of two devices."""


class OnGpu(Tensor):
    """A tensor on the pretended device; `inner` is what it holds, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        tensor = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        tensor.inner = inner
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied: Tensor = self.detach().clone()
            if isinstance(self, nn.Parameter):
                copied = nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({tuple(self.shape)}, {self.dtype})"


class PretendedGpu(TorchDispatchMode):
    """Inside, tensors can be made on the device and moved to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """One operation where its tensors are, or where its `device` says."""
    name = func.name().removeprefix("aten::").partition(".")[0]
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    check_not_mixed(name, tensors, args)
    wait = wait_of(name, tensors, args, kwargs)
    if wait is not None:
        WAITS.append(f"{wait} in {place()}")
    if name == "_efficientzerotensor":  # has no memory
        func = torch.ops.aten.zeros.default
    device = kwargs.get("device")
    check_stream(name, kwargs.get("generator"), device, args)
    if device is not None:
        there = device.type == NAME
    elif name == "copy_":
        there = isinstance(args[0], OnGpu)
    else:
        there = any(isinstance(tensor, OnGpu) for tensor in tensors)
    result = func(*tree_map(without_device, args), **tree_map(without_device, kwargs))
    if not there:
        return args[0] if name == "copy_" else result
    result = tree_map(on_gpu, result)
    same_device = device is None and any(isinstance(tensor, OnGpu) for tensor in tensors)
    return return_and_correct_aliasing(func, args, kwargs, result) if same_device else result


def check_not_mixed(name: str, tensors: list[Tensor], args: Any) -> None:
    """Raise Mixed as a GPU would: for tensors of both devices, but for numbers, copies, and indices."""
    beside = [tensor for tensor in tensors if not isinstance(tensor, OnGpu)]
    if len(beside) in (0, len(tensors)) or name in ("copy_", "_to_copy"):
        return
    if name in ("index", "index_put", "index_put_", "_unsafe_index") and isinstance(args[0], OnGpu):
        indices = [index for index in args[1] if index is not None]
        beside = [tensor for tensor in beside if all(tensor is not index for index in indices)]
    changed = name.endswith("_") and not isinstance(args[0], OnGpu)
    if changed or any(tensor.dim() for tensor in beside):
        there = [tuple(tensor.shape) for tensor in tensors if isinstance(tensor, OnGpu)]
        here = [tuple(tensor.shape) for tensor in beside]
        raise Mixed(f"{name}: of shapes {there} on the GPU and {here} on the CPU")


def check_stream(name: str, stream: Any, device: Any, args: Any) -> None:
    """Raise Mixed for a random stream of another device than what is drawn."""
    if stream is not None:
        drawn = device or args[0].device
        if STREAMS.get(stream._cdata, "cpu") != torch.device(drawn).type:
            raise Mixed(f"{name}: draws on {drawn} from a stream of another device")


def wait_of(name: str, tensors: list[Tensor], args: Any, kwargs: Any) -> str | None:
    """Why the host would wait for the device here; None if it would not.

    It waits for a value (item, bool, tolist, nonzero and what uses it, such as a mask as an index), for a
    copy from the device, and for one to the device that is not said to be non_blocking.
    """
    on_device = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    if name in ("_to_copy", "copy_"):
        return wait_for_copy(name, args, kwargs)
    if not on_device:
        return None
    if name in WAITING:
        return name
    if name in ("index", "index_put", "index_put_", "_unsafe_index"):
        indices = [index for index in args[1] if index is not None]
        if any(not isinstance(index, OnGpu) for index in indices):
            return "index from the CPU"
        fills = name != "index" and len(indices) == 1 and args[2].numel() == 1
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices) and not fills:
            return "mask as index"
    return None


def wait_for_copy(name: str, args: Any, kwargs: Any) -> str | None:
    if name == "copy_":
        target, source = args[:2]
        to, unblocked = isinstance(target, OnGpu), args[2] if len(args) > 2 else kwargs.get("non_blocking")
    else:
        source, device = args[0], kwargs.get("device")
        to = isinstance(source, OnGpu) if device is None else device.type == NAME
        unblocked = kwargs.get("non_blocking", False)
    if isinstance(source, OnGpu) and not to:
        return "copy to the CPU"
    if to and not isinstance(source, OnGpu) and not unblocked:
        return "copy from the CPU"
    return None


def without_device(value: Any) -> Any:
    if isinstance(value, OnGpu):
        return value.inner
    return CPU if isinstance(value, torch.device) and value.type == NAME else value


def on_gpu(value: Any) -> Any:
    return OnGpu(value) if isinstance(value, Tensor) and not isinstance(value, OnGpu) else value


class Backend(backend_registration._DummyBackendModule):
    """What PyTorch asks of a device besides operations."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class Generator(torch.Generator):
    """A stream of random numbers for one of the devices."""

    def __new__(cls, device: Any = CPU) -> Generator:
        stream = super().__new__(cls, CPU)
        STREAMS[stream._cdata] = torch.device(device).type
        return stream


STREAMS: dict[int, str] = {}  # address of a stream -> the type of its device


def register() -> torch.device:
    """Give this process the pretended device."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # `.data =` would not reach `inner`
    torch.Generator = Generator  # type: ignore[misc]
    torch.inference_mode = lambda mode=True: torch.no_grad()  # its tensors have no version to count
    address = Tensor.data_ptr
    Tensor.data_ptr = lambda tensor: address(without_device(tensor))  # type: ignore[method-assign]
    torch.UntypedStorage.data_ptr = lambda storage: 0  # type: ignore[method-assign]  # all in one place
    library = torch.library.Library("aten", "IMPL")
    # where PyTorch makes a tensor of a list, it looks past __torch_dispatch__
    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("copy_", copy_, "PrivateUse1")
    # under autocast layers multiply in bfloat16, and the loss is in single precision, as on a GPU
    for name, dtype in AUTOCAST.items():
        library.impl(name, cast_for(getattr(torch.ops.aten, name).default, dtype), "AutocastPrivateUse1")
    other = torch.library.Library("_", "IMPL")
    other.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    LIBRARIES.extend([library, other])
    return torch.device(NAME, 0)


AUTOCAST = {"conv2d": torch.bfloat16, "linear": torch.bfloat16, "cross_entropy_loss": torch.float32}
LIBRARIES: list[torch.library.Library] = []  # they end with their objects


def empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return OnGpu(torch.empty_strided(size, stride, dtype=dtype, device=CPU))


def copy_(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    without_device(target).copy_(without_device(source))
    WAITS.append(f"copy from the CPU in {place()}")
    return target


def place() -> str:
    """The function of the library that is under way."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not named_function(frame.f_code):
        frame = frame.f_back
    return frame.f_code.co_filename.rpartition(LIBRARY)[2] + ": " + frame.f_code.co_name


def named_function(code: CodeType) -> bool:
    """Whether it is one of the library's, and no comprehension."""
    return LIBRARY in code.co_filename and not code.co_name.startswith("<")


def cast_for(operation: Any, dtype: torch.dtype) -> Any:
    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    def at_dtype(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(NAME, enabled=False):
            return operation(*tree_map(cast, args), **tree_map(cast, kwargs))

    return at_dtype
