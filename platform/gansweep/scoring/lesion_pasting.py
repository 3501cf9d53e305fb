"""Pastes real lesions into real controls: synthetic patients that need no generator.

A generator of lesions must beat this. It needs masks, and aligned images (one region, one orientation), because each
lesion is pasted at its original position.
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
"""Background threshold for images in [-1, 1]. Darker pixels that are not enclosed lie outside the body."""
TRIES = 8
"""Number of controls tried for a lesion before it is pasted even if part of it lies outside the body."""


class _Pasted(NamedTuple):
    image: Floats
    mask: Bools


def can_paste(real: ImageSet, positive: int) -> bool:
    """Returns whether there is a lesion to cut out and a control to paste it into."""
    if real.masks is None:
        return False
    marked = real.masks.flatten(1).any(1)
    return bool((marked & (real.labels == positive)).any()) and bool((real.labels != positive).any())


def paste_lesions(real: ImageSet, positive: int, n: int, *, blend: bool, seed: int) -> ImageSet:
    """Makes samples of the positive class: controls, each with a lesion from a patient.

    Args:
        real: training images with masks.
        positive: index of the class with lesions.
        n: number of samples.
        blend: whether borders are blended (`poisson_blended`) instead of copied.
        seed: seed of the random draws.

    Returns:
        n images with masks and without patients.

    Raises:
        CohortError: there are no masks, no lesion, or no control.

    Source:
        Zhang et al. 2021, "CarveMix" (arXiv 2108.06883), section 2.2, for the carved region. CarveMix also pastes
        lesions into other patients. Here they are pasted into controls only, whose label becomes that of the lesion.
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
    """Returns a region around or within a lesion, with a random margin.

    Let d be the greatest depth of the lesion. The signed distance of the region's border from the lesion's border is
    uniform in [-d / 2, 0] (inside) or in [0, d] (outside), with probability one half each.

    Args:
        mask: lesion mask `[H, W]`, not empty.
        rng: random generator.

    Source:
        CarveMix, eqs. 3 and 4.
    """
    # Distance of pixel centres from the lesion's outline, which is half a pixel away from them; negative inside.
    depth = ndimage.distance_transform_edt(mask) - 0.5
    away = np.where(mask, -depth, ndimage.distance_transform_edt(~mask) - 0.5)
    deepest = float(depth.max())
    inside = bool(rng.random() < 0.5)
    border = float(rng.uniform(-deepest / 2, 0)) if inside else float(rng.uniform(0, deepest))
    region: Bools = away <= border
    return region


def poisson_blended(donor: Floats, host: Floats, region: Bools) -> Floats:
    """Returns the host with the donor's `region`: its gradients at the border, its own grey values at the core.

    At the border, the solution of Poisson's equation with the donor's gradients and the host's values leaves no seam.
    It would also shift the whole lesion to the host's level, but in CT the level carries the diagnosis. From the border
    to the core, the result therefore changes gradually to the donor's own values.

    Args:
        donor: image with the lesion, `[C, H, W]`.
        host: control, `[C, H, W]`.
        region: region to copy from the donor, `[H, W]`.

    Source:
        Pérez, Gangnet & Blake 2003, "Poisson Image Editing", eqs. 3 and 7 to 9.
    """
    # The edge of the image has no host values to match.
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
    """Returns a mask `[H, W]` of everything except the air around the body."""
    body: Bools = ndimage.binary_fill_holes((image > BACKGROUND).any(0))
    return body
