"""Two workers give what one gives, and a mistake on one of them stops both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.contracts import Trainables
from gansweep.errors import ConfigError
from gansweep.experiment import ScoringSettings, TrialConfig
from gansweep.scoring.frechet import Moments, frechet_distance, frechet_from_moments
from gansweep.scoring.shares import Shares
from gansweep.scoring.trial import TrialScorer
from gansweep.testing.workers import run_workers
from tests.scoring.discs import DiscCohort, oracle
from trainables.detectors import SmallCnn

if TYPE_CHECKING:
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


def work(folder: Path) -> dict[str, object]:
    shares = Shares.current(CPU)
    try:
        shares.checked(lambda: _fails() if shares.rank == 1 else None)
        mistake = ""
    except ConfigError as error:
        mistake = str(error)
    real, fake = moments(features(0, 101)[shares.rank :: 2]), moments(features(1, 80)[shares.rank :: 2])
    real.all_reduce()
    fake.all_reduce()
    return {"mistake": mistake, "frechet": frechet_from_moments(real, fake), "scores": scored(folder)}


def _fails() -> None:
    raise ConfigError("only this worker sees it")


def test_two_workers_are_one(tmp_path: Path) -> None:
    first, second = run_workers(work, tmp_path / "two")
    assert first == second
    assert first["mistake"] == "only this worker sees it"
    assert first["frechet"] == pytest.approx(frechet_distance(features(0, 101), features(1, 80)), rel=1e-9)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert scored(tmp_path / "one") == first["scores"]
    finally:
        torch.set_num_threads(threads)
