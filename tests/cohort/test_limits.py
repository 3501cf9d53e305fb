"""Files that unpack to too much are refused by their header; archives and links out of the folder stay shut."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from gansweep.cohort.readers import limits
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.masks import read_mask
from gansweep.cohort.readers.nifti import read_nifti
from gansweep.cohort.readers.raster import read_raster
from gansweep.cohort.readers.slices import ScanError
from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice

FILES = Path(pydicom.data.__file__).parent / "test_files"


def refused(read: Any, path: Path, said: str) -> None:
    """Checks the message, and that less than 50 MB were allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(ScanError, match=said):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def write_empty_png(path: Path, side: int) -> None:
    """A PNG of zeros, written without holding its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(side + 1)
    packed = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


@pytest.mark.parametrize("read", [read_raster, read_mask])
def test_a_picture_of_too_many_pixels(tmp_path: Path, read: Any) -> None:
    write_empty_png(tmp_path / "a.png", 13_000)
    assert (tmp_path / "a.png").stat().st_size < 1_000_000
    refused(read, tmp_path / "a.png", "too large: 13000x13000 pixels, at most 100,000,000")


def test_a_colour_picture_may_have_a_third_of_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(path)
    data = path.read_bytes()
    place = data.index(b"\xff\xc0") + 5
    path.write_bytes(data[:place] + struct.pack(">2H", 6000, 6000) + data[place + 4 :])
    refused(read_raster, path, "too large: 6000x6000 pixels in 3 channels, at most 33,333,333")


def test_a_large_picture_is_read(tmp_path: Path) -> None:
    write_empty_png(tmp_path / "a.png", 3000)
    assert read_raster(tmp_path / "a.png")[0].pixels.shape == (1, 3000, 3000)


def nifti_header(shape: tuple[int, ...], offset: float = 352.0) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header["vox_offset"] = offset
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(4)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((30000, 30000, 30), "too large: 30000x30000x30 values"), ((600, 600, 600), "which the file cannot hold")],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_that_claims_too_much(tmp_path: Path, shape: tuple[int, ...], said: str, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    data = nifti_header(shape) + bytes(1000)
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    refused(read_nifti, path, said)
    refused(read_mask, path, said)


def test_a_volume_behind_a_huge_header(tmp_path: Path) -> None:
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(nifti_header((8, 8, 8), 2.0**30)))
    refused(read_nifti, tmp_path / "v.nii.gz", "header is too large|not a readable NIfTI")


def test_a_mask_that_claims_too_much(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros((4, 4), bool))
    data = (tmp_path / "m.npy").read_bytes()
    (tmp_path / "m.npy").write_bytes(data.replace(b"(4, 4)", b"(40000, 40000)").replace(b" " * 8 + b"\n", b"\n"))
    with pytest.raises(ScanError, match="not a readable mask"):
        read_mask(tmp_path / "m.npy")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"Rows": 60000, "Columns": 60000}, "too large: 60000x60000 pixels"),
        ({"NumberOfFrames": 10_000_000}, "too large: 10000000x"),
        ({"NumberOfFrames": -1}, "cannot be decoded|attribute cannot be read"),
        ({"Rows": 0}, "cannot be decoded|attribute cannot be read"),
    ],
)
def test_a_dicom_image_that_claims_too_much(tmp_path: Path, values: dict[str, int], said: str) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, **values)
    refused(read_dicom, tmp_path / "a.dcm", said)


def test_compressed_pixels_of_another_size(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(FILES / "MR_small_jp2klossless.dcm")
    assert dataset.file_meta.TransferSyntaxUID.is_compressed
    dataset.Rows = dataset.Columns = 32
    dataset.save_as(tmp_path / "a.dcm")
    refused(read_dicom, tmp_path / "a.dcm", "its compressed pixels are 64x64, the header says 32x32")


def test_a_bomb_in_a_codestream(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(FILES / "MR_small_jp2klossless.dcm")
    stream = bytearray(next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)))
    place = stream.index(b"\xff\x51")
    stream[place + 6 : place + 14] = struct.pack(">2I", 60000, 60000)
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(tmp_path / "a.dcm")
    refused(read_dicom, tmp_path / "a.dcm", "its compressed pixels are 60000x60000, the header says 64x64")


def test_a_decoder_that_panics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: Any, **__: Any) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", panic)
    write_slice(tmp_path / "a.dcm", 1, 1)
    refused(read_dicom, tmp_path / "a.dcm", "cannot be decoded .the decoder failed: index out of bounds")


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_gdcm.dcm", "JPEG-lossy.dcm", "JPEGLSNearLossless_08.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm"]
)
def test_the_header_of_a_codestream_is_read(name: str) -> None:
    dataset = pydicom.dcmread(FILES / name)
    _, stream, *_ = pydicom.encaps.generate_fragments(dataset.PixelData)  # the first is the table of offsets
    expected = None if "RLE" in name else (dataset.Rows, dataset.Columns)
    header = limits.codestream_header(stream)
    assert (header and header[:2]) == expected


def test_a_deflated_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new(0x00091001, "OB", bytes(20_000_000))
    pydicom.dcmwrite(tmp_path / "a.dcm", dataset)
    assert (tmp_path / "a.dcm").stat().st_size < 100_000
    assert read_dicom(tmp_path / "a.dcm")[0].pixels.shape == (1, 24, 24)
    monkeypatch.setattr(limits, "MAX_DEFLATED", 10_000_000)
    refused(read_dicom, tmp_path / "a.dcm", "too large: unpacks to more than 10,000,000 bytes")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    return tmp_path / "source"


def test_what_is_not_read_is_counted_by_reason(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(source / "fahr" / "more.zip", "w") as archive:
        archive.writestr("9.png", (source / "fahr" / "1.png").read_bytes())
    for name in ("a.mha", "b.MHA", "c.heic", "d.gif", "e.npy", "f.tar.gz", "noise", "README", "notes.txt", "t.csv"):
        (source / "control" / name).write_bytes(b"something")
    cohort = cohort_of(source, tmp_path / "out")
    assert len(cohort.manifest) == 8
    assert cohort.info.left_out == {
        "an archive, which is not opened": 2,
        "files of this kind are not read (.mha)": 2,
        "files of this kind are not read (.heic)": 1,
        "files of this kind are not read (.gif)": 1,
        "files of this kind are not read (.npy)": 1,
        "files of this kind are not read (no suffix)": 1,
    }


@pytest.mark.parametrize("suffix", [".webp", ".jfif", ".jpe", ".WEBP"])
def test_web_formats_are_read(source: Path, tmp_path: Path, suffix: str) -> None:
    values = np.asarray(Image.open(source / "fahr" / "1.png"))
    kind = {"format": "WEBP", "lossless": True} if "web" in suffix.lower() else {"format": "JPEG", "quality": 95}
    (source / "fahr" / "1.png").unlink()
    Image.fromarray(values).save(source / "fahr" / f"1{suffix}", **kind)
    cohort = cohort_of(source, tmp_path / "out")
    assert len(cohort.manifest) == 8
    assert cohort.info.left_out == {}
    found = read_raster(source / "fahr" / f"1{suffix}")[0].pixels[0] * 255
    np.testing.assert_allclose(found, values, atol=0.01 if "web" in suffix.lower() else 12)


def test_links_are_not_followed_out_of_the_folder(source: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "outside" / "99.png", 99)
    write_picture(source / ".store" / "98.png", 98)
    (source / "fahr" / "98.png").symlink_to(source / ".store" / "98.png")  # as git-annex links
    (source / "fahr" / "99.png").symlink_to(tmp_path / "outside" / "99.png")
    (source / "fahr" / "97.png").symlink_to(tmp_path / "gone.png")
    (source / "other").symlink_to(tmp_path / "outside")
    cohort = cohort_of(source, tmp_path / "out")
    assert len(cohort.manifest) == 9
    assert cohort.info.left_out == {
        "a link out of the folder, which is not followed": 2,
        "a link to a folder, which is not followed": 1,
    }
    (tmp_path / "by link").symlink_to(source)
    assert cohort_of(tmp_path / "by link", tmp_path / "out").info.content_hash == cohort.info.content_hash


def test_a_row_that_names_a_link_out_of_the_folder(source: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "outside" / "99.png", 99)
    (source / "99.png").symlink_to(tmp_path / "outside" / "99.png")
    rows = [f"{CLASSES[number % 2]}/{number}.png,{CLASSES[number % 2]}" for number in range(8)]
    (source / "labels.csv").write_text("\n".join(["path,label", *rows, "99.png,fahr"]))
    cohort = cohort_of(source, tmp_path / "out", skip_bad=True)
    assert len(cohort.manifest) == 8
    assert cohort.info.left_out["a row names a link out of the folder (path)"] == 1


def test_rows_below_a_link_out_of_the_folder(source: Path, tmp_path: Path) -> None:
    """A path that is outside as it is written is the user's own wish."""
    for number in range(90, 97):
        write_picture(tmp_path / "outside" / f"{number}.png", number)
    (source / "link").symlink_to(tmp_path / "outside")
    (source / "inside").symlink_to(source / "fahr")
    rows = [f"{CLASSES[number % 2]}/{number}.png,{CLASSES[number % 2]}," for number in range(8)]
    rows[0] += "link/90.png"
    rows[1] = "inside/1.png,fahr,"
    named = ["link/91.png", "fahr/../link/92.png", f"{source}/link/93.png", "../outside/94.png"]
    rows += [f"{name},fahr," for name in [*named, f"{tmp_path}/outside/95.png"]]
    (source / "labels.csv").write_text("\n".join(["path,label,mask", *rows]))
    sources, rejected = find_sources(source)
    assert [item.name for item in sources] == [row.split(",")[0] for row in [*rows[1:8], *rows[11:]]]
    reasons = [item.reason for item in rejected if item.bad]
    lines = [(2, "mask"), *((line, "path") for line in (10, 11, 12))]
    assert reasons == [f"labels.csv line {line} names a link out of the folder ({key})" for line, key in lines]
    with pytest.raises(CohortError, match=r"line 2 names a link out of the folder \(mask\) \(first of 4 bad files\)"):
        cohort_of(source, tmp_path / "out")


@pytest.mark.parametrize("listed", [False, True])
def test_links_in_a_circle_lead_to_no_file(source: Path, tmp_path: Path, listed: bool) -> None:
    (source / "fahr" / "self.png").symlink_to(source / "fahr" / "self.png")
    for one, other in (("a.png", "b.png"), ("b.png", "a.png"), ("c", "d"), ("d", "c")):
        (source / "fahr" / one).symlink_to(other)
    expected = {"a link that leads to no file": 3 if listed else 5}
    if listed:
        names = [*(f"{CLASSES[number % 2]}/{number}.png" for number in range(8)), "fahr/self.png", "fahr/a.png"]
        rows = [f"{name},{name.split('/')[0]}" for name in names]
        (source / "labels.csv").write_text("\n".join(["path,label", *rows]))
        with pytest.raises(CohortError, match=r"labels\.csv line 10 names a link that leads to no file \(path\)"):
            cohort_of(source, tmp_path / "out")
        expected["a row names a link that leads to no file (path)"] = 2
    cohort = cohort_of(source, tmp_path / "out", skip_bad=True)
    assert len(cohort.manifest) == 8
    assert cohort.info.left_out == expected


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_old_dicom_without_preamble_and_suffix(tmp_path: Path, syntax: str) -> None:
    source = tmp_path / "source"
    for patient in range(8):
        path = source / CLASSES[patient % 2] / f"IM{patient:04}"
        write_slice(path, patient, 1)
        if patient > 3:
            dataset = pydicom.dcmread(path)
            pixels = read_dicom(path)[0].pixels
            if syntax == "implicit":
                del dataset.file_meta
                dataset.preamble = None
                pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
            else:
                path.write_bytes(path.read_bytes()[132:])
            assert path.read_bytes()[128:132] != b"DICM"
            np.testing.assert_array_equal(read_dicom(path)[0].pixels, pixels)
    (source / "control" / "IM9").write_bytes(b"\x08\x00\x05\x00" + bytes(300))
    cohort = cohort_of(source, tmp_path / "out")
    assert len(cohort.manifest) == 8
    assert cohort.info.left_out == {"files of this kind are not read (no suffix)": 1}
