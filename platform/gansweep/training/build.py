"""From a configuration to networks, or to the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gansweep.errors import ConfigError
from gansweep.experiment import validated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.contracts import Gan, GanFamily, ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["build_gan", "check_config"]


def check_config(config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
    """Says whether `config` can be trained, without building anything.

    Every chosen name must be known. Then the chosen loss, penalty, augmentation, conditioning and attention are asked,
    those that have a `check(config, spec)`, and last the family.

    Args:
        config: the trial.
        spec: the images; None while no cohort is known.
        trainables: what names refer to.

    Raises:
        ConfigError: an unknown name, an unknown or invalid architecture key, or a combination that makes no sense.
    """
    parts = [
        _lookup(trainables.losses, config.loss.kind, "loss.kind"),
        _lookup(trainables.penalties, config.penalty.kind, "penalty.kind"),
        _lookup(trainables.augmentations, config.augmentation.kind, "augmentation.kind"),
        _lookup(trainables.conditionings, config.conditioning, "conditioning"),
        _lookup(trainables.attentions, config.attention, "attention"),
    ]
    family = _family(config, trainables)
    validated(family.Architecture, config.architecture, where=f"architecture of {config.family}")
    for part in parts:
        if check := getattr(part, "check", None):
            check(config, spec)
    family.check(config, spec, trainables)


def build_gan(config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> Gan:
    """The networks of `config`, initialised from `config.seed`: the same in every process.

    Raises:
        ConfigError: as `check_config`.
    """
    import torch

    check_config(config, spec, trainables)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _family(config, trainables)(config, spec, trainables)


def _family(config: TrialConfig, trainables: Trainables) -> GanFamily:
    return cast("GanFamily", _lookup(trainables.gans, config.family, "family"))


def _lookup(registry: Mapping[str, Any], name: str, key: str) -> Any:
    if name not in registry:
        raise ConfigError(f"{key} = {name!r} is not known", fix=f"known: {', '.join(sorted(registry))}")
    return registry[name]
