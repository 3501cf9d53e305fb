"""What families from image to image share: which images are the source and which the target, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from gansweep.contracts import Condition, PairedTask
from gansweep.errors import ConfigError
from gansweep.experiment import Frozen
from gansweep.training.sampling import choose, condition_for
from trainables.adversary import SomeRows
from trainables.checks import check_attention, check_critic

if TYPE_CHECKING:
    from gansweep.contracts import Batch, Draws, ImageSet, ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = [
    "Domains",
    "Side",
    "TranslationArchitecture",
    "check_translation",
    "no_class_conditioning",
    "of_the_same_class",
]

Kind = Literal["classes", "pairs", "fusion"]
CriticNorm = Literal["instance", "group", "none", "spectral"]


class TranslationArchitecture(Frozen):
    """What the image-to-image families with patch critics have in common.

    Args:
        domains: from what to what. classes: between the cohort's two classes, unpaired; pairs: from the paired images
            to the cohort's own kind; fusion: from both images of a pair to one; auto: pairs where there are any.
        critic_width: channels of the critic's first layer.
        critic_layers: its strided layers; 3 judges patches of 70x70 pixels.
        critic_norm: its normalisation; spectral: of its weights.
        flips: whether training images are flipped at random, left to right.
    """

    domains: Literal["auto", "classes", "pairs", "fusion"] = "auto"
    critic_width: int = Field(64, ge=4, le=256)
    critic_layers: int = Field(3, ge=1, le=5)
    critic_norm: CriticNorm = "instance"
    flips: bool = True


@dataclass(frozen=True)
class Side:
    """One domain's images in a step, with their random numbers.

    Args:
        images: `[b, C, H, W]`.
        draws: random numbers for these.
    """

    images: Tensor
    draws: Draws


@dataclass(frozen=True)
class Domains:
    """Source and target.

    Args:
        kind: see `TranslationArchitecture`.
        channels: of the source and of the target.
        flips: whether training images are flipped at random.
    """

    kind: Kind
    channels: tuple[int, int]
    flips: bool = False

    @classmethod
    def of(cls, shape: TranslationArchitecture, spec: ImageSpec) -> Domains:
        """The domains that `shape` means for images of `spec`."""
        return cls._between(shape, spec.channels, spec.paired_channels)

    @classmethod
    def about(cls, shape: TranslationArchitecture, data: ImageSet) -> Domains:
        """The domains that `shape` means for `data`."""
        return cls._between(shape, data.images.shape[1], 0 if data.paired is None else data.paired.shape[1])

    @classmethod
    def _between(cls, shape: TranslationArchitecture, channels: int, paired: int) -> Domains:
        kind = kind_of(shape.domains, paired)
        source = {"classes": channels, "pairs": paired, "fusion": channels + paired}
        return cls(kind, (source[kind], channels), shape.flips)

    @property
    def stratified(self) -> bool:
        """Whether batches must hold both classes."""
        return self.kind == "classes"

    def rows(self, batch_size: int) -> int:
        """Images per domain in a batch of so many."""
        return batch_size // 2 if self.stratified else batch_size

    def split(self, batch: Batch) -> tuple[Side, Side]:
        """The step's source and target images, each with as many rows.

        Fusion has no example of its target. A single image of either kind stands for it: a fused image should look
        like one, and hold what both show.
        """
        if self.kind == "classes":
            # Stratified: classes take turns.
            source, target = batch.images[0::2], batch.images[1::2]
            first, second = SomeRows(batch.draws, slice(0, None, 2)), SomeRows(batch.draws, slice(1, None, 2))
            return self._side(source, first), self._side(target, second)
        paired = self._paired(batch.paired)
        if self.kind == "fusion":
            stack = self._side(torch.cat([batch.images, paired], dim=1), batch.draws)
            either = batch.draws.uniform(1, 1, 1) < 0.5
            images, paired = stack.images.chunk(2, dim=1)
            return stack, Side(torch.where(either, images, paired), batch.draws)
        both = self._side(torch.cat([paired, batch.images], dim=1), batch.draws)
        source, target = both.images.split([paired.shape[1], batch.images.shape[1]], dim=1)
        return Side(source, batch.draws), Side(target, batch.draws)

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Sources for the wanted `labels`: the other class's images, or the other kind's of the same class."""
        if self.kind == "classes":
            return condition_for(labels, data, generator)
        return Condition(labels, self.sources(data)[of_the_same_class(labels, data, generator)])

    def sources(self, data: ImageSet) -> Tensor:
        """All of `data` as sources, `[n, channels[0], H, W]`."""
        if self.kind == "classes":
            return data.images
        paired = self._paired(data.paired)
        return paired if self.kind == "pairs" else torch.cat([data.images, paired], dim=1)

    def task(self, data: ImageSet) -> PairedTask | None:
        """What to ask about held-out images."""
        if self.kind == "classes" or data.paired is None:
            return None
        sources = self.sources(data)
        if self.kind == "fusion":
            return PairedTask(sources, (data.images, data.paired), torch.maximum(data.images, data.paired))
        same_channels = data.paired.shape[1] == data.images.shape[1]
        identity = data.paired if same_channels else data.paired.mean(dim=1, keepdim=True).expand_as(data.images)
        return PairedTask(sources, (data.images,), identity)

    def wanted(self, condition: Condition) -> Tensor:
        """The sources of a condition.

        Raises:
            ConfigError: it has none, or others than these domains translate.
        """
        sources = condition.sources
        if sources is None or sources.shape[1] != self.channels[0]:
            had = "none" if sources is None else f"{sources.shape[1]} channels"
            raise ConfigError(f"this family translates images of {self.channels[0]} channels, and was given {had}")
        return sources

    def _side(self, images: Tensor, draws: Draws) -> Side:
        if not self.flips:
            return Side(images, draws)
        flipped = draws.uniform(1, 1, 1) < 0.5
        return Side(torch.where(flipped, images.flip(-1), images), draws)

    def _paired(self, paired: Tensor | None) -> Tensor:
        if paired is None:
            raise ConfigError(f"architecture.domains = {self.kind!r} needs paired images, and there are none")
        return paired


def kind_of(domains: Literal["auto", "classes", "pairs", "fusion"], paired_channels: int) -> Kind:
    """What `auto` stands for."""
    if domains == "auto":
        return "pairs" if paired_channels else "classes"
    return domains


def of_the_same_class(labels: Tensor, data: ImageSet, generator: torch.Generator) -> Tensor:
    """Indices `[n]` of random images in `data` of the wanted `labels`; of any where a class has none."""
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
    """Refuses what a family with patch critics cannot be trained for.

    Args:
        config: the trial.
        spec: the images; None while unknown.
        trainables: what names refer to.
        shape: the family's architecture.
        kinds: the domains it knows.
        factor: how much smaller the map is at which the generators attend; the image size must be a multiple of it.

    Raises:
        ConfigError: with the reason.
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
            f"images of {spec.size} pixels, and {config.family} halves them {factor.bit_length() - 1} times",
            fix=f"set data.size to a multiple of {factor}",
        )
    check_attention(config, trainables, spec.size // factor)
    if spec.size // 2**shape.critic_layers < 3:
        raise ConfigError(
            f"architecture.critic_layers = {shape.critic_layers} leave no patch of {spec.size} pixels to judge",
            fix="use fewer layers or larger images",
        )


def no_class_conditioning(config: TrialConfig) -> None:
    """Refuses a conditioning on the class: what an image is translated to is the family's own matter."""
    if config.conditioning != "none":
        raise ConfigError(
            f"conditioning = {config.conditioning!r}: {config.family} translates images, whose class is given by "
            "where they come from",
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
            f"architecture.domains = {kind!r}, and the cohort has no paired images",
            fix="ingest a labels CSV with a column `paired`",
        )
    if kind == "fusion" and spec.paired_channels != spec.channels:
        raise ConfigError(f"{spec.channels} and {spec.paired_channels} channels cannot be fused into one image")
    if kind == "classes" and len(spec.classes) != 2:
        raise ConfigError(
            f"architecture.domains = 'classes' with {len(spec.classes)} classes: translation is between two",
            fix="ingest with --classes, or use paired images",
        )
    if kind == "classes" and config.batch_size % 2:
        raise ConfigError(f"batch_size = {config.batch_size}: half of each batch is of either class; use an even one")
