"""Combinations that make no sense, refused with the reason, for every family with a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.errors import ConfigError
from trainables.blocks import stages_for

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec, Trainables
    from gansweep.experiment import TrialConfig
    from trainables.losses import Loss
    from trainables.penalties import Penalty

__all__ = ["check_attention", "check_critic", "check_halved_attention", "halvings"]


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
    """Holds the critic against the objective.

    Args:
        config: the trial.
        loss: what its loss is.
        penalty: what its penalty is.
        norm: the critic's normalisation.
        blocks: how many blocks it has; None: unknown yet.
        sigmoid: whether it ends in a sigmoid.
        equalised: whether its weights are scaled down in every forward (`trainables.equalised`).

    Raises:
        ConfigError: with the reason.
    """
    kind, penalised = config.loss.kind, config.penalty.kind
    if sigmoid and not loss.bounded_critic:
        why = "is unbounded" if loss.unbounded or loss.boundary != 0.0 else "has its own sigmoid or margin"
        raise ConfigError(
            f"a critic that ends in a sigmoid with the {kind} loss, which {why}",
            fix="set architecture.critic_output = 'linear'",
        )
    if "batch" in norm and penalty.per_image_gradient:
        raise ConfigError(
            f"batch normalisation in a critic with the {penalised} penalty: it mixes images, and so there is no "
            "gradient per image to penalise",
            fix="use layer, group, instance or no normalisation in the critic, or penalty.kind = 'none'",
        )
    if "spectral" in norm and config.loss.clip is not None:
        raise ConfigError("loss.clip with spectral normalisation: both bound the same weights", fix="keep one")
    if equalised and config.loss.clip is not None:
        raise ConfigError(
            f"loss.clip in {config.family}, whose layers scale weights of unit size down: clipped, they say nothing",
            fix="use a penalty, or another family",
        )
    # Below the layer at which a penalty holds the slope, weights are free: any scale of the score can come from there.
    bounds = penalty.lipschitz and config.penalty.layer == 0 and config.penalty.lambda_ > 0
    if loss.unbounded and not (bounds or norm == "spectral" or config.loss.clip is not None):
        how = {"kind": penalised, "layer": config.penalty.layer, "lambda": config.penalty.lambda_}
        given = ", ".join(f"penalty.{key} = {value!r}" for key, value in how.items())
        raise ConfigError(
            f"the {kind} loss with {given} has no Lipschitz constraint and no finite optimum",
            fix="use a gradient penalty or r1 at layer 0, architecture.critic_norm = 'spectral' or loss.clip",
        )
    if blocks is not None and config.penalty.layer > blocks:
        raise ConfigError(f"penalty.layer = {config.penalty.layer}, but the critic has {blocks} blocks")


def check_attention(config: TrialConfig, trainables: Trainables, size: int) -> None:
    """Refuses attention over a larger map than it is meant for.

    Args:
        config: the trial.
        trainables: what names refer to.
        size: pixels of the map at which the family attends, one side.

    Raises:
        ConfigError: with the reason.
    """
    largest = getattr(trainables.attentions[config.attention], "largest", size)
    if size > largest:
        raise ConfigError(
            f"attention = {config.attention!r}: {config.family} would attend over {size}x{size} pixels; memory, which "
            f"grows with their square, sets the limit at {largest}x{largest}",
            fix="set attention = 'cbam' or 'none', a smaller data.size or, where there is one, more architecture.depth",
        )


def check_halved_attention(config: TrialConfig, trainables: Trainables, stages: int, base: int) -> None:
    """As `check_attention`, for a generator and a critic of so many halvings that attend where `attention_at` says.

    Args:
        config: the trial.
        trainables: what names refer to.
        stages: halvings.
        base: pixels that are left; the generator's smallest map but its first has twice as many.

    Raises:
        ConfigError: all maps are too large.
    """
    check_attention(config, trainables, 2 * base if stages > 1 else base)


def halvings(spec: ImageSpec, depth: int, family: str) -> tuple[int, int]:
    """How often images are halved, and how many pixels are left.

    Args:
        spec: the images.
        depth: halvings wanted; 0: as many as leave 4 to 7 pixels.
        family: for the message.

    Raises:
        ConfigError: they cannot be halved so.
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
