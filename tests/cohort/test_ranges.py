"""Pictures whose range nobody knows, and windows that do not fit, are refused: they would all be black."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.masks import read_mask
from gansweep.cohort.readers.raster import read_raster
from gansweep.cohort.readers.slices import ScanError
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.arange(64).reshape(8, 8)


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.int32) * 30 - 1000,
        RAMP.astype(np.int32) * 2000,
        RAMP.astype(np.int32),
        (RAMP - 32).astype(np.int16),
        (RAMP - 32).astype(np.int8),
        RAMP.astype(np.int8),
    ],
    ids=["HU", "large", "small", "16 bits", "8 bits", "8 bits without negative values"],
)
def test_tiffs_without_a_known_range(tmp_path: Path, values: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(ScanError, match="signed or 32-bit values without a known range; save unsigned 8 or 16 bits"):
        read_raster(tmp_path / "a.tif")


def test_sixteen_bit_tiffs_have_one(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 1000).astype(np.uint16)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_raster(tmp_path / "a.tif")[0].pixels[0], RAMP * 1000 / 65535, rtol=1e-6)


def test_floating_point_values_that_are_none(tmp_path: Path) -> None:
    values = (RAMP / 64).astype(np.float32)
    values[3, 4] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ScanError, match="not finite"):
        read_raster(tmp_path / "a.tif")


def test_pages_are_not_left_unread(tmp_path: Path) -> None:
    first, *others = (Image.fromarray((RAMP + page).astype(np.uint8)) for page in range(3))
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    for read in (read_raster, read_mask):
        with pytest.raises(ScanError, match="3 pages; save each as its own file"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_floats_of_unusual_sizes_say_so(tmp_path: Path, kind: type) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (RAMP / 64).astype(kind))
    with pytest.raises(ScanError, match="floats of 16 or 64 bits; save unsigned 8 or 16 bits"):
        read_raster(tmp_path / "a.tif")


@pytest.mark.parametrize("window", ["0,255", "-20,120", "0.5,1.5"])
def test_windows_beyond_the_range_of_pictures(tmp_path: Path, window: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    with pytest.raises(CohortError, match=r"leaves \[0, 1\], the range to which 8-bit and 16-bit pictures are scaled"):
        ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, window=window))
    assert cohort_of(tmp_path / "source", tmp_path / "out", window="0.1,0.9").info.window == "0.1,0.9"


def test_twelve_bits_in_sixteen_are_told(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 4096, (16, 16)).astype(np.uint16)
        Image.fromarray(values).save(path)
    dark = cohort_of(tmp_path / "source", tmp_path / "dark").info
    assert any("no pixel reaches more than 6.2% of the range" in warning for warning in dark.warnings)
    for settings in ({"window": "0,0.0625"}, {"bits": 12}):
        bright = cohort_of(tmp_path / "source", tmp_path / "out", **settings)
        assert [warning for warning in dark.warnings if warning not in bright.info.warnings] == [
            (
                "no pixel reaches more than 6.2% of the range: choose another --window, or say with --bits how many "
                "bits 16-bit pictures use"
            )
        ]
    stored = np.asarray(Image.open(path), np.float32) / 4095
    np.testing.assert_allclose(bright.images[-1, 0] / bright.info.scale, stored, atol=1e-4)


def test_hounsfield_units_above_32768_are_told(tmp_path: Path) -> None:
    """The layout of DeepLesion."""
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(-1000, 1000, (16, 16)) + 32768
        values[0, :2] = 32768 - 1000, 32768 + 1000
        Image.fromarray(values.astype(np.uint16)).save(path)
    grey = cohort_of(tmp_path / "source", tmp_path / "grey").info
    span = "from 0.4847 to 0.5153 of the range, which --window=0.4847,0.5153 spreads"
    assert f"the images have little contrast: their values are {span}" in grey.warnings
    spread = cohort_of(tmp_path / "source", tmp_path / "spread", window="0.4847,0.5153")
    assert not any("contrast" in warning for warning in spread.info.warnings)
    hu = np.asarray(Image.open(path), np.float32) - 32768
    np.testing.assert_allclose(spread.images[-1, 0] / spread.info.scale, (hu + 1000) / 2000, atol=2e-3)
