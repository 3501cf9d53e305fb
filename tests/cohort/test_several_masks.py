"""Several masks of one image are joined, and one mask of several images goes to those that it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.cohort.scans import CLASSES, cohort_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        ("image_1.png", ("mask_01.png", "mask_1.png")),
        ("s.png", ("s_mask.png", "s_mask_1.png")),
        ("s.png", ("s_mask_1.png", "s_mask_01.png")),
    ],
)
def test_several_masks_of_an_image_are_joined_and_told(tmp_path: Path, image: str, masks: tuple[str, str]) -> None:
    for case in range(6):
        folder = tmp_path / "source" / CLASSES[case % 2] / f"case{case}"
        folder.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(case).integers(0, 256, (16, 16), np.uint8)).save(folder / image)
        for number, name in enumerate(masks[: 1 if case == 5 else 2]):
            drawn = np.zeros((16, 16), np.uint8)
            drawn[2 : 5 + number, 8 * number : 8 * number + 4] = 255
            Image.fromarray(drawn).save(folder / name)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    counts = np.load(cohort.path / "masks.npy").reshape(6, -1).sum(axis=1)
    assert sorted(counts.tolist()) == [12, 28, 28, 28, 28, 28]
    told = "5 of them have several masks, of which the union is used"
    assert sum(told in line for line in cohort.info.warnings) == 1
