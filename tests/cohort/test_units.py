"""Units and ranges are what the file says, or the file is refused: nothing is assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.ct_writer import CtSlice, write_ct
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.raster import read_raster
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


@pytest.fixture
def hu() -> np.ndarray:
    return np.arange(-1000, 1880, 2, dtype=np.float32).reshape(40, 36)


@pytest.fixture
def ct(tmp_path: Path, hu: np.ndarray) -> Path:
    write_ct(tmp_path / "slice.dcm", hu, CtSlice("NOBODY", "test", 1, 0.0, 0.5, 5.0, "test"))
    return tmp_path / "slice.dcm"


def change(path: Path, gone: tuple[str, ...] = (), **values: Any) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword in gone:
        if keyword in dataset:
            delattr(dataset, keyword)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    ("gone", "values", "said"),
    [
        (("RescaleIntercept",), {}, "CT without RescaleIntercept"),
        (("RescaleSlope",), {}, "CT without RescaleSlope"),
        ((), {"RescaleSlope": None, "RescaleIntercept": None}, "CT without RescaleSlope and RescaleIntercept"),
        ((), {"RescaleIntercept": None}, "CT without RescaleIntercept"),
        ((), {"RescaleType": "US"}, "CT in units 'US'"),
        ((), {"RescaleType": "HU_MOD"}, "CT in units 'HU_MOD'"),
        ((), {"RescaleSlope": 0}, "RescaleSlope is 0"),
    ],
)
def test_ct_without_hounsfield_units_is_refused(ct: Path, gone: tuple[str, ...], values: Any, said: str) -> None:
    with pytest.raises(ScanError, match=said):
        read_dicom(change(ct, gone, **values))


@pytest.mark.parametrize(
    ("gone", "values"), [(("RescaleType",), {}), ((), {"RescaleType": "HU"}), ((), {"RescaleType": ""})]
)
def test_ct_in_hounsfield_units_is_read(ct: Path, hu: np.ndarray, gone: tuple[str, ...], values: Any) -> None:
    np.testing.assert_array_equal(read_dicom(change(ct, gone, **values))[0].pixels[0], hu)


def test_units_may_be_set(ct: Path, hu: np.ndarray) -> None:
    change(ct, ("RescaleIntercept",))
    np.testing.assert_array_equal(read_dicom(ct, assume_hu=True)[0].pixels[0], hu + 1024)


def test_an_enhanced_ct_has_units_in_its_frames(ct: Path, hu: np.ndarray) -> None:
    scale, shared = Dataset(), Dataset()
    scale.RescaleSlope, scale.RescaleType = 1, "HU"
    shared.PixelValueTransformationSequence = Sequence([scale])
    change(ct, SharedFunctionalGroupsSequence=Sequence([shared]))
    with pytest.raises(ScanError, match="CT without RescaleIntercept"):
        read_dicom(ct)
    scale.RescaleIntercept = -1024
    np.testing.assert_array_equal(
        read_dicom(change(ct, SharedFunctionalGroupsSequence=Sequence([shared])))[0].pixels[0], hu
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "a screen save"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "a secondary capture of CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "a secondary capture of CT"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "a derived image"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 MPR"]}, "a derived image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "MIP"]}, "a derived image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SCOUT"]}, "a localizer image"),
        ({"SeriesDescription": "Topogram 0.6"}, "a localizer image"),
        ({"Modality": "MR", "SeriesDescription": "3-plane Localizer"}, "a localizer image"),
        ({"Modality": "MR", "ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "a derived image"),
        ({"Modality": "MR", "ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, "a derived image"),
    ],
)
def test_what_is_no_original_image_is_left_out_by_name(ct: Path, values: Any, said: str) -> None:
    with pytest.raises(UnneededError, match=said):
        read_dicom(change(ct, **values))


def test_derived_images_can_be_asked_for(ct: Path, hu: np.ndarray) -> None:
    change(ct, ImageType=["DERIVED", "SECONDARY", "REFORMATTED"])
    np.testing.assert_array_equal(read_dicom(ct, derived=True)[0].pixels[0], hu)
    change(ct, ImageType=["DERIVED", "PRIMARY", "AXIAL"], LossyImageCompression="01")
    np.testing.assert_array_equal(read_dicom(ct)[0].pixels[0], hu)


def test_screen_saves_are_counted(tmp_path: Path) -> None:
    for patient in range(8):
        path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm"
        write_slice(path, patient, 1)
        if patient < 3:
            write_slice(
                path.with_name(f"dose{patient}.dcm"), patient, 2, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]
            )
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert len(cohort.manifest) == 8
    assert cohort.info.left_out == {"a screen save": 3}
    rejected = pd.read_parquet(cohort.path / "rejected.parquet")
    assert sorted(rejected["path"]) == ["control/dose0.dcm", "control/dose2.dcm", "fahr/dose1.dcm"]


PLANES = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])


def test_a_survey_of_three_planes_is_left_out(tmp_path: Path) -> None:
    for patient in range(6):
        folder = tmp_path / "source" / CLASSES[patient % 2]
        for number in range(4):
            tilt = np.deg2rad(20 * (number % 2))  # the gantry's
            plane = [1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt))]
            write_slice(folder / f"{patient}_{number}.dcm", patient, number, ImageOrientationPatient=plane)
        for number in range(3):
            write_slice(
                folder / f"{patient}_scout{number}.dcm",
                patient,
                10 + number,
                ImageOrientationPatient=PLANES[number],
                SeriesInstanceUID=f"1.2.{patient}",
            )
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert len(cohort.manifest) == 24
    assert cohort.info.left_out == {"a survey: its series has several orientations": 18}


def test_one_stray_plane_leaves_the_series(tmp_path: Path) -> None:
    for patient in range(6):
        for number in range(6):
            path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}_{number}.dcm"
            write_slice(path, patient, number, ImageOrientationPatient=PLANES[1 if number == 5 else 0])
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.info.left_out == {"another orientation than its series": 6}
    assert len(cohort.manifest) == 30


def raw(ct: Path, stored: np.ndarray, **values: Any) -> Path:
    """The file with other stored values, as MR so that no units are needed."""
    bits = 8 * stored.dtype.itemsize
    settings = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0} | values
    rows, columns = stored.shape[:2]
    change(ct, **{"Rows": rows, "Columns": columns, "Modality": "MR", "RescaleIntercept": 0} | settings)
    dataset = pydicom.dcmread(ct)
    dataset.PixelData = stored.tobytes()
    dataset.save_as(ct)
    return ct


def test_negative_values_without_their_sign_bits(ct: Path) -> None:
    values = np.array([[-5, 0], [2047, -2048]], np.int16)
    signed = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    for stored in (values, values & 0x0FFF):
        np.testing.assert_array_equal(read_dicom(raw(ct, stored, **signed))[0].pixels[0], values)


def test_values_above_their_bits(ct: Path) -> None:
    stored = np.array([[5, 4095], [7, 9]], np.uint16)
    high = {"BitsStored": 12, "HighBit": 11}
    np.testing.assert_array_equal(read_dicom(raw(ct, stored, **high))[0].pixels[0], stored)
    np.testing.assert_array_equal(read_dicom(raw(ct, stored << 4, BitsStored=12, HighBit=15))[0].pixels[0], stored)
    with pytest.raises(ScanError, match="values up to 5000, but BitsStored is 12"):
        read_dicom(raw(ct, np.array([[5, 5000]], np.uint16), **high))
    overlay = stored | np.array([[0x8000, 0], [0, 0x8000]], np.uint16)
    path = raw(ct, overlay, **high)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60000102, "US", 15)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom(path)[0].pixels[0], stored)


def test_pictures_of_fewer_bits_than_allocated(ct: Path) -> None:
    stored = np.array([[0, 63], [31, 1]], np.uint8)
    (part,) = read_dicom(raw(ct, stored, BitsStored=6, HighBit=5, Modality="US"))
    np.testing.assert_allclose(part.pixels[0], stored / 63, atol=1e-6)
    assert part.depth == "6-bit"
    colour = np.stack([stored.astype(np.uint16) * 65] * 3, -1)
    path = raw(ct, colour, BitsStored=12, HighBit=11, Modality="OT", SamplesPerPixel=3, PhotometricInterpretation="RGB")
    (part,) = read_dicom(change(path, PlanarConfiguration=0))
    np.testing.assert_allclose(part.pixels[0], colour[..., 0] / 4095, atol=1e-6)


def test_a_transparent_level_of_sixteen_bits_is_black_and_nothing_else_changes(tmp_path: Path) -> None:
    values = RAMP * 1000
    Image.fromarray(values).save(tmp_path / "a.png", transparency=5000)
    assert "transparency" in Image.open(tmp_path / "a.png").info
    expected = np.where(values == 5000, 0, values) / 65535
    np.testing.assert_allclose(read_raster(tmp_path / "a.png")[0].pixels[0], expected, atol=1e-7)


@pytest.mark.parametrize("level", [None, 20])
def test_a_transparent_level_of_eight_bits(tmp_path: Path, level: int | None) -> None:
    values = (RAMP * 4).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png", **({} if level is None else {"transparency": level}))
    expected = values if level is None else np.where(values == level, 0, values)
    np.testing.assert_allclose(read_raster(tmp_path / "a.png")[0].pixels[0], expected / 255, atol=1e-7)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_in_which_white_is_zero(tmp_path: Path, photometric: str, dtype: Any, order: Any) -> None:
    top = np.iinfo(dtype).max
    values = (RAMP * (top // 63)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, byteorder=order)
    expected = values / top if photometric == "minisblack" else 1 - values / top
    if (photometric, dtype, order) == ("miniswhite", np.uint16, ">"):
        with pytest.raises(ScanError, match="a TIFF of a kind that is not read"):  # Pillow does not know it
            read_raster(tmp_path / "a.tif")
        return
    np.testing.assert_allclose(read_raster(tmp_path / "a.tif")[0].pixels[0], expected, atol=1e-6)


def test_bits_that_pictures_use(tmp_path: Path) -> None:
    Image.fromarray(RAMP * 65).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_raster(tmp_path / "a.png", 12)[0].pixels[0], RAMP * 65 / 4095, atol=1e-7)
    with pytest.raises(ScanError, match="values up to 4095, which need more than 10 bits"):
        read_raster(tmp_path / "a.png", 10)


def classes_of(tmp_path: Path, control: Any, fahr: Any) -> Path:
    """Six pictures of each class, made by two functions of the pictures' 8-bit values."""
    for number in range(12):
        values = np.random.default_rng(number).integers(0, 201, (16, 16)).astype(np.uint8)
        values.flat[:2] = 0, 200
        path = tmp_path / "source" / CLASSES[number > 5] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((fahr if number > 5 else control)(values)).save(path)
    return tmp_path / "source"


def test_classes_of_two_depths_and_ranges_are_refused_with_both(tmp_path: Path) -> None:
    source = classes_of(tmp_path, lambda values: values, lambda values: values.astype(np.uint16) * 16)
    with pytest.raises(CohortError, match=r"control: 6 x 8-bit, .* to 78.4%.*; fahr: 6 x 16-bit, .* to 4.9%.*--bits"):
        ingest(source, tmp_path / "out", IngestSettings(size=16))
    cohort = cohort_of(source, tmp_path / "out", bits=12)
    assert any("bit depth differs between classes" in warning for warning in cohort.info.warnings)
    white = cohort.images.reshape(12, -1).max(1) / cohort.info.scale
    np.testing.assert_allclose(white, [200 / 255] * 6 + [3200 / 4095] * 6, atol=1e-4)


def test_classes_of_two_depths_or_two_ranges_are_told(tmp_path: Path) -> None:
    source = classes_of(tmp_path, lambda values: values, lambda values: values.astype(np.uint16) * 257)
    warnings = cohort_of(source, tmp_path / "out").info.warnings
    assert [warning.split(":")[0] for warning in warnings if "differs" in warning] == [
        "bit depth differs between classes, which may give them away"
    ]
    source = classes_of(tmp_path, lambda values: values, lambda values: values // 4)
    warnings = cohort_of(source, tmp_path / "out").info.warnings
    (told,) = [warning for warning in warnings if "differs" in warning]
    assert told.startswith("used range differs between classes")
    assert "control: 6 x 8-bit, 0.0% to 78.4% of the range; fahr: 6 x 8-bit, 0.0% to 19.6% of the range" in told
    source = classes_of(tmp_path, lambda values: values, lambda values: values)
    assert not any("differs" in warning for warning in cohort_of(source, tmp_path / "out").info.warnings)


def test_ct_of_one_class_without_air_is_told(tmp_path: Path) -> None:
    for patient in range(8):
        path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm"
        hu = np.random.default_rng(patient).uniform(0, 80, (24, 24)).astype(np.float32)
        hu[:8] = 0 if patient % 2 else -1000
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ct(path, hu, CtSlice(f"P{patient}", f"study {patient}", 1, 5.0, 2.0, 5.0, "head"))
    warnings = cohort_of(tmp_path / "source", tmp_path / "out").info.warnings
    assert any("used range differs between classes" in warning and "-1000 to 80" in warning for warning in warnings)


def volumes(root: Path, low: float) -> Path:
    for number in range(8):
        values = np.random.default_rng(number).uniform(low, 300, (16, 16, 4)).astype(np.int16)
        values[:3] = low
        (root / CLASSES[number % 2]).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / CLASSES[number % 2] / f"p{number}.nii.gz")
    return root


@pytest.mark.parametrize(("low", "guess"), [(0, "MR"), (-1000, "CT")])
def test_a_guessed_modality_is_told_and_can_be_set(tmp_path: Path, low: float, guess: str) -> None:
    source = volumes(tmp_path / "source", low)
    guessed = cohort_of(source, tmp_path / "out", slices=1)
    told = [warning for warning in guessed.info.warnings if "NIfTI does not record the modality" in warning]
    assert len(told) == 1
    assert f"taken for {guess} (8 images, values {low} to 29" in told[0]
    assert "--modality" in told[0]
    other = "CT" if guess == "MR" else "MR"
    chosen = cohort_of(source, tmp_path / "out", slices=1, modality=other.lower())
    assert chosen.info.modality == other
    assert not any("NIfTI does not" in warning for warning in chosen.info.warnings)
    window = {"modality": "CT", "window": "-1000,1000", "slices": 1, "size": 16}
    images = ingest(source, tmp_path / "out", IngestSettings(**window)).path / "images.npy"
    assert np.load(images).min() == round((low + 1000) / 2000 * 65535)


@pytest.mark.parametrize(
    ("low", "name", "guess"),
    [
        (-1000, "p{}_T1.nii.gz", "MR"),
        (0, "ct_{}.nii.gz", "CT"),
        (0, "sub-{}_T1w.nii.gz", ""),
        (0, "sub-{}_T1.nii", "MR"),
    ],
)
def test_a_modality_in_the_name_is_a_guess_except_in_bids(tmp_path: Path, low: float, name: str, guess: str) -> None:
    source = volumes(tmp_path / "source", low)
    for number, path in enumerate(sorted(source.rglob("*.nii.gz"))):
        image = nibabel.load(path)
        nibabel.save(image, path.with_name(name.format(number)))
        path.unlink()
    guessed = cohort_of(source, tmp_path / "out", slices=1).info
    assert guessed.modality == (guess or "MR")
    told = [warning for warning in guessed.warnings if "NIfTI does not record the modality" in warning]
    assert len(told) == bool(guess)
    assert all(f"taken for {guess} by the file's name (8 images, values {low} to 29" in warning for warning in told)
    chosen = cohort_of(source, tmp_path / "out", slices=1, modality="MR").info
    assert chosen.modality == "MR"
    assert not any("NIfTI does not" in warning for warning in chosen.warnings)


def test_further_volumes_are_told(tmp_path: Path) -> None:
    for number in range(8):
        values = np.random.default_rng(number).normal(100, 20, (16, 16, 4, 5)).astype(np.float32)
        folder = tmp_path / "source" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{number}.nii")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", slices=1)
    assert cohort.info.left_out == {"4 more volumes of a 4-D file: only the first is read": 8}
    assert len(cohort.manifest) == 8


def test_narrow_slices_of_a_volume_are_kept(tmp_path: Path) -> None:
    for number in range(8):
        values = np.random.default_rng(number).normal(100, 20, (16, 16, 3)).astype(np.float32)
        folder = tmp_path / "source" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 5.0, 1.0])), folder / f"{number}.nii")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", plane="coronal", slices=1)
    assert (len(cohort.manifest), cohort.info.left_out) == (8, {})


def test_ct_that_does_not_say_whether_it_is_original_is_told(tmp_path: Path) -> None:
    for patient in range(8):
        kinds = None if patient < 3 else ["ORIGINAL", "PRIMARY", "AXIAL"]
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1, ImageType=kinds)
        write_slice(
            tmp_path / "mr" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1, ImageType=None, Modality="MR"
        )
    told = "CT without Image Type: taken for an original image in Hounsfield units"
    warnings = cohort_of(tmp_path / "source", tmp_path / "out").info.warnings
    assert f"{told} (3 images of 3 files; column flaws of manifest.parquet)" in warnings
    assert not any("Image Type" in line for line in cohort_of(tmp_path / "mr", tmp_path / "mr_out").info.warnings)


def test_blank_and_tiny_pictures_are_left_out_and_told(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    Image.new("L", (20, 20), 7).save(tmp_path / "source" / "fahr" / "blank.png")
    Image.fromarray(RAMP[:5, :5].astype(np.uint8)).save(tmp_path / "source" / "fahr" / "small.png")
    strip = np.random.default_rng(9).integers(0, 256, (2, 64)).astype(np.uint8)
    Image.fromarray(strip).save(tmp_path / "source" / "fahr" / "strip.png")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.info.left_out == {"blank: all pixels are equal": 1, "only 5x5 pixels": 1, "only 2x64 pixels": 1}
    assert len(cohort_of(tmp_path / "source", tmp_path / "out", keep_blank=True).manifest) == 9
    enlarged = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=32)).info.warnings
    assert "8 of 8 images are smaller than 32 pixels and were enlarged" in enlarged
