"""What two configurations differ in, one choice at a time."""

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
"""Parts whose other settings belong to their kind: the weight of one penalty means nothing for another."""
_NOT_CHOSEN = frozenset({"seed"})
_ABSENT = "default"


@dataclass(frozen=True)
class Choice:
    """One choice of a configuration, taken back.

    Args:
        name: its dotted key, or that of a part whose kind differs.
        ours: what the configuration has there.
        theirs: what the other one has.
        config: the configuration with that of the other one in its place; None if it cannot be trained.
        refused: why it cannot.
    """

    name: str
    ours: Any
    theirs: Any
    config: TrialConfig | None
    refused: str = ""


def choices_between(
    config: TrialConfig, other: TrialConfig, check: Callable[[TrialConfig], None] | None = None
) -> list[Choice]:
    """Every choice in which `config` differs from `other`, with `config` after it alone was taken back.

    A family goes with its architecture, and a loss, a penalty or an augmentation of another kind with its settings.
    The seed is no choice.

    Args:
        config: whose choices they are.
        other: what is taken back to.
        check: raises ConfigError for a configuration that cannot be trained.
    """
    ours, theirs = config.as_dict(), other.as_dict()
    return [_taken_back(name, paths, ours, theirs, check) for name, paths in _differences(ours, theirs).items()]


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """The paths that each choice covers, by its name."""
    found: dict[str, list[tuple[str, ...]]] = {}
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
            continue  # settings of what is not there
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
    paths: list[tuple[str, ...]],
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    check: Callable[[TrialConfig], None] | None,
) -> Choice:
    values = copy.deepcopy(dict(ours))
    for path in paths:
        *above, last = path
        place, source = values, theirs
        for key in above:
            place, source = place[key], source[key]
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


def _shown(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path, of a part its kind."""
    found: Any = values
    for key in path:
        found = found.get(key, _ABSENT)
    return found["kind"] if isinstance(found, dict) and "kind" in found else found
