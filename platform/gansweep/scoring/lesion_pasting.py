"""Real lesions pasted into real controls: synthetic patients that cost no generator.

A generator of lesions has to beat this. It needs masks, and images that lie alike (one region, one orientation), since
a lesion is pasted where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse import linalg

from gansweep.contracts import ImageSet
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

__all__ = ["can_paste", "carved_region", "paste_lesions", "poisson_blended"]

BACKGROUND = -0.95
"""Images are in [-1, 1]. What is darker and not enclosed lies outside the body."""
TRIES = 8
"""Controls tried for a lesion before it is pasted although part of it comes to lie outside the body."""


class _Pasted(NamedTuple):
    image: Floats
    mask: Bools


def can_paste(real: ImageSet, positive: int) -> bool:
    """Whether there are a lesion to carve out and a control to paste it into."""
    if real.masks is None:
        return False
    marked = real.masks.flatten(1).any(1)
    return bool((marked & (real.labels == positive)).any()) and bool((real.labels != positive).any())


def paste_lesions(real: ImageSet, positive: int, n: int, *, blend: bool, seed: int) -> ImageSet:
    """Samples of the positive class: controls, each with the lesion of a patient.

    Args:
        real: training images with masks.
        positive: the class with lesions.
        n: number of samples.
        blend: whether borders are blended (`poisson_blended`) instead of copied.
        seed: of the draws.

    Returns:
        n images with masks and without patients.

    Raises:
        CohortError: no masks, no lesion, or no control.

    Source:
        Zhang et al. 2021, "CarveMix" (arXiv 2108.06883), section 2.2, for the region that is carved out. There lesions
        are pasted into other patients too; here into controls alone, whose label is then the lesion's.
    """
    if not can_paste(real, positive) or real.masks is None:
        raise CohortError("no lesion to paste, or no control to paste it into", fix="ingest with masks")
    images = real.images.double().numpy()
    masks = real.masks[:, 0].numpy() > 0
    labels = real.labels.numpy()
    donors = np.flatnonzero((labels == positive) & masks.any((1, 2)))
    hosts = np.flatnonzero(labels != positive)
    bodies = {int(host): _body(images[host]) for host in hosts}
    rng = np.random.default_rng(seed)
    made = [_pasted(images, masks, int(rng.choice(donors)), bodies, blend=blend, rng=rng) for _ in range(n)]
    return ImageSet(
        torch.from_numpy(np.stack([one.image for one in made])).float().clamp(-1, 1),
        torch.full((n,), positive, dtype=torch.int64),
        torch.from_numpy(np.stack([one.mask for one in made])[:, None]).float(),
    )


def _pasted(
    images: Floats, masks: Bools, donor: int, bodies: dict[int, Bools], *, blend: bool, rng: np.random.Generator
) -> _Pasted:
    region = carved_region(masks[donor], rng)
    hosts = rng.permutation(list(bodies))[:TRIES]
    host = next((host for host in hosts if not (region & ~bodies[host]).any()), hosts[0])
    if blend:
        image = poisson_blended(images[donor], images[host], region)
    else:
        image = np.where(region, images[donor], images[host])
    return _Pasted(image, masks[donor] & region)


def carved_region(mask: Bools, rng: np.random.Generator) -> Bools:
    """A region around or within a lesion, as wide as chance has it.

    With d the greatest depth of the lesion, the border lies at a distance from the lesion's own that is uniform in
    [-d / 2, 0] (inside) or in [0, d] (outside), each in half of the cases.

    Args:
        mask: `[H, W]` of a lesion, not empty.
        rng: draws.

    Source:
        CarveMix, eqs. 3 and 4.
    """
    # Of pixel centres, to the lesion's outline half a pixel from them; negative inside.
    depth = ndimage.distance_transform_edt(mask) - 0.5
    away = np.where(mask, -depth, ndimage.distance_transform_edt(~mask) - 0.5)
    deepest = float(depth.max())
    inside = bool(rng.random() < 0.5)
    border = float(rng.uniform(-deepest / 2, 0)) if inside else float(rng.uniform(0, deepest))
    region: Bools = away <= border
    return region


def poisson_blended(donor: Floats, host: Floats, region: Bools) -> Floats:
    """The host with the donor's `region`: its gradients at the border, its own grey values at the core.

    At the border the solution of Poisson's equation with the donor's gradients and the host's values leaves no seam.
    It would also shift the whole lesion to the host's level, and in CT the level carries the diagnosis. So from the
    border to the core it gives way to the donor's own values.

    Args:
        donor: `[C, H, W]`, with the lesion.
        host: `[C, H, W]`, the control.
        region: `[H, W]` what is taken from the donor.

    Source:
        Pérez, Gangnet & Blake 2003, "Poisson Image Editing", eqs. 3 and 7 to 9.
    """
    # On the picture's own edge there is no value to meet.
    region = region.copy()
    region[[0, -1], :] = False
    region[:, [0, -1]] = False
    if not region.any():
        return host.copy()
    number = np.full(region.shape, -1)
    number[region] = np.arange(int(region.sum()))
    rows, columns = np.nonzero(region)
    matrix = sparse.lil_array((len(rows), len(rows)))
    matrix.setdiag(4.0)
    right = np.zeros((len(donor), len(rows)))
    for down, across in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        neighbour = (rows + down, columns + across)
        index = number[neighbour]
        within = index >= 0
        matrix[np.flatnonzero(within), index[within]] = -1.0
        right += donor[:, rows, columns] - donor[:, neighbour[0], neighbour[1]]
        right[:, ~within] += host[:, neighbour[0][~within], neighbour[1][~within]]
    solve = linalg.factorized(matrix.tocsc())
    depth = ndimage.distance_transform_edt(region)[region]
    core = (depth - 1) / max(float(depth.max()) - 1, 1.0)  # 0 at the border, 1 at the deepest pixel
    blended = host.copy()
    for channel, values in enumerate(right):
        blended[channel, rows, columns] = (1 - core) * solve(values) + core * donor[channel, rows, columns]
    return blended


def _body(image: Floats) -> Bools:
    """`[H, W]` what is not the air around the body."""
    body: Bools = ndimage.binary_fill_holes((image > BACKGROUND).any(0))
    return body
