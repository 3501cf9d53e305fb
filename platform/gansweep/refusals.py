"""Names that a user may know from Ray Tune and that do not fit here, with the reasons."""

from __future__ import annotations

from typing import Any

from gansweep.errors import ConfigError

__all__ = ["refuse_scheduler"]

_CHANGED_MIDWAY = (
    "changes a trial's configuration and weights midway, so no single configuration made the result: repeat, ablate, "
    "confirm and train could not train it again"
)
_REFUSED_SCHEDULERS = {
    "pbt": (f"population based training {_CHANGED_MIDWAY}", "search lr_d and lr_g, with asha or mo-asha"),
    "pb2": (f"population based bandits {_CHANGED_MIDWAY}", "search lr_d and lr_g, with asha or mo-asha"),
    "bohb": (
        "BOHB models one objective over a declared list of parameters, and a space here is a function with several",
        "its two halves: --scheduler hyperband --sampler tpe",
    ),
}
"""Schedulers of Ray Tune that do not fit, with the reason and what to do instead."""


def refuse_scheduler(name: Any) -> Any:
    """Returns the name of a scheduler, for validation.

    Raises:
        ConfigError: it is one of Ray Tune's that does not fit here. The message has the reason.
    """
    if isinstance(name, str) and name.lower() in _REFUSED_SCHEDULERS:
        reason, fix = _REFUSED_SCHEDULERS[name.lower()]
        raise ConfigError(f"{name} does not fit: {reason}", where="scheduler", fix=fix)
    return name
