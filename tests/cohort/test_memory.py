"""Small files that claim or unpack to gigabytes are refused by their headers, in one line and little memory."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

import gansweep
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.limits import check_deflated, check_square, codestream_header
from gansweep.cohort.readers.masks import read_mask
from gansweep.cohort.readers.nifti import read_nifti
from gansweep.cohort.readers.raster import read_raster
from gansweep.cohort.readers.slices import ScanError
from tests.cohort.scans import CLASSES, cohort_of, write_slice

GREY = np.arange(24 * 24).reshape(24, 24).astype(np.uint8)


def write_tiff(path: Path, tags: dict[int, int], bits: int = 16, pages: int = 1) -> None:
    """A TIFF of 64 x 64 pixels in colour (16 bits) or grey (8 bits), with these tags besides."""
    channels = 3 if bits == 16 else 1
    data = zlib.compress(bytes(1000))
    known = {256: 64, 257: 64, 258: bits, 259: 8, 262: 2 if channels == 3 else 1, 277: channels}
    known = dict(sorted((known | tags).items()))
    size = 2 + 12 * len(known) + 4
    end = 8 + pages * size
    parts = [b"II*\0" + struct.pack("<I", 8)]
    for page in range(pages):
        entries = [struct.pack("<H", len(known))]
        for tag, value in known.items():
            count = channels if tag == 258 else 1
            value = end if count == 3 else end + 8 if tag in {273, 324} else value
            entries.append(struct.pack("<HHII", tag, 3 if tag == 258 else 4, count, value))
        entries.append(struct.pack("<I", 8 + (page + 1) * size if page + 1 < pages else 0))
        parts += entries
    path.write_bytes(b"".join([*parts, struct.pack("<4H", bits, bits, bits, 0), data]))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("read", [read_raster, read_mask])
def test_a_tile_of_too_many_pixels(tmp_path: Path, bits: int, read: Any) -> None:
    write_tiff(tmp_path / "a.tif", {322: 40000, 323: 40000, 324: 0, 325: 1000}, bits)
    with pytest.raises(ScanError, match="too large: 40000x40000 pixels"):
        read(tmp_path / "a.tif")


def test_tiles_larger_than_the_picture_are_read(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(imagecodecs.tiff_encode(deep, photometric="rgb", tile=(64, 64)))
    found = read_raster(tmp_path / "a.tif")[0].pixels
    np.testing.assert_allclose(found, np.moveaxis(deep, -1, 0) / 65535, atol=1e-6)


def test_not_every_page_is_looked_for(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", {273: 0, 278: 64, 279: 1000}, 8, pages=100_000)
    with pytest.raises(ScanError, match="more than 100 pages; save each as its own file"):
        read_raster(tmp_path / "a.tif")


def huge(stream: bytes, markers: bytes, filling: bytes = b"") -> bytes:
    """A JPEG or JPEG-LS codestream of 60000 x 60000 pixels, whose size stands behind `filling`."""
    place = next(stream.index(bytes([0xFF, marker])) for marker in markers if bytes([0xFF, marker]) in stream)
    sized = stream[: place + 5] + struct.pack(">2H", 60000, 60000) + stream[place + 9 :]
    return sized[:2] + filling + sized[2:]


def write_encoded(path: Path, stream: bytes, syntax: uid.UID) -> Path:
    write_slice(path, 1, 1, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=encapsulate([stream]))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path


SEGMENT = b"\xff\xe5" + struct.pack(">H", 65533) + bytes(65531)
STREAMS = {
    uid.JPEGLosslessSV1: imagecodecs.jpeg8_encode(GREY, lossless=True),
    uid.JPEGBaseline8Bit: imagecodecs.jpeg8_encode(GREY),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode(GREY),
}


@pytest.mark.parametrize("syntax", STREAMS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("filling", [b"", SEGMENT * 2, b"\xff" * 70_000, b"\xff\x01" * 3], ids=len)
def test_the_size_of_a_codestream_stands_behind_anything(tmp_path: Path, syntax: uid.UID, filling: bytes) -> None:
    assert codestream_header(STREAMS[syntax]) == (24, 24, 8, False)
    stream = huge(STREAMS[syntax], b"\xc3\xc0\xf7", filling)
    with pytest.raises(ScanError, match="its compressed pixels are 60000x60000, the header says 24x24"):
        read_dicom(write_encoded(tmp_path / "a.dcm", stream, syntax))


@pytest.mark.parametrize("syntax", [*STREAMS, uid.JPEG2000Lossless, uid.HTJ2K], ids=lambda syntax: syntax.name)
def test_a_codestream_without_size_is_not_decoded(tmp_path: Path, syntax: uid.UID) -> None:
    stream = STREAMS[uid.JPEGBaseline8Bit]
    for data in (b"garbage" + stream, stream[:2] + b"garbage" + stream[2:], bytes(100)):
        with pytest.raises(ScanError, match=r"cannot be decoded \(no header of a JPEG codestream\)"):
            read_dicom(write_encoded(tmp_path / "a.dcm", data, syntax))


def test_a_codestream_in_the_boxes_of_jp2(tmp_path: Path) -> None:
    code = imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=True)
    boxed = imagecodecs.jpeg2k_encode(GREY, codecformat="jp2", reversible=True)
    assert boxed[4:8] == b"jP  "
    assert codestream_header(code) == codestream_header(boxed) == (24, 24, 8, False)
    place = boxed.index(b"\xff\x4f\xff\x51")
    larger = boxed[: place + 8] + struct.pack(">2I", 60000, 60000) + boxed[place + 16 :]
    with pytest.raises(ScanError, match="its compressed pixels are 60000x60000"):
        read_dicom(write_encoded(tmp_path / "a.dcm", larger, uid.JPEG2000Lossless))


def test_a_codestream_of_thousands_of_components(tmp_path: Path) -> None:
    code = imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=True)
    many = code[:40] + struct.pack(">H", 16384) + code[42:]
    with pytest.raises(ScanError, match="no header of a JPEG codestream"):
        read_dicom(write_encoded(tmp_path / "a.dcm", many, uid.JPEG2000Lossless))


def write_nifti(
    path: Path, shape: tuple[int, ...], *, offset: float = 352, after: bytes = b"", swap: bool = False
) -> None:
    header = nibabel.Nifti1Header(endianness=">" if swap else "<")
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = offset
    header["magic"] = b"n+1"
    path.write_bytes(gzip.compress(header.binaryblock + after, 1))


def test_more_than_four_dimensions_are_refused_by_the_header(tmp_path: Path) -> None:
    write_nifti(tmp_path / "v.nii.gz", (32, 32, 16, 1, 500), after=bytes(4 + 32 * 32 * 16 * 2))
    for read in (read_nifti, read_mask):
        with pytest.raises(ScanError, match="not a volume: 32x32x16x1x500 voxels"):
            read(tmp_path / "v.nii.gz")


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("offset", "size", "said"),
    [
        (2.0**30, 2**30, "its header is too large"),
        (400, 2**30, "an extension of its header has 1073741824 bytes, room is for 48"),
        (400, 0, "an extension of its header has 0 bytes, room is for 48"),
        (400, -16, "an extension of its header has -16 bytes, room is for 48"),
        (0, 32, "an extension of its header has 32 bytes, room is for -352"),
    ],
)
def test_extensions_of_the_header(tmp_path: Path, swap: bool, offset: float, size: int, said: str) -> None:
    after = b"\1\0\0\0" + struct.pack(">ii" if swap else "<ii", size, 6) + bytes(8 * 8 * 8)
    write_nifti(tmp_path / "v.nii.gz", (8, 8, 8), offset=offset, after=after, swap=swap)
    with pytest.raises(ScanError, match=said):
        read_nifti(tmp_path / "v.nii.gz")


def test_a_volume_behind_extensions_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 100, (8, 9, 10)).astype(np.int16)
    image = nibabel.Nifti1Image(values, np.eye(4))
    for text in (b"first", b"another of some length" * 5):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text))
    nibabel.save(image, tmp_path / "v.nii.gz")
    assert len(nibabel.load(tmp_path / "v.nii.gz").header.extensions) == 2
    found = np.stack([part.pixels[0] for part in read_nifti(tmp_path / "v.nii.gz")])
    np.testing.assert_array_equal(found, np.moveaxis(values, 2, 0).swapaxes(1, 2)[:, ::-1, ::-1])


def write_deflated(path: Path, total: int, private: int = 0, *, group_length: bool) -> None:
    """A deflated file that unpacks to `total` bytes, with `private` bytes of file meta before its transfer syntax."""

    def text(element: int, value: bytes) -> bytes:
        return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value

    meta = struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1"
    meta += struct.pack("<HH2sHI", 2, 2, b"OB", 0, private) + bytes(private) if private else text(2, b"1.2\0")
    meta += text(0x10, b"1.2.840.10008.1.2.1.99")
    if group_length:
        meta = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    parts = [bytes(128), b"DICM", meta]
    parts.append(packer.compress(struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"MR"))
    parts.append(packer.compress(struct.pack("<HH2sHI", 9, 0x10, b"OB", 0, total)))
    parts += [packer.compress(bytes(2**24)) for _ in range(total >> 24)]
    path.write_bytes(b"".join([*parts, packer.flush()]))


def test_squares_are_bounded(tmp_path: Path) -> None:
    """A strip, and pixels of which one side is a millionth of the other."""
    for number in range(8):
        write_slice(tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm", number, 1)
    flat = tmp_path / "source" / "fahr" / "flat.dcm"
    write_slice(flat, 9, 1, PixelSpacing=[1e6, 1])
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", skip_bad=True)
    assert cohort.info.left_out == {"too long: 24000000x24 square pixels, padded to 24000000x24000000": 1}
    check_square(14000, 10, 1, flat)
    with pytest.raises(ScanError, match="too long: 10x10000 square pixels, padded to 10000x10000"):
        check_square(10, 10000, 3, flat)


SCRIPT = """
import resource, sys
from pathlib import Path
import pydicom
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers import limits
from gansweep.errors import CohortError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

limits.MAX_DEFLATED = 2**26
before = peak()
for path in sys.argv[1:]:
    try:
        read_dicom(Path(path))
    except CohortError as error:
        print(error)
print(peak() - before)
"""


def test_deflated_files_whatever_their_file_meta(tmp_path: Path) -> None:
    """The peak is that of a process, because zlib does not tell Python what it allocates."""
    total = 160 * 2**20
    write_deflated(tmp_path / "a.dcm", total, group_length=True)
    write_deflated(tmp_path / "b.dcm", total, group_length=False)
    write_deflated(tmp_path / "c.dcm", total, 6000, group_length=True)
    names = [str(tmp_path / name) for name in ("a.dcm", "b.dcm", "c.dcm")]
    environment = os.environ | {"PYTHONPATH": str(Path(gansweep.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *lines, grown = done.stdout.splitlines()
    assert lines == [f"{name}.dcm: too large: unpacks to more than 67,108,864 bytes" for name in "abc"]
    assert int(grown) < 80


def test_an_unusual_identifier_is_not_warned_about(tmp_path: Path) -> None:
    """pydicom's warning would show it on the terminal."""
    path = tmp_path / "scan.dcm"
    write_slice(path, 1, 1)
    data = path.read_bytes()
    place = data.index(b"1.2.840.10008.1.2") + 4  # in the transfer syntax
    path.write_bytes(data[:place] + b"\x18" + data[place + 1 :])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_deflated(path)
    assert told == []
