"""Calcifications of the phantom: those of Fahr's disease, and harmless ones that look similar.

Fahr's disease (primary familial brain calcification) calcifies both basal ganglia and often the thalami and the dentate
nuclei. In most healthy adults, the pineal gland, the choroid plexus or the falx is calcified, and specks in the
pallidum are a common incidental finding. A detector that only looks for bright spots is misled by all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.phantom.anatomy import NUCLEI, Canvas, Nucleus, ellipse, ellipsoid_section
from gansweep.cohort.phantom.fossa import DENTATE

if TYPE_CHECKING:
    from gansweep.cohort.phantom.anatomy import Array

__all__ = ["Deposit", "draw_confounders", "draw_fahr", "paint_deposits"]


@dataclass(frozen=True)
class Deposit:
    """One calcification: an ellipsoid in the head's coordinates.

    Args:
        x: centre, mm to the image's right.
        y: centre, mm to the back.
        rx: half-axis along x, mm.
        ry: half-axis along y, mm.
        tilt: in-plane rotation, degrees.
        level: slice level of the centre.
        reach: half the height, in levels.
        density: peak attenuation, HU.
        grain: key of the noise field that makes it crumbly.
        fahr: whether it belongs to the disease, and so to the lesion mask.
    """

    x: float
    y: float
    rx: float
    ry: float
    tilt: float
    level: float
    reach: float
    density: float
    grain: int
    fahr: bool


def draw_fahr(rng: np.random.Generator) -> list[Deposit]:
    """Draws the deposits of one patient with Fahr's disease.

    Both pallida are always calcified, and often putamina, caudates, thalami and dentate nuclei. The stage says how far
    the disease has spread; early disease is small and faint.
    """
    stage = float(rng.beta(0.9, 2.2))
    peak = float(np.exp(rng.uniform(np.log(80.0), np.log(240.0 + 760.0 * stage))))
    chances = {"pallidum": 1.0, "putamen": 0.15 + 0.7 * stage, "caudate": 0.1 + 0.6 * stage, "thalamus": 0.7 * stage}
    deposits = []
    for name, chance in chances.items():
        if rng.uniform() <= chance:
            deposits += _pair(rng, NUCLEI[name], stage, peak * (1.0 if name == "pallidum" else 0.8))

    # A separate random stream, so that adding the dentate nuclei did not change any other random number.
    (separate,) = rng.spawn(1)
    if separate.uniform() <= 0.1 + 0.6 * stage:
        deposits += _pair(separate, DENTATE, stage, 0.8 * peak)
    return deposits


def _pair(rng: np.random.Generator, nucleus: Nucleus, stage: float, peak: float) -> list[Deposit]:
    """The deposits of one nucleus on both sides, which differ slightly."""
    pair = []
    for side in (-1.0, 1.0):
        extent = float(np.clip((0.34 + 0.55 * stage) * rng.uniform(0.8, 1.25), 0.3, 1.0))
        pair.append(
            Deposit(
                x=side * (nucleus.x + rng.normal(0, 0.8)),
                y=nucleus.y + float(rng.normal(0, 1.5)),
                rx=nucleus.rx * extent,
                ry=nucleus.ry * extent,
                tilt=side * nucleus.tilt,
                level=nucleus.level,
                reach=nucleus.reach,
                density=peak * float(rng.uniform(0.75, 1.25)),
                grain=int(rng.integers(1000, 2**31)),
                fahr=True,
            )
        )
    return pair


def draw_confounders(rng: np.random.Generator, *, specks: bool) -> list[Deposit]:
    """Draws harmless calcifications: of the pineal gland, choroid plexus, falx and, with `specks`, the pallidum.

    Args:
        rng: source of randomness.
        specks: only controls have them, because in Fahr's disease the pallidum is calcified anyway.
    """
    found = []
    # Pineal gland.
    if rng.uniform() < 0.6:
        radius = float(rng.uniform(1.2, 3.2))
        found.append(_harmless(rng, rng.normal(0, 0.6), 28.0 + rng.normal(0, 1.5), radius, (100, 600)))
    # Choroid plexus, on one or both sides.
    if rng.uniform() < 0.5:
        for side in (-1.0, 1.0):
            if rng.uniform() < 0.8:
                centre = side * (25.0 + rng.normal(0, 1.5)), 33.0 + rng.normal(0, 3.0)
                found.append(_harmless(rng, *centre, float(rng.uniform(1.2, 4.0)), (90, 500)))
    # Falx: elongated along the midline.
    if rng.uniform() < 0.3:
        centre = rng.normal(0, 0.6), float(rng.choice([-62.0, -54.0, 60.0]) + rng.normal(0, 4.0))
        found.append(_harmless(rng, *centre, float(rng.uniform(1.0, 2.2)), (150, 700), stretch=3.5))
    if specks and rng.uniform() < 0.6:
        found += _specks(rng)
    return found


def _specks(rng: np.random.Generator) -> list[Deposit]:
    """Incidental specks in one pallidum or, unevenly, in both."""
    sides = (-1.0, 1.0) if rng.uniform() < 0.5 else (float(rng.choice([-1.0, 1.0])),)
    nucleus = NUCLEI["pallidum"]
    return [
        _harmless(
            rng,
            side * (nucleus.x + rng.normal(0, 1.5)),
            nucleus.y + rng.normal(0, 3.5),
            float(rng.uniform(1.0, 3.0)),
            (80, 400),
        )
        for side in sides
    ]


def _harmless(
    rng: np.random.Generator, x: float, y: float, radius: float, density: tuple[int, int], stretch: float = 1.4
) -> Deposit:
    return Deposit(
        x=float(x),
        y=float(y),
        rx=radius,
        ry=radius * float(rng.uniform(1.0, stretch)),
        tilt=float(rng.uniform(-20, 20)) if stretch < 2 else 0.0,
        level=float(rng.uniform(0.25, 0.65)),
        reach=float(rng.uniform(0.35, 0.7)),
        density=float(np.exp(rng.uniform(*np.log(density)))),
        grain=int(rng.integers(1000, 2**31)),
        fahr=False,
    )


def paint_deposits(hu: Array, canvas: Canvas, deposits: list[Deposit]) -> tuple[Array, Array]:
    """Paints deposits over the tissue.

    Args:
        hu: tissue `[H, W]` in HU.
        canvas: the slice.
        deposits: of the whole head; those outside the slice are skipped.

    Returns:
        Hounsfield units `[H, W]`, and the coverage `[H, W]` of the deposits that belong to the disease.
    """
    lesion = np.zeros_like(hu)
    for deposit in deposits:
        section = ellipsoid_section(canvas.level - deposit.level, deposit.reach)
        if section < 0.25:
            continue
        rx = deposit.rx * section
        ry = deposit.ry * section
        cover = ellipse(canvas, deposit.x, deposit.y, rx, ry, deposit.tilt, 0.6)
        crumbs = np.clip(0.75 + 0.3 * canvas.field(5.0, deposit.grain), 0.25, 1.2)
        # Calcium only brightens: where tissue is already denser, nothing changes.
        hu = (hu + cover * crumbs * np.maximum(deposit.density - hu, 0.0)).astype(np.float32)
        if deposit.fahr:
            lesion = np.maximum(lesion, cover)
    return hu, lesion
