"""How parents are called in the rows of tables."""

import re

PARENT = re.compile(r"parent_(\d+)")


def is_parent(model: str) -> bool:
    """'parent_2'; not 'parent_mean'."""
    return PARENT.fullmatch(model) is not None
