"""`gansweep score` and sets or extractors that cannot be used: one line that says what, and exit status 2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.cli import main
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom

if TYPE_CHECKING:
    from pathlib import Path


class Pooled(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x[:, :1], 3).flatten(1)


class OneNumber(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class PerImage(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))


class Undefined(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1].flatten(1) / 0.0 * 0.0


def pictures(folder: Path, n: int, seed: int, *, size: int = 16, colour: bool = False, classes: int = 2) -> Path:
    shape = (n, size, size, 3) if colour else (n, size, size)
    for row, image in enumerate(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)):
        (folder / "wi"[row % classes]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "wi"[row % classes] / f"{row}.png")
    return folder


def mr_volumes(folder: Path, n: int = 12) -> Path:
    """Volumes `[16, 12, 8]` of two classes, with nothing below zero."""
    for row, values in enumerate(np.random.default_rng(7).normal(100, 20, (n, 16, 12, 8)).clip(0)):
        (folder / "wi"[row % 2]).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), folder / "wi"[row % 2] / f"{row}.nii")
    return folder


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("given")
    made = {
        "real": pictures(base / "real", 16, 0),
        "fake": pictures(base / "fake", 12, 1),
        "one image": pictures(base / "one", 1, 2),
        "one class": pictures(base / "class", 12, 3, classes=1),
        "colour": pictures(base / "colour", 12, 4, colour=True),
        "nothing there": base / "nowhere",
    }
    made["large"] = ingest(pictures(base / "l", 12, 5), base / "large", IngestSettings(size=32)).path
    write_phantom(base / "heads", patients=12, slices=1, size=32)
    for window in ("lesion", "brain"):
        made[window] = ingest(base / "heads", base / window, IngestSettings(size=16, window=window)).path
    for window in ("percentile", "0,1000"):
        made[window] = ingest(mr_volumes(base / "mr"), base / window, IngestSettings(size=16, window=window)).path
    for module in (Pooled(), OneNumber(), PerImage(), Undefined()):
        made[type(module).__name__] = base / f"{type(module).__name__}.pt"
        torch.jit.save(torch.jit.script(module), made[type(module).__name__])
    made["no such size"] = base / "sized.pt"
    torch.jit.save(torch.jit.script(Pooled()), made["no such size"], _extra_files={"gansweep.json": '{"size": 0}'})
    made["black"] = base / "black"
    for name in "wi":
        (base / "black" / name).mkdir(parents=True)
        for row in range(6):
            Image.fromarray(np.zeros((16, 16), np.uint8)).save(base / "black" / name / f"{row}.png")
    torch.save({"weights": torch.zeros(3)}, base / "state.pt")
    return {name: str(path) for name, path in made.items()} | {"weights": str(base / "state.pt")}


@pytest.mark.parametrize(
    ("real", "fake", "features", "line"),
    [
        ("real", "one image", "Pooled", "1 fake images; at least 2 are needed"),
        ("one image", "one class", "Pooled", "1 real images; at least 8 are needed"),
        ("real", "nothing there", "Pooled", "nowhere"),
        ("real", "colour", "Pooled", "real images are 1x16x16, fake ones 3x16x16; make both of one size and kind"),
        ("real", "large", "Pooled", "real images are 1x16x16, fake ones 1x32x32; make both of one size and kind"),
        (
            "lesion",
            "brain",
            "Pooled",
            "was ingested with window brain, REAL with lesion; ingest it with --window=lesion",
        ),
        (
            "percentile",
            "0,1000",
            "Pooled",
            "was ingested with window 0,1000, REAL with percentile; ingest it with --window=percentile",
        ),
        ("lesion", "percentile", "Pooled", "percentile: holds MR, REAL CT; compare like with like"),
        ("real", "fake", "weights", "not a TorchScript file; save it with torch.jit.save, not torch.save"),
        ("real", "fake", "OneNumber", "gives shape () for 16 images; it must return one feature vector per image"),
        ("real", "fake", "PerImage", "gives shape (16,) for 16 images; it must return one feature vector per image"),
        ("real", "fake", "no such size", "sized.pt: size = 0"),
        ("real", "fake", "Undefined", "gives values that are not finite"),
        ("real", "fake", "nothing there", "no such file"),
    ],
)
def test_it_is_refused_in_one_line(
    real: str, fake: str, features: str, line: str, given: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", given[real], given[fake], "--features", given[features], "--size=16", "--json"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    told = [text for text in err.splitlines() if text.startswith("error: ")]
    assert len(told) == 1
    assert line in told[0]
    assert "Traceback" not in err


def test_constant_images(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As fake ones they get their numbers; an encoder cannot be trained on them."""
    assert main(["score", given["real"], given["black"], "--features", given["Pooled"], "--size=16", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["fid"]["value"] > 0
    monkeypatch.setattr("gansweep.scoring.panel.score.ENCODER_STEPS", 3)
    assert main(["score", given["black"], given["real"], "--size=16", "--json"]) == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "real images look the same" in told[0]


def test_one_class_only_leaves_out_what_needs_two_and_says_so(
    given: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", given["real"], given["one class"], "--features", given["Pooled"], "--size=16", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["fid"]["value"] is not None
    assert found["lesion_fidelity"]["value"] is None
    assert found["lesion_fidelity"]["reason"] == "the fake images, or a half of them, are of one class only"
    assert found["lesion_fid"]["reason"] == "the real images have no masks"
    assert found["hu_distance"]["reason"] == "not CT in Hounsfield units"


@pytest.mark.parametrize("settings", [{"window": "0,1000"}, {"plane": "coronal", "slices": 3}, {"modality": "CT"}])
def test_a_folder_is_read_as_the_cohort_was(
    settings: dict[str, object], given: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = mr_volumes(tmp_path / "volumes")
    chosen = IngestSettings.model_validate({"size": 16, "split": (1, 0, 0), **settings})
    real = ingest(source, tmp_path / "cohort", chosen)
    assert main(["score", str(real.path), str(source), "--features", given["Pooled"], "--json"]) == 0
    fid = json.loads(capfd.readouterr().out)["fid"]
    assert fid["n_fake"] == fid["n_real"]
    assert fid["value"] == pytest.approx(0, abs=1e-6), "the same images"
