import io

import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.contracts import ImageSet
from gansweep.store.sheet import nearest_png, sheet_png

PATIENT = "5f1d0c0ffee"


def _real(channels=1, size=32, value=-1.0):
    labels = torch.arange(2).repeat_interleave(6)
    images = torch.full((12, channels, size, size), value)
    return ImageSet(images, labels, patients=(PATIENT,) * 12)


def _pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("size", [8, 32, 128])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_image_is_shown_whole_and_unchanged(channels, size):
    fake = torch.full((16, channels, size, size), 0.5)
    sheet = _pixels(sheet_png(_real(channels, size), fake, torch.arange(16) % 2, ("control", "fahr")))
    area = max(1, -(-96 // size)) ** 2 * size * size * (1 if channels == 3 else channels)
    assert (sheet == 0).all(axis=2).sum() >= 2 * 4 * area, "four black real images of each of two classes"
    assert (sheet == 191).all(axis=2).sum() >= 2 * 8 * area, "eight grey generated ones"


def test_values_outside_the_range_are_clipped():
    fake = torch.full((2, 1, 32, 32), 7.0)
    assert (_pixels(sheet_png(_real(), fake, torch.arange(2), ("a", "b"))) == 255).all(axis=2).sum() >= 2 * 96 * 96


def test_a_class_may_lack_images_and_have_a_long_name():
    png = sheet_png(_real(), torch.zeros(3, 1, 32, 32), torch.zeros(3, dtype=torch.int64), ("a" * 80, "b"))
    assert len(_pixels(png).shape) == 3


def test_nothing_of_the_patient_enters_the_file():
    png = sheet_png(_real(), torch.zeros(2, 1, 32, 32), torch.arange(2), ("control", "fahr"))
    assert PATIENT.encode() not in png
    assert Image.open(io.BytesIO(png)).info == {}


@pytest.mark.parametrize("channels", [1, 3])
def test_nearest_pairs_are_shown_whole_and_in_their_columns(channels):
    images = {name: torch.full((5, channels, 32, 32), value) for name, value in (("a", -1.0), ("b", 0.5))}
    sheet = _pixels(nearest_png(images, ["0.10 copy"] * 5))
    black, grey = ((sheet == value).all(axis=2) for value in (0, 191))
    assert black.sum() == grey.sum() == 5 * 96 * 96
    assert np.flatnonzero(black.any(axis=0)).min() < np.flatnonzero(grey.any(axis=0)).min()
    assert Image.open(io.BytesIO(nearest_png(images, [""] * 5))).info == {}
