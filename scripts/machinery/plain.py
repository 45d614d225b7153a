"""Settings in one form, so that those that mean the same look the same."""

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """`value` with keys sorted and whole floats as integers, so that equal settings look equal."""
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
