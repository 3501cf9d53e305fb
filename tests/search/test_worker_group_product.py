"""Every family with every loss and penalty it admits, trained by the warm worker group of two workers that sweeps use.

An acceptance run: each configuration twice, once without a stop and once sent away at its first report and taken up
again from the store's checkpoint.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.experiment import Experiment
from gansweep.search.cluster import Footprint, ray_cluster
from gansweep.search.worker import WorkerGroupSettings
from gansweep.search.worker_group import WorkerGroup
from gansweep.store.artifacts import sheet_path
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store
from gansweep.testing.gan_contract import admissible, assert_equal, describe, variations
from gansweep.testing.images import shapes
from tests.values import sweep_options
from trainables import GANS, TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(3600)]

REPORTS = 2
SCORING = ScoringSettings(samples=16, encoder_steps=5, detector_steps=2, detector_seeds=1, segmenter_steps=0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Discs and squares as files, each with its mask and its negative as a pair."""
    source = tmp_path_factory.mktemp("shapes")
    data, spec = shapes(count=48, size=16)
    assert data.masks is not None
    assert data.paired is not None
    rows = []
    for number, label in enumerate(data.labels.tolist()):
        images = {
            "path": data.images[number, 0],
            "mask": data.masks[number, 0] * 2 - 1,
            "paired": data.paired[number, 0],
        }
        names = {kind: f"{kind}_{number}.png" for kind in images}
        for kind, image in images.items():
            Image.fromarray(((image + 1) * 127.5).round().numpy().astype(np.uint8)).save(source / names[kind])
        rows.append({**names, "label": spec.classes[label], "patient_id": f"p{number}"})
    pd.DataFrame(rows).to_csv(source / "labels.csv", index=False)
    ingest(source, source / "cohort", IngestSettings(size=16, labels=source / "labels.csv"))
    return Cohort.open(source / "cohort")


@pytest.fixture(scope="module")
def store(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Store:
    experiment = Experiment(
        name="product", space=lambda _: TrialConfig(), trainables=TRAINABLES, reports=REPORTS, scoring=SCORING
    )
    info = describe_sweep(experiment, cohort, sweep_options(name="product", seed=0), space="product")
    return Store.create(str(tmp_path_factory.mktemp("worker group")), "product", info)


@pytest.fixture(scope="module")
def group(cohort: Cohort, store: Store) -> Iterator[WorkerGroup]:
    assert store.local is not None
    settings = WorkerGroupSettings(
        store=store.uri,
        cohort=str(cohort.path),
        cache=str(store.local / "cache"),
        trainables=TRAINABLES,
        scoring=SCORING,
        reports=REPORTS,
    )
    with ray_cluster():
        group = WorkerGroup(settings, Footprint(workers=2), max_starts=1)
        yield group
        group.close()


@pytest.mark.parametrize("family", GANS)
def test_trains_stops_and_resumes_bit_for_bit(family: str, group: WorkerGroup, cohort: Cohort, store: Store) -> None:
    spec = cohort.spec(TrialConfig().data)
    configs = [*admissible(family, spec, TRAINABLES), *variations(family, spec, TRAINABLES)]
    assert len({config.loss.kind for config in configs}) > 1
    for number, config in enumerate(configs):
        whole, stopped = f"{family}{number:03d}whole", f"{family}{number:03d}stopped"
        group.assign(whole, config.as_dict())
        undisturbed = [_scores(group, index, config) for index in range(REPORTS)]
        group.assign(stopped, config.as_dict())
        first = _scores(group, 0, config)
        group.assign(stopped, config.as_dict(), reported=1)
        assert [first, _scores(group, 1, config)] == undisturbed, describe(config)
        assert_equal(_state(store, whole), _state(store, stopped), describe(config))
        # Drawn anew in each of the two runs, from the trial's seed.
        sheets = [store.read_bytes(sheet_path(trial)) for trial in (whole, stopped)]
        assert sheets[0] == sheets[1], f"{describe(config)}: other samples"


def _scores(group: WorkerGroup, index: int, config: TrialConfig) -> str:
    outcome = group.outcome(index)
    assert outcome.report is not None, f"{describe(config)}: {outcome.ending}, {outcome.reason}"
    return repr(outcome.report.progress.scores)  # as text, for a score may be undefined, and nan is not nan


def _state(store: Store, trial: str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(store.checkpoint(trial).read_bytes()), weights_only=True)
    return state
