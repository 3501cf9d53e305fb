"""The head of the CT phantom: scalp, skull, CSF, grey and white matter, and ventricles, in mm and Hounsfield units.

It is not derived from any patient. It consists of ellipses and noise fields, bent by a random smooth warp. The nuclei
have their positions in an atlas (axial slices between the third ventricle and the bodies of the lateral ventricles).
Attenuation values are those of textbooks: CSF 0-15 HU, white matter 20-30, grey matter 35-45, skull 300-1500.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "FIELD_OF_VIEW_MM",
    "NUCLEI",
    "Array",
    "Canvas",
    "Head",
    "Nucleus",
    "draw_head",
    "ellipse",
    "ellipsoid_section",
    "inside",
    "lay",
    "paint_head",
    "paint_skull",
]

Array = NDArray[np.floating[Any]]

FIELD_OF_VIEW_MM = 215.0  # a head is 190 mm long

# Attenuation in HU.
AIR = -1000.0
SCALP = 35.0
FAT = -70.0
CSF = 8.0
WHITE = 27.0
GREY = 38.0
FALX = 52.0


def ellipsoid_section(height: float, reach: float) -> np.float64:
    """Returns the relative in-plane size of an ellipsoid at `height` above its centre.

    `reach` is its half-axis upwards.
    """
    return np.float64(np.sqrt(max(0.0, 1.0 - (height / reach) ** 2)))


@dataclass(frozen=True)
class Nucleus:
    """A deep grey nucleus, one on each side: an ellipsoid.

    Args:
        x: centre, mm lateral of the midline.
        y: centre, mm towards the back.
        rx: half-axis along x, mm.
        ry: half-axis along y, mm.
        tilt: in-plane rotation, degrees.
        level: slice level of the centre; 0 is the lowest slice, 1 the highest.
        reach: half the height, in levels.
    """

    x: float
    y: float
    rx: float
    ry: float
    tilt: float
    level: float
    reach: float

    def section(self, level: float) -> float:
        """Returns the in-plane size at `level`, relative to that at the centre: 0 above and below the nucleus."""
        return float(ellipsoid_section(level - self.level, self.reach))


NUCLEI = {
    "caudate": Nucleus(14.0, -23.0, 4.5, 8.0, 15.0, 0.6, 0.9),
    "putamen": Nucleus(27.0, -5.0, 5.0, 15.0, -14.0, 0.45, 0.75),
    "pallidum": Nucleus(20.5, -2.0, 4.5, 8.5, -18.0, 0.4, 0.65),
    "thalamus": Nucleus(10.0, 13.0, 8.0, 13.0, -28.0, 0.5, 0.8),
}


@dataclass(frozen=True)
class Head:
    """The parameters of one patient's head.

    Args:
        size: scale relative to the mean adult head.
        aspect: width over length, relative to the mean.
        rotation: in-plane rotation, radians.
        shift: centre of the head, mm (x, y).
        asymmetry: scale of the right side over that of the left.
        atrophy: 0 for a young brain, 1 for wide sulci and ventricles.
        ventricles: scale of the ventricles.
        scalp: thickness, mm.
        skull: thickness, mm.
        bone: density of the outer and inner tables, HU.
        contrast: difference of grey and white matter, relative to the textbook.
        seed: seed of the noise fields that warp this head and fold its cortex.
    """

    size: float
    aspect: float
    rotation: float
    shift: tuple[float, float]
    asymmetry: float
    atrophy: float
    ventricles: float
    scalp: float
    skull: float
    bone: float
    contrast: float
    seed: int


def draw_head(rng: np.random.Generator) -> Head:
    """Draws a random adult head."""
    atrophy = float(rng.beta(1.6, 2.2))
    return Head(
        size=float(np.clip(rng.normal(1.0, 0.04), 0.9, 1.08)),
        aspect=float(np.clip(rng.normal(1.0, 0.035), 0.92, 1.08)),
        rotation=float(np.clip(rng.normal(0.0, 0.06), -0.17, 0.17)),
        shift=(float(rng.uniform(-5, 5)), float(rng.uniform(-5, 5))),
        asymmetry=float(np.clip(rng.normal(1.0, 0.025), 0.94, 1.06)),
        atrophy=atrophy,
        ventricles=float(0.75 + 0.7 * atrophy + rng.uniform(-0.12, 0.12)),
        scalp=float(rng.uniform(3.5, 7.0)),
        skull=float(rng.uniform(5.0, 8.5)),
        bone=float(rng.uniform(1050, 1500)),
        contrast=float(rng.uniform(0.85, 1.15)),
        seed=int(rng.integers(2**31)),
    )


class Canvas:
    """The pixels of one slice in the head's own coordinates: `x` to the image's right, `y` to the back, `[H, W]` in mm.

    Args:
        head: the head.
        level: slice level, 0 lowest to 1 highest; neighbouring levels have similar warps.
        pixels: height and width of the slice.
    """

    def __init__(self, head: Head, level: float, pixels: int) -> None:
        self.head = head
        self.level = level
        self.pixels = pixels
        self.spacing = FIELD_OF_VIEW_MM / pixels
        axis = ((np.arange(pixels) + 0.5) * self.spacing - FIELD_OF_VIEW_MM / 2).astype(np.float32)
        right, down = np.meshgrid(axis - head.shift[0], axis - head.shift[1])
        cos = np.cos(head.rotation)
        sin = np.sin(head.rotation)
        x = (cos * right + sin * down) / head.size
        y = (-sin * right + cos * down) / head.size
        # The wide part of the warp shapes the skull, the narrow part the nuclei.
        bend_x = 1.4 * self.field(70.0, 1) + 0.7 * self.field(22.0, 8)
        bend_y = 1.4 * self.field(70.0, 2) + 0.7 * self.field(22.0, 9)
        self.x: Array = (x * np.where(x > 0, head.asymmetry, 1.0) / head.aspect + bend_x).astype(np.float32)
        self.y: Array = (y + bend_y).astype(np.float32)

    def field(self, scale_mm: float, key: int) -> Array:
        """Returns smooth noise of unit variance `[H, W]` that changes slowly from level to level.

        It is drawn on a coarse grid with fixed spacing in mm, so it does not depend on the resolution.

        Args:
            scale_mm: size of its structures.
            key: fields with different keys are independent.
        """
        side = max(4, round(2 * FIELD_OF_VIEW_MM / scale_mm))
        grids = np.random.default_rng([self.head.seed, key]).standard_normal((2, side, side), np.float32)
        # A rotation between two independent grids keeps the variance at every level.
        angle = self.level * np.pi / 3
        grid = np.cos(angle) * grids[0] + np.sin(angle) * grids[1]
        weights = _spline(side, self.pixels)
        smooth = weights @ grid @ weights.T
        return np.asarray(smooth / max(float(smooth.std()), 1e-6), np.float32)


@lru_cache(maxsize=64)
def _spline(side: int, pixels: int) -> Array:
    """Returns weights `[pixels, side]` that evaluate the cubic spline through `side` points at `pixels` positions."""
    at = (np.arange(pixels) + 0.5) / pixels * (side - 1)
    columns = [ndimage.map_coordinates(point, [at], order=3, mode="reflect") for point in np.eye(side)]
    return np.stack(columns, axis=1).astype(np.float32)


def ellipse(canvas: Canvas, x: float, y: float, rx: float, ry: float, tilt: float = 0.0, soft: float = 0.5) -> Array:
    """Returns the coverage `[H, W]` in [0, 1] of a tilted ellipse (mm, degrees) with an edge `soft` mm wide."""
    return inside(distance(canvas, x, y, rx, ry, tilt), soft)


def distance(canvas: Canvas, x: float, y: float, rx: float, ry: float, tilt: float) -> Array:
    """Returns the approximate distance in mm to a tilted ellipse, negative inside."""
    angle = np.deg2rad(tilt)
    dx = canvas.x - x
    dy = canvas.y - y
    u = np.cos(angle) * dx + np.sin(angle) * dy
    v = -np.sin(angle) * dx + np.cos(angle) * dy
    radius = np.sqrt((u / rx) ** 2 + (v / ry) ** 2)
    return np.asarray((radius - 1.0) * np.minimum(rx, ry), np.float32)


def inside(distances: Array, soft: float = 0.5) -> Array:
    """Converts signed distances in mm to coverage: 1 if negative, 0 if positive, with an edge `soft` mm wide."""
    return np.asarray(0.5 - 0.5 * np.tanh(distances / (2 * soft)), np.float32)


def lay(hu: Array, cover: Array, value: float | Array) -> Array:
    """Blends `value` over `hu` with the opacity `cover` in [0, 1]."""
    return np.asarray(hu + cover * (value - hu), np.float32)


def paint_head(canvas: Canvas) -> tuple[Array, Array]:
    """Paints the head without calcifications.

    Returns:
        Hounsfield units `[H, W]`, and the coverage `[H, W]` of the space inside the skull.
    """
    hu, cavity, under_skull = paint_skull(canvas)
    return lay(hu, cavity, _brain(canvas, under_skull)), cavity


def paint_skull(canvas: Canvas) -> tuple[Array, Array, Array]:
    """Paints scalp and skull.

    Returns:
        Hounsfield units `[H, W]`, the coverage `[H, W]` of the space inside the skull, and the distance `[H, W]` in mm
        to the inner table, negative inside.
    """
    head = canvas.head
    outer = _outline(canvas)
    thickness = head.skull * (1.0 + 0.18 * np.abs(canvas.y) / 90.0 + 0.08 * canvas.field(30.0, 3))
    under_scalp = outer + head.scalp * (1.0 + 0.1 * canvas.field(35.0, 4))
    under_skull = under_scalp + thickness

    # The diploe, the spongy middle layer of the skull, is less dense than the two tables around it.
    depth = np.clip(-under_scalp / thickness, 0.0, 1.0)
    tables = head.bone * (1.0 - 0.55 * np.exp(-(((depth - 0.5) / 0.2) ** 2)) * (1 + 0.2 * canvas.field(8.0, 5)))

    hu = np.full_like(outer, AIR)
    hu = lay(hu, inside(outer), np.where(outer > -1.6, SCALP, 0.5 * (SCALP + FAT)).astype(np.float32))
    hu = lay(hu, inside(under_scalp), tables.astype(np.float32))
    return hu, inside(under_skull), under_skull


def _outline(canvas: Canvas) -> Array:
    """Returns the distance to the skin in mm. The outline is an egg that is wider at the back."""
    smaller = 1.0 - 0.05 * canvas.level
    width = 75.0 * smaller * (1.0 + 0.09 * canvas.y / 95.0)
    radius = np.sqrt((canvas.x / width) ** 2 + (canvas.y / (95.0 * smaller)) ** 2)
    return np.asarray((radius - 1.0) * 84.0, np.float32)


def _brain(canvas: Canvas, under_skull: Array) -> Array:
    """Paints CSF, cortex, white matter, deep nuclei and ventricles, `[H, W]` in HU."""
    head = canvas.head
    grey = 33.0 + (GREY - 33.0) * head.contrast
    white = 33.0 + (WHITE - 33.0) * head.contrast
    surface = under_skull + 1.0 + 2.8 * head.atrophy
    fluid, cortex = _folds(canvas, surface)
    tissue = lay(np.full_like(surface, white), cortex, grey)
    for side in (-1.0, 1.0):
        for nucleus in NUCLEI.values():
            section = nucleus.section(canvas.level)
            if section > 0.2:
                rx = nucleus.rx * section
                ry = nucleus.ry * section
                cover = ellipse(canvas, side * nucleus.x, nucleus.y, rx, ry, side * nucleus.tilt, 0.8)
                tissue = lay(tissue, cover, grey + 1.0)
    tissue = (tissue + 0.8 * canvas.field(14.0, 6)).astype(np.float32)
    tissue = lay(tissue, np.maximum(fluid, _ventricles(canvas)), CSF)
    falx = np.exp(-((canvas.x / 0.9) ** 2)) * ((canvas.y < -44.0) | (canvas.y > 48.0))
    return lay(tissue, falx.astype(np.float32), FALX)


def _folds(canvas: Canvas, surface: Array) -> tuple[Array, Array]:
    """Returns the coverage `[H, W]` of the CSF around and between the gyri, and of the cortex."""
    atrophy = canvas.head.atrophy
    # Sulci follow the zero crossings of a noise field, near the surface only.
    ridge = np.abs(canvas.field(15.0, 7))
    shallow = inside(-(surface + 9.0 + 12.0 * atrophy), 1.5)
    sulci = inside((ridge - 0.13 - 0.14 * atrophy) * 9.0, 0.5) * shallow
    fissure = np.exp(-((canvas.x / (0.9 + 1.3 * atrophy)) ** 2)) * ((canvas.y < -40.0) | (canvas.y > 46.0))

    sylvian = np.zeros_like(surface)
    for side in (-1.0, 1.0):
        arm = np.abs(canvas.x - side * (46.0 - 0.012 * (canvas.y + 2.0) ** 2)) - 0.7 - 2.0 * atrophy
        sylvian = np.maximum(sylvian, inside(arm, 0.6) * inside(np.abs(canvas.y + 2.0) - 17.0, 1.5))
        out = np.abs(canvas.y + 4.0 + 0.12 * (np.abs(canvas.x) - 50.0)) - 0.6 - 1.6 * atrophy
        sylvian = np.maximum(sylvian, inside(out, 0.6) * inside(44.0 - side * canvas.x, 1.5))
    fluid = np.maximum.reduce([1.0 - inside(surface), sulci, fissure, sylvian * (1.0 - 0.7 * canvas.level)])

    # The cortex lines the surface, the sulci and the insula.
    band = inside(-(surface + 4.0), 0.8)
    around = inside((ridge - 0.55) * 9.0, 0.8) * inside(-(surface + 16.0 + 8.0 * atrophy), 1.5)
    insula = ndimage.maximum_filter(sylvian, size=max(1, round(5.0 / canvas.spacing)))
    return fluid.astype(np.float32), np.maximum.reduce([band, around, insula]).astype(np.float32)


def _ventricles(canvas: Canvas) -> Array:
    """Returns the coverage of frontal horns, third ventricle, atria and, at higher levels, the bodies."""
    scale = canvas.head.ventricles
    level = canvas.level
    parts = [ellipse(canvas, 0.0, 1.0, 1.9 * scale, 10.0, 0.0) * float(inside(np.array((level - 0.55) * 20), 1.0))]
    for side in (-1.0, 1.0):
        parts.append(ellipse(canvas, side * (6.0 + 2.5 * scale), -29.0, 3.6 * scale, 11.0 * scale**0.5, side * 18.0))
        parts.append(ellipse(canvas, side * 25.0, 34.0, 4.6 * scale, 12.0 * scale**0.5, side * -22.0))
        if level > 0.6:
            high = (level - 0.6) / 0.4
            parts.append(ellipse(canvas, side * 13.5, 2.0, 4.8 * scale * high**0.5, 26.0, side * -14.0))
    return np.asarray(np.maximum.reduce(parts), np.float32)
