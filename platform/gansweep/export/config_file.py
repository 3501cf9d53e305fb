"""Reads and writes `config.yaml`: a trial's configuration, its scoring settings, and the scores to compare with."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import yaml

from gansweep.config import Frozen, ScoringSettings, TrialConfig, validated, with_dotted
from gansweep.errors import ConfigError
from gansweep.search.yaml_values import load_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Origin", "Plan", "compared", "config_yaml", "digest_of", "read_config", "read_plan"]

_OWN = ("scoring", "origin")
"""Keys of the file in addition to those of the trial configuration."""


class Origin(Frozen):
    """The trial from which a configuration comes, with the result of its training.

    Args:
        trial: id of the trial.
        cohort: content hash of its cohort.
        config: hash of configuration and scoring. Scores are comparable only if it is equal.
        scores: scores of its last report.
    """

    trial: str
    cohort: str
    config: str
    scores: dict[str, float]


class Plan(Frozen):
    """Content of `config.yaml`.

    Args:
        config: the configuration.
        scoring: scoring settings; None if the file has none, which means the defaults.
        origin: the trial from which it comes, if there is one.
    """

    config: TrialConfig
    scoring: ScoringSettings | None = None
    origin: Origin | None = None

    def derive(self, changes: Mapping[str, Any]) -> Plan:
        """Returns a copy with dotted keys changed. Keys of scoring start with `scoring.`.

        Raises:
            ConfigError: a key is unknown or a value is out of range.
        """
        own = {key: value for key, value in changes.items() if key.partition(".")[0] == "scoring"}
        others = {key: value for key, value in changes.items() if key not in own}
        scoring = self.scoring
        if own:
            values = with_dotted({"scoring": (scoring or ScoringSettings()).model_dump(mode="json")}, own)
            scoring = validated(ScoringSettings, values["scoring"], where="scoring")
        return Plan(config=self.config.derive(others), scoring=scoring, origin=self.origin)


def config_yaml(
    config: TrialConfig,
    header: list[str],
    scoring: ScoringSettings | None = None,
    origin: Origin | None = None,
) -> str:
    """Returns the file's content: the lines of `header` as comments, then all keys with their values."""
    comments = "".join(f"# {line}\n" for line in header)
    values = config.as_dict()
    if scoring is not None:
        # A path of this machine is of no use elsewhere, and may name a site.
        values["scoring"] = scoring.model_dump(mode="json", exclude=_paths(scoring))
    if origin is not None:
        values["origin"] = origin.model_dump(mode="json")
    return comments + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def read_config(path: Path) -> TrialConfig:
    """Reads the configuration of the file.

    Args:
        path: a YAML file.

    Raises:
        ConfigError: the file does not exist, is not YAML, or has an unknown key or an invalid value.
    """
    return read_plan(path).config


def read_plan(path: Path) -> Plan:
    """Reads the whole file. A file with only a configuration is valid.

    Args:
        path: a YAML file.

    Raises:
        ConfigError: the file does not exist, is not YAML, or has an unknown key or an invalid value.
    """
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"not YAML ({str(error).splitlines()[0]})", where=str(path)) from None
    if not isinstance(values, dict):  # YAML may also be a list or a bare value
        raise ConfigError("not a trial configuration", where=str(path), fix="give config.yaml of an export")
    trial = {key: value for key, value in values.items() if key not in _OWN}
    own = {key: value for key, value in values.items() if key in _OWN}
    config = validated(TrialConfig, trial, where=str(path))
    return validated(Plan, {"config": config, **own}, where=str(path))


def _paths(scoring: ScoringSettings) -> set[str]:
    """The settings that name a file."""
    return {name for name in ("features", "detector_features") if getattr(scoring, name)}


def digest_of(config: TrialConfig, scoring: ScoringSettings) -> str:
    """Returns a hash of everything in a configuration and its scoring settings that scores depend on.

    Args:
        config: the configuration.
        scoring: scoring settings.
    """
    # No other score depends on whether copies are counted.
    apart = {"features", "detector_features", "copies"}
    values = [config.as_dict(), scoring.model_dump(mode="json", exclude=apart)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def compared(origin: Origin, scores: Mapping[str, float]) -> str:
    """Returns a sentence that states whether a training reproduced the scores of the configuration's original trial.

    Args:
        origin: the original trial.
        scores: scores of the training.
    """
    both = [name for name in origin.scores if name in scores and math.isfinite(scores[name])]
    unlike = [name for name in both if scores[name] != origin.scores[name]]
    if not both:
        return f"no score to compare with trial {origin.trial}"
    if not unlike:
        return f"all {len(both)} scores of trial {origin.trial} were repeated exactly"
    pairs = ", ".join(f"{name} {origin.scores[name]:.6g} there, {scores[name]:.6g} here" for name in unlike[:4])
    return f"{len(unlike)} of {len(both)} scores differ from trial {origin.trial}: {pairs}"
