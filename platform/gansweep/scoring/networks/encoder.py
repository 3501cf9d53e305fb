"""The cohort's own feature extractor: a small convolutional encoder trained on its real training images alone.

It learns three tasks together: to classify (if there is more than one class); to map two geometric views of an image to
the same features without collapse (VICReg, Bardes et al. 2022); and to estimate how much an image was blurred, noised
or changed in contrast. The last task keeps realism in the features, which the first two would discard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from gansweep.devices import exact_float32
from gansweep.errors import CohortError
from gansweep.scoring.networks.augmentation import augmented
from gansweep.scoring.networks.extractors import Extractor, content_hash
from gansweep.seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSet

__all__ = ["VERSION", "Encoder", "degraded", "extractor_of", "train_encoder"]

VERSION = 2
"""Part of the cache key. Increase it with every change that affects the result of training."""

BATCH = 32
DAMAGE_WEIGHT = 10.0
"""With a weight of 1, noise of a tenth of the grey range did not increase the distance on real head CT at all."""
WIDTHS = (16, 32, 64)
LEAST_SPREAD = 1e-6
"""Minimum spread of features of order one. Images that differ by a thousandth of the range have ten times that."""


class Encoder(nn.Module):
    """Maps images `[b, C, H, W]` in [-1, 1] to features `[b, 112]`: the channel means after each of three stages.

    Over the real training images, each feature has mean 0, and the features of each stage have a mean variance of 1. A
    distance is therefore in units of the real images' spread, and every stage contributes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.stages = nn.ModuleList(_stage(width, out) for width, out in zip(inputs, WIDTHS, strict=True))
        self.register_buffer("shift", torch.zeros(sum(WIDTHS)))
        self.register_buffer("scale", torch.ones(sum(WIDTHS)))
        self.shift: Tensor
        self.scale: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Returns standardised features `[b, 112]`."""
        pooled = []
        x = images
        for stage in self.stages:
            x = stage(x)
            pooled.append(x.mean((2, 3)))
        return (torch.cat(pooled, 1) - self.shift) / self.scale

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Fits shift and scale to `images`, which are moved to the encoder's device in batches.

        Raises:
            CohortError: all images look the same.
        """
        self.shift.zero_()
        self.scale.fill_(1)
        features = torch.cat([self(batch.to(self.shift.device)) for batch in images.split(256)])
        self.shift.copy_(features.mean(0))
        stop = 0
        for width in WIDTHS:
            start = stop
            stop = start + width
            stage = slice(start, stop)
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
    """Blurs images, adds noise and changes their contrast, by random amounts.

    Half of the amounts are zero, so that the encoder also learns from undamaged images.

    Returns:
        The changed images `[b, C, H, W]`, and the amounts of blur, noise and contrast `[b, 3]` in [0, 1].
    """
    amounts = torch.rand(len(images), 3, generator=generator)
    amounts = amounts * (torch.rand(len(images), 3, generator=generator) < 0.5)
    noise = torch.randn(images.shape, generator=generator)
    blur, grain, contrast = amounts.to(images.device)[:, :, None, None, None].unbind(1)
    smooth = images
    for _ in range(2):
        padded = functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
        smooth = functional.avg_pool2d(padded, 3, stride=1)
    blurred = images + blur * (smooth - images)
    centre = blurred.mean((1, 2, 3), keepdim=True)
    flattened = (blurred - centre) * (1 - 0.5 * contrast) + centre
    damaged = flattened + 0.2 * grain * noise.to(images.device)
    return damaged, amounts


def train_encoder(
    real: ImageSet,
    classes: int,
    steps: int,
    device: torch.device,
    progress: Callable[[str, int, int], None] | None = None,
) -> Encoder:
    """Trains an encoder on `real` for `steps` updates of 32 images. The result is reproducible on the same machine.

    Args:
        real: the cohort's training images.
        classes: number of classes; 1 omits the supervised task.
        steps: number of updates.
        device: device for training, on which the encoder stays.
        progress: called with (what, updates done, total updates), because large images take minutes on a CPU.

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
    # Without autotuning: the same machine must give the same features, which are named by their weights.
    with exact_float32(device):
        _fit(encoder.to(device), heads.to(device), real, classes, steps, progress)
    return encoder


def _fit(
    encoder: Encoder,
    heads: nn.ModuleDict,
    real: ImageSet,
    classes: int,
    steps: int,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    """Trains the encoder in place, with the heads of its tasks: see `train_encoder`."""
    encoder.train()
    device = encoder.shift.device
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
    encoder.standardise(real.images)


def _vicreg(one: Tensor, two: Tensor) -> Tensor:
    """Returns the VICReg loss (Bardes et al. 2022, eqs. 1 to 6).

    The weights of the invariance, variance and covariance terms are 25, 25 and 1, divided by 25.
    """
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
    """Creates an extractor from the weights of a trained encoder."""
    module = Encoder(state["stages.0.0.weight"].shape[1])
    module.load_state_dict(state)
    return Extractor(f"cohort-encoder:{content_hash(state)}", module.to(device).eval(), None, device, trained_on)
