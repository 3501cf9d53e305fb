"""`gansweep ingest` as it is typed: what is printed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pandas as pd
import pytest

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.export.draw import Draw
from gansweep.export.formats import WRITERS, write_mask
from tests.cohort.scans import write_picture

if TYPE_CHECKING:
    from pathlib import Path


def pictures(root: Path, classes: tuple[str, str] = ("a", "b")) -> Path:
    for number in range(8):
        write_picture(root / classes[number % 2] / f"{number}.png", number)
    return root


def test_the_positive_class_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = pictures(tmp_path / "source", ("ill", "healthy"))
    assert main(["ingest", str(source), str(tmp_path / "out"), "--size=16"]) == 0
    assert "\npositive: ill (what sensitivity counts)\n" in capfd.readouterr().out


def generated(root: Path, kind: Any, *, modality: str = "CT", window: str = "lesion") -> np.ndarray:
    """Eight images `[8, 12, 12]` in [0, 1], with masks and labels.csv as `gansweep generate` writes them."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    record: Any = SimpleNamespace(modality=modality, window=window, calibrated=window != "percentile")
    shown, rows = np.random.default_rng(0).random((8, 12, 12)).astype(np.float32), []
    shown[:4] = shown[:4] / 2 + 0.5  # half of them without anything as dark as air
    for index, image in enumerate(shown):
        draw = Draw(root, record, "ab"[index % 2], index, 8, 0)
        path = WRITERS[kind](image[None] * 2 - 1, draw)
        rows.append({"path": path, "label": draw.label, "mask": write_mask(image - 0.8, draw), "patient_id": draw.name})
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return shown


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_generated_nifti_is_read_back(tmp_path: Path, plane: str) -> None:
    shown = generated(tmp_path / "source", "nifti")
    words = ["--size=12", "--split=1,0,0", f"--plane={plane}"]
    assert main(["ingest", str(tmp_path / "source"), str(tmp_path / "out"), *words]) == 0
    cohort = Cohort.open(tmp_path / "out")
    train = cohort.load("train")
    assert (cohort.info.modality, cohort.info.window) == ("CT", "lesion")
    np.testing.assert_allclose((train.images[:, 0].numpy() + 1) / 2, shown, atol=1e-3)
    assert train.masks is not None
    np.testing.assert_array_equal(train.masks[:, 0].numpy() > 0, shown > 0.8)


@pytest.mark.parametrize(("modality", "window"), [("CT", "percentile"), ("MR", "0,1000")])
def test_generated_nifti_that_holds_no_hounsfield_units_is_not_called_ct(
    tmp_path: Path, modality: str, window: str
) -> None:
    generated(tmp_path / "source", "nifti", modality=modality, window=window)
    assert not list(tmp_path.rglob("*_ct.nii.gz"))


def test_arrays_are_refused_with_what_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generated(tmp_path / "source", "npy")
    assert main(["ingest", str(tmp_path / "source"), str(tmp_path / "out")]) == 2
    assert "images/images.npy: is an array, not an image; save DICOM, NIfTI or PNG" in capfd.readouterr().err


def test_volumes_of_two_guessed_modalities(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        path = tmp_path / "source" / "ab"[number % 2] / f"{number}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).uniform(-1000 if number < 3 else 0, 80, (8, 8, 8)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    assert main(["ingest", str(tmp_path / "source"), str(tmp_path / "out"), "--slices=1"]) == 2
    assert "give the true one with gansweep ingest --modality" in capfd.readouterr().err
    words = ["--slices=1", "--size=16", "--modality=CT"]
    assert main(["ingest", str(tmp_path / "source"), str(tmp_path / "out"), *words]) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--split=60,20,20"], "ingest: split = (60.0, 20.0, 20.0): the split must be three fractions"),
        (["--label-from=mask", "--classes=lesion"], "classes cannot be selected when masks give the labels"),
        (["--classes=a,c"], "no images are labelled 'c'; choose from a, b"),
    ],
)
def test_mistakes(words: list[str], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = pictures(tmp_path / "source")
    assert main(["ingest", str(source), str(tmp_path / "out"), *words]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"error: {line}")
    assert len(err) < 200


def test_spaces_between_classes(tmp_path: Path) -> None:
    source = pictures(tmp_path / "source")
    assert main(["ingest", str(source), str(tmp_path / "out"), "--size=16", "--classes=a, b"]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_of_an_ended_ingest(tmp_path: Path, number: signal.Signals) -> None:
    source = tmp_path / "source"
    for seed in range(400):
        write_picture(source / "ab"[seed % 2] / f"{seed}.png", seed)
    command = [sys.executable, "-m", "gansweep", "ingest", str(source), str(tmp_path / "out" / "cohort"), "--size=16"]
    # `nohup` and the jobs of a shell ignore some of these signals, and so would what the tests start.
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    heard = partial(signal.signal, number, usual)
    pipe = subprocess.PIPE
    running = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, preexec_fn=heard)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.cohort.*.part")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    assert list((tmp_path / "out").iterdir()) == []
