"""Readers, each against files written by the format's own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from gansweep.cohort.phantom.ct_writer import CtSlice, write_ct
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.masks import read_mask
from gansweep.cohort.readers.nifti import read_nifti
from gansweep.cohort.readers.raster import read_raster
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.cohort.sources.find import find_sources

PLACE = CtSlice("NOBODY-1", "test", 1, 12.5, 0.5, 5.0, "test")


@pytest.fixture
def hu() -> np.ndarray:
    """Whole HU `[40, 36]`, no two rows or columns alike."""
    return np.arange(-1000, -1000 + 40 * 36 * 2, 2, dtype=np.float32).reshape(40, 36)


@pytest.fixture
def ct(tmp_path: Path, hu: np.ndarray) -> Path:
    write_ct(tmp_path / "slice.dcm", hu, PLACE)
    return tmp_path / "slice.dcm"


def change(path: Path, **values: Any) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def test_hounsfield_units_and_geometry(ct: Path, hu: np.ndarray) -> None:
    (part,) = read_dicom(ct)
    np.testing.assert_array_equal(part.pixels[0], hu)
    assert (part.modality, part.spacing_mm, part.position) == ("CT", (0.5, 0.5), 12.5)


def test_slope_and_intercept(ct: Path, hu: np.ndarray) -> None:
    (part,) = read_dicom(change(ct, RescaleSlope=2, RescaleIntercept=-100))
    np.testing.assert_array_equal(part.pixels[0], (hu + 1024) * 2 - 100)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels(ct: Path, hu: np.ndarray, syntax: str) -> None:
    dataset = pydicom.dcmread(ct)
    dataset.compress(syntax)
    dataset.save_as(ct)
    assert pydicom.dcmread(ct).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_dicom(ct)[0].pixels[0], hu)


@pytest.mark.parametrize("kind", ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"])
def test_every_transfer_syntax_gives_the_same_pixels(kind: str) -> None:
    files = Path(pydicom.data.__file__).parent / "test_files"
    expected = read_dicom(files / "MR_small.dcm")[0]
    found = read_dicom(files / f"MR_small_{kind}.dcm")[0]
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.spacing_mm == expected.spacing_mm


def test_whatever_pydicom_ships_is_read_or_refused_in_one_line() -> None:
    read, refused = 0, []
    for path in sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")):
        try:
            parts = read_dicom(path)
        except (ScanError, UnneededError) as error:
            refused.append(str(error))
        else:
            assert all(part.pixels.ndim == 3 and np.isfinite(part.pixels).all() for part in parts), path.name
            read += 1
    assert read > 30
    assert len(refused) > 5
    assert not any("\n" in message for message in refused)


def test_monochrome1_is_turned_where_units_are_arbitrary(ct: Path, hu: np.ndarray) -> None:
    change(ct, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_dicom(ct)[0].pixels[0], hu)  # CT: Hounsfield units are what they are
    (turned,) = read_dicom(change(ct, Modality="MR", RescaleIntercept=0))
    assert pydicom.dcmread(ct).BitsStored == 12
    np.testing.assert_array_equal(turned.pixels[0], 4095 - (hu + 1024))


@pytest.mark.parametrize("modality", ["CR", "DX", "US"])
def test_monochrome1_of_eight_bits_is_turned(ct: Path, modality: str) -> None:
    stored = np.arange(40 * 36).reshape(40, 36).astype(np.uint8)
    change(
        ct,
        Modality=modality,
        PhotometricInterpretation="MONOCHROME1",
        PixelData=stored.tobytes(),
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    (part,) = read_dicom(ct)
    if modality == "US":
        assert part.modality == "raster"
        np.testing.assert_allclose(part.pixels[0], 1 - stored / 255, atol=1e-6)
        return
    assert (part.modality, part.depth) == (modality, "8-bit")
    np.testing.assert_array_equal(part.pixels[0], 255 - (stored - 1024.0))


def test_padding_becomes_air(ct: Path, hu: np.ndarray) -> None:
    stored = int(hu[3, 4]) + 1024
    dataset = pydicom.dcmread(ct)
    dataset.add_new("PixelPaddingValue", "US", stored)
    dataset.save_as(ct)
    pixels = read_dicom(ct)[0].pixels[0]
    assert pixels[3, 4] == -1000
    assert (pixels != hu).sum() == 1


def test_attributes_may_be_missing(ct: Path, hu: np.ndarray) -> None:
    change(
        ct,
        PixelSpacing=None,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PatientID=None,
        WindowCenter=None,
    )
    (part,) = read_dicom(ct)
    np.testing.assert_array_equal(part.pixels[0], hu)
    assert part.spacing_mm is None
    assert part.position == 1.0  # the instance number
    assert part.patient == ""
    assert part.study


def test_ct_without_rescale_is_not_guessed(ct: Path) -> None:
    with pytest.raises(ScanError, match="Hounsfield units are unknown"):
        read_dicom(change(ct, RescaleSlope=None, RescaleIntercept=None))
    padded = pydicom.dcmread(ct)
    stored = padded.pixel_array.astype(np.int16)
    stored[:3] = -2000  # outside the field of view
    padded.PixelRepresentation, padded.PixelData = 1, stored.tobytes()
    padded.BitsStored, padded.HighBit = 16, 15
    padded.add_new("PixelPaddingValue", "SS", -2000)
    padded.save_as(ct)
    with pytest.raises(ScanError, match="Hounsfield units are unknown"):
        read_dicom(ct)
    stored[3] = -1000  # air
    padded.PixelData = stored.tobytes()
    padded.save_as(ct)
    with pytest.raises(ScanError, match="Hounsfield units are unknown"):
        read_dicom(ct)
    np.testing.assert_array_equal(read_dicom(ct, assume_hu=True)[0].pixels[0], stored.clip(-1000))


def test_files_without_preamble_are_read(ct: Path, hu: np.ndarray) -> None:
    dataset = pydicom.dcmread(ct)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    del dataset.file_meta
    dataset.preamble = None
    pydicom.dcmwrite(ct, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert ct.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_dicom(ct)[0].pixels[0], hu)


def test_localizers_and_reports_are_not_needed(ct: Path) -> None:
    change(ct, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(UnneededError, match="localizer"):
        read_dicom(ct)
    change(ct, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], PixelData=None)
    with pytest.raises(UnneededError, match="without pixels"):
        read_dicom(ct)


def test_enhanced_multiframe_frames_have_their_own_place_and_scale(ct: Path) -> None:
    dataset = pydicom.dcmread(ct)
    frames = np.stack([np.full((40, 36), value, "<u2") for value in (10, 20, 30)])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.Modality, dataset.NumberOfFrames, dataset.PixelData = "MR", 3, frames.tobytes()
    for keyword in ("RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagePositionPatient"):
        delattr(dataset, keyword)
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.7, 0.8]
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number in range(3):
        plane, scale, group = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = [0, 0, -5.0 * number]
        scale.RescaleSlope, scale.RescaleIntercept = number + 1, 100
        group.PlanePositionSequence, group.PixelValueTransformationSequence = Sequence([plane]), Sequence([scale])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.save_as(ct)
    parts = read_dicom(ct)
    assert [part.position for part in parts] == [0.0, -5.0, -10.0]
    assert [float(part.pixels.mean()) for part in parts] == [110.0, 140.0, 190.0]
    assert parts[2].spacing_mm == (0.7, 0.8)


def test_colour_dicom_is_a_picture(ct: Path) -> None:
    rgb = np.zeros((40, 36, 3), np.uint8)
    rgb[..., 1] = 255
    change(
        ct,
        SOPInstanceUID=generate_uid(),
        Modality="OT",
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=rgb.tobytes(),
    )
    (part,) = read_dicom(ct)
    assert part.modality == "raster"
    np.testing.assert_array_equal(part.pixels.mean((1, 2)), [0, 1, 0])


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_nifti_looks_the_same_however_it_is_stored(tmp_path: Path, flips: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).uniform(0, 100, (6, 5, 4)).astype(np.float32)  # RAS+: right, front, top
    volume[5, 4, 3] = 900.0  # patient's right, front, top
    stored = volume[:: flips[0], :: flips[1], :: flips[2]]
    nibabel.save(
        nibabel.Nifti1Image(stored, np.diag([flips[0] * 1.0, flips[1] * 2.0, flips[2] * 3.0, 1])), tmp_path / "v.nii.gz"
    )
    parts = read_nifti(tmp_path / "v.nii.gz")
    assert len(parts) == 4
    assert parts[3].pixels.shape == (1, 5, 6)
    assert parts[3].pixels[0, 0, 0] == 900.0  # radiological: the right on the left, the front at the top
    assert parts[3].spacing_mm == (2.0, 1.0)
    coronal = read_nifti(tmp_path / "v.nii.gz", "coronal")
    assert coronal[4].pixels[0, 0, 0] == 900.0
    assert coronal[4].spacing_mm == (3.0, 1.0)
    sagittal = read_nifti(tmp_path / "v.nii.gz", "sagittal")
    assert sagittal[5].pixels[0, 0, 0] == 900.0
    assert sagittal[5].spacing_mm == (3.0, 2.0)


def test_a_broken_nifti(tmp_path: Path) -> None:
    (tmp_path / "v.nii.gz").write_bytes(b"\x1f\x8b not a volume")
    with pytest.raises(ScanError, match="not a readable NIfTI"):
        read_nifti(tmp_path / "v.nii.gz")


def test_rasters_keep_their_bit_depth_and_colour(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    Image.fromarray((ramp * 255).round().astype(np.uint8)).save(tmp_path / "grey8.png")
    Image.fromarray((ramp * 65535).round().astype(np.uint16)).save(tmp_path / "grey16.png")
    Image.fromarray(np.stack([(ramp * 255).round().astype(np.uint8)] * 3, -1)).save(tmp_path / "grey_as_rgb.png")
    for name, tolerance in (("grey8", 2e-3), ("grey16", 1e-5), ("grey_as_rgb", 2e-3)):
        (part,) = read_raster(tmp_path / f"{name}.png")
        np.testing.assert_allclose(part.pixels[0], ramp, atol=tolerance, err_msg=name)
        assert part.pixels.shape == (1, 8, 8)
    colour = np.zeros((8, 8, 4), np.uint8)
    colour[:, :4] = (255, 0, 0, 255)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    pixels = read_raster(tmp_path / "colour.png")[0].pixels
    assert pixels.shape == (3, 8, 8)
    np.testing.assert_array_equal(pixels[:, 0, 0], [1, 0, 0])
    np.testing.assert_array_equal(pixels[:, 0, 7], [0, 0, 0])  # transparent over black


def test_masks_of_any_scale(tmp_path: Path) -> None:
    drawn = np.zeros((6, 6), np.uint8)
    drawn[2:4, 1:5] = 1
    Image.fromarray(drawn).save(tmp_path / "ones.png")
    Image.fromarray(drawn * 255).save(tmp_path / "full.png")
    Image.fromarray(drawn * 250 + 3).convert("RGB").save(tmp_path / "noisy.png")
    np.save(tmp_path / "array.npy", drawn.astype(bool))
    for name in ("ones.png", "full.png", "noisy.png", "array.npy"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), drawn == 1, err_msg=name)


def write_volume(path: Path, value: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full((8, 8, 8), value, np.float32), np.eye(4)), path)


def test_bids_subjects_sessions_masks_and_labels(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.10.0"}))
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tgroup\nsub-01\t60\tpatient\nsub-02\t61\tcontrol\nsub-03\t5\tn/a\n"
    )
    write_volume(tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz")
    write_volume(tmp_path / "sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz")
    write_volume(tmp_path / "sub-02/anat/sub-02_T2w.nii.gz")
    write_volume(tmp_path / "sub-02/anat/sub-02_T1w.nii.gz")
    write_volume(tmp_path / "sub-03/anat/sub-03_T1w.nii.gz")
    write_volume(tmp_path / "derivatives/lesions/sub-02/anat/sub-02_label-lesion_mask.nii.gz")
    sources, rejected = find_sources(tmp_path)
    found = {source.name.split("/")[-1]: (source.label, source.patient, source.mask is not None) for source in sources}
    assert found == {
        "sub-01_ses-a_T1w.nii.gz": ("patient", "sub-01", False),
        "sub-01_ses-b_FLAIR.nii.gz": ("patient", "sub-01", False),
        "sub-02_T1w.nii.gz": ("control", "sub-02", True),
    }
    assert {item.name: item.bad for item in rejected} == {
        "sub-03/anat/sub-03_T1w.nii.gz": True,
        "sub-02/anat/sub-02_T2w.nii.gz": False,
    }


def test_class_folders_with_patients_and_splits(tmp_path: Path) -> None:
    for name in ("train/sick/p1/a.png", "train/well/p2/a.png", "test/sick/p3/a.png", "test/sick/p3/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    sources, _ = find_sources(tmp_path)
    assert [(s.split, s.label, s.folder) for s in sources] == [
        ("test", "sick", "p3"),
        ("test", "sick", "p3"),
        ("train", "sick", "p1"),
        ("train", "well", ""),  # the only folder of its class says nothing
    ]
