"""Random streams named by what they are for, so that adding one changes no other."""

import hashlib

import torch


def seed_for(*role: str | int) -> int:
    """A 63-bit seed that depends on the whole `role`, e.g. ("digits_vgg11", 1, "parent_1 order")."""
    digest = hashlib.sha256("\x1f".join(map(str, role)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes signed 64-bit seeds


def generator(*role: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator of its own for `role`; independent of torch's global state."""
    return torch.Generator(device).manual_seed(seed_for(*role))
