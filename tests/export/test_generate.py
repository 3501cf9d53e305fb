"""Images out of an export: the same for a seed, honest about what they are, and readable by ingest."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, ClassVar

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.uid import SecondaryCaptureImageStorage
from torch import nn

from gansweep.cohort.dataset import FULL_SCALE, Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.intensity import WINDOWS
from gansweep.cohort.phantom.ct_writer import NO_DATE
from gansweep.config import DataView, Frozen, ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSpec, Trainables
from gansweep.errors import CohortError, ConfigError, ExportError
from gansweep.export.evidence import Evidence
from gansweep.export.formats import own_values
from gansweep.export.generate import generate
from gansweep.export.layout import Trained, write_export
from gansweep.export.loading import BLOCK, load_generator
from gansweep.export.memorisation import MemorisationGate
from gansweep.training.record import read_record
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

SCORING = ScoringSettings(encoder_steps=20)
FORMATS = {"png": 1 / 510, "nifti": 1e-5, "dicom": 2e-4}
"""Largest difference, on a scale of [0, 1], that a format's rounding may make."""


@pytest.fixture(scope="module")
def dicom(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(exported, 6, tmp_path_factory.mktemp("dicom") / "out", TRAINABLES, format="dicom", seed=7)


def test_a_seed_names_its_images_and_a_long_draw_begins_with_a_short_one(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(exported, TRAINABLES)
    images = generator.sample(40, seed=3)
    assert images.shape == (40, 1, 16, 16)
    assert images.dtype == torch.float32
    assert float(images.abs().max()) <= 1.0
    assert torch.equal(images[:7], load_generator(exported, TRAINABLES).sample(7, seed=3))
    assert not torch.equal(images[:7], generator.sample(7, seed=4))
    assert BLOCK == 1024
    monkeypatch.setattr("gansweep.export.loading.BLOCK", 32)
    in_blocks = generator.sample(70, seed=3)
    assert torch.equal(in_blocks[:40], generator.sample(40, seed=3))
    assert not torch.equal(in_blocks[:32:2], in_blocks[32:64:2])


def test_a_record_that_promises_masks_in_vain_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    record = read_record(folder).model_copy(update={"draws_masks": True})
    (folder / "generator.json").write_text(record.to_json())
    with pytest.raises(ExportError, match=r"generator\.json: the generator draws no masks, .*; export again"):
        generate(folder, 2, tmp_path / "out", TRAINABLES)
    assert not (tmp_path / "out").exists()


def test_samples_are_those_of_the_training_rooms_sampler(exported: Path, sweep: Any) -> None:
    from gansweep.training.build import build_gan

    record = read_record(exported)
    gan = build_gan(record.config, record.spec, TRAINABLES)
    gan.networks["generator"].load_state_dict(sweep.states["0001"]["ema"]["generator"])
    gan.networks["generator"].eval()
    labels = torch.tensor([1] * 32)
    with torch.no_grad():
        expected = gan.sample(32, Condition(labels), torch.Generator().manual_seed(0))
        found = load_generator(exported, TRAINABLES).gan.sample(32, Condition(labels), torch.Generator().manual_seed(0))
    assert torch.equal(expected, found)


@pytest.mark.parametrize("kind", ["png", "npy", "nifti", "dicom"])
def test_equal_seeds_give_equal_files(exported: Path, tmp_path: Path, kind: Any) -> None:
    first = generate(exported, 5, tmp_path / "a", TRAINABLES, format=kind, seed=1)
    second = generate(exported / "bundle", 5, tmp_path / "b", TRAINABLES, format=kind, seed=1)
    for path in first.rglob("*"):
        if path.is_file():
            assert _content(path) == _content(second / path.relative_to(first)), path


@pytest.mark.parametrize("kind", FORMATS)
def test_ingest_reads_back_what_was_drawn(exported: Path, tmp_path: Path, kind: Any) -> None:
    out = generate(exported, 6, tmp_path / "out", TRAINABLES, format=kind, seed=2)
    settings = IngestSettings(size=16, split=(1.0, 0.0, 0.0))
    cohort = Cohort.open(ingest(out, tmp_path / "cohort", settings).path)
    drawn = load_generator(exported, TRAINABLES).sample(6, seed=2)
    table = pd.read_csv(out / "labels.csv")
    place = {hashlib.sha256((out / path).read_bytes()).hexdigest(): index for index, path in enumerate(table["path"])}
    rows = [place[sha256] for sha256 in cohort.manifest["source_sha256"]]
    assert sorted(rows) == list(range(6))
    assert cohort.manifest["label"].tolist() == table["label"].iloc[rows].tolist()
    shown = np.asarray(cohort.images, np.float64)[:, 0] / FULL_SCALE
    assert np.abs(shown - (drawn[rows, 0].numpy() + 1) / 2).max() < FORMATS[kind] + 1 / FULL_SCALE
    assert cohort.info.modality == ("raster" if kind == "png" else "CT")


def test_npy_holds_hounsfield_units_in_the_order_of_the_table(exported: Path, tmp_path: Path) -> None:
    out = generate(exported, 5, tmp_path / "out", TRAINABLES, format="npy", seed=2)
    drawn = load_generator(exported, TRAINABLES).sample(5, seed=2).numpy()
    stored = np.load(out / "images" / "images.npy")
    assert stored.shape == (5, 1, 16, 16)
    np.testing.assert_allclose(WINDOWS["lesion"].apply(stored), (drawn + 1) / 2, atol=1e-5)
    assert pd.read_csv(out / "labels.csv")["label"].tolist() == ["control", "fahr", "control", "fahr", "control"]


def test_nifti_shows_the_picture_upright(exported: Path, tmp_path: Path) -> None:
    from gansweep.cohort.readers.nifti import read_nifti

    out = generate(exported, 1, tmp_path / "out", TRAINABLES, format="nifti")
    path = next((out / "images").iterdir())
    assert "SYNTHETIC" in str(nibabel.load(path).header["descrip"])
    expected = own_values(load_generator(exported, TRAINABLES).sample(1)[0].numpy(), read_record(exported))
    np.testing.assert_array_equal(read_nifti(path)[0].pixels, expected)


def test_dicom_says_it_is_synthetic_and_carries_no_patient(dicom: Path) -> None:
    files = [pydicom.dcmread(path) for path in sorted((dicom / "images").iterdir())]
    for dataset in files:
        assert dataset.SOPClassUID == SecondaryCaptureImageStorage
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "SYNTHETIC"]
        assert str(dataset.PatientName).startswith("SYNTHETIC")
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.BurnedInAnnotation == "NO"
        assert "no patient was imaged" in dataset.DerivationDescription
        assert "-1000 to 1000" in dataset.DerivationDescription
        assert dataset.SeriesDescription in {"SYNTHETIC control", "SYNTHETIC fahr"}
        assert dataset.StudyDate == NO_DATE
        for identifying in ("PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName"):
            assert not str(dataset.get(identifying, "")), identifying
        assert dataset.Laterality == ""
        for absent in ("InstitutionName", "StationName", "OperatorsName", "PatientAge", "OtherPatientIDs"):
            assert absent not in dataset
    for unique in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
        assert len({dataset[unique].value for dataset in files}) == len(files)


def test_dicom_holds_hounsfield_units(exported: Path, dicom: Path) -> None:
    from pydicom.pixels import apply_rescale

    drawn = load_generator(exported, TRAINABLES).sample(6, seed=7).numpy()
    for image, path in zip(drawn, sorted((dicom / "images").iterdir()), strict=True):
        dataset = pydicom.dcmread(path)
        assert dataset.RescaleType == "HU"
        values = apply_rescale(dataset.pixel_array, dataset)
        assert np.abs(values - own_values(image, read_record(exported))[0]).max() < 0.02


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
def test_dicom_passes_an_independent_validator(dicom: Path, tmp_path: Path, exported: Path) -> None:
    paths = [next((dicom / "images").iterdir())]
    for name, changes in {"mr": {"modality": "MR", "window": "percentile"}, "raster": {"modality": "raster"}}.items():
        paths.append(_with_record(exported, tmp_path / name, **changes))
    for path in paths:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr, done.stderr
        warnings = [line for line in (done.stdout + done.stderr).splitlines() if "Warning" in line]
        assert all("only permitted to be empty when actually unknown" in line for line in warnings), warnings


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
def test_dicom_of_a_head_window_has_no_warning_either(exported: Path, tmp_path: Path) -> None:
    path = _with_record(exported, tmp_path / "brain", window="brain")
    dataset = pydicom.dcmread(path)
    assert dataset.BodyPartExamined == "HEAD"
    assert "Laterality" not in dataset
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert "Error" not in done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr


def test_dicom_of_the_lesion_view_opens_in_the_brain_window(dicom: Path, exported: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(next((dicom / "images").iterdir()))
    assert list(dataset.WindowCenter) == [40.0, 0.0]
    assert list(dataset.WindowWidth) == [80.0, 2000.0]
    assert list(dataset.WindowCenterWidthExplanation) == ["brain", "all values"]
    straight = pydicom.dcmread(_with_record(exported, tmp_path / "soft", window="soft"))
    assert (straight.WindowCenter, straight.WindowWidth) == (40.0, 400.0)


def test_grey_values_without_a_unit_get_none(exported: Path, tmp_path: Path) -> None:
    path = _with_record(exported, tmp_path / "mr", modality="MR", window="percentile")
    dataset = pydicom.dcmread(path)
    assert dataset.Modality == "MR"
    assert "RescaleSlope" not in dataset
    assert "no unit" in dataset.DerivationDescription
    drawn = load_generator(exported, TRAINABLES).sample(1)[0, 0].numpy()
    np.testing.assert_allclose(dataset.pixel_array / 65535, (drawn + 1) / 2, atol=1e-5)


def test_one_class_can_be_asked_for(exported: Path, tmp_path: Path) -> None:
    out = generate(exported, 3, tmp_path / "out", TRAINABLES, label="fahr")
    assert set(pd.read_csv(out / "labels.csv")["label"]) == {"fahr"}
    drawn = load_generator(exported, TRAINABLES).sample(3, labels=[1, 1, 1])[0, 0].numpy()
    shown = np.asarray(Image.open(sorted((out / "images").iterdir())[0]))
    assert np.abs(shown / 255 - (drawn + 1) / 2).max() <= 1 / 510 + 1e-6


def test_mistakes_are_one_line_and_leave_nothing(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    cases: list[tuple[type[Exception], Any, dict[str, Any], str]] = [
        (ExportError, tmp_path, {}, "no generator.json"),
        (ExportError, exported, {"label": "tumour"}, "no class 'tumour'; classes: control, fahr"),
        (ConfigError, exported, {"format": "bmp"}, "format = 'bmp': input should be 'dicom', 'nifti'"),
        (ExportError, exported, {"n": 0}, "0 images"),
        (ExportError, exported, {"n": "4"}, "'4' images requested; request a whole number"),
        (ExportError, exported, {"n": 2.5}, "2.5 images"),
        (CohortError, exported, {"out": tmp_path / "used"}, "not empty"),
        (CohortError, exported, {"cohort": tmp_path / "none"}, "no such folder"),
    ]
    for kind, folder, given, said in cases:
        with pytest.raises(kind) as refused:
            generate(folder, given.pop("n", 2), given.pop("out", tmp_path / "out"), TRAINABLES, **given)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used"]


class Painter(nn.Module):
    """A family that paints into real images and draws the mask of what it painted."""

    class Architecture(Frozen):
        pass

    smallest: ClassVar[dict[str, int]] = {}

    def __init__(self, _config: TrialConfig, spec: ImageSpec, _trainables: Trainables) -> None:
        super().__init__()
        self.networks = {"painter": nn.Conv2d(spec.channels, 1, 3, padding=1)}
        self.phases, self.averaged, self.state = (), ("painter",), nn.Module()
        self.state.register_buffer("strength", torch.ones(()))

    @staticmethod
    def check(*_: object) -> None:
        """Any configuration will do."""

    @classmethod
    def makes(cls, _config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        return (spec.positive,)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> torch.Tensor:
        noise = torch.randn(n, 1, *condition.sources.shape[2:], generator=generator)
        mask = (self.networks["painter"](condition.sources) + noise).sign() * self.state.strength
        painted = torch.where(mask * condition.labels[:, None, None, None] > 0, torch.ones(()), condition.sources)
        return torch.cat([painted, mask], dim=1)


@pytest.fixture
def painter(exported: Path, sweep: Any, tmp_path: Path) -> tuple[Path, Trainables]:
    own = Trainables(**{**vars(TRAINABLES), "gans": {"painter": Painter}})
    config = TrialConfig(family="painter", data=DataView(size=16))
    cohort = Cohort.open(sweep.cohort)
    network = Painter(config, cohort.spec(config.data), own).networks["painter"]
    state = {
        "ema": {"painter": network.state_dict()},
        "gan_state": {"strength": torch.tensor(3.0)},
        "iteration": 1,
        "images_seen": 1,
    }
    evidence = Evidence.model_validate_json((exported / "evidence.json").read_text())
    folder = tmp_path / "painter"
    folder.mkdir()
    gate = MemorisationGate.of(cohort, config, SCORING, own, sweep.cache, keep=lambda _: "", allow=False)
    write_export(folder, Trained(config, state, cohort, evidence), own, [], gate)
    return folder, own


def test_a_family_that_paints_into_real_images(painter: Any, sweep: Any, tmp_path: Path) -> None:
    folder, own = painter
    record = read_record(folder)
    assert record.needs == ("images",)
    assert record.draws_masks
    assert "--cohort COHORT" in (folder / "MODEL_CARD.md").read_text()
    with pytest.raises(ExportError, match="starts from real images and has none; pass --cohort"):
        generate(folder, 2, tmp_path / "out", own)
    generator = load_generator(folder, own)
    assert float(generator.gan.state.strength) == 3.0

    with pytest.raises(ExportError, match=r"it makes 1 \(fahr\)"):
        generate(folder, 2, tmp_path / "out", own, cohort=sweep.cohort, label="control")
    out = generate(folder, 4, tmp_path / "out", own, cohort=sweep.cohort, format="dicom")
    dataset = pydicom.dcmread(next((out / "images").iterdir()))
    assert "made from real de-identified images" in dataset.DerivationDescription
    assert "No patient" not in dataset.DeidentificationMethod
    table = pd.read_csv(out / "labels.csv")
    assert table["mask"].tolist() == [f"masks/{name}.png" for name in table["patient_id"]]
    made = ingest(out, tmp_path / "cohort", IngestSettings(size=16, split=(1.0, 0.0, 0.0)))
    found = Cohort.open(made.path).load("train")
    assert found.masks is not None
    with_lesion = found.labels == 1
    assert bool((found.images[with_lesion][found.masks[with_lesion] > 0] > 0.99).all())


def _with_record(exported: Path, folder: Path, **changes: Any) -> Path:
    """A DICOM file of the same weights with another modality, as if trained on other images."""
    shutil.copytree(exported, folder)
    record = json.loads((folder / "generator.json").read_text())
    (folder / "generator.json").write_text(json.dumps({**record, **changes}))
    out = generate(folder, 1, folder / "drawn", TRAINABLES, format="dicom")
    return next((out / "images").iterdir())


def _content(path: Path) -> bytes:
    if path.name.endswith(".nii.gz"):
        return bytes(nibabel.load(path).get_fdata().tobytes())  # gzip keeps the time of writing
    return path.read_bytes()


def test_card_and_bundle_name_the_classes_that_a_painter_makes(painter: Any) -> None:
    folder, _ = painter
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# painter generator of synthetic CT images: fahr\n")
    assert "1 x 16 x 16, classes fahr and none of control, each with its lesion mask" in card
    metadata = json.loads((folder / "bundle" / "configs" / "metadata.json").read_text())
    assert metadata["name"] == "Synthetic CT: fahr"
    assert metadata["task"].endswith("of the classes fahr")
    assert metadata["image_classes"] == "fahr"
    wanted = metadata["network_data_format"]["inputs"]["image"]
    assert wanted["value_range"] == [1, 1]
    assert wanted["channel_def"] == {"0": "index of the wanted class: 1 fahr"}


def test_a_mistake_of_a_huge_draw_is_told_before_it_begins(painter: Any, exported: Path, tmp_path: Path) -> None:
    """A list of a thousand million labels would need eight gigabytes."""
    huge = 10**15
    with pytest.raises(ExportError, match="starts from real images and has none; pass --cohort"):
        generate(painter[0], huge, tmp_path / "out", painter[1])
    with pytest.raises(ExportError, match="starts from real images and has none; pass --cohort"):
        generate(painter[0], huge, tmp_path / "out", painter[1], label="fahr")
    images, labels = next(load_generator(exported, TRAINABLES).blocks(huge))
    assert labels.tolist()[:4] == [0, 1, 0, 1]
    assert len(images) == BLOCK
    assert set(next(load_generator(exported, TRAINABLES).blocks(huge, labels=1))[1].tolist()) == {1}
