"""Small files of every kind, each seed another image, and the cohort of a folder of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pydicom
from PIL import Image

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.ct_writer import CtSlice, write_ct

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("control", "fahr")


def write_slice(path: Path, patient: int, number: int, **changes: Any) -> None:
    """One slice of a patient's only series, with other values for some attributes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = np.random.default_rng([patient, number]).uniform(-20, 100, (24, 24)).astype(np.float32)
    write_ct(path, hu, CtSlice(f"P{patient}", f"study {patient}", number, 5.0 * number, 2.0, 5.0, "head"))
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def write_volume(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(100, 20, (16, 16, 4)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20), np.uint8)).save(path)


def cohort_of(source: Path, out: Path, **settings: Any) -> Cohort:
    return Cohort.open(ingest(source, out, IngestSettings(size=16, **settings)).path)
