"""Differences between two configurations, one choice at a time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gansweep.config import TrialConfig
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Choice", "choices_between"]

_PARTS = ("loss", "penalty", "augmentation")
"""Parts whose other settings depend on their kind: the weight of one penalty has no meaning for another."""
_NOT_CHOSEN = frozenset({"seed"})
_ABSENT = "default"

Path = tuple[str, ...]
"""Keys from the whole configuration down to a value."""


@dataclass(frozen=True)
class Choice:
    """One choice of a configuration, and the configuration without it.

    Args:
        name: dotted key of the setting, or of a part whose kind differs.
        ours: value in the configuration.
        theirs: value in the other configuration.
        config: the configuration with the other's value; None if it cannot be trained.
        refused: why it cannot be trained.
    """

    name: str
    ours: Any
    theirs: Any
    config: TrialConfig | None
    refused: str = ""


def choices_between(
    config: TrialConfig, other: TrialConfig, check: Callable[[TrialConfig], None] | None = None
) -> list[Choice]:
    """Returns every choice in which `config` differs from `other`, with `config` without this choice alone.

    A family and its architecture are one choice, as are a loss, a penalty or an augmentation of another kind and its
    settings. The seed is not a choice.

    Args:
        config: the configuration with the choices.
        other: the configuration whose values replace them.
        check: raises ConfigError for a configuration that cannot be trained.
    """
    ours = config.as_dict()
    theirs = other.as_dict()
    return [_taken_back(name, paths, ours, theirs, check) for name, paths in _differences(ours, theirs).items()]


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Returns the paths that each choice covers, by the name of the choice."""
    found: dict[str, list[Path]] = {}
    for key, value in ours.items():
        other = theirs[key]
        if value == other or key in _NOT_CHOSEN:
            continue
        if key == "architecture":
            if ours["family"] == theirs["family"]:
                found |= {f"{key}.{name}": [(key, name)] for name in _unlike(value, other)}
        elif key == "family":
            found[key] = [("family",), ("architecture",)]
        elif key in _PARTS and value["kind"] != other["kind"]:
            found[key] = [(key,)]
        elif key in _PARTS and value["kind"] == "none":
            continue  # the settings of an absent part have no effect
        elif isinstance(value, dict):
            found |= {f"{key}.{name}": [(key, name)] for name in _unlike(value, other)}
        else:
            found[key] = [(key,)]
    return found


def _unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    names = [*ours, *(name for name in theirs if name not in ours)]
    return [name for name in names if ours.get(name, _ABSENT) != theirs.get(name, _ABSENT)]


def _taken_back(
    name: str,
    paths: list[Path],
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    check: Callable[[TrialConfig], None] | None,
) -> Choice:
    """Returns a choice, with the configuration in which the values at `paths` are theirs."""
    values = copy.deepcopy(dict(ours))
    for path in paths:
        *above, last = path
        place = values
        source = theirs
        for key in above:
            place = place[key]
            source = source[key]
        if last in source:
            place[last] = copy.deepcopy(source[last])
        else:
            place.pop(last)
    before = _shown(ours, paths[0])
    after = _shown(theirs, paths[0])
    try:
        config = TrialConfig.model_validate(values)
        if check is not None:
            check(config)
    except ConfigError as refusal:
        return Choice(name, before, after, None, str(refusal))
    return Choice(name, before, after, config)


def _shown(values: Mapping[str, Any], path: Path) -> Any:
    """Returns the value at a path; for a part with a kind, the kind."""
    found: Any = values
    for key in path:
        found = found.get(key, _ABSENT)
    return found["kind"] if isinstance(found, dict) and "kind" in found else found
