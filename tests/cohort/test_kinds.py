"""What DICOM files say in unusual ways, and values that are no Hounsfield units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import SecondaryCaptureImageStorage, VLWholeSlideMicroscopyImageStorage

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, write_picture, write_slice

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR CS")


@pytest.mark.parametrize("modality", ["ct", "Ct", ""])
def test_units_are_checked_whatever_case_the_modality_has(tmp_path: Path, modality: str) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, Modality=modality)
    (found,) = read_dicom(tmp_path / "a.dcm")
    assert found.modality == "CT"
    write_slice(tmp_path / "b.dcm", 1, 1, Modality=modality, RescaleIntercept=None)
    with pytest.raises(ScanError, match="CT without RescaleIntercept"):
        read_dicom(tmp_path / "b.dcm")
    write_slice(tmp_path / "c.dcm", 1, 1, Modality=modality, ImageType=["DERIVED", "SECONDARY", "MPR"])
    with pytest.raises(UnneededError, match="a derived image"):
        read_dicom(tmp_path / "c.dcm")


def test_burned_in_text_in_lower_case(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, BurnedInAnnotation="yes")
    with pytest.raises(UnneededError, match="text burned into the image may name the patient"):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ("ScoutView", "a localizer image"),
        ("AAHead_Scout_32ch", "a localizer image"),
        ("3Plane_Localizer", "a localizer image"),
        ("Dose Report", "a screen save"),
        ("DOSE_INFO", "a screen save"),
        ("Patient Protocol", "a screen save"),
    ],
)
def test_series_by_name(tmp_path: Path, series: str, said: str) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription=series)
    with pytest.raises(UnneededError, match=said):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    "series", ["LOW DOSE SKELETAL SURVEY", "BONE_SURVEY LD", "Myeloma survey", "3 plane", "PLAN SCAN"]
)
def test_an_axial_ct_is_no_localizer_for_a_word_that_means_more(tmp_path: Path, series: str) -> None:
    kinds = ["ORIGINAL", "PRIMARY", "AXIAL"]
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription=series, ImageType=kinds)
    write_slice(tmp_path / "b.dcm", 1, 1)
    np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm")[0].pixels, read_dicom(tmp_path / "b.dcm")[0].pixels)
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription=series, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(UnneededError, match="a localizer image"):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("series", "kinds", "said"),
    [
        ("Scout", ["ORIGINAL", "PRIMARY", "AXIAL"], "a localizer image"),
        ("Topogram 0.6", ["ORIGINAL", "PRIMARY", "AXIAL"], "a localizer image"),
        ("Survey", ["ORIGINAL", "PRIMARY"], "a localizer image"),
        ("3 plane", ["ORIGINAL", "PRIMARY"], "a localizer image"),
        ("WB SKELETAL SURVEY", ["ORIGINAL", "PRIMARY"], ""),
    ],
)
def test_the_words_of_a_localizer(tmp_path: Path, series: str, kinds: list[str], said: str) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription=series, ImageType=kinds)
    if not said:
        assert read_dicom(tmp_path / "a.dcm")[0].modality == "CT"
        return
    with pytest.raises(UnneededError, match=said):
        read_dicom(tmp_path / "a.dcm")


WAITS = "an image that waits for a bolus of contrast agent"
DERIVED = "a derived image, such as a reformat; --derived takes them"


@pytest.mark.parametrize(
    ("series", "modality", "said"),
    [
        ("Monitoring 10.0 B31f", "CT", WAITS),
        ("PreMonitoring", "CT", WAITS),
        ("SmartPrep Series", "CT", WAITS),
        ("SMART_PREP", "CT", WAITS),
        ("SureStart", "CT", WAITS),
        ("Test Bolus 10.0", "CT", WAITS),
        ("Bolus tracking", "CT", WAITS),
        ("Tracker", "CT", WAITS),
        ("PREMON", "CT", WAITS),
        ("Test-Bolus 10.0", "CT", WAITS),
        ("Monitorage", "CT", WAITS),
        ("RealPrep", "CT", WAITS),
        ("CARE Bolus", "CT", WAITS),
        ("Locator 5.0", "CT", WAITS),
        ("CTA TIMING BOLUS", "CT", WAITS),
        ("Bolus Head 1.0", "CT", ""),
        ("CTA Bolus Tracking 1.0", "CT", ""),
        ("SureStart CTA 0.5", "CT", ""),
        ("Head ICP monitoring", "CT", ""),
        ("Promontory", "CT", ""),
        ("RF monitoring", "MR", ""),
        ("COR MPR 3.0", "CT", DERIVED),
        ("Head_MIP_thick", "CT", DERIVED),
        ("mIP_Images(SW)", "MR", DERIVED),
        ("SAG REFORMAT", "MR", DERIVED),
        ("0.6 thin for MPR", "CT", ""),
        ("MIP source 1.0", "CT", ""),
        ("fin pour MPR", "CT", ""),
        ("fino para MPR", "CT", ""),
        ("Para-sag MPR", "CT", DERIVED),
        ("1.25 MPR THINS", "CT", ""),
        ("COR MPR POST CONTRAST", "CT", DERIVED),
        ("MIP for neurosurgery", "CT", DERIVED),
        ("MPR2", "CT", DERIVED),
        ("SagMPR", "CT", DERIVED),
        ("tMIP 10.0", "CT", DERIVED),
        ("SAG RFMT", "CT", DERIVED),
        ("Head post CPR", "CT", ""),
        ("CPR arrest", "CT", ""),
        ("t1_mpr_ns_sag_p2_iso", "MR", ""),
        ("Sag MPRAGE", "MR", ""),
        ("CBV", "CT", DERIVED),
        ("Perfusion_rCBF", "CT", DERIVED),
        ("Tmax 5.0", "CT", DERIVED),
        ("Time to peak", "CT", DERIVED),
        ("DE_Virtual Non Contrast", "CT", DERIVED),
        ("VNC 1.0", "CT", DERIVED),
        ("Iodine No Water", "CT", DERIVED),
        ("MonoE[40keV]", "CT", DERIVED),
        ("Z Effective", "CT", DERIVED),
        ("CTA bone subtraction", "CT", DERIVED),
        ("SPECT CT fusion", "CT", DERIVED),
        ("Dose map", "CT", DERIVED),
        ("C-SPINE FUSION 2.0", "CT", ""),
        ("HEAD AFTER IODINE", "CT", ""),
        ("T1 map", "MR", ""),
        ("rCBV", "MR", ""),
        ("Perfusion 4D 5.0", "CT", ""),
    ],
)
def test_series_whose_image_type_says_original(tmp_path: Path, series: str, modality: str, said: str) -> None:
    kinds = ["ORIGINAL", "PRIMARY", "AXIAL"]
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription=series, ImageType=kinds, Modality=modality)
    if not said:
        assert read_dicom(tmp_path / "a.dcm")[0].modality == modality
        return
    with pytest.raises(UnneededError) as raised:
        read_dicom(tmp_path / "a.dcm")
    assert raised.value.what == said
    if said == DERIVED:
        assert read_dicom(tmp_path / "a.dcm", derived=True)[0].modality == modality


def write_slide(path: Path, seed: int, part: str, **changes: Any) -> None:
    """A picture of a slide, or of what accompanies it."""
    kinds = ["ORIGINAL", "PRIMARY", part, "NONE"]
    sop_class = VLWholeSlideMicroscopyImageStorage
    write_slice(path, seed, 1, Modality="SM", SOPClassUID=sop_class, ImageType=kinds, **changes)
    dataset = pydicom.dcmread(path)
    shown = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    dataset.set_pixel_data(shown, "RGB", 8)
    dataset.save_as(path)


def test_the_label_of_a_slide_is_left_out(tmp_path: Path) -> None:
    seed = 0
    for patient in range(8):
        folder = tmp_path / "source" / CLASSES[patient % 2]
        for part in ("VOLUME", "LABEL", "OVERVIEW", "THUMBNAIL"):
            seed += 1
            write_slide(folder / f"{patient}_{part}.dcm", seed, part, PatientID=f"P{patient}")
        seed += 1
        labelled = {"SpecimenLabelInImage": "YES", "PatientID": f"P{patient}"}
        write_slide(folder / f"{patient}_macro.dcm", seed, "VOLUME", **labelled)
    left_out = {
        "the label of a slide, which may name the patient": 8,
        "an overview of a slide, which may show its label": 8,
        "a slide with its label, which may name the patient": 8,
    }
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert sum(made.info.images.values()) == 8
    assert made.info.left_out == left_out | {"a thumbnail of a slide; --derived takes them": 8}
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, derived=True))
    assert (sum(made.info.images.values()), made.info.left_out) == (16, left_out)


def capture(path: Path, seed: int) -> None:
    """A colour screenshot, as a workstation writes it."""
    write_slice(path, seed, 1, Modality="OT", SOPClassUID=SecondaryCaptureImageStorage)
    dataset = pydicom.dcmread(path)
    shown = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    dataset.set_pixel_data(shown, "RGB", 8)
    dataset.save_as(path)


def test_captures_among_scans_are_left_out(tmp_path: Path) -> None:
    for patient in range(8):
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1)
    for patient in range(3):
        capture(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}_screen.dcm", patient)
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, window="-1024,3071"))
    assert (made.info.modality, sum(made.info.images.values())) == ("CT", 8)
    assert made.info.left_out == {"a secondary capture among CT or MR images": 3}


def test_a_set_of_captures_is_one_of_pictures(tmp_path: Path) -> None:
    for patient in range(8):
        capture(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient)
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert (made.info.modality, sum(made.info.images.values()), made.rejected) == ("raster", 8, 0)


def test_values_beyond_all_hounsfield_units_are_refused(tmp_path: Path) -> None:
    for patient in range(8):
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1, RescaleIntercept=9000)
    with pytest.raises(CohortError, match=r"which are no Hounsfield units .--assume-hu takes them as they are."):
        ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert not (tmp_path / "out").exists()
    ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, assume_hu=True))


def images(root: Path, **changes: Any) -> list[str]:
    """The warnings for eight CT images; those of one class have other attributes."""
    for patient in range(8):
        values = changes if patient % 2 else {}
        write_slice(root / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1, **values)
    return list(ingest(root / "source", root / "out", IngestSettings(size=16)).info.warnings)


def test_ct_without_air_is_told(tmp_path: Path) -> None:
    warnings = images(tmp_path)
    (told,) = [line for line in warnings if "show no air" in line]
    assert told.startswith("8 of 8 CT images show no air, their darkest value is from -20 to -")
    assert told.endswith(" HU: they are cropped, or not in Hounsfield units")


def test_values_beyond_metal_are_told(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).uniform(-1000, 100, (16, 16, 4)).astype(np.float32)
        values[3, 3] = 1e6 if number % 2 else 3000
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, modality="CT"))
    assert "8 of 16 CT images have values up to 1e+06 HU" in made.info.warnings


def test_spacings_of_two_classes(tmp_path: Path) -> None:
    told = "pixel spacing differs between classes, which may give them away: control: 2 mm; fahr: 0.5 mm"
    assert told in images(tmp_path, PixelSpacing=[0.5, 0.5])


def test_spacing_of_one_class_alone(tmp_path: Path) -> None:
    what = "the share of images with known pixel spacing differs between classes, which may give them away"
    assert f"{what}: control: 100%; fahr: 0%" in images(tmp_path, PixelSpacing=None)


def test_sizes_and_colours_of_two_classes(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        write_picture(path, number)
        if number % 2:
            values = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(values).save(path)
    warnings = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16)).info.warnings
    away = "differs between classes, which may give them away"
    assert f"the share of colour images {away}: control: 0%; fahr: 100%" in warnings
    assert f"the size of images {away}: control: 20 pixels; fahr: 40 pixels" in warnings


def test_a_dicomdir_under_another_name_is_left_out(tmp_path: Path) -> None:
    for patient in range(8):
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1)
    path = tmp_path / "source" / "fahr" / "index.dcm"
    path.write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert (sum(made.info.images.values()), made.info.left_out) == (8, {"a DICOMDIR, which lists files": 1})


def test_a_window_that_suits_one_file_no_more_names_it(tmp_path: Path) -> None:
    for patient in range(8):
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1)
    write_picture(tmp_path / "source" / "fahr" / "scan.png", 9)
    with pytest.raises(CohortError, match=r"^fahr/scan.png: window '-20,120' leaves \[0, 1\]"):
        ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, window="-20,120"))
