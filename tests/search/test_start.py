"""Trials that start from another sweep's leader: the weights fit, some stay as they are, and mistakes are one line."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import TrialConfig
from gansweep.errors import ConfigError, ExportError, StoreError
from gansweep.export.best import export_best
from gansweep.search.spaces import load_space
from gansweep.search.start import START, kept_start
from gansweep.search.start_from import check_fit, start_of
from gansweep.search.sweep import prepare
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.start import Start
from tests.values import sweep_options
from trainables import TRAINABLES

CPU = torch.device("cpu")
CONFIG = TrialConfig(
    iterations=4, batch_size=8, n_critic=1, architecture={"width": 8, "latent": 8, "generator_norm": "group"}
)


def trained(cohort: Cohort, start: Start | None = None, **changes: Any) -> dict[str, Any]:
    """The state at the end of a short training."""
    config = CONFIG.derive(changes)
    gan = build_gan(config, cohort.spec(config.data), TRAINABLES)
    if start is not None:
        start.into(gan)
    reporter = MemoryReporter()
    train(config, gan, cohort.load("train"), reporter, lambda *_: {}, reports=1, device=CPU)
    assert reporter.state is not None
    return reporter.state


@pytest.fixture
def cohort(cohort_path: Path) -> Cohort:
    return Cohort.open(cohort_path)


@pytest.fixture
def other(cohort: Cohort, cohort_path: Path, tmp_path: Path) -> Store:
    """A sweep whose only trial has completed, with its checkpoint."""
    options = sweep_options(cohort=cohort_path)
    store = Store.create(str(tmp_path), "other", describe_sweep(load_space("smoke"), cohort, options, space="smoke"))
    scores = {"fid": 1.0, "accuracy": 0.9}
    store.write_trial(TrialRow("0000", 0, "completed", CONFIG, scores=scores, ended=datetime.now(UTC)))
    store.checkpoint("0000").write(trained(cohort))
    return store


def coloured(folder: Path) -> None:
    """Ten colour images of each of two classes."""
    rng = np.random.default_rng(0)
    for label in ("control", "fahr"):
        (folder / label).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{label}{number}.png")


def test_a_training_begins_with_the_leaders_weights(other: Store, cohort: Cohort) -> None:
    start = start_of(other.uri, 0, cohort, TRAINABLES)
    gan = build_gan(CONFIG.derive({"seed": 5}), cohort.spec(), TRAINABLES)
    start.into(gan)
    kept = other.checkpoint("0000").read()["networks"]
    for name, network in gan.networks.items():
        assert all(torch.equal(kept[name][key], value) for key, value in network.state_dict().items())
    assert start.settings()["architecture"] == CONFIG.architecture
    assert set(start.settings()) == {"family", "architecture", "conditioning", "attention", "data.size"}


def test_frozen_blocks_stay_and_the_others_learn(other: Store, cohort: Cohort) -> None:
    start = start_of(other.uri, 1, cohort, TRAINABLES)
    before, after = start.networks["critic"], trained(cohort, start, seed=3)["networks"]["critic"]
    moved = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    assert "0" not in moved
    assert "1" in moved
    free = trained(cohort, start_of(other.uri, 0, cohort, TRAINABLES), seed=3)["networks"]["critic"]
    assert not torch.equal(before["blocks.0.0.weight"], free["blocks.0.0.weight"])


def test_the_store_keeps_the_start(other: Store, cohort: Cohort) -> None:
    assert kept_start(other) is None
    start = start_of(other.uri, 1, cohort, TRAINABLES)
    other.write_bytes(START, start.to_bytes())
    kept = kept_start(other)
    assert kept is not None
    assert (kept.origin, kept.config, kept.frozen) == ("trial 0000 of s", CONFIG, 1)
    assert torch.equal(kept.networks["critic"]["blocks.0.0.weight"], start.networks["critic"]["blocks.0.0.weight"])
    other.write_bytes(START, b"cut")
    with pytest.raises(StoreError, match=r"start\.pt: is damaged"):
        kept_start(other)


@pytest.fixture
def exported(other: Store, cohort_path: Path, tmp_path: Path) -> Path:
    """The export of the sweep's leader. So short a training may pass for a copy, which is not in question here."""
    return export_best(other, tmp_path / "export", TRAINABLES, cohort=cohort_path, allow_memorised=True)


@pytest.mark.usefixtures("without_program")
def test_an_export_gives_its_generator_and_the_critic_starts_anew(other: Store, exported: Path, cohort: Cohort) -> None:
    averaged = other.checkpoint("0000").read()["ema"]["generator"]
    for folder in (exported, exported / "bundle"):
        start = start_of(str(folder), 0, cohort, TRAINABLES)
        assert start.told() == "the export of trial 0000; generator alone, critic with random weights"
        config = CONFIG.derive({"seed": 5})
        gan = build_gan(config, cohort.spec(), TRAINABLES)
        random = build_gan(config, cohort.spec(), TRAINABLES)
        Start.from_bytes(start.to_bytes()).into(gan)
        here = gan.networks["generator"].state_dict()
        assert all(torch.equal(averaged[key], value) for key, value in here.items())
        anew = random.networks["critic"].state_dict()
        assert all(torch.equal(anew[key], value) for key, value in gan.networks["critic"].state_dict().items())


@pytest.mark.usefixtures("without_program")
def test_what_trials_began_with_is_in_the_export(
    other: Store, cohort: Cohort, cohort_path: Path, tmp_path: Path
) -> None:
    other.write_bytes(START, start_of(other.uri, 1, cohort, TRAINABLES).to_bytes())
    made = export_best(other, tmp_path / "next", TRAINABLES, cohort=cohort_path, allow_memorised=True)
    began = "trial 0000 of s; first 1 blocks of the critic not trained"
    assert json.loads((made / "evidence.json").read_text())["started_from"] == began
    assert f"trained from the weights of {began}" in (made / "MODEL_CARD.md").read_text()


@pytest.mark.usefixtures("without_program")
def test_an_export_that_does_not_fit_is_refused_in_one_line(exported: Path, cohort: Cohort, tmp_path: Path) -> None:
    def said(place: Path, on: Cohort = cohort, frozen: int = 0) -> str:
        with pytest.raises((ConfigError, ExportError)) as told:
            start_of(str(place), frozen, on, TRAINABLES)
        assert "\n" not in str(told.value)
        return str(told.value)

    write_phantom(tmp_path / "scans", patients=12, slices=1, size=64, seed=1)
    ingest(tmp_path / "scans", tmp_path / "larger", IngestSettings(size=32))
    coloured(tmp_path / "photographs")
    ingest(tmp_path / "photographs", tmp_path / "colour", IngestSettings(size=16))
    began = "the export of trial 0000 was trained on images with"
    assert f"{began} 16 pixels, and this cohort has 32" in said(exported, Cohort.open(tmp_path / "larger"))
    assert f"{began} 1 channels, and this cohort has 3" in said(exported, Cohort.open(tmp_path / "colour"))
    assert "--freeze-critic: an export has no critic whose blocks could be frozen" in said(exported, frozen=1)

    record = exported / "generator.json"
    kept = record.read_text()
    record.write_text(kept.replace('"dcgan"', '"unheard_of"'))
    assert "unheard_of" in said(exported)
    record.write_text(kept.replace('"dcgan"', '"fcgan"'))
    assert "fcgan" in said(exported)
    # The record of one architecture and the weights of another.
    record.write_text(kept.replace('"width": 8', '"width": 16'))
    assert "the generator of the export of trial 0000 does not fit" in said(exported)
    record.write_text("{")
    assert "generator.json" in said(exported)
    record.unlink()
    assert "no generator.json" in said(exported)

    record.write_text(kept)
    weights = exported / "generator.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    assert "the weights have changed since the export (SHA-256 differs)" in said(exported)
    record.write_text(kept.replace(sha256(content).hexdigest(), sha256(content[:100]).hexdigest()))
    weights.write_bytes(content[:100])
    assert "is no file of weights" in said(exported)
    weights.unlink()
    assert "no generator.safetensors" in said(exported)


def test_every_trial_has_the_networks_that_the_weights_fit(other: Store, cohort_path: Path) -> None:
    options = sweep_options(cohort=cohort_path, start_from=other.uri, freeze_critic=1)
    ready = prepare(load_space("smoke"), options, space="smoke")
    assert ready.start is not None
    assert ready.experiment.overrides["architecture"] == CONFIG.architecture
    assert ready.experiment.overrides["family"] == "dcgan"
    assert ready.experiment.overrides["data.size"] is None, "the space asks for 32 pixels, and the weights need 16"


def test_a_configuration_with_other_layers_is_refused_before_ray_starts(other: Store, cohort: Cohort) -> None:
    start = start_of(other.uri, 0, cohort, TRAINABLES)
    check_fit(start, CONFIG, cohort, TRAINABLES)
    wider = CONFIG.derive({"architecture.width": 16})
    with pytest.raises(
        ConfigError, match=r"^--start-from: the generator of trial 0000 of s does not fit: start\.weight"
    ):
        check_fit(start, wider, cohort, TRAINABLES)


def test_what_does_not_fit_is_refused_in_one_line(
    other: Store, cohort: Cohort, cohort_path: Path, tmp_path: Path
) -> None:
    write_phantom(tmp_path / "scans", patients=12, slices=1, size=64, seed=1)
    ingest(tmp_path / "scans", tmp_path / "larger", IngestSettings(size=32))
    coloured(tmp_path / "photographs")
    ingest(tmp_path / "photographs", tmp_path / "colour", IngestSettings(size=16))

    def said(place: Path, frozen: int = 0) -> str:
        with pytest.raises(ConfigError) as told:
            start_of(other.uri, frozen, Cohort.open(place), TRAINABLES)
        assert "\n" not in str(told.value)
        return str(told.value)

    assert "trial 0000 of s was trained on images with 16 pixels, and this cohort has 32" in said(tmp_path / "larger")
    assert "trained on images with 1 channels, and this cohort has 3" in said(tmp_path / "colour")
    assert "--freeze-critic: the critic has 2 blocks; freeze at most 1" in said(cohort_path, frozen=2)
    # Where the other cohort is gone, the weights have to tell.
    info = other.info.model_copy(update={"cohort": other.info.cohort.model_copy(update={"path": str(tmp_path / "x")})})
    other.update_info(cohort=info.cohort)
    assert "does not fit" in said(tmp_path / "colour") or "has other layers" in said(tmp_path / "colour")
    with pytest.raises(ConfigError, match="--freeze-critic: a critic that starts anew has nothing to keep"):
        prepare(load_space("smoke"), sweep_options(cohort=cohort_path, freeze_critic=1), space="smoke")
    with pytest.raises(StoreError, match=r"not a sweep's store.*; or give the folder of an export"):
        start_of(str(tmp_path / "scans"), 0, cohort, TRAINABLES)
