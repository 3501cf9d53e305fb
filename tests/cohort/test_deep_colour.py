"""Pictures of 16 bits in colour or with transparency keep all their bits."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from gansweep.cohort.readers.raster import read_raster
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

VALUES = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
OPACITY = np.random.default_rng(1).integers(0, 65536, (5, 7, 1)).astype(np.uint16)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png(path: Path, values: Any, *chunks: bytes) -> Path:
    """A PNG of 16 bits with 2 to 4 channels; Pillow writes none."""
    kind = {2: 4, 3: 2, 4: 6}[values.shape[2]]
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def read(path: Path, bits: int | None = None) -> Any:
    """`[H, W, C]` in [0, 1]."""
    (found,) = read_raster(path, bits)
    assert found.depth == "16-bit"
    return np.moveaxis(found.pixels, 0, -1)


def test_colour(tmp_path: Path) -> None:
    np.testing.assert_allclose(read(write_png(tmp_path / "a.png", VALUES)), VALUES / 65535, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_parts_are_over_black(tmp_path: Path, channels: int) -> None:
    path = write_png(tmp_path / "a.png", np.concatenate([VALUES[..., :channels], OPACITY], axis=-1))
    shown = VALUES[..., :channels] / 65535 * (OPACITY / 65535)
    np.testing.assert_allclose(read(path), shown, atol=1e-5)


def test_a_transparent_colour_is_black(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", VALUES, chunk(b"tRNS", struct.pack(">3H", *VALUES[2, 3].tolist())))
    expected = VALUES / 65535
    expected[2, 3] = 0
    np.testing.assert_allclose(read(path), expected, atol=1e-7)


def test_twelve_bits_in_colour(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", VALUES >> 4)
    np.testing.assert_allclose(read(path, 12), (VALUES >> 4) / 4095, atol=1e-7)
    with pytest.raises(CohortError, match="need more than 10 bits"):
        read_raster(path, 10)


@pytest.mark.parametrize("options", [{}, {"compression": "deflate"}, {"planarconfig": "separate"}], ids=str)
def test_tiff(tmp_path: Path, options: dict[str, str]) -> None:
    planar = "planarconfig" in options
    stored = np.moveaxis(VALUES, -1, 0) if planar else VALUES
    data = imagecodecs.tiff_encode(np.ascontiguousarray(stored), photometric="rgb", **options)
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_allclose(read(tmp_path / "a.tif"), VALUES / 65535, atol=1e-7)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation(tmp_path: Path, turn: int) -> None:
    """Pillow turns the same picture of 8 bits in the same way."""
    exif = Image.Exif()
    exif[0x0112] = turn
    small = (VALUES >> 8).astype(np.uint8)
    Image.fromarray(small).save(tmp_path / "b.png", exif=exif)
    path = write_png(tmp_path / "a.png", small.astype(np.uint16) * 257, chunk(b"eXIf", exif.tobytes()[6:]))
    (expected,) = read_raster(tmp_path / "b.png")
    np.testing.assert_allclose(read(path), np.moveaxis(expected.pixels, 0, -1), atol=1e-6)


def test_grey_in_three_channels_is_grey(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", np.repeat(VALUES[..., :1], 3, axis=-1))
    np.testing.assert_allclose(read(path), VALUES[..., :1] / 65535, atol=1e-7)


def test_a_float_tiff_in_which_white_is_zero(tmp_path: Path) -> None:
    values = np.random.default_rng(2).random((5, 7)).astype(np.float32)
    picture = Image.fromarray(1 - values)
    picture.save(tmp_path / "a.tif", tiffinfo={262: 0})
    (found,) = read_raster(tmp_path / "a.tif")
    np.testing.assert_allclose(found.pixels[0], values, atol=1e-6)
