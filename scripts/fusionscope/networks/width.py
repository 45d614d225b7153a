"""Networks of the published shape with more or fewer channels."""


def scaled(channels: int, width: float) -> int:
    """`channels` at relative `width`, at least one."""
    return max(1, round(channels * width))
