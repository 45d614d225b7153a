"""Who shares memory with whom, and who was changed in place."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from torch import Tensor


def leaves(value: object) -> Iterator[object]:
    """What is in tuples of tuples."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def write_counts(value: object) -> list[int]:
    """How often each tensor's memory was changed in place; empty if there is no tensor.

    PyTorch does not count for those that were made in inference mode, and lets nobody change them elsewhere.
    """
    tensors = (part for part in leaves(value) if isinstance(part, Tensor))
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


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
    found: set[int] = set()
    by_storage: dict[int, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        by_storage[tensor.untyped_storage().data_ptr()].append(tensor)
    for sharing in by_storage.values():
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
