"""Writes head-CT phantoms with and without bilateral calcification of the basal ganglia.

They are not patients and provide no information about the disease. They pose the same *task*: to distinguish small
dense lesions in both basal ganglia from harmless calcifications, in few patients and with scanner noise.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.phantom.anatomy import FIELD_OF_VIEW_MM, Canvas, Head, draw_head, paint_head
from gansweep.cohort.phantom.calcification import Deposit, draw_confounders, draw_fahr, paint_deposits
from gansweep.cohort.phantom.ct_writer import CtSlice, write_ct
from gansweep.cohort.phantom.fossa import FOSSA_HIGHEST, FOSSA_LOWEST, paint_fossa
from gansweep.cohort.phantom.scanner import PIXELS_ACROSS, scan
from gansweep.files import new_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gansweep.files import ProgressCallback

__all__ = ["CLASSES", "draw_phantom", "write_phantom"]

CLASSES = ("control", "fahr")
# The range of slice levels that show the pallidum.
LOWEST = 0.2
HIGHEST = 0.68
SLICE_MM = 5.0  # slice thickness
LEVEL_MM = 45.0  # height between level 0 and level 1


@dataclass(frozen=True)
class _Patient:
    """One phantom patient: a head, its calcifications, and the noise of its scan."""

    head: Head
    deposits: list[Deposit]
    noise: float  # HU


def draw_phantom(
    rng: np.random.Generator, fahr: bool, size: int = 128
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draws one slice of a new patient.

    Args:
        rng: source of all randomness.
        fahr: whether the patient has the disease.
        size: height and width in pixels.

    Returns:
        Hounsfield units `[size, size]`, and the lesion mask `[size, size]` (empty for controls).
    """
    patient = _draw_patient(rng, fahr)
    return _slice(patient, float(rng.uniform(LOWEST, HIGHEST)), size, rng)


def write_phantom(
    out: Path,
    patients: int = 40,
    slices: int = 4,
    size: int = 128,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    *,
    fossa: int = 0,
) -> None:
    """Writes a folder of CT DICOM files, lesion masks (PNG) and `labels.csv` (`path,label,patient_id,split,mask`).

    Half of the patients (rounded down) have the disease. The column `split` is empty; `ingest` draws the split.

    Args:
        out: a folder that does not exist or is empty.
        patients: number of patients, at least 2.
        slices: number of slices per patient at the level of the basal ganglia.
        size: rows and columns in pixels.
        seed: seed of all random choices, including UIDs.
        progress: called with (stage, patients done, total patients).
        fossa: number of additional slices per patient through the posterior fossa. Only some diseased patients have a
            lesion there (in the dentate nuclei). The slices of the others have their patient's label but no lesion, as
            in a clinic.

    Raises:
        CohortError: `out` is in use or cannot be written, or a number is out of range.
    """
    _check(patients, slices, size, seed, fossa)
    diseased = np.random.default_rng([seed, 0]).permutation(patients) < patients // 2
    with new_folder(out, "phantom") as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        rows = []
        for index, fahr in enumerate(diseased):
            rows += _write_patient(folder, index, bool(fahr), (fossa, slices), size, seed)
            if progress:
                progress("phantom", index + 1, patients)
        with (folder / "labels.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["path", "label", "patient_id", "split", "mask"])
            writer.writeheader()
            writer.writerows(rows)


def _check(patients: int, slices: int, size: int, seed: int, fossa: int) -> None:
    from gansweep.errors import CohortError

    limits = {
        "patients": (patients, 2, 9999),
        "slices": (slices, 1, 64),
        "fossa": (fossa, 0, 16),
        "size": (size, 32, 1024),
        "seed": (seed, 0, 2**63),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise CohortError(f"{name} = {value}", where="phantom", fix=f"choose {low} to {high}")


def _write_patient(
    folder: Path, index: int, fahr: bool, slices: tuple[int, int], size: int, seed: int
) -> list[dict[str, str]]:
    from PIL import Image

    rng = np.random.default_rng([seed, 1, index])
    patient = _draw_patient(rng, fahr)
    name = f"PHANTOM-{index + 1:04d}"
    rows = []
    fossa, above = slices
    # A separate random stream, so that the slices above do not depend on the number of fossa slices.
    (separate,) = rng.spawn(1)
    slices_to_draw = [(level, separate) for level in _levels(fossa, separate, FOSSA_LOWEST, FOSSA_HIGHEST)]
    slices_to_draw += [(level, rng) for level in _levels(above, rng, LOWEST, HIGHEST)]

    for number, (level, stream) in enumerate(slices_to_draw, start=1):
        hu, mask = _slice(patient, level, size, stream)
        stem = f"{name}_{number:02d}"
        attributes = CtSlice(
            patient=name,
            study=f"phantom {seed} {index}",
            instance=number,
            position_mm=level * LEVEL_MM,
            spacing_mm=FIELD_OF_VIEW_MM / size,
            thickness_mm=SLICE_MM,
            description="gansweep head phantom",
            comments="Synthetic phantom. Not a patient.",
        )
        write_ct(folder / "images" / f"{stem}.dcm", hu, attributes)
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{stem}.png")
        paths = {"path": f"images/{stem}.dcm", "mask": f"masks/{stem}.png"}
        rows.append({**paths, "label": CLASSES[fahr], "patient_id": name, "split": ""})
    return rows


def _draw_patient(rng: np.random.Generator, fahr: bool) -> _Patient:
    head = draw_head(rng)
    deposits = draw_confounders(rng, specks=not fahr) + (draw_fahr(rng) if fahr else [])
    return _Patient(head, deposits, noise=float(rng.uniform(3.0, 6.0)))


def _levels(slices: int, rng: np.random.Generator, lowest: float, highest: float) -> list[float]:
    """Returns the levels of a patient's slices, lowest first, evenly spaced with some jitter."""
    step = (highest - lowest) / max(slices, 1)
    return [lowest + (index + float(rng.uniform(0.2, 0.8))) * step for index in range(slices)]


def _slice(
    patient: _Patient, level: float, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    canvas = Canvas(patient.head, level, size * PIXELS_ACROSS)
    tissue, cavity = (paint_fossa if level <= FOSSA_HIGHEST else paint_head)(canvas)
    # No calcium may spill over the inner table of the skull.
    calcified, lesion = paint_deposits(tissue, canvas, patient.deposits)
    hu = tissue + cavity * (calcified - tissue)
    mask = (lesion * cavity).reshape(size, PIXELS_ACROSS, size, PIXELS_ACROSS).mean(axis=(1, 3)) > 0.4
    return scan(hu, size, patient.noise, rng), mask
