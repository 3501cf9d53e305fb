"""Images named after others, as augmented and annotated copies are, are told."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_volume

if TYPE_CHECKING:
    from pathlib import Path

DIGESTS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(40)]


def told(root: Path, names: list[str]) -> list[str]:
    """What is told of these names in each of two classes."""
    for place, label in enumerate(CLASSES):
        for number, name in enumerate(names):
            write_picture(root / "source" / label / f"{name}.png", 1000 * place + number)
    return [line for line in cohort_of(root / "source", root / "out").info.warnings if "named after others" in line]


@pytest.mark.parametrize("added", ["flip", "rot90", "superpixels", "annotated (1)"])
def test_a_word_that_is_added(tmp_path: Path, added: str) -> None:
    names = [f"s{number}{more}" for number in range(6) for more in ("", f"_{added}")]
    [line] = told(tmp_path, names)
    assert line.startswith("12 files are named after others (X_flip beside X, ")


def test_both_sides_of_a_patient(tmp_path: Path) -> None:
    """The layout of EyePACS."""
    names = [f"{number}_{side}" for number in range(6) for side in ("left", "right")]
    assert told(tmp_path, names)[0].startswith("12 files are named after others")


@pytest.mark.parametrize("parts", [("t1", "flair"), ("0000", "0001")])
def test_volumes_of_one_patient(tmp_path: Path, parts: tuple[str, str]) -> None:
    for number in range(12):
        for place, part in enumerate(parts):
            path = tmp_path / "source" / CLASSES[number % 2] / f"case_{number:03d}_{part}.nii.gz"
            write_volume(path, 2 * number + place)
    warnings = cohort_of(tmp_path / "source", tmp_path / "out").info.warnings
    assert [line[:34] for line in warnings if "named after" in line] == ["12 files are named after others (X"]


def test_a_digest_that_is_added(tmp_path: Path) -> None:
    names = [f"s{number}_jpg.rf.{digest[:32]}" for number in range(6) for digest in DIGESTS[number : number + 3]]
    assert told(tmp_path, names)[0].startswith("24 files are named after others")


@pytest.mark.parametrize(
    "names",
    [
        [f"s{number}_{part}" for number in range(6) for part in range(2)],
        [f"scan_{digest}" for digest in DIGESTS],
        DIGESTS,
        [f"case{number}_{('left', 'right')[number % 2]}" for number in range(12)],
        [f"1.2.840.{number}.a" for number in range(6)],
    ],
)
def test_names_of_other_images(tmp_path: Path, names: list[str]) -> None:
    assert told(tmp_path, names) == []
