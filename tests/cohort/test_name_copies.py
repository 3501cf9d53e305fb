"""Images named after others, as augmented and annotated copies are, are told."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.cohort.scans import CLASSES, cohort_of, write_picture

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
    assert line.startswith("12 images are named after others (X_flip beside X, ")


def test_both_sides_of_a_patient(tmp_path: Path) -> None:
    """The layout of EyePACS."""
    names = [f"{number}_{side}" for number in range(6) for side in ("left", "right")]
    assert told(tmp_path, names)[0].startswith("12 images are named after others")


def test_a_digest_that_is_added(tmp_path: Path) -> None:
    names = [f"s{number}_jpg.rf.{digest[:32]}" for number in range(6) for digest in DIGESTS[number : number + 3]]
    assert told(tmp_path, names)[0].startswith("24 images are named after others")


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
