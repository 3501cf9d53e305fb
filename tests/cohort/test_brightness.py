"""Brightness that would give a class away, or make some pictures black, is told with both ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.cohort.scans import CLASSES, cohort_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def pictures_of(root: Path, change: Callable[[Any, int], Any]) -> Path:
    """Six pictures of each class: values from 0 to 200, black at the edges, changed by the picture's number."""
    for number in range(12):
        values = np.random.default_rng(number).integers(0, 201, (16, 16)).astype(np.uint8)
        values[[0, -1]] = 0
        values[:, [0, -1]] = 0
        values[8, 8] = 200
        path = root / CLASSES[number > 5] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(change(values, number)).save(path)
    return root


def of_fahr(change: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    """Changes only the pictures of the second class."""
    return lambda values, number: np.asarray(change(values) if number > 5 else values, np.uint8)


def in_sixteen_bits(numbers: set[int]) -> Callable[[Any, int], Any]:
    """Stores some of the pictures with 12 bits in 16."""
    return lambda values, number: values.astype(np.uint16) * 16 if number in numbers else values


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ({1, 3, 5, 7, 9, 11}, "6 x 16-bit up to 4.9% of the range; 6 x 8-bit up to 78.4% of the range"),
        ({7}, "1 x 16-bit up to 4.9% of the range; 11 x 8-bit up to 78.4% of the range"),
    ],
)
def test_two_depths_within_the_classes(tmp_path: Path, numbers: set[int], shown: str) -> None:
    source = pictures_of(tmp_path / "source", in_sixteen_bits(numbers))
    warnings = cohort_of(source, tmp_path / "out").info.warnings
    (told,) = [warning for warning in warnings if "bit depths use different parts" in warning]
    assert shown in told
    assert "--bits" in told
    cohort = cohort_of(source, tmp_path / "bits", bits=12)
    assert not any("bit depths use" in warning for warning in cohort.info.warnings)
    white = cohort.images.reshape(12, -1).max(1) / cohort.info.scale
    stored = [3200 / 4095] * len(numbers) + [200 / 255] * (12 - len(numbers))
    np.testing.assert_allclose(sorted(white), stored, atol=1e-5)


def test_twelve_and_sixteen_bits_in_files_of_sixteen(tmp_path: Path) -> None:
    source = pictures_of(
        tmp_path / "source", lambda values, number: values.astype(np.uint16) * (16, 257, 257)[number % 3]
    )
    warnings = cohort_of(source, tmp_path / "out").info.warnings
    (told,) = [warning for warning in warnings if "--bits" in warning]
    assert told.startswith("4 of 12 pictures of 16 bits use at most 12.5% of their range, and are dark")
    assert "no pixel reaches" not in told


def test_pictures_of_fourteen_bits_with_maxima_without_a_gap_are_fine(tmp_path: Path) -> None:
    source = pictures_of(
        tmp_path / "source", lambda values, number: (values / 200 * (6000 + 800 * number)).astype(np.uint16)
    )
    warnings = cohort_of(source, tmp_path / "out").info.warnings
    assert not any("are dark" in warning for warning in warnings)


def test_two_depths_that_use_their_range_are_fine(tmp_path: Path) -> None:
    source = pictures_of(
        tmp_path / "source", lambda values, number: values.astype(np.uint16) * 257 if number % 2 else values
    )
    warnings = cohort_of(source, tmp_path / "out").info.warnings
    assert not any("--bits" in warning or "differs" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (
            lambda values: values * 0.6 + 80,
            "control: 6 x 8-bit, 0.0% to 78.4% of the range; fahr: 6 x 8-bit, 31.4% to 78.4%",
        ),
        (
            lambda values: 120 + values * 0.53,
            "control: 6 x 8-bit, 0.0% to 78.4% of the range; fahr: 6 x 8-bit, 47.1% to 88.6%",
        ),
    ],
)
def test_a_class_that_is_lifted(tmp_path: Path, change: Callable[[Any], Any], shown: str) -> None:
    warnings = cohort_of(pictures_of(tmp_path / "source", of_fahr(change)), tmp_path / "out").info.warnings
    (told,) = [warning for warning in warnings if "differs" in warning]
    assert told.startswith("used range differs between classes, which may give them away: ")
    assert shown in told


def test_a_class_that_is_inverted(tmp_path: Path) -> None:
    source = pictures_of(tmp_path / "source", of_fahr(lambda values: 255 - values))
    warnings = cohort_of(source, tmp_path / "out").info.warnings
    (told,) = [warning for warning in warnings if "differs" in warning]
    assert told.startswith("brightness at the edges (is one inverted?) differs between classes")
    assert told.endswith("control: 0% of the range; fahr: 100% of the range")


@pytest.mark.parametrize(
    ("suffix", "height", "line"),
    [
        (
            "jpg",
            16,
            "the share of JPEG and WebP files differs between classes, which may give them away: control: 0%; fahr",
        ),
        (
            "png",
            12,
            "the shape of images differs between classes, which may give them away: control: short side 100% of",
        ),
        ("png", 15, ""),
    ],
)
def test_files_and_shapes_that_give_a_class_away(tmp_path: Path, suffix: str, height: int, line: str) -> None:
    source = pictures_of(tmp_path / "source", lambda values, _: values)
    for path in (source / CLASSES[1]).iterdir():
        Image.open(path).resize((16, height)).save(path.with_suffix(f".{suffix}"), quality=95)
        if suffix != "png":
            path.unlink()
    told = [warning for warning in cohort_of(source, tmp_path / "out").info.warnings if "differs between" in warning]
    assert [warning.startswith(line) for warning in told] == ([True] if line else [])
