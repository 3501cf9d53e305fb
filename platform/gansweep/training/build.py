"""Checks configurations and builds their networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gansweep.config import validated
from gansweep.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.config import TrialConfig
    from gansweep.contracts import Gan, GanFamily, ImageSpec, Trainables

__all__ = ["build_gan", "check_batch", "check_budget", "check_config"]


def check_config(config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
    """Checks that `config` can be trained, without building networks.

    Every name must be registered. The chosen loss, penalty, augmentation, conditioning and attention are then checked
    if they have a `check(config, spec)` function, and finally the family.

    Args:
        config: the trial's configuration.
        spec: shape of the images; None if no cohort is known yet.
        trainables: registries of the names in the configuration.

    Raises:
        ConfigError: a name is unknown, an architecture key is unknown or invalid, or the settings do not fit together.
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


def check_budget(config: TrialConfig, *, workers: int, reports: int) -> None:
    """Checks that the budget can be divided into reports, and each batch among the workers.

    Args:
        config: the trial's configuration.
        workers: number of workers.
        reports: number of reports of the trial, at equal fractions of its iterations.

    Raises:
        ConfigError: there are fewer iterations than reports, or the batch size is not divisible by the workers.
    """
    if config.iterations < reports:
        raise ConfigError(
            f"iterations = {config.iterations} is less than the {reports} reports a trial makes",
            fix="set more iterations or fewer reports",
        )
    check_batch(config.batch_size, workers)


def check_batch(size: int, workers: int) -> None:
    """Raises ConfigError if the batch size is not divisible by the number of workers."""
    if size % workers:
        raise ConfigError(
            f"batch_size = {size} is not divisible by {workers} workers",
            fix=f"choose a multiple of {workers}, or another number of workers",
        )


def build_gan(config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> Gan:
    """Builds the networks of `config`, initialised from `config.seed` and equal in every process.

    Args:
        config: the trial's configuration.
        spec: shape of the images.
        trainables: registries of the names in the configuration.

    Raises:
        ConfigError: see `check_config`.
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
        raise unknown_name(key.removesuffix(".kind"), name, registry, where=key)
    return registry[name]
