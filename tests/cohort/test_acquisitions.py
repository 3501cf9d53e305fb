"""Classes that were acquired in different ways, or of different people, and images of one place."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from gansweep.cohort.readers.acquisition import acquisition_of
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice

if TYPE_CHECKING:
    from pathlib import Path

GIVES_AWAY = "differs between classes, which may give them away"


def told(source: Path, word: str) -> list[str]:
    """The warnings about a folder that contain a word."""
    cohort = cohort_of(source, source.parent / "out")
    return [line for line in cohort.info.warnings if word in line]


def write_classes(root: Path, first: dict[str, Any], second: dict[str, Any]) -> Path:
    """Two classes of four patients each, whose files differ in some attributes."""
    for number in range(8):
        changes = {"SliceThickness": 5.0, **(first, second)[number % 2]}
        write_slice(root / "source" / CLASSES[number % 2] / f"{number}.dcm", number, 0, **changes)
    return root / "source"


@pytest.mark.parametrize(
    ("first", "second", "what", "shown"),
    [
        ({"SliceThickness": 1.0}, {"SliceThickness": 5.0}, "slice thickness", "control: 1 mm; fahr: 5 mm"),
        ({"KVP": 80}, {"KVP": 120}, "tube voltage", "control: 80 kV; fahr: 120 kV"),
        ({"MagneticFieldStrength": 1.5}, {"MagneticFieldStrength": 3}, "field strength", "control: 1.5 T; fahr: 3.0 T"),
        ({"PatientAge": "030Y"}, {"PatientAge": "018M"}, "the age of", "control: 30 years; fahr: 1.5 years"),
        ({"PatientAge": "065Y"}, {"PatientAge": "097Y"}, "the age of", "control: 65 years; fahr: 90 years"),
        (
            {"ConvolutionKernel": "H30s"},
            {"ConvolutionKernel": "H60s"},
            "reconstruction kernel",
            "control: 0%; fahr: 100%",
        ),
        ({"ManufacturerModelName": "A"}, {"ManufacturerModelName": "B"}, "scanner", "control: 0%; fahr: 100%"),
        ({"ContrastBolusAgent": "Name^Of"}, {}, "contrast agent", "control: 100%; fahr: 0%"),
        ({"ViewPosition": "AP"}, {"ViewPosition": "PA"}, "view position", "control: 0%; fahr: 100%"),
        ({"BodyPartExamined": "HEAD"}, {"BodyPartExamined": "CHEST"}, "body part", "control: 100%; fahr: 0%"),
        ({"Modality": "MR", "EchoTime": 3}, {"Modality": "MR", "EchoTime": 90}, "echo", "control: 3 ms; fahr: 90 ms"),
        ({"RepetitionTime": 500}, {"RepetitionTime": 4000}, "repetition", "control: 500 ms; fahr: 4000 ms"),
        ({"ImageLaterality": "L"}, {"ImageLaterality": "R"}, "one side", "control: 0%; fahr: 100%"),
        (
            {"ImageOrientationPatient": [-1, 0.1, 0, 0, -1, 0]},
            {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            "turned one way",
            "control: 100%; fahr: 0%",
        ),
        ({"PatientSex": "F"}, {"PatientSex": "M"}, "of one sex", "control: 0%; fahr: 100%"),
    ],
)
def test_an_acquisition_that_gives_the_class_away_is_told(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], what: str, shown: str
) -> None:
    [line] = told(write_classes(tmp_path, first, second), GIVES_AWAY)
    assert what in line
    assert line.endswith(f"{GIVES_AWAY}: {shown}")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"SliceThickness": 4.0}, {"SliceThickness": 5.0}),
        ({"MagneticFieldStrength": 2.89}, {"MagneticFieldStrength": 3}),
        ({"KVP": 120}, {}),
        ({"ConvolutionKernel": "h30S"}, {"ConvolutionKernel": "H30s"}),
        ({"ContrastBolusAgent": "none"}, {}),
        ({"PatientAge": "060Y"}, {"PatientAge": "070Y"}),
        ({"PatientAge": "000Y"}, {"PatientAge": "070Y"}),
        ({"PatientAge": "411Y"}, {"PatientAge": "060Y"}),
        ({"MagneticFieldStrength": 15000}, {"MagneticFieldStrength": 1.5}),
        ({"ContrastBolusAgent": "NON-CONTRAST"}, {"ContrastBolusAgent": "n/a"}),
        ({"ConvolutionKernel": "H30s"}, {}),
        ({"BodyPartExamined": ""}, {"BodyPartExamined": "HEAD"}),
        ({"Manufacturer": "GE MEDICAL SYSTEMS"}, {"Manufacturer": "GE Healthcare"}),
    ],
)
def test_small_or_unknown_differences_are_not_told(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert told(write_classes(tmp_path, first, second), GIVES_AWAY) == []


def test_radiographs_of_two_intents_are_told(tmp_path: Path) -> None:
    for number in range(16):
        intent = ("FOR PROCESSING", "FOR PRESENTATION")[number % 4 // 2]
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 0, Modality="MG", PresentationIntentType=intent)
    [line] = told(tmp_path / "source", "FOR PROCESSING")
    assert line == (
        "8 of 16 radiographs are unprocessed (Presentation Intent Type is FOR PROCESSING), and 8 are processed for "
        "presentation: keep one kind, with a labels.csv of its files"
    )


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"PatientSex": "M"}, 1),
        ({"PatientAge": "061Y"}, 1),
        ({"PatientAge": "041Y"}, 0),
        ({"PatientSex": "O", "PatientAge": ""}, 0),
    ],
)
def test_a_patient_who_cannot_be_one_person_is_told(tmp_path: Path, other: dict[str, str], expected: int) -> None:
    for number in range(8):
        for visit in range(2):
            changes = {"PatientSex": "F", "PatientAge": "040Y", **(other if visit and number < 2 else {})}
            path = tmp_path / "source" / CLASSES[number % 2] / f"{number}_{visit}.dcm"
            write_slice(path, number, visit, StudyInstanceUID=f"1.2.{visit}", **changes)
    lines = told(tmp_path / "source", "several people")
    assert len(lines) == expected
    assert not expected or lines[0].startswith("2 patients have images of both sexes, or of ages 20 years apart:")


@pytest.mark.parametrize("identifier", ["patient and slice", "patient"])
def test_a_study_of_several_patients_is_told(tmp_path: Path, identifier: str) -> None:
    for number in range(8):
        for place in range(2):
            own = f"{number}-{place}" if identifier == "patient and slice" else f"{number}"
            path = tmp_path / "source" / CLASSES[number % 2] / f"{number}_{place}.dcm"
            write_slice(path, number, place, PatientID=own)
    lines = told(tmp_path / "source", "DICOM studies")
    assert len(lines) == (identifier == "patient and slice")
    assert not lines or lines[0].startswith("8 DICOM studies have images of several patients: one person may be in")


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
@pytest.mark.parametrize(
    ("names", "born", "people"),
    [
        (["Doe^Jane", "DOE^JANE^^"], "19610304", 4),
        (["Müller^Jürgen"], "19610304", 4),
        (["Doe^Jane", "Roe^Jane"], "19610304", 0),  # two people
        (["Doe^Jane"], "", 0),  # people share names
        (["Doe^Jane"], "00000000", 0),
        (["Doe^Jane"], "1961", 0),  # a year is that of many
        (["Doe^Jane"], "19610000", 0),
        (["Doe^Jane=\u5c71\u7530^\u592a", "Doe^Jane"], "19610304", 4),
    ],
)
def test_one_person_under_two_identifiers_is_told(tmp_path: Path, names: list[str], born: str, people: int) -> None:
    for number in range(8):
        # Two patients of each class have one name, and it is another for each pair.
        name = f"{chr(ord('A') + number // 2)}{names[number % len(names)]}"
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 0, PatientName=name, PatientBirthDate=born, SpecificCharacterSet="ISO_IR 192")
    lines = told(tmp_path / "source", "date of birth")
    assert len(lines) == bool(people)
    assert not lines or lines[0].startswith(f"by name and date of birth, {people} people are several patients")


def test_a_name_that_stands_for_all_is_nobodys(tmp_path: Path) -> None:
    source = write_classes(tmp_path, *2 * [{"PatientName": "ANON", "PatientBirthDate": "19000101"}])
    assert told(source, "date of birth") == []


@pytest.mark.parametrize(("name", "patients"), [("PATIENT", 8), ("Anonymous^", 2)])
def test_two_patients_with_such_a_name_may_share_a_birthday(tmp_path: Path, name: str, patients: int) -> None:
    for number in range(8):
        shown = name if number < patients else f"Doe{number}"
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 0, PatientName=shown, PatientBirthDate=f"1961030{1 + number // 2}")
    assert told(tmp_path / "source", "date of birth") == []


@pytest.mark.parametrize(("other", "lines"), [("CNTS", 1), ("BQML", 0)])
def test_pet_in_several_units_is_told(tmp_path: Path, other: str, lines: int) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        units = {"Units": other if number == 5 else "BQML"} if number else {}  # one file does not say
        write_slice(path, number, 0, Modality="PT", **units)
    found = told(tmp_path / "source", "PET")
    assert len(found) == lines
    assert not found or found[0].startswith("the pixel values of 1 of 7 PET images are in other units than those of")


def test_an_agent_in_codes_counts(tmp_path: Path) -> None:
    code = Dataset()
    code.CodeMeaning = "Iohexol"
    [line] = told(write_classes(tmp_path, {"ContrastBolusAgentSequence": [code]}, {}), GIVES_AWAY)
    assert line == f"the share of images with a contrast agent {GIVES_AWAY}: control: 100%; fahr: 0%"


def test_mr_images_that_show_no_magnitude_are_told(tmp_path: Path) -> None:
    for number in range(8):
        for kind in ("M", "P", "ADC"):
            path = tmp_path / "source" / CLASSES[number % 2] / f"{number}_{kind}.dcm"
            kinds = ["ORIGINAL", "PRIMARY", kind, "ND"]
            write_slice(path, 10 * number + len(kind) + (kind == "P"), 0, Modality="MR", ImageType=kinds)
    where = "(8 images of 8 files; column flaws of manifest.parquet)"
    assert told(tmp_path / "source", "magnitude") == [
        f"an MR image of the phase, or of a part of the complex signal, in place of its magnitude {where}"
    ]
    assert told(tmp_path / "source", "a map") == [
        f"a map that was computed from MR images, in place of one of them {where}"
    ]


def test_files_that_name_no_scanner_are_told(tmp_path: Path) -> None:
    [line] = told(write_classes(tmp_path, {}, {"Manufacturer": "", "ManufacturerModelName": ""}), GIVES_AWAY)
    assert line == f"the share of images with a known scanner {GIVES_AWAY}: control: 100%; fahr: 0%"


def test_a_class_of_which_nothing_is_known_hides_no_difference(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "source" / ("control", "fahr", "other")[number % 3] / f"{number}.dcm"
        write_slice(path, number, 0, SliceThickness=(1, 5, None)[number % 3])
    [line] = told(tmp_path / "source", GIVES_AWAY)
    assert line == f"slice thickness {GIVES_AWAY}: control: 1 mm; fahr: 5 mm"


def test_two_thicknesses_that_each_class_has_are_not_told(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 0, SliceThickness=1 if number < (8, 12)[number % 2] else 5)
    assert told(tmp_path / "source", GIVES_AWAY) == []


def test_a_patient_of_many_slices_has_one_age(tmp_path: Path) -> None:
    for number in range(8):
        for place in range(9 if number == 0 else 1):
            path = tmp_path / "source" / CLASSES[number % 2] / f"{number}_{place}.dcm"
            first = number == 0
            write_slice(path, number, place, PatientAge="090Y" if first else "040Y", PatientSex="FM"[first])
    assert told(tmp_path / "source", GIVES_AWAY) == []


@pytest.mark.parametrize(("patients", "expected"), [(8, 0), (64, 1)])
def test_scanners_that_differ_by_chance_are_not_told(tmp_path: Path, patients: int, expected: int) -> None:
    for number in range(patients):
        other = number % 2 and number // 2 % 2
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 0, ManufacturerModelName="AB"[other])
    assert len(told(tmp_path / "source", GIVES_AWAY)) == expected


def test_scanners_that_each_class_has_are_not_told(tmp_path: Path) -> None:
    for number in range(16):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 0, ManufacturerModelName="AB"[number // 2 % 2])
    assert told(tmp_path / "source", GIVES_AWAY) == []


def put_raw(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Puts a value into a dataset as a file has it, which is parsed on first access."""
    tag = pydicom.tag.Tag(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    dataset[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(value), value, 0, False, True)


def test_an_attribute_that_cannot_be_read_counts_as_missing(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", 1, 0)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.SharedFunctionalGroupsSequence = [Dataset()]
    put_raw(dataset, "KVP", b"many")
    put_raw(dataset, "SliceThickness", b"-1")
    put_raw(dataset, "PatientAge", b"old")
    put_raw(dataset.SharedFunctionalGroupsSequence[0], "CTReconstructionSequence", b"no item")
    found = acquisition_of(dataset, 0)
    assert isnan(found.kilovolts)
    assert isnan(found.thickness_mm)
    assert isnan(found.years)
    assert found.kernel == ""


def test_an_enhanced_object_gives_the_acquisition_in_its_frames() -> None:
    dataset = Dataset()
    shared = Dataset()
    shared.CTReconstructionSequence = [Dataset()]
    shared.CTReconstructionSequence[0].ConvolutionKernel = "H30s"
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = [Dataset(), Dataset()]
    for frame, thickness in zip(frames, (1.0, 2.5), strict=True):
        frame.PixelMeasuresSequence = [Dataset()]
        frame.PixelMeasuresSequence[0].SliceThickness = thickness
    dataset.PerFrameFunctionalGroupsSequence = frames
    assert (acquisition_of(dataset, 1).thickness_mm, acquisition_of(dataset, 1).kernel) == (2.5, "h30s")


def test_the_thickness_of_a_volume_is_its_voxel(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"P{number}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).normal(100, 20, (16, 16, 4)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, (1, 5)[number % 2], 1])), path)
    [line] = told(tmp_path / "source", "slice thickness")
    assert line == f"slice thickness {GIVES_AWAY}: control: 1 mm; fahr: 5 mm"


def test_a_class_without_its_skull_is_told(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"P{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(1, 250, (32, 32), np.uint8)
        pixels[:2] = 0
        if number % 2:
            pixels[:20] = 0
        Image.fromarray(pixels).save(path)
    [line] = told(tmp_path / "source", "background")
    assert line == (
        f"the size of the background (is one cropped or skull-stripped?) {GIVES_AWAY}: control: 6%; fahr: 62%"
    )


def test_a_skull_removed_before_resampling_is_told(tmp_path: Path) -> None:
    rows, columns, _ = np.mgrid[-16:16, -16:16, :4]
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"P{number}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        inside = rows**2 + columns**2 < (15, 9)[number % 2] ** 2
        values = np.where(inside, random.normal(40, 30, inside.shape), random.normal(0, 0.5, inside.shape))
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), path)
    assert len(told(tmp_path / "source", "skull-stripped")) == 1


def test_images_of_one_place_are_told(tmp_path: Path) -> None:
    for number in range(8):
        for time in range(3):
            path = tmp_path / "source" / CLASSES[number % 2] / f"{number}_{time}.dcm"
            write_slice(path, number, time, ImagePositionPatient=[0, 0, 5.0 * (time // 2)])
    [line] = told(tmp_path / "source", "same place")
    assert line == (
        "another image of its series shows the same place: times, phases or echoes of one scan are mixed "
        "(16 images of 16 files; column flaws of manifest.parquet)"
    )


def write_series(root: Path, **changes: Any) -> Path:
    """Two classes of four patients, each with three slices and a copy of the first."""
    for number in range(8):
        folder = root / "source" / CLASSES[number % 2]
        for place in range(3):
            own = {keyword: value(place) for keyword, value in changes.items()}
            write_slice(folder / f"{number}_{place}.dcm", number, place, **own)
        (folder / f"{number}_copy.dcm").write_bytes((folder / f"{number}_0.dcm").read_bytes())
    return root / "source"


@pytest.mark.parametrize(("gap", "expected"), [(5.0, 0), (0.004, 0), (0.0, 1)])
def test_copies_and_thin_slices_are_of_one_place_only_if_they_are(tmp_path: Path, gap: float, expected: int) -> None:
    source = write_series(tmp_path, ImagePositionPatient=lambda place: [0, 0, gap * place])
    assert len(told(source, "same place")) == expected


def test_slices_without_orientation_have_the_place_of_their_corner(tmp_path: Path) -> None:
    source = write_series(
        tmp_path, ImagePositionPatient=lambda place: [0, 5.0 * place, 9], ImageOrientationPatient=lambda _: None
    )
    assert told(source, "same place") == []


def write_frames(path: Path, seed: int, places: list[float] | None) -> None:
    """An object of three frames at some places, or at places that it does not give."""
    frames = np.random.default_rng(seed).integers(0, 900, (3, 24, 24), np.uint16)
    write_slice(path, seed, 0, NumberOfFrames=3, PixelData=frames.tobytes())
    if places is None:
        return
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence = [Dataset() for _ in places]
    for group, place in zip(dataset.PerFrameFunctionalGroupsSequence, places, strict=True):
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, place]
    dataset.save_as(path)


@pytest.mark.parametrize(("places", "expected"), [([0, 5, 5], 1), ([0, 5, 10], 0), (None, 0)])
def test_frames_of_one_place_are_told(tmp_path: Path, places: list[float] | None, expected: int) -> None:
    for number in range(8):
        write_frames(tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm", number, places)
    assert len(told(tmp_path / "source", "same place")) == expected


def test_a_file_that_is_listed_twice_is_one_image(tmp_path: Path) -> None:
    rows = ["path,label,paired"]
    for number in range(8):
        write_slice(tmp_path / "source" / f"{number}.dcm", number, 0)
        for pair in range(2):
            name = f"pair{number}_{pair}.png"
            write_picture(tmp_path / "source" / name, 100 + 2 * number + pair)
            rows.append(f"{number}.dcm,{CLASSES[number % 2]},{name}")
    (tmp_path / "source" / "labels.csv").write_text("\n".join(rows))
    assert told(tmp_path / "source", "same place") == []
