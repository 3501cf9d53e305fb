"""Options that can do nothing with the files there are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice, write_volume

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = [
    ({"resplit": True}, "--resplit does nothing, because the source gives no split"),
    ({"bits": 12}, "--bits does nothing, because no picture has more than 8 bits"),
    ({"plane": "coronal"}, "--plane does nothing, because there are no NIfTI volumes"),
    ({"slices": 3}, "--slices does nothing, because there are no volumes and no series of several slices"),
    ({"series": "T1*"}, "--series does nothing, because there is no DICOM"),
    ({"assume_hu": True}, "--assume-hu does nothing, because there is no CT"),
    ({"derived": True}, "--derived does nothing, because there is no DICOM"),
]


def vain(root: Path, **settings: Any) -> list[str]:
    warnings = cohort_of(root / "source", root / "out", **settings).info.warnings
    return [warning for warning in warnings if "does nothing" in warning]


@pytest.mark.parametrize(("settings", "said"), OPTIONS)
def test_an_option_that_does_nothing_for_pictures(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    assert vain(tmp_path, **settings) == [said]


def test_all_are_told_at_once_and_none_without_options(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    assert vain(tmp_path) == []
    every = {key: value for settings, _ in OPTIONS for key, value in settings.items()}
    assert vain(tmp_path, **every) == [said for _, said in OPTIONS]


def test_options_that_do_something(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 4096, (20, 20)).astype(np.uint16)
        Image.fromarray(values).save(path)
    assert vain(tmp_path, bits=12) == []


def test_options_that_do_something_for_volumes(tmp_path: Path) -> None:
    for number in range(8):
        write_volume(tmp_path / "source" / CLASSES[number % 2] / f"T1w_{number}.nii.gz", number)
    assert vain(tmp_path, plane="coronal", slices=2, assume_hu=True, bits=12) == [
        "--bits does nothing, because no picture has more than 8 bits",
        "--assume-hu does nothing, because there is no CT",
    ]


def test_options_that_do_something_for_dicom_and_splits(tmp_path: Path) -> None:
    for number in range(18):
        split = ("train", "val", "test")[number // 2 % 3]
        write_slice(tmp_path / "source" / split / CLASSES[number % 2] / f"{number}.dcm", number, 1)
    assert vain(tmp_path, resplit=True, series="*", assume_hu=True, derived=True) == []
