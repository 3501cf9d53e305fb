"""Random numbers of a training: those of layers such as dropout, and streams of its own for whatever else is drawn."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["seeded", "stream"]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's own random numbers begin with `seed`, on the CPU and on `device`; outside, they are untouched."""
    on_device = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_device else []):
        torch.default_generator.manual_seed(seed)
        if on_device:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def stream(seed: int, purpose: str) -> torch.Generator:
    """A generator on the CPU whose numbers no other purpose and no other seed has."""
    digest = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
