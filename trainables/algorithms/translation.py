"""Shared parts of image-to-image families: the choice of source and target images, and checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from gansweep.config import Frozen
from gansweep.contracts import Condition, PairedTask
from gansweep.errors import ConfigError
from gansweep.training.sampling import choose, condition_for
from trainables.algorithms.adversarial_objective import SlicedStepRandom
from trainables.algorithms.checks import check_attention, check_critic

if TYPE_CHECKING:
    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, ImageSet, ImageSpec, StepRandom, Trainables

__all__ = [
    "DomainBatch",
    "Domains",
    "TranslationArchitecture",
    "check_translation",
    "choose_same_class",
    "no_class_conditioning",
]

Kind = Literal["classes", "pairs", "fusion"]
CriticNorm = Literal["instance", "group", "none", "spectral"]


class TranslationArchitecture(Frozen):
    """Settings of all image-to-image families with patch critics.

    Args:
        domains: what is translated. classes: between the cohort's two classes, unpaired; pairs: from the paired images
            to the cohort's own kind; fusion: from both images of a pair to one; auto: pairs if the cohort has paired
            images, else classes.
        critic_width: channels of the critic's first layer.
        critic_layers: number of the critic's strided layers; with 3, each score sees a patch of 70x70 pixels.
        critic_norm: the critic's normalisation; spectral normalises its weights.
        flips: whether training images are flipped left to right at random.
    """

    domains: Literal["auto", "classes", "pairs", "fusion"] = "auto"
    critic_width: int = Field(64, ge=4, le=256)
    critic_layers: int = Field(3, ge=1, le=5)
    critic_norm: CriticNorm = "instance"
    flips: bool = True


@dataclass(frozen=True)
class DomainBatch:
    """One domain's images in a step, with their random numbers.

    Args:
        images: `[b, C, H, W]`.
        draws: random numbers for these b images.
    """

    images: Tensor
    draws: StepRandom


@dataclass(frozen=True)
class Domains:
    """The source and the target domain.

    Args:
        kind: `TranslationArchitecture.domains`, with auto resolved.
        channels: channels of the source and of the target.
        flips: whether training images are flipped left to right at random.
    """

    kind: Kind
    channels: tuple[int, int]
    flips: bool = False

    @classmethod
    def from_spec(cls, shape: TranslationArchitecture, spec: ImageSpec) -> Domains:
        """Returns the domains of an architecture for images of `spec`."""
        return cls._between(shape, spec.channels, spec.paired_channels)

    @classmethod
    def from_data(cls, shape: TranslationArchitecture, data: ImageSet) -> Domains:
        """Returns the domains of an architecture for the images of `data`."""
        paired = 0 if data.paired is None else data.paired.shape[1]
        return cls._between(shape, data.images.shape[1], paired)

    @classmethod
    def _between(cls, shape: TranslationArchitecture, channels: int, paired: int) -> Domains:
        kind = kind_of(shape.domains, paired)
        source = {"classes": channels, "pairs": paired, "fusion": channels + paired}
        return cls(kind, (source[kind], channels), shape.flips)

    @property
    def stratified(self) -> bool:
        """Whether batches must hold both classes equally often."""
        return self.kind == "classes"

    def rows(self, batch_size: int) -> int:
        """Returns the number of images of each domain in a batch of `batch_size`."""
        return batch_size // 2 if self.stratified else batch_size

    def split(self, batch: Batch) -> tuple[DomainBatch, DomainBatch]:
        """Returns the step's source and target images, the same number of each.

        Fusion has no real target images. Its targets are single images of either kind, chosen at random: a fused image
        should look like a single image that shows the content of both.
        """
        if self.kind == "classes":
            # Stratified batches alternate between the classes.
            source = batch.images[0::2]
            target = batch.images[1::2]
            first = SlicedStepRandom(batch.draws, slice(0, None, 2))
            second = SlicedStepRandom(batch.draws, slice(1, None, 2))
            return self._flip(source, first), self._flip(target, second)
        paired = self._paired(batch.paired)
        if self.kind == "fusion":
            # Stacked, so that both images of a pair are flipped together.
            stack = self._flip(torch.cat([batch.images, paired], dim=1), batch.draws)
            either = batch.draws.uniform(1, 1, 1) < 0.5
            images, paired = stack.images.chunk(2, dim=1)
            return stack, DomainBatch(torch.where(either, images, paired), batch.draws)
        both = self._flip(torch.cat([paired, batch.images], dim=1), batch.draws)
        source, target = both.images.split([paired.shape[1], batch.images.shape[1]], dim=1)
        return DomainBatch(source, batch.draws), DomainBatch(target, batch.draws)

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Returns random sources for samples of class `labels` `[n]`.

        Between classes they are images of the other class, otherwise images of the other kind and the same class.
        """
        if self.kind == "classes":
            return condition_for(labels, data, generator)
        rows = choose_same_class(labels, data, generator)
        # Rows first: of images as they are stored, only rows are tensors.
        paired = self._paired(data.paired)[rows]
        return Condition(labels, paired if self.kind == "pairs" else torch.cat([data.images[rows], paired], dim=1))

    def task(self, data: ImageSet) -> PairedTask | None:
        """Returns the task for held-out pairs, with the trivial baseline to beat; None for unpaired classes."""
        if self.kind == "classes" or data.paired is None:
            return None
        if self.kind == "fusion":
            sources = torch.cat([data.images, data.paired], dim=1)
            # The trivial fusion is the brighter pixel of the two.
            return PairedTask(sources, (data.images, data.paired), torch.maximum(data.images, data.paired))
        # The trivial translation is the source itself, or its mean channel where the numbers of channels differ.
        baseline = data.paired
        if data.paired.shape[1] != data.images.shape[1]:
            baseline = data.paired.mean(dim=1, keepdim=True).expand_as(data.images)
        return PairedTask(data.paired, (data.images,), baseline)

    def required_sources(self, condition: Condition) -> Tensor:
        """Returns the sources `[n, channels[0], H, W]` of a condition.

        Raises:
            ConfigError: the condition has no sources, or they have another number of channels.
        """
        sources = condition.sources
        if sources is None or sources.shape[1] != self.channels[0]:
            given = "none" if sources is None else f"images of {sources.shape[1]}"
            raise ConfigError(f"this family translates images of {self.channels[0]} channels, but was given {given}")
        return sources

    def _flip(self, images: Tensor, draws: StepRandom) -> DomainBatch:
        if not self.flips:
            return DomainBatch(images, draws)
        flipped = draws.uniform(1, 1, 1) < 0.5
        return DomainBatch(torch.where(flipped, images.flip(-1), images), draws)

    def _paired(self, paired: Tensor | None) -> Tensor:
        if paired is None:
            raise ConfigError(f"architecture.domains = {self.kind!r} needs paired images, but there are none")
        return paired


def kind_of(domains: Literal["auto", "classes", "pairs", "fusion"], paired_channels: int) -> Kind:
    """Resolves `auto`: pairs if there are paired images, else classes."""
    if domains == "auto":
        return "pairs" if paired_channels else "classes"
    return domains


def choose_same_class(labels: Tensor, data: ImageSet, generator: torch.Generator) -> Tensor:
    """Returns indices `[n]` of random images in `data` of class `labels`; of any class if a class has no image."""
    return choose(labels[:, None] == data.labels[None], generator)


def check_translation(
    config: TrialConfig,
    spec: ImageSpec | None,
    trainables: Trainables,
    shape: TranslationArchitecture,
    *,
    kinds: tuple[Kind, ...] = ("classes", "pairs", "fusion"),
    factor: int = 4,
) -> None:
    """Checks that a family with patch critics can be trained with `config`.

    Args:
        config: the trial's configuration.
        spec: shape of the images; None while no cohort is known.
        trainables: registries of the names in the configuration.
        shape: the family's architecture.
        kinds: the domains that the family supports.
        factor: downsampling factor of the feature map at which the generators apply attention; it must divide the size.

    Raises:
        ConfigError: the configuration does not fit the family or the images.
    """
    no_class_conditioning(config)
    check_critic(
        config,
        trainables.losses[config.loss.kind],
        trainables.penalties[config.penalty.kind],
        norm=shape.critic_norm,
        blocks=shape.critic_layers + 1,
    )
    if spec is None:
        return
    _check_domains(config, spec, shape, kinds)
    if spec.size % factor:
        raise ConfigError(
            f"images of {spec.size} pixels cannot be halved {factor.bit_length() - 1} times, as {config.family} needs",
            fix=f"set data.size to a multiple of {factor}",
        )
    check_attention(config, trainables, spec.size // factor)
    # The critic's last convolutions need a map of at least 3 pixels.
    if spec.size // 2**shape.critic_layers < 3:
        raise ConfigError(
            f"architecture.critic_layers = {shape.critic_layers} is too many for images of {spec.size} pixels",
            fix="use fewer layers or larger images",
        )


def no_class_conditioning(config: TrialConfig) -> None:
    """Rejects conditioning on the class: in image-to-image families the source determines the class."""
    if config.conditioning != "none":
        raise ConfigError(
            f"conditioning = {config.conditioning!r}: {config.family} translates images, and the source determines "
            "their class",
            fix="set conditioning = 'none'",
        )


def _check_domains(
    config: TrialConfig, spec: ImageSpec, shape: TranslationArchitecture, kinds: tuple[Kind, ...]
) -> None:
    kind = kind_of(shape.domains, spec.paired_channels)
    if kind not in kinds:
        raise ConfigError(
            f"architecture.domains = {shape.domains!r}: {config.family} learns from {' or '.join(kinds)}",
            fix="ingest with paired images" if not spec.paired_channels else f"use {' or '.join(kinds)}",
        )
    if kind != "classes" and not spec.paired_channels:
        raise ConfigError(
            f"architecture.domains = {kind!r}, but the cohort has no paired images",
            fix="ingest a labels CSV with a column `paired`",
        )
    if kind == "fusion" and spec.paired_channels != spec.channels:
        raise ConfigError(f"{spec.channels} and {spec.paired_channels} channels cannot be fused into one image")
    if kind == "classes" and len(spec.classes) != 2:
        raise ConfigError(
            f"architecture.domains = 'classes' with {len(spec.classes)} classes: translation needs exactly two",
            fix="ingest with --classes, or use paired images",
        )
    if kind == "classes" and config.batch_size % 2:
        raise ConfigError(
            f"batch_size = {config.batch_size} is odd: each class fills half of a batch; use an even size"
        )
