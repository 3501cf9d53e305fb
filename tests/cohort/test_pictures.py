"""Pictures in unusual ways: turned by a tag, of few bits, with a small coloured part, or of another format."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from gansweep.cohort.readers.masks import read_mask
from gansweep.cohort.readers.raster import read_raster
from gansweep.cohort.readers.slices import ScanError
from tests.cohort.scans import CLASSES, cohort_of

if TYPE_CHECKING:
    from pathlib import Path

GREY = np.random.default_rng(0).integers(1, 256, (5, 9)).astype(np.uint8)
TURNED = {
    1: GREY,
    2: GREY[:, ::-1],
    3: GREY[::-1, ::-1],
    4: GREY[::-1],
    5: GREY.T,
    6: GREY.T[:, ::-1],
    7: GREY[::-1, ::-1].T,
    8: GREY.T[::-1],
}
"""The picture as it is meant for each orientation (TIFF 6.0, tag 274)."""


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("kind", ["8-bit", "16-bit", "float", "colour"])
def test_a_turned_tiff(tmp_path: Path, kind: str, compression: str | None, orientation: int) -> None:
    values = {
        "8-bit": GREY,
        "16-bit": GREY.astype(np.uint16) * 257,
        "float": GREY.astype(np.float32) / 255,
        "colour": np.stack([GREY, 255 - GREY, GREY // 2], -1),
    }[kind]
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path, tiffinfo={274: orientation}, compression=compression)
    found = read_raster(path)[0].pixels
    assert len(found) == (3 if kind == "colour" else 1)
    np.testing.assert_allclose(found[0], TURNED[orientation] / 255, atol=1e-6)


@pytest.mark.parametrize("orientation", TURNED)
def test_a_turned_tiff_of_sixteen_bits_in_colour(tmp_path: Path, orientation: int) -> None:
    deep = np.stack([GREY, 255 - GREY, GREY // 2], -1).astype(np.uint16) * 257
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extratags=[tag])
    found = read_raster(tmp_path / "a.tif")[0].pixels
    np.testing.assert_allclose(found[0], TURNED[orientation] / 255, atol=1e-6)


@pytest.mark.parametrize("orientation", TURNED)
def test_a_turned_mask(tmp_path: Path, orientation: int) -> None:
    drawn = GREY > 128
    Image.fromarray(drawn.astype(np.uint8) * 255).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), TURNED[orientation] > 128)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [True, False])
def test_a_transparent_level_of_few_bits(tmp_path: Path, bits: int, transparent: bool) -> None:
    top = 2**bits - 1
    levels = np.random.default_rng(bits).integers(0, top + 1, (8, 16))
    level = max(1, top - 3)
    rows = b""
    for row in levels:
        packed = "".join(f"{value:0{bits}b}" for value in row)
        rows += b"\0" + int(packed, 2).to_bytes(16 * bits // 8, "big")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = [chunk(b"IHDR", struct.pack(">2I5B", 16, 8, bits, 0, 0, 0, 0))]
    parts += [chunk(b"tRNS", struct.pack(">H", level))] if transparent else []
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    expected = np.where(levels == level, 0, levels) if transparent else levels
    found = read_raster(tmp_path / "a.png")[0].pixels
    assert found.shape == (1, 8, 16)
    np.testing.assert_allclose(found[0], expected / top, atol=1e-6)


def grey(seed: int) -> np.ndarray:
    """A smooth picture `[64, 64]`, as JPEG can store it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 200, (8, 8)).astype(np.uint8))
    return np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_small_coloured_part_keeps_its_colour(tmp_path: Path, dtype: Any) -> None:
    rgb = np.stack([grey(1)] * 3, -1)
    rgb[28:34, 28:34] = (255, 0, 0)
    deep = rgb.astype(dtype) * (257 if dtype == np.uint16 else 1)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    found = read_raster(tmp_path / "a.png")[0].pixels
    np.testing.assert_allclose(found, np.moveaxis(rgb, -1, 0) / 255, atol=1e-6)


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_chroma_noise_is_no_colour(tmp_path: Path, quality: int) -> None:
    """Noise in the channels, compressed twice."""
    rng = np.random.default_rng(2)
    noisy = np.clip(np.stack([grey(1)] * 3, -1).astype(int) + rng.integers(-4, 5, (64, 64, 3)), 0, 255)
    for source in (noisy.astype(np.uint8), np.stack([rng.integers(0, 256, (64, 64)).astype(np.uint8)] * 3, -1)):
        Image.fromarray(source).save(tmp_path / "a.jpg", quality=quality)
        Image.open(tmp_path / "a.jpg").save(tmp_path / "b.jpg", quality=quality)
        assert read_raster(tmp_path / "b.jpg")[0].pixels.shape == (1, 64, 64)


def test_grey_pictures_have_the_same_values_beside_coloured_ones(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "source" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        values = grey(number)
        Image.fromarray(values if number < 4 else np.stack([values] * 3, -1)).save(folder / f"{number}.png")
    alone = cohort_of(tmp_path / "source", tmp_path / "alone")
    assert np.load(alone.path / "images.npy").shape == (8, 1, 16, 16)
    values = np.stack([grey(9)] * 3, -1)
    values[28:36, 28:36] = (255, 0, 0)
    Image.fromarray(values).save(tmp_path / "source" / "fahr" / "9.png")
    mixed = cohort_of(tmp_path / "source", tmp_path / "mixed")
    pixels = np.load(mixed.path / "images.npy")
    assert pixels.shape == (9, 3, 16, 16)
    expected = dict(zip(alone.manifest["source_sha256"], np.load(alone.path / "images.npy"), strict=True))
    for digest, found in zip(mixed.manifest["source_sha256"], pixels, strict=True):
        if digest in expected:
            np.testing.assert_array_equal(found, np.repeat(expected[digest], 3, axis=0))
        else:
            np.testing.assert_array_equal(found[:, 7:9, 7:9].reshape(3, 4), [[65535] * 4, [0] * 4, [0] * 4])


def test_formats_that_start_programs_stay_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", start)
    Image.fromarray(GREY).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(ScanError, match=r"not a readable image \(cannot identify image file\)$"):
        read_raster(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_a_picture_under_the_name_of_another_format(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(GREY).save(tmp_path / "a.jpg", format=kind, **options)
    np.testing.assert_allclose(read_raster(tmp_path / "a.jpg")[0].pixels[0], GREY / 255, atol=1e-6)
