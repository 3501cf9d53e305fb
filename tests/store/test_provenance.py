from types import SimpleNamespace

import pandas as pd
from pydantic import BaseModel

from gansweep.config import TrialConfig
from gansweep.contracts import Trainables
from gansweep.experiment import Experiment
from gansweep.store.provenance import code_revision, describe_sweep, package_versions
from gansweep.store.store import Store
from tests.values import sweep_options


class Family:
    class Architecture(BaseModel):
        width: int = 8


def _cohort():
    manifest = pd.DataFrame(
        {"split": ["train", "train", "train", "val"], "patient": ["hash-a", "hash-a", "hash-b", "hash-c"]}
    )
    return SimpleNamespace(
        path="/data/cohort",
        content_hash="ab" * 32,
        manifest=manifest,
        info=SimpleNamespace(classes=("control", "fahr"), seed=3),
    )


def test_a_sweep_is_described_and_kept(tmp_path):
    experiment = Experiment(name="e", space=lambda _: TrialConfig(), trainables=Trainables(gans={"f": Family}))
    info = describe_sweep(
        experiment.with_settings({"reports": 2, "lr_d": 0.001}),
        _cohort(),
        sweep_options(seed=7, trials=5),
        space="smoke",
        resources={"CPU": 2.0},
    )
    assert info.cohort.patients == {"train": 2, "val": 1}
    assert info.cohort.images == {"train": 3, "val": 1}
    assert info.seeds == {"sampler": 7, "cohort_split": 3}
    assert info.experiment["reports"] == 2
    assert info.experiment["overrides"] == {"lr_d": 0.001}
    assert info.config_columns["config.architecture.width"] == "int64"
    assert info.hardware["cluster"] == {"CPU": 2.0}
    store = Store.create(str(tmp_path), "s", info)
    assert Store.open(store.uri).info == info
    assert "hash-" not in (tmp_path / "s" / "sweep.json").read_text(), "no patient, not even hashed"


def test_versions_and_revision_are_real():
    assert {"python", "gansweep", "torch", "ray", "optuna"} <= package_versions().keys()
    revision = code_revision().removesuffix("+changes")
    assert revision.startswith("gansweep ") or (len(revision) == 40 and int(revision, 16))
