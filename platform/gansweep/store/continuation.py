"""Checks that a resumed sweep has the same settings as before: whatever its scores depend on must not change midway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.constraint import Constraint
from gansweep.errors import StoreError
from gansweep.store.feasibility import constraints_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.store.sweep_info import SweepInfo

__all__ = ["check_continues", "differences", "same_space"]

_BOUNDS = ("constraints", "prune")
_PLAIN = ("sampler", "reports", *_BOUNDS)


def check_continues(here: SweepInfo, wanted: SweepInfo, where: str) -> None:
    """Refuses to resume the sweep `here` with another cohort, other objectives, another space or other settings.

    Changes inside a space's file are allowed, so that a user can fix a space that raises an error. Each trial's row
    records its complete configuration.

    Raises:
        StoreError: names the first difference.
    """
    if here.cohort.content_hash != wanted.cohort.content_hash:
        what = f"this sweep is of cohort {here.cohort.content_hash[:12]}, not {wanted.cohort.content_hash[:12]}"
        raise StoreError(what, where=where, fix="give the same cohort, or choose another --name")
    if here.objectives != wanted.objectives:
        names = ", ".join(f"{objective.name} ({objective.direction})" for objective in here.objectives)
        raise StoreError(f"this sweep's objectives are {names}", where=where, fix="choose another --name")
    for key, before, now in differences(here, wanted):
        if key in _BOUNDS:
            before, now = (_constraints_text(values) for values in (before, now))
        what = f"this sweep has {key} = {before}, not {now}"
        raise StoreError(what, where=where, fix="give the same settings, or choose another --name")
    for name, digest in here.feature_files.items():
        if wanted.feature_files.get(name, digest) != digest:
            what = f"the file of scoring.{name} has changed since this sweep began"
            raise StoreError(what, where=where, fix="put back the one that it used, or choose another --name")


def differences(here: SweepInfo, wanted: SweepInfo) -> Iterator[tuple[str, Any, Any]]:
    """Yields the key and both values of each setting that differs, apart from objectives and cohort."""
    if not same_space(here, wanted):
        yield "space", here.space, wanted.space
    before = _settings(here)
    now = _settings(wanted)
    for key, value in before.items():
        # A setting that the other version of gansweep did not know is ignored.
        if key in now and value != now[key]:
            yield key, value, now[key]
    before = here.experiment.get("overrides", {})
    now = wanted.experiment.get("overrides", {})
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield key, before.get(key, "what the space says"), now.get(key, "what the space says")


def same_space(here: SweepInfo, wanted: SweepInfo) -> bool:
    """Returns whether both name the same space, or the same function in files with the same content."""
    if here.space == wanted.space:
        return True
    if not here.space_sha256 or here.space_sha256 != wanted.space_sha256:
        return False
    return here.space.partition(":")[2] == wanted.space.partition(":")[2]


def _constraints_text(values: Any) -> str:
    return constraints_text([Constraint.model_validate(value) for value in values]) or "none"


def _settings(info: SweepInfo) -> dict[str, Any]:
    settings = {key: info.experiment[key] for key in _PLAIN if key in info.experiment}
    if settings.get("sampler") == "nsga2":
        settings["sampler"] = "nsga-ii"  # its older name
    for part in ("scoring", "scheduler"):
        settings |= {f"{part}.{key}": value for key, value in info.experiment.get(part, {}).items()}
    if "sampler" in info.seeds:
        settings["seed"] = info.seeds["sampler"]
    return settings
