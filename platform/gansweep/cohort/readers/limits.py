"""Limits on the decoded size of a file, checked on its header before anything is decoded.

Half a megabyte of PNG can contain 169 million pixels, and a kilobyte of compressed header can claim a terabyte.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.slices import ScanError, shape_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MAX_SAMPLES",
    "MAX_VALUES",
    "Codestream",
    "check_deflated",
    "check_picture",
    "check_square",
    "check_values",
    "codestream_header",
]

MAX_SAMPLES = 100_000_000  # of one picture; a whole mammogram has 30 million, a colour photograph 72 million
MAX_VALUES = 2**28  # of one file: 1024 slices of 512 x 512
MAX_DEFLATED = 2**29  # bytes of a DICOM file that is compressed as a whole
MAX_COMPONENTS = 4  # colours of a codestream
MAX_RATIO = 1100  # deflate packs 1032 bytes into one at best


def check_picture(rows: int, columns: int, channels: int, path: Path) -> None:
    """Refuses an image with too many samples (pixels times channels).

    Raises:
        ScanError: it has more than MAX_SAMPLES.
    """
    if rows * columns * channels > MAX_SAMPLES:
        kind = "pixels" if channels == 1 else f"pixels in {channels} channels"
        most = f"at most {MAX_SAMPLES // channels:,}"
        raise ScanError(f"too large: {shape_text((rows, columns))} {kind}, {most}", where=path.name)


def check_square(rows: int, columns: int, channels: int, path: Path) -> None:
    """Refuses an image that is too large as the square that it becomes, such as a strip.

    Args:
        rows: after its pixels were made isotropic.
        columns: likewise.
        channels: of a pixel.
        path: the file.

    Raises:
        ScanError: the square has more than twice MAX_SAMPLES.
    """
    side = max(rows, columns)
    if side * side * channels > 2 * MAX_SAMPLES:
        shown = shape_text((rows, columns))
        raise ScanError(f"too long: {shown} square pixels, padded to {shape_text((side, side))}", where=path.name)


def check_values(shape: tuple[int, ...], path: Path, *, bytes_each: int = 0) -> None:
    """Refuses a volume or multi-frame image with too many values.

    Args:
        shape: shape of the decoded array.
        path: the file.
        bytes_each: size of a value. Above 0, the file must be large enough to contain all values compressed.

    Raises:
        ScanError: it has more than MAX_VALUES, or cannot contain what it claims.
    """
    values = math.prod(int(side) for side in shape)
    if values > MAX_VALUES:
        raise ScanError(f"too large: {shape_text(shape)} values, at most {MAX_VALUES:,}", where=path.name)
    if bytes_each and values * bytes_each > MAX_RATIO * path.stat().st_size:
        raise ScanError(f"its header claims {shape_text(shape)} values, which the file cannot hold", where=path.name)


def check_deflated(path: Path) -> None:
    """Refuses a deflated DICOM file that unpacks to too many bytes.

    The file is unpacked in pieces, none of which is kept.

    Raises:
        ScanError: it unpacks to more than MAX_DEFLATED bytes.
    """
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with path.open("rb") as file:
        try:
            # pydicom's own reading of the file meta information, so that both find the same start of the data.
            with quiet():
                read_preamble(file, force=True)
                syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
        except Exception:
            return  # the reader will report what is wrong
        if syntax != DeflatedExplicitVRLittleEndian:
            return
        rest = file.read()
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    while rest and not unpacker.eof:
        try:
            total += len(unpacker.decompress(rest, 2**22))
        except zlib.error:
            return  # the reader will report what is wrong
        rest = unpacker.unconsumed_tail
        if total > MAX_DEFLATED:
            raise ScanError(f"too large: unpacks to more than {MAX_DEFLATED:,} bytes", where=path.name)


class Codestream(NamedTuple):
    """What a codestream says of itself.

    Args:
        rows: of the image.
        columns: of the image.
        bits: of a value.
        signed: whether values may be negative. Only JPEG 2000 says so.
    """

    rows: int
    columns: int
    bits: int
    signed: bool


def codestream_header(data: bytes) -> Codestream | None:
    """Returns the header of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Returns None for other data, and for more than MAX_COMPONENTS colours.
    """
    if data[4:8] == b"jP  ":  # a whole JP2 file instead of its codestream
        data = _codestream_of(data)
    if data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 43:  # SOC, SIZ (ISO/IEC 15444-1, A.5.1)
        columns, rows = struct.unpack(">2I", data[8:16])
        left, top = struct.unpack(">2I", data[16:24])  # of the image on the reference grid
        (components,) = struct.unpack(">H", data[40:42])
        depths = data[42 : 42 + 3 * components : 3]  # 7 bits for the depth less 1, before them one for the sign
        bits = 1 + max(depth & 0x7F for depth in depths)
        header = Codestream(rows - top, columns - left, bits, any(depth & 0x80 for depth in depths))
        return header if components <= MAX_COMPONENTS else None
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        # SOF0 to SOF15 but DHT, JPG and DAC (ISO/IEC 10918-1, B.1.1.3); SOF55 of JPEG-LS
        if (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}) or marker == 0xF7:
            bits = data[position + 4]
            rows, columns, components = struct.unpack(">2HB", data[position + 5 : position + 10])
            return Codestream(rows, columns, bits, signed=False) if components <= MAX_COMPONENTS else None
        if marker == 0xFF:  # fills up
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # TEM, RST and SOI have no content
            position += 2
        else:
            position += 2 + max(2, struct.unpack(">H", data[position + 2 : position + 4])[0])
    return None


def _codestream_of(data: bytes) -> bytes:
    """Returns the codestream in a JP2 file, which consists of boxes (ISO/IEC 15444-1, I.4); b"" if it has none."""
    position = 0
    while position + 16 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        start = position + 8
        if length == 1:  # a length of 64 bits follows
            (length,) = struct.unpack(">Q", data[start : start + 8])
            start += 8
        if kind == b"jp2c":
            return data[start:]
        if length < 8:
            return b""
        position += length
    return b""
