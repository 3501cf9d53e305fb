"""The posterior fossa of the CT phantom, about four centimetres below the basal ganglia.

It contains the cerebellum, the pons, the fourth ventricle and the petrous bones, and the dentate nuclei, which Fahr's
disease calcifies at a late stage. Like the rest of the phantom, it consists of ellipses and noise fields, bent by the
same warp (see `anatomy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.phantom.anatomy import (
    AIR,
    CSF,
    FAT,
    GREY,
    WHITE,
    Canvas,
    Nucleus,
    ellipse,
    inside,
    lay,
    paint_skull,
)

if TYPE_CHECKING:
    from gansweep.cohort.phantom.anatomy import Array

__all__ = ["DENTATE", "FOSSA_HIGHEST", "FOSSA_LOWEST", "paint_fossa"]

FOSSA_LOWEST = -0.95
FOSSA_HIGHEST = -0.75
"""The range of slice levels that show the dentate nuclei."""

DENTATE = Nucleus(14.0, 36.0, 4.0, 7.5, -20.0, -0.85, 0.25)


def paint_fossa(canvas: Canvas) -> tuple[Array, Array]:
    """Paints the lower head without calcifications.

    Returns:
        Hounsfield units `[H, W]`, and the coverage `[H, W]` of the space inside the skull.
    """
    hu, skull_space, under_skull = paint_skull(canvas)
    hu = lay(hu, skull_space, _brain(canvas, under_skull))
    cavity = skull_space
    for cover, value in _skull_base(canvas):
        hu = lay(hu, cover * skull_space, value)
        cavity = cavity * (1.0 - cover)
    return hu, np.asarray(cavity, np.float32)


def _brain(canvas: Canvas, under_skull: Array) -> Array:
    """Temporal lobes in front, pons and cerebellum behind, and CSF between them, `[H, W]` in HU."""
    head = canvas.head
    grey, white = (33.0 + (value - 33.0) * head.contrast for value in (GREY, WHITE))
    surface = under_skull + 1.5 + 2.0 * head.atrophy
    tissue = np.full_like(surface, CSF)
    for side in (-1.0, 1.0):
        lobe = ellipse(canvas, side * 38.0, -24.0, 29.0, 27.0, side * 20.0) * inside(surface)
        tissue = lay(tissue, lobe, grey)
        tissue = lay(tissue, ellipse(canvas, side * 38.0, -22.0, 17.0, 15.0, side * 20.0, 2.0), white)
    cerebellum = ellipse(canvas, 0.0, 41.0, 51.0, 34.0) * inside(surface)
    # The folia are thin dark lines from side to side, wider with atrophy.
    folia = np.abs(np.sin(canvas.y * 0.9 + 1.5 * canvas.field(25.0, 21))) < 0.1 + 0.25 * head.atrophy
    tissue = lay(tissue, cerebellum, grey - 9.0 * folia * (np.abs(canvas.x) > 8.0))
    for side in (-1.0, 1.0):
        tissue = lay(tissue, ellipse(canvas, side * 20.0, 37.0, 20.0, 15.0, side * -15.0, 2.5), white)
        dentate = ellipse(canvas, side * DENTATE.x, DENTATE.y, DENTATE.rx, DENTATE.ry, side * DENTATE.tilt, 0.8)
        tissue = lay(tissue, dentate, grey)
    tissue = lay(tissue, ellipse(canvas, 0.0, 2.0, 15.0, 13.0), white + 2.0)
    tissue = (tissue + 0.8 * canvas.field(14.0, 6)).astype(np.float32)
    size = head.ventricles
    return lay(tissue, ellipse(canvas, 0.0, 20.0, 6.5 * size, 4.0 * size), CSF)


def _skull_base(canvas: Canvas) -> list[tuple[Array, float | Array]]:
    """(coverage, HU) of what is painted over the brain, in order: orbits with globes, petrous bones, ethmoid cells."""
    bone = (canvas.head.bone * (0.55 + 0.12 * canvas.field(6.0, 22))).astype(np.float32)
    # The first two are bone around the orbits and in the midline.
    parts: list[tuple[Array, float | Array]] = [
        (ellipse(canvas, 0.0, -66.0, 55.0, 22.0), bone),
        (ellipse(canvas, 0.0, -30.0, 9.0, 16.0), bone),
    ]
    for side in (-1.0, 1.0):
        parts.append((ellipse(canvas, side * 30.0, -68.0, 17.0, 19.0, side * 12.0), FAT))
        parts.append((ellipse(canvas, side * 31.0, -74.0, 11.5, 11.5), CSF + 2.0))
        parts.append((ellipse(canvas, side * 40.0, 8.0, 27.0, 7.0, side * 28.0), bone))
        # Mastoid air cells at the petrous bone's outer end.
        cells = ellipse(canvas, side * 57.0, 18.0, 9.0, 8.0) * inside(canvas.field(4.0, 24) * 2.0, 0.5)
        parts.append((cells.astype(np.float32), 0.6 * AIR))
    cells = ellipse(canvas, 0.0, -66.0, 9.0, 15.0) * inside(canvas.field(5.0, 23) * 2.0, 0.5)
    parts.append((cells.astype(np.float32), 0.8 * AIR))
    return parts
