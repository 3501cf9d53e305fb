"""Checks that reject settings that cannot be trained together, shared by all families with a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.errors import ConfigError
from trainables.layers.blocks import stages_for

if TYPE_CHECKING:
    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec, Trainables
    from trainables.objectives.losses import Loss
    from trainables.objectives.penalties import Penalty

__all__ = ["check_attention", "check_critic", "check_halved_attention", "check_largest_layer", "halvings"]

MOST_WEIGHTS = 100_000_000
"""Maximum number of weights in one layer. With gradients, Adam's moments and averages, such a layer takes 2 GB."""


def check_critic(
    config: TrialConfig,
    loss: type[Loss],
    penalty: type[Penalty],
    *,
    norm: str,
    blocks: int | None,
    sigmoid: bool = False,
    equalised: bool = False,
) -> None:
    """Checks that the critic can be trained with the configured loss and penalty.

    Args:
        config: the trial's configuration.
        loss: class of the loss.
        penalty: class of the penalty.
        norm: the critic's normalisation.
        blocks: number of the critic's blocks; None if not yet known.
        sigmoid: whether the critic ends in a sigmoid.
        equalised: whether the critic's weights are scaled in every forward pass (`trainables.layers.equalised`).

    Raises:
        ConfigError: the combination cannot be trained.
    """
    if sigmoid and not loss.bounded_critic:
        why = "is unbounded" if loss.unbounded or loss.boundary != 0.0 else "has its own sigmoid or margin"
        raise ConfigError(
            f"a critic that ends in a sigmoid with the {config.loss.kind} loss, which {why}",
            fix="set architecture.critic_output = 'linear'",
        )
    if "batch" in norm and penalty.per_image_gradient:
        raise ConfigError(
            f"batch normalisation in a critic with the {config.penalty.kind} penalty: it mixes images, so there is no "
            "gradient per image to penalise",
            fix="use layer, group, instance or no normalisation in the critic, or penalty.kind = 'none'",
        )
    if "spectral" in norm and config.loss.clip is not None:
        raise ConfigError("loss.clip with spectral normalisation: both bound the same weights", fix="keep one")
    if equalised and config.loss.clip is not None:
        raise ConfigError(
            f"loss.clip in {config.family}: its layers scale weights of unit size down, so clipped weights vanish",
            fix="use a penalty, or another family",
        )
    if loss.unbounded and not _has_lipschitz_constraint(config, penalty, norm):
        settings = config.penalty
        raise ConfigError(
            f"the {config.loss.kind} loss with penalty.kind = {settings.kind!r}, penalty.layer = {settings.layer!r}, "
            f"penalty.lambda = {settings.lambda_!r} has no Lipschitz constraint and no finite optimum",
            fix="use a gradient penalty or r1 at layer 0, architecture.critic_norm = 'spectral' or loss.clip",
        )
    if blocks is not None and config.penalty.layer > blocks:
        raise ConfigError(f"penalty.layer = {config.penalty.layer}, but the critic has {blocks} blocks")


def _has_lipschitz_constraint(config: TrialConfig, penalty: type[Penalty], norm: str) -> bool:
    """Returns whether clipping, spectral normalisation or the penalty makes the critic Lipschitz."""
    if config.loss.clip is not None or norm == "spectral":
        return True
    # A penalty at layer k leaves the layers below k unconstrained. Only a penalty at layer 0, the image, makes the
    # whole critic Lipschitz.
    at_the_image = config.penalty.layer == 0
    return penalty.lipschitz and at_the_image and config.penalty.lambda_ > 0


def check_attention(config: TrialConfig, trainables: Trainables, size: int) -> None:
    """Checks that the attention module can handle a feature map of `size` x `size` pixels.

    Args:
        config: the trial's configuration.
        trainables: registries of the names in the configuration.
        size: height and width, in pixels, of the feature map to which the family applies attention.

    Raises:
        ConfigError: the feature map is larger than the module's `largest`.
    """
    largest = getattr(trainables.attentions[config.attention], "largest", size)
    if size > largest:
        raise ConfigError(
            f"attention = {config.attention!r}: {config.family} would attend over {size}x{size} pixels; memory grows "
            f"with the square of their number, so the limit is {largest}x{largest}",
            fix="set attention = 'cbam' or 'none', a smaller data.size or, where there is one, more architecture.depth",
        )


def check_halved_attention(config: TrialConfig, trainables: Trainables, stages: int, base: int) -> None:
    """As `check_attention`, for a generator and a critic that place attention by `attention_at`.

    Args:
        config: the trial's configuration.
        trainables: registries of the names in the configuration.
        stages: number of times the image is halved.
        base: size of the smallest feature map, in pixels. The generator's first map, of this size, gets no attention.

    Raises:
        ConfigError: every feature map is too large.
    """
    check_attention(config, trainables, 2 * base if stages > 1 else base)


def halvings(spec: ImageSpec, depth: int, family: str) -> tuple[int, int]:
    """Returns the number of times images are halved, and the size of the smallest feature map in pixels.

    Args:
        spec: shape of the images.
        depth: requested number of halvings; 0 halves down to 4 to 7 pixels.
        family: name for the error message.

    Returns:
        (number of halvings, pixels left).

    Raises:
        ConfigError: the size is not divisible often enough.
    """
    stages = stages_for(spec.size, depth)
    if stages is None:
        wanted = f"{depth} times" if depth else "down to 4 to 7 pixels"
        raise ConfigError(
            f"images of {spec.size} pixels cannot be halved {wanted}",
            where=family,
            fix="use a size such as 32, 48, 64, 96, 128 or 256 (data.size), or less depth",
        )
    return stages


def check_largest_layer(family: str, spec: ImageSpec, weights: int, *, width: str, most: int = MOST_WEIGHTS) -> None:
    """Rejects a fully connected layer that would take a large part of a GPU's memory.

    Such layers grow with the number of pixels.

    Args:
        family: name of the family, for the error message.
        spec: shape of the images.
        weights: number of weights in the largest layer.
        width: the setting that makes this layer smaller, for the error message.
        most: maximum number of weights.

    Raises:
        ConfigError: the layer has more weights.
    """
    if weights > most:
        raise ConfigError(
            f"family = {family!r} at {spec.size} pixels: a fully connected layer of {weights // 10**6} million weights",
            fix=f"set a smaller data.size or {width}, or use another family",
        )
