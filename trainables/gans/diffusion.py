"""A denoising diffusion model (Ho et al. 2020): a baseline that is not a GAN."""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gansweep.config import AugmentationSettings, Frozen, LossSettings, PenaltySettings, validated
from gansweep.contracts import Phase
from gansweep.errors import ConfigError
from trainables.conditioning.conditionings import sampled_classes
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from typing import Self

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Condition, ImageSpec, Scalars, Trainables

__all__ = ["Architecture", "Diffusion"]

_GROUPS = 4
"""Groups of the group normalisation. Widths are multiples of it."""
_HEAD = 8
"""Channels of an attention head."""
_LARGEST_ATTENTION = 64
"""Maximum side of the map with attention, in pixels. The cost grows with the fourth power of the side."""


class Architecture(Frozen):
    """The network of `diffusion` and its noise.

    Args:
        width: channels at the image's resolution, a multiple of 8; doubled once, at the first halving.
        levels: number of resolutions, including the image's. Attention is at the smallest.
        blocks: number of residual blocks per resolution.
        timesteps: number of noise levels.
        sampling_steps: number of timesteps used for sampling (DDIM, Song et al. 2021); at most `timesteps`.
        schedule: noise schedule.
        prediction: what the network predicts: the noise, or the velocity (Salimans & Ho 2022).
    """

    width: int = Field(32, ge=8, le=256, multiple_of=8)
    levels: int = Field(3, ge=2, le=5)
    blocks: int = Field(1, ge=1, le=3)
    timesteps: int = Field(1000, ge=10, le=4000)
    sampling_steps: int = Field(50, ge=2, le=1000)
    schedule: Literal["cosine", "scaled_linear_beta", "linear_beta"] = "cosine"
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"

    @model_validator(mode="after")
    def _steps_are_timesteps(self) -> Self:
        if self.sampling_steps > self.timesteps:
            raise ValueError(f"{self.sampling_steps} sampling steps of {self.timesteps} timesteps")
        return self


class Diffusion:
    """MONAI's diffusion U-Net and DDIM scheduler as a family.

    There is no critic. The only phase, `denoise`, minimises the mean squared error of the predicted noise or velocity,
    with the generator's learning rate. With conditioning `concat`, the class is added to the embedding of the timestep.
    With `none`, samples have no class.

    Args:
        config: the trial's configuration.
        spec: shape of the images; any number of channels.
        trainables: unused.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "width": 8,
        "levels": 2,
        "timesteps": 20,
        "sampling_steps": 3,
    }
    averaged = ("generator",)
    phases = (Phase("denoise", ("generator",), "generator"),)

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        del trainables
        from monai.networks.nets import DiffusionModelUNet
        from monai.networks.schedulers import DDIMScheduler

        shape = _architecture(config)
        self.shape = shape
        self.spec = spec
        self.conditional = config.conditioning != "none"
        channels = [shape.width, *[2 * shape.width] * (shape.levels - 1)]
        self.generator = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=spec.channels,
            out_channels=spec.channels,
            num_res_blocks=shape.blocks,
            channels=channels,
            attention_levels=[False] * (shape.levels - 1) + [True],
            norm_num_groups=_GROUPS,
            num_head_channels=_HEAD,
            num_class_embeds=len(spec.classes) if self.conditional else None,
            # Without it, the attention weights of all pairs of positions are in memory: gigabytes at 64 x 64 positions.
            use_flash_attention=True,
        )
        self.networks = {"generator": self.generator}
        self.state = nn.Module()
        # The scheduler reads values of its tables, which have none on the meta device.
        with torch.device("cpu"):
            self.scheduler = DDIMScheduler(
                num_train_timesteps=shape.timesteps, schedule=shape.schedule, prediction_type=shape.prediction
            )
            self.scheduler.set_timesteps(shape.sampling_steps)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects settings that only a critic would use, and images that cannot be halved."""
        del trainables
        shape = _architecture(config)
        _check_unused(config)
        if config.conditioning not in {"none", "concat"}:
            raise ConfigError(f"conditioning = {config.conditioning!r} in diffusion", fix="use 'concat' or 'none'")
        if spec is None:
            return
        halvings = shape.levels - 1
        if spec.size % 2**halvings:
            raise ConfigError(
                f"images of {spec.size} pixels cannot be halved {halvings} times",
                where="diffusion",
                fix="use fewer architecture.levels, or a data.size such as 32, 48 or 64",
            )
        smallest = spec.size // 2**halvings
        if smallest > _LARGEST_ATTENTION:
            levels = ceil(log2(spec.size / _LARGEST_ATTENTION)) + 1
            raise ConfigError(
                f"architecture.levels = {shape.levels}: attention over all positions of {smallest} x {smallest} pixels",
                where="diffusion",
                fix=f"set architecture.levels to {levels} or more at {spec.size} pixels",
            )

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Returns every class, or none if the network is not conditioned on the class."""
        return sampled_classes(config, spec)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the mean squared error at a random timestep for each image (Ho et al. 2020, equation 14)."""
        del phase, step
        noise = batch.draws.normal(*batch.images.shape[1:])
        times = batch.draws.integers(self.shape.timesteps)
        noisy = self.scheduler.add_noise(batch.images, noise, times)
        predicted = full_precision(self._predicted(noisy, times, batch.labels))
        if self.shape.prediction == "epsilon":
            target = noise
        else:
            target = self.scheduler.get_velocity(batch.images, noise, times)
        error = (predicted - target).square().mean()
        return error, {"denoising": error.detach()}

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """Returns samples `[n, C, H, W]` in [-1, 1]. The initial noise is their only source of randomness."""
        weight = next(self.generator.parameters())
        shape = (n, self.spec.channels, self.spec.size, self.spec.size)
        x = torch.randn(shape, generator=generator, device=weight.device, dtype=weight.dtype)
        for time in self.scheduler.timesteps.tolist():
            times = torch.full((n,), time, device=weight.device, dtype=torch.int64)
            predicted = self._predicted(x, times, condition.labels)
            x, _ = self.scheduler.step(predicted, time, x)
        return x.clamp(-1, 1)

    def _predicted(self, noisy: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        return cast("Tensor", self.generator(noisy, times, class_labels=labels if self.conditional else None))


def _check_unused(config: TrialConfig) -> None:
    """Rejects settings that have no effect. The defaults and the values of the shipped spaces are accepted."""
    losses = (LossSettings(), LossSettings(kind="least_squares"))
    penalties = (PenaltySettings(), PenaltySettings(kind="none"))
    unused = {
        "loss": config.loss not in losses,
        "penalty": config.penalty not in penalties,
        "augmentation": config.augmentation != AugmentationSettings(),
        "attention": config.attention != "none",
    }
    for key, is_set in unused.items():
        if is_set:
            raise ConfigError(
                f"{key}: diffusion has no critic, and its own loss and attention", fix=f"leave {key} as it is"
            )


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
