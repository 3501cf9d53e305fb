"""Confirming a leader on the test patients: once, on record, with a verdict that has an interval."""

import json
from pathlib import Path

import pytest

from gansweep.errors import ConfigError, StoreError
from gansweep.options import ConfirmOptions
from gansweep.search import confirm as module
from gansweep.search.answer import answer
from gansweep.search.cluster import ray_cluster
from gansweep.search.confirm import confirm
from gansweep.search.confirmation_file import confirmation
from gansweep.search.spaces import load_space
from gansweep.search.sweep import sweep
from gansweep.store.store import Store
from tests.values import sweep_options

pytestmark = [pytest.mark.ray(shared=True), pytest.mark.slow, pytest.mark.timeout(400)]

SPACE = Path(__file__).with_name("tiny_space.py")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_test_patients_are_opened_once_and_on_record(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = load_space(f"{SPACE}:tiny").with_settings({"family": "dcgan"})
    # One group of two workers starts sooner than two groups of one.
    options = ConfirmOptions(
        gan_seeds=3, detector_seeds=1, ratios=(0.5,), rivals=("mixup", "blend"), samples=32, workers_per_trial=2
    )
    with ray_cluster():
        store = sweep(experiment, sweep_options(cohort=cohort_path, storage=str(tmp_path)))
        arguments = {"cache": tmp_path / "cache", "options": options}
        with pytest.raises(ConfigError, match="no spread"):
            confirm(store, experiment.trainables, **{**arguments, "options": ConfirmOptions(gan_seeds=2)})
        assert not store.info.test_openings
        with monkeypatch.context() as interrupted:
            interrupted.setattr(module, "result_of", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                confirm(store, experiment.trainables, **arguments)
        assert [opening.judged for opening in Store.open(store.uri).info.test_openings] == [False]
        assert store.local is not None
        finished = {path: path.stat().st_mtime_ns for path in store.local.glob("c*/confirm-*")}
        assert len(finished) == 9, "a checkpoint, an ending and the arms of each of three trainings"
        # It goes on as the same opening: no reason is asked for, and nothing is trained or scored again.
        with monkeypatch.context() as again:
            again.setattr(module, "retraining_group", lambda *_, **__: pytest.fail("trained again"))
            again.setattr("gansweep.store.store.Store.delete", lambda *_: None)
            result = confirm(store, experiment.trainables, **arguments)
        assert {path: path.stat().st_mtime_ns for path in store.local.glob("c*/confirm-*")} == finished
        with pytest.raises(StoreError, match="--reason"):
            confirm(store, experiment.trainables, **arguments)

    kept = Store.open(store.uri)
    assert [(opening.reason, opening.judged) for opening in kept.info.test_openings] == [("", True)]
    assert json.loads(kept.read_bytes("confirm.json")) == json.loads(json.dumps(result))
    assert result["answer"] == answer(kept).text == kept.load_study().user_attrs["answer"]
    leader = result["leaders"][0]
    assert set(leader["arms"]) == {
        "real",
        "real, not oversampled",
        "real, not augmented",
        "real + 0.5 synthetic",
        "synthetic only",
        "real + MixUp",
        "real + blended lesions",
    }
    assert leader["best_rival"]["accuracy"] in {"real + MixUp", "real + blended lesions"}
    assert set(leader["over_rival"]) == {"real + 0.5 synthetic", "synthetic only"}
    claim = leader["comparisons"]["real + 0.5 synthetic"]["accuracy"]
    assert claim["low"] <= claim["difference"] <= claim["high"]
    arms = leader["arms"]
    assert claim["difference"] == pytest.approx(
        arms["real + 0.5 synthetic"]["accuracy"][0] - arms["real"]["accuracy"][0]
    )
    assert set(leader["curves"]) == set(leader["arms"])
    hits = [sum(row[i] for i, row in enumerate(curve["confusion"])) for curve in leader["curves"].values()]
    right = [arms[name]["accuracy"][0] * result["images"] for name in leader["curves"]]
    assert hits == pytest.approx(right)
    # The trainings are others than the trial's own.
    assert not {10_000, 10_001, 10_002} & {kept.config("0000").seed}


def test_a_family_that_draws_masks_gets_a_verdict_on_dice(cohort_path: Path, tmp_path: Path) -> None:
    painter = {
        "family": "lesion_painter",
        "conditioning": "none",
        "loss.kind": "hinge",
        "penalty.kind": "none",
        "architecture": {"width": 8, "depth": 2, "critic_width": 8},
        "scoring.segmenter_steps": 10,
    }
    experiment = load_space(f"{SPACE}:tiny").with_settings(painter)
    options = ConfirmOptions(detector_seeds=1, ratios=(0.5,), rivals=("elastic",), samples=32, workers_per_trial=2)
    with ray_cluster():
        store = sweep(experiment, sweep_options(cohort=cohort_path, storage=str(tmp_path)))
        assert "dice_difference" in store.latest_trials()
        result = confirm(store, experiment.trainables, cache=tmp_path / "cache", options=options)
    found = result["leaders"][0]["segmentation"]
    assert list(found["arms"]) == [
        "real",
        "real, not augmented",
        "real + 0.5 synthetic",
        "synthetic only",
        "real + elastic augmentation",
    ]
    assert found["best_rival"] == {"dice": "real + elastic augmentation"}
    claim = found["comparisons"]["real + 0.5 synthetic"]["dice"]
    assert claim["low"] <= claim["difference"] <= claim["high"]
    values = [found["arms"][name]["dice"][0] for name in ("real + 0.5 synthetic", "real")]
    assert claim["difference"] == pytest.approx(values[0] - values[1])
    assert (claim["patients"], claim["trainings"]) == (found["patients"], 3)
    assert 2 <= found["patients"] <= found["images"] <= result["images"]
    kept = Store.open(store.uri)
    assert confirmation(kept) == json.loads(json.dumps(result))
    assert f"changed dice by {100 * claim['difference']:+.1f} points" in answer(kept).text
