"""Samples at each report: where they lie, and what the picture has."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from gansweep.store.artifacts import growth_path, growth_paths, nearest_path, sheet_path
from gansweep.store.sheet import growth_png


def test_each_trials_pictures_are_found_in_the_order_of_iterations(store):
    for trial_id, iteration in (("0003", 1000), ("0003", 200), ("0001-20000", 5)):
        store.write_bytes(growth_path(trial_id, iteration), b"png")
    store.write_bytes(sheet_path("0003"), b"png")
    store.write_bytes(nearest_path("0003"), b"png")
    assert growth_paths(store) == {
        "0001-20000": [(5, growth_path("0001-20000", 5))],
        "0003": [(200, growth_path("0003", 200)), (1000, growth_path("0003", 1000))],
    }


def test_a_row_for_each_class_in_native_pixels():
    images = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    picture = np.asarray(Image.open(io.BytesIO(growth_png(images, torch.tensor([0, 1, 0, 1])))))
    assert picture.shape == (16, 16)
    assert [int(picture[row, column]) for row in (0, 8) for column in (0, 8)] == [0, 170, 85, 255]
