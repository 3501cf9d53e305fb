"""Lesions pasted into controls: where they come to lie, what is left of the control, and that borders have no seam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gansweep.contracts import ImageSet
from gansweep.errors import CohortError
from gansweep.scoring.lesion_pasting import can_paste, carved_region, paste_lesions, poisson_blended

SIZE = 32
LESION = (slice(10, 18), slice(12, 20))


def heads(n: int = 12) -> ImageSet:
    """Controls of level -0.4 and patients of level 0.1 with a lesion of 0.9, all with air around them."""
    labels = torch.arange(n) % 2
    images = torch.full((n, 1, SIZE, SIZE), -1.0)
    images[:, :, 2:-2, 2:-2] = torch.where(labels == 1, 0.1, -0.4)[:, None, None, None]
    masks = torch.zeros(n, 1, SIZE, SIZE)
    masks[labels == 1, :, LESION[0], LESION[1]] = 1
    return ImageSet(torch.where(masks > 0, torch.tensor(0.9), images), labels, masks)


def test_a_pasted_lesion_is_the_patients_in_the_controls_image() -> None:
    found = paste_lesions(heads(), 1, 20, blend=False, seed=0)
    assert found.labels.tolist() == [1] * 20
    assert found.masks is not None
    assert bool(found.masks.flatten(1).any(1).all())
    levels = sorted(round(level, 3) for level in found.images.unique().tolist())
    assert levels == [-1.0, -0.4, 0.1, 0.9], "copied pixel by pixel; 0.1 is what lies around the lesion"
    assert bool((found.images[found.masks > 0] == 0.9).all())
    assert bool((found.images[:, :, :6] <= -0.4 + 1e-6).all()), "far from the lesion it is the control"


def test_it_repeats_itself() -> None:
    one, again, other = (paste_lesions(heads(), 1, 4, blend=True, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_carved_regions_are_as_wide_as_the_paper_says() -> None:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[LESION] = True  # 8 x 8 pixels, 4 deep
    rng = np.random.default_rng(0)
    sizes = np.array([carved_region(mask, rng).sum() for _ in range(400)])
    assert sizes.min() >= 16, "at least the inner 4 x 4"
    assert sizes.max() <= 16 * 16, "at most 4 pixels around it"
    # Half of the regions end inside, of these the 1.25 of 1.75 pixels that leave out the outermost pixels.
    assert (sizes < 64).mean() == pytest.approx(0.5 * 1.25 / 1.75, abs=0.08)
    assert (sizes > 64).mean() == pytest.approx(0.5 * 3 / 3.5, abs=0.08)


def test_poisson_blending_is_exact_where_nothing_differs_but_the_level() -> None:
    """Gradients of the donor with the values of the host: of two images that differ by a constant, the host."""
    rng = np.random.default_rng(0)
    host = rng.normal(size=(1, SIZE, SIZE)) * 0.1
    region = np.zeros((SIZE, SIZE), dtype=bool)
    region[8:11, 8:11] = True  # so small that nearly all of it is border
    blended = poisson_blended(host + 0.5, host, region)
    border = region.copy()
    border[9, 9] = False
    np.testing.assert_allclose(blended[0][border], host[0][border], atol=1e-9)
    assert blended[0, 9, 9] == pytest.approx(host[0, 9, 9] + 0.5), "the core keeps its own level"
    np.testing.assert_array_equal(blended[0][~region], host[0][~region])


def test_blending_leaves_a_smaller_seam_than_pasting() -> None:
    real = heads()
    seams = {}
    for blend in (False, True):
        found = paste_lesions(real, 1, 30, blend=blend, seed=0).images.double()
        steps = torch.cat([found.diff(dim=2).abs().flatten(), found.diff(dim=3).abs().flatten()])
        seams[blend] = float(steps[(steps > 0.01) & (steps < 0.59)].mean())  # less than the step from air to the head
    assert seams[True] < 0.8 * seams[False]


def test_lesions_stay_inside_the_body_where_a_control_allows_it() -> None:
    real = heads()
    small = real.images.clone()
    controls = (real.labels == 0).nonzero()[:, 0]
    small[controls[1:]] = -1.0
    small[controls[1:], :, 20:24, 20:24] = -0.4  # all but one control have no head where the lesion is
    found = paste_lesions(replace(real, images=small), 1, 20, blend=False, seed=0)
    assert bool((found.images[:, :, 4, 4] == -0.4).all()), "each is pasted into the control that has room"


def test_what_is_missing_is_told() -> None:
    real = heads()
    for broken in (
        replace(real, masks=None),
        replace(real, masks=torch.zeros_like(real.images)),
        replace(real, labels=torch.ones_like(real.labels)),
    ):
        assert not can_paste(broken, 1)
        with pytest.raises(CohortError, match="no lesion to paste"):
            paste_lesions(broken, 1, 4, blend=False, seed=0)
