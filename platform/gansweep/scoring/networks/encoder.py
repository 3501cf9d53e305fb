"""The cohort's own feature extractor: a small convolutional encoder trained on its real training images alone.

It learns three things at once: the classes (where there is more than one), to give two geometric views of an image
the same features without collapsing them (VICReg, Bardes et al. 2022), and to tell how much an image was blurred,
noised or changed in contrast. The last keeps in the features what realism is about, which the first two would discard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from gansweep.errors import CohortError
from gansweep.scoring.networks.augmentation import augmented
from gansweep.scoring.networks.extractors import Extractor, content_hash
from gansweep.seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSet

__all__ = ["VERSION", "Encoder", "degraded", "extractor_of", "train_encoder"]

VERSION = 2
"""Part of the cache key; to be raised with every change of what training gives."""

BATCH = 32
DAMAGE_WEIGHT = 10.0
"""With a weight of 1 the distance on real head CT did not rise at all under noise of a tenth of the grey range."""
WIDTHS = (16, 32, 64)
LEAST_SPREAD = 1e-6
"""Of features of order one; images that differ by a thousandth of the range have ten times that."""


class Encoder(nn.Module):
    """Images `[b, C, H, W]` in [-1, 1] to features `[b, 112]`: the mean of each channel after each of three stages.

    Over the real training images each feature has mean 0, and the features of a stage have a mean variance of 1: a
    distance is in units of the real images' spread, and every stage counts.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.stages = nn.ModuleList(_stage(a, b) for a, b in zip(inputs, WIDTHS, strict=True))
        self.register_buffer("shift", torch.zeros(sum(WIDTHS)))
        self.register_buffer("scale", torch.ones(sum(WIDTHS)))
        self.shift: Tensor
        self.scale: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Standardised features `[b, 112]`."""
        pooled = []
        x = images
        for stage in self.stages:
            x = stage(x)
            pooled.append(x.mean((2, 3)))
        return (torch.cat(pooled, 1) - self.shift) / self.scale

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Fits shift and scale to `images`.

        Raises:
            CohortError: all of them look the same.
        """
        self.shift.zero_()
        self.scale.fill_(1)
        features = torch.cat([self(batch) for batch in images.split(256)])
        self.shift.copy_(features.mean(0))
        start = 0
        for width in WIDTHS:
            stage = slice(start, start := start + width)
            spread = features[:, stage].var(0).mean().sqrt()
            if not spread > LEAST_SPREAD:
                raise CohortError(
                    f"all {len(images)} real images look the same, so an encoder has no unit of distance",
                    fix="look at the images, or name another feature extractor",
                )
            self.scale[stage] = spread


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
        nn.GroupNorm(outputs // 8, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.SiLU(),
    )


def degraded(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images blurred, noised and changed in contrast by random amounts, and the amounts `[b, 3]` in [0, 1].

    Half of the amounts are zero, so that undamaged images are part of what is learned.
    """
    amounts = torch.rand(len(images), 3, generator=generator)
    amounts = amounts * (torch.rand(len(images), 3, generator=generator) < 0.5)
    noise = torch.randn(images.shape, generator=generator)
    blur, grain, contrast = amounts.to(images.device)[:, :, None, None, None].unbind(1)
    smooth = images
    for _ in range(2):
        smooth = functional.avg_pool2d(functional.pad(smooth, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mixed = images + blur * (smooth - images)
    centre = mixed.mean((1, 2, 3), keepdim=True)
    return (mixed - centre) * (1 - 0.5 * contrast) + centre + 0.2 * grain * noise.to(images.device), amounts


def train_encoder(
    real: ImageSet,
    classes: int,
    steps: int,
    device: torch.device,
    progress: Callable[[str, int, int], None] | None = None,
) -> Encoder:
    """An encoder trained on `real` for `steps` updates of 32 images; the same one every time on the same machine.

    Args:
        real: the cohort's training images.
        classes: number of classes; 1 leaves the supervised part out.
        steps: updates.
        device: where it trains and stays.
        progress: called with (what, updates done, updates in all); with large images on a CPU they take minutes.

    Raises:
        CohortError: all images look the same.
    """
    with seeded(0, torch.device("cpu")):
        encoder = Encoder(real.images.shape[1])
        heads = nn.ModuleDict(
            {
                "classes": nn.Linear(sum(WIDTHS), classes),
                "amounts": nn.Linear(sum(WIDTHS), 3),
                "views": nn.Sequential(nn.Linear(sum(WIDTHS), 128), nn.SiLU(), nn.Linear(128, 128)),
            }
        )
    encoder.to(device).train()
    heads.to(device)
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        rows = torch.randint(len(real), (BATCH,), generator=generator)
        images = real.images[rows].to(device)
        labels = real.labels[rows].to(device)
        damaged, amounts = degraded(images, generator)
        views = torch.cat([augmented(images, generator), augmented(images, generator), damaged])
        one, two, three = encoder(views).chunk(3)
        loss = _vicreg(heads["views"](one), heads["views"](two))
        loss = loss + DAMAGE_WEIGHT * functional.mse_loss(heads["amounts"](three), amounts.to(device))
        if classes > 1:
            loss = loss + functional.cross_entropy(heads["classes"](one), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress:
            progress("training an encoder", step + 1, steps)
    encoder.eval().requires_grad_(requires_grad=False)
    encoder.standardise(real.images.to(device))
    return encoder


def _vicreg(one: Tensor, two: Tensor) -> Tensor:
    """Invariance, variance and covariance terms (Bardes et al. 2022, eqs. 1 to 6), weights 25, 25 and 1 over 25."""
    loss = functional.mse_loss(one, two)
    for z in (one, two):
        z = z - z.mean(0)
        covariance = z.T @ z / (len(z) - 1)
        loss = loss + functional.relu(1 - (covariance.diagonal() + 1e-4).sqrt()).mean() / 2
        off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + off_diagonal / z.shape[1] / 25
    return loss


def extractor_of(
    state: dict[str, Tensor], device: torch.device, trained_on: str = "the training patients"
) -> Extractor:
    """The extractor of a trained encoder's weights."""
    module = Encoder(state["stages.0.0.weight"].shape[1])
    module.load_state_dict(state)
    return Extractor(f"cohort-encoder:{content_hash(state)}", module.to(device).eval(), None, device, trained_on)
