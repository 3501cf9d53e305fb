"""Where seeds come from: every random number of a run is a function of the trial's seed and of what it is for.

Three derivations stand here. They differ for no good reason, but recorded results depend on each: equal seeds must keep
giving equal numbers. New code uses `seed_from`.
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
    """A well-mixed 63-bit seed from anything that names a place in the run."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def report_seed(seed: int, iteration: int, start: int) -> int:
    """The seed of a report's chunk of samples, unrelated to those of other reports and trials.

    Args:
        seed: of the trial.
        iteration: of the report.
        start: the chunk's first row.
    """
    digest = hashlib.sha256(f"score/{seed}/{iteration}/{start}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def stream(seed: int, purpose: str) -> torch.Generator:
    """A generator on the CPU whose numbers no other purpose and no other seed has."""
    digest = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's own random numbers (those of layers such as dropout) inside the block; restores them afterwards.

    Args:
        seed: of the CPU's generator, and of the GPU's where `device` is one.
        device: where the block computes.
    """
    on_device = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_device else []):
        torch.default_generator.manual_seed(seed)
        if on_device:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
