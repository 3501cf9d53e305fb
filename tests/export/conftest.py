"""A small sweep's store made by the real rooms: phantom, ingest, training loop, store."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.experiment import Experiment
from gansweep.export.best import export_best
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from tests.values import sweep_options
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = TrialConfig(
    data=DataView(size=16),
    architecture={"latent": 8, "width": 4},
    batch_size=4,
    n_critic=1,
    iterations=3,
    seed=5,
)

SCORING = ScoringSettings(encoder_steps=20)
"""What scores were computed with; the examination for memorisation trains the same encoder again."""

torch.set_num_threads(1)  # networks this small only wait for a second thread

SCORES = {"0000": (30.0, 0.70), "0001": (20.0, 0.80), "0002": (25.0, 0.75)}
"""Made-up scores by trial, so that the order is known: 0001 is the best."""


@dataclass(frozen=True)
class Sweep:
    store: Store
    cohort: Path
    states: dict[str, dict[str, object]]
    cache: Path


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_phantom(folder / "dicom", patients=12, slices=1, size=32, seed=0)
    return ingest(folder / "dicom", folder / "cohort", IngestSettings(size=16)).path


@pytest.fixture(scope="session")
def sweep(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    opened = Cohort.open(cohort)
    experiment = Experiment(name="tiny", space=lambda _trial: CONFIG, trainables=TRAINABLES, scoring=SCORING)
    info = describe_sweep(
        experiment, opened, sweep_options(name="tiny", seed=3), space="tiny", fid_features="cohort-encoder:abc"
    )
    store = Store.create(str(tmp_path_factory.mktemp("runs")), "tiny", info)
    states = {}
    for trial_id, (fid, accuracy) in SCORES.items():
        config = CONFIG.derive({"seed": int(trial_id), "lr_d": 1e-4 * (int(trial_id) + 1)})
        reporter = MemoryReporter()
        gan = build_gan(config, opened.spec(config.data), TRAINABLES)
        data = opened.load("train", config.data)
        train(config, gan, data, reporter, lambda *_: {}, reports=1, device=torch.device("cpu"))
        assert reporter.state is not None
        states[trial_id] = reporter.state
        buffer = io.BytesIO()
        torch.save(reporter.state, buffer)
        store.write_bytes(f"checkpoints/{trial_id}.pt", buffer.getvalue())
        scores = {"fid": fid, "accuracy": accuracy, "fid_floor": 4.0, "accuracy_difference": accuracy - 0.72}
        now = datetime.now(UTC)
        store.write_trial(
            TrialRow(
                trial_id, 0, "completed", config, scores=scores, iterations=3, images_seen=12, started=now, ended=now
            )
        )
    store.write_trial(TrialRow("0003", 0, "diverged", CONFIG, reason="the loss is not finite"))
    return Sweep(store, cohort, states, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def exported(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_best(sweep.store, tmp_path_factory.mktemp("export") / "best", TRAINABLES, cache=sweep.cache)
