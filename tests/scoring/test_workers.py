"""Two workers give what one gives, and a mistake on one of them stops both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Trainables
from gansweep.distributed import World
from gansweep.errors import ConfigError, Diverged
from gansweep.scoring.metrics.frechet import Moments, frechet_distance, frechet_from_moments
from gansweep.scoring.trial import TrialScorer
from gansweep.testing.workers import run_workers
from tests.scoring.discs import DiscCohort, oracle
from trainables.downstream.detectors import SmallCnn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CPU = torch.device("cpu")
FAST = ScoringSettings(samples=150, encoder_steps=15, detector_steps=20, detector_batch=16, detector_seeds=3)


def features(seed: int, n: int) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * (seed + 1)


def scored(cache: Path) -> dict[str, float]:
    return TrialScorer(DiscCohort(), FAST, Trainables(detectors={"small_cnn": SmallCnn}), cache, CPU).score(
        oracle, TrialConfig(), 3
    )


def moments(found: torch.Tensor) -> Moments:
    total = Moments.empty(8)
    for chunk in found.split(13):
        total.update(chunk)
    return total


def failures(world: World, folder: Path) -> list[str]:
    """What this worker gets where another one fails; what comes after works."""

    def fails(rank: int, error: Exception) -> int:
        if world.rank == rank:
            raise error
        return rank

    def parts(error: Exception) -> Iterator[tuple[int, torch.Tensor]]:
        yield world.rank, torch.ones(1)
        fails(1, error)

    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("no folder")
    attempts: list[Callable[[], object]] = [
        lambda: world.checked(lambda: fails(1, ConfigError("a mistake"))),
        lambda: world.checked(lambda: fails(1, KeyError("unexpected"))),
        lambda: world.cached(folder / "a.pt", lambda: fails(0, ConfigError("one makes it"))),
        lambda: world.cached(folder / "a.pt", lambda: fails(0, KeyError("unexpected"))),
        lambda: world.cached(folder / "a.pt", lambda: fails(1, ConfigError("all make it")), together=True),
        lambda: world.cached(folder / "file" / "a.pt", lambda: 1),
        lambda: world.assembled(parts(Diverged("a part")), torch.zeros(2)),
    ]
    return [_told(attempt) for attempt in attempts]


def _told(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def work(folder: Path) -> dict[str, object]:
    world = World.current(CPU)
    real, fake = moments(features(0, 101)[world.rank :: 2]), moments(features(1, 80)[world.rank :: 2])
    real.all_reduce()
    fake.all_reduce()
    told = failures(world, folder)
    return {"told": told, "frechet": frechet_from_moments(real, fake), "scores": scored(folder)}


def test_two_workers_are_one(tmp_path: Path) -> None:
    first, second = run_workers(work, tmp_path / "two")
    assert first == second
    *told, unwritable, of_a_part = first["told"]
    assert told == [
        "ConfigError: a mistake",
        "RuntimeError: KeyError: 'unexpected'",
        "ConfigError: one makes it",
        "RuntimeError: KeyError: 'unexpected'",
        "ConfigError: all make it",
    ]
    assert unwritable.startswith("RuntimeError: FileExistsError")
    assert of_a_part == "Diverged: a part"
    assert first["frechet"] == pytest.approx(frechet_distance(features(0, 101), features(1, 80)), rel=1e-9)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert scored(tmp_path / "one") == first["scores"]
    finally:
        torch.set_num_threads(threads)
