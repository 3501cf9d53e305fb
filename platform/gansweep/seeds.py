"""Derivation of seeds: every random number of a run is a function of the trial's seed and of its purpose.

There are three derivations. The differences have no good reason, but recorded results depend on each of them, and equal
seeds must keep giving equal numbers. New code uses `seed_from`.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["report_seed", "seed_from", "seeded", "stream"]


def seed_from(*parts: int | str) -> int:
    """Returns a well-mixed 63-bit seed from any values that identify a place in the run."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def report_seed(seed: int, iteration: int, start: int) -> int:
    """Returns the seed of a chunk of a report's samples, independent of those of other reports and trials.

    Args:
        seed: seed of the trial.
        iteration: iteration of the report.
        start: first row of the chunk.
    """
    digest = hashlib.sha256(f"score/{seed}/{iteration}/{start}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def stream(seed: int, purpose: str) -> torch.Generator:
    """Returns a CPU generator whose numbers differ from those of any other purpose or seed."""
    digest = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's own random numbers (for layers such as dropout) while the block runs, then restores them.

    Args:
        seed: seed of the CPU's generator, and of the GPU's if `device` is a GPU.
        device: device on which the block computes.
    """
    on_device = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_device else []):
        torch.default_generator.manual_seed(seed)
        if on_device:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
