"""A generator that copies its patients does not leave the house unnoticed."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import DataView, Frozen, ScoringSettings, TrialConfig
from gansweep.contracts import Batch, Condition, ImageSpec, Phase, Trainables
from gansweep.errors import ExportError
from gansweep.experiment import Experiment
from gansweep.export import production
from gansweep.export.best import export_best
from gansweep.export.production import train_production
from gansweep.export.production_worker import train_run
from gansweep.options import TrainOptions
from gansweep.report.html import report_html
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

SIZE = 16
SCORING = ScoringSettings(samples=8, encoder_steps=20, detector_steps=2, detector_seeds=1)


class Slots(nn.Module):
    """As many images as it has parameters for."""

    def __init__(self, slots: int, spec: ImageSpec) -> None:
        super().__init__()
        self.images = nn.Parameter(0.3 * torch.randn(slots, spec.channels, spec.size, spec.size) - 0.5)


class Hoarder(nn.Module):
    """A family that learns nothing but its training images: each slot is drawn to the one it is nearest to."""

    class Architecture(Frozen):
        slots: int = 6

    smallest: ClassVar[dict[str, int]] = {}

    def __init__(self, config: TrialConfig, spec: ImageSpec, _trainables: Trainables) -> None:
        super().__init__()
        slots = self.Architecture.model_validate(config.architecture).slots
        self.networks = {"slots": Slots(slots, spec)}
        self.phases, self.averaged = (Phase("hoard", ("slots",), "generator"),), ("slots",)
        self.state = nn.Module()

    @staticmethod
    def check(*_: object) -> None:
        """Any configuration will do."""

    def loss(self, _phase: str, batch: Batch, _step: int) -> tuple[Tensor, dict[str, Tensor]]:
        distance = torch.cdist(self.networks["slots"].images.flatten(1), batch.images.flatten(1))
        loss = distance.min(1).values.square().mean()
        return loss, {"distance": loss.detach()}

    def sample(self, n: int, _condition: Condition, generator: torch.Generator) -> Tensor:
        images = self.networks["slots"].images
        grain = 0.05 * torch.randn((n, *images.shape[1:]), generator=generator)
        return (images[torch.randint(len(images), (n,), generator=generator)] + grain).clamp(-1, 1)


class Translator(Hoarder):
    """A family that gives back the real image it starts from."""

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        sources = condition.sources
        assert sources is not None
        return (sources + 0.02 * torch.randn(sources.shape, generator=generator)).clamp(-1, 1) + 0 * n


OWN = Trainables(**{**vars(TRAINABLES), "gans": {**TRAINABLES.gans, "hoarder": Hoarder, "translator": Translator}})
HOARDER = TrialConfig(
    family="hoarder", data=DataView(size=SIZE), batch_size=24, iterations=150, lr_g=0.05, ema_half_life=0.0, seed=1
)

pytestmark = pytest.mark.usefixtures("without_program")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_phantom(folder / "dicom", patients=40, slices=1, size=32, seed=1)
    return ingest(folder / "dicom", folder / "cohort", IngestSettings(size=SIZE)).path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def sweep_of(cohort: Path, tmp_path: Path) -> Any:
    """A store with one trial, really trained by the loop."""

    def make(config: TrialConfig) -> Store:
        opened = Cohort.open(cohort)
        experiment = Experiment(name="one", space=lambda _trial: config, trainables=OWN, scoring=SCORING)
        info = describe_sweep(experiment, opened, sweep_options(name="one", seed=0), space="one", fid_features="")
        store, reporter = Store.create(str(tmp_path / "runs"), "one", info), MemoryReporter()
        gan, data = build_gan(config, opened.spec(config.data), OWN), opened.load("train", config.data)
        train(config, gan, data, reporter, lambda *_: {}, reports=1, device=torch.device("cpu"))
        buffer = io.BytesIO()
        torch.save(reporter.state, buffer)
        store.write_bytes("checkpoints/0000.pt", buffer.getvalue())
        now = datetime.now(UTC)
        store.write_trial(TrialRow("0000", 0, "completed", config, scores={"fid": 1.0}, started=now, ended=now))
        return store

    return make


def test_a_generator_that_memorised_is_refused_in_one_line_and_its_pairs_are_kept(
    sweep_of: Any, cache: Path, tmp_path: Path
) -> None:
    store = sweep_of(HOARDER)
    with pytest.raises(ExportError) as refused:
        export_best(store, tmp_path / "best", OWN, cache=cache)
    said = str(refused.value)
    assert "memorised training patients: 100 % (99 to 100) of samples are copies of training images by pixels" in said
    assert "--allow-memorised" in said
    assert "\n" not in said
    assert not (tmp_path / "best").exists()
    assert f"{store.label}/artifacts/0000-nearest.png" in said
    picture = np.asarray(Image.open(io.BytesIO(store.read_bytes("artifacts/0000-nearest.png"))))
    assert picture.shape[0] > 6 * 96

    page = report_html(store)
    assert "Trial 0000: memorised: 100 % (99 to 100) of samples are copies of training images by pixels" in page
    assert "training images 24, training patients 24, held out images 8, held out patients 8, samples 256" in page
    row = page[page.index(">copies pixels<") :].partition("</tr>")[0]
    assert re.findall(r"<td[^>]*>([^<]*)", row) == ["1", "0.985 to 1", "0.01", ""]
    patients = set(Cohort.open(store.info.cohort.path).manifest["patient"])
    assert not any(patient in page for patient in patients)


def test_the_report_says_when_nothing_was_tested_or_the_result_is_damaged(
    caplog: pytest.LogCaptureFixture, sweep_of: Any
) -> None:
    store = sweep_of(HOARDER)
    assert "No generator of this sweep has been tested yet" in report_html(store)
    figures = ['{"value": "x"}', '{"value": NaN, "low": NaN, "high": NaN}', '{"value": 0.1, "low": 0.5, "high": 0.2}']
    for text in (
        '{"memorised": ',
        *(f'{{"memorised": false, "figures": {{"copies": {figure}}}}}' for figure in figures),
    ):
        caplog.clear()
        store.write_bytes("memorisation/0000.json", text.encode())
        assert "No generator of this sweep has been tested yet" in report_html(store)
        assert "the memorisation test of trial 0000: memorisation/0000.json is damaged" in caplog.text


def test_allowed_it_goes_out_with_a_card_that_says_so_first(
    caplog: pytest.LogCaptureFixture, sweep_of: Any, cohort: Path, cache: Path, tmp_path: Path
) -> None:
    caplog.set_level("INFO", "gansweep")
    out = export_best(sweep_of(HOARDER), tmp_path / "best", OWN, cache=cache, allow_memorised=True)
    card, evidence = (out / "MODEL_CARD.md").read_text(), json.loads((out / "evidence.json").read_text())
    assert card.index("WARNING: this generator memorised") < card.index("## Model details")
    assert "MEMORISED: 100 %" in card
    assert "| copies_pixels | 1 | 0.985 to 1 |" in card
    assert (out / "bundle" / "docs" / "README.md").read_text() == card
    found = evidence["memorisation"]
    assert found["memorised"] is True
    assert found["counts"] == {
        "training_images": 24,
        "training_patients": 24,
        "held_out_images": 8,
        "held_out_patients": 8,
        "samples": 256,
    }
    assert found["features"].startswith("cohort-encoder:")
    assert found["figures"]["copies_pixels_floor"]["high"] > found["figures"]["copies_pixels_floor"]["value"] > 0
    assert found["limits"] == {"copies": 0.01, "membership_auc": 0.6, "p": 0.01}
    assert caplog.messages[0].startswith("exported although it memorised")
    assert not list(out.rglob("*.png")), "patients' images stay where they are"
    patients = set(Cohort.open(cohort).manifest["patient"])
    assert not any(patient in json.dumps(evidence) + card for patient in patients)


def test_one_that_did_not_goes_out_with_its_figures(
    caplog: pytest.LogCaptureFixture, sweep_of: Any, cache: Path, tmp_path: Path
) -> None:
    config = HOARDER.derive({"family": "dcgan", "architecture": {"latent": 8, "width": 4}, "iterations": 3})
    caplog.set_level("INFO", "gansweep")
    out = export_best(sweep_of(config), tmp_path / "best", OWN, cache=cache)
    found = json.loads((out / "evidence.json").read_text())["memorisation"]
    assert found["memorised"] is False
    assert found["figures"]["copies_pixels"]["value"] == 0
    card = (out / "MODEL_CARD.md").read_text()
    assert "No figure exceeds its limit. n: training images 24" in card
    assert "WARNING" not in card
    assert "artifacts/0000-nearest.png" in caplog.messages[0]


def test_a_family_that_starts_from_real_images_is_judged_on_others(sweep_of: Any, cache: Path, tmp_path: Path) -> None:
    """It would be found to copy whatever it is given; that it shows real patients is said in any case."""
    out = export_best(sweep_of(HOARDER.derive({"family": "translator"})), tmp_path / "best", OWN, cache=cache)
    found = json.loads((out / "evidence.json").read_text())["memorisation"]
    assert found["memorised"] is False
    assert found["sources"] == "half of the validation patients"
    assert found["counts"]["held_out_patients"] == 4
    card = (out / "MODEL_CARD.md").read_text()
    assert "Its samples are made from real images: protect each like the scan it was made from." in card


def test_what_cannot_be_checked_is_said(
    caplog: pytest.LogCaptureFixture, sweep_of: Any, cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    config = HOARDER.derive({"family": "dcgan", "architecture": {"latent": 8, "width": 4}, "iterations": 3})
    store = sweep_of(config)
    monkeypatch.setattr("gansweep.scoring.memorisation.figures.LEAST_PATIENTS", 30)
    caplog.set_level("INFO", "gansweep")
    out = export_best(store, tmp_path / "best", OWN, cache=cache)
    card = (out / "MODEL_CARD.md").read_text()
    assert "**Not checked for memorisation** (24 training patients; nearest neighbours need at least 30)" in card
    told = [record.getMessage() for record in caplog.records if record.name.startswith("gansweep")]
    assert [line for line in told if "ONNX" not in line] == [
        "memorisation could not be checked: 24 training patients; nearest neighbours need at least 30"
    ]


def test_an_extractor_that_is_gone_leaves_the_pixels(sweep_of: Any, cache: Path, tmp_path: Path) -> None:
    store = sweep_of(HOARDER)
    scoring = {**store.info.experiment["scoring"], "features": str(tmp_path / "gone.pt")}
    store.update_info(experiment={**store.info.experiment, "scoring": scoring})
    out = export_best(store, tmp_path / "best", OWN, cache=cache, allow_memorised=True)
    figures = json.loads((out / "evidence.json").read_text())["memorisation"]["figures"]
    assert figures["copies_features"]["reason"] == "no feature extractor: no such file"
    assert figures["copies_pixels"]["value"] == 1.0
    assert "| copies_features | absent | | no feature extractor: no such file |" in (out / "MODEL_CARD.md").read_text()


def test_production_training_keeps_what_it_refuses_to_export(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production, "_train", lambda run, *_: train_run(run, torch.device("cpu")))
    monkeypatch.setattr("ray.init", lambda **_: SimpleNamespace(dashboard_url=""))
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr("ray.shutdown", lambda: None)

    def produce(*, allow: bool) -> Path:
        return train_production(
            HOARDER, cohort, tmp_path / "out", OWN, TrainOptions(reports=2, allow_memorised=allow), SCORING
        )

    with pytest.raises(ExportError, match="memorised training patients") as refused:
        produce(allow=False)
    assert str(tmp_path / "out" / "training" / "nearest.png") in str(refused.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["training"]
    assert not (tmp_path / "out" / "training" / "export").exists()
    trained = (tmp_path / "out" / "training" / "progress.jsonl").read_text()
    out = produce(allow=True)
    assert (out / "training" / "progress.jsonl").read_text() == trained, "nothing is trained again"
    assert "WARNING: this generator memorised" in (out / "MODEL_CARD.md").read_text()


def own_space() -> Experiment:
    """A space of the user's own, with families of their own."""
    return Experiment(name="own", space=lambda _trial: HOARDER, trainables=OWN)


def test_the_command_refuses_and_obeys(
    sweep_of: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    words = ["export", sweep_of(HOARDER).uri, "--out", str(tmp_path / "best"), "--space", f"{__file__}:own_space"]
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("error: this generator memorised training patients")
    assert main([*words, "--allow-memorised", "--json"]) == 0
    out, err = capfd.readouterr()
    assert "MODEL_CARD.md" in json.loads(out)["files"]
    assert "exported although it memorised" in err


@pytest.mark.acceptance
@pytest.mark.ray
def test_a_gan_trained_too_long_on_too_few_patients_is_caught(tmp_path: Path) -> None:
    """Nothing is planted: under Ray, a DCGAN of this project learns eight patients by heart."""
    write_phantom(tmp_path / "dicom", patients=40, slices=1, size=64, seed=2)
    made = ingest(tmp_path / "dicom", tmp_path / "cohort", IngestSettings(size=SIZE, split=(0.2, 0.6, 0.2))).path
    config = TrialConfig(
        architecture={"latent": 16, "width": 16}, batch_size=16, n_critic=1, lr_d=1e-3, iterations=1000, seed=0
    )

    def produce(name: str, iterations: int, *, allow: bool) -> Path:
        given = config.derive({"iterations": iterations})
        out = tmp_path / name
        return train_production(given, made, out, TRAINABLES, TrainOptions(reports=1, allow_memorised=allow), SCORING)

    with pytest.raises(ExportError, match="samples tell training patients from others"):
        produce("long", 1000, allow=False)
    assert (tmp_path / "long" / "training" / "nearest.png").is_file()
    assert not (tmp_path / "long" / "generator.json").exists()
    out = produce("long", 1000, allow=True)
    assert "WARNING: this generator memorised" in (out / "MODEL_CARD.md").read_text()
    brief = produce("brief", 10, allow=False)
    found = json.loads((brief / "evidence.json").read_text())["memorisation"]
    assert found["memorised"] is False, "the same, stopped before it could learn anybody"
    assert found["counts"]["training_patients"] == 8
