"""Provenance of a report's numbers, complete enough to rerun the sweep."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from gansweep.errors import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.store.sweep_info import SweepInfo

__all__ = ["command_of", "provenance"]

_PLACES = {"cohort": "COHORT", "storage": "STORAGE"}
"""Paths may identify a site or a patient. The cohort's content hash identifies the images."""


def provenance(info: SweepInfo) -> dict[str, str]:
    """Returns the rows of the table, by name.

    Args:
        info: record of the sweep.
    """
    splits = ", ".join(
        f"{split}: {counted(info.cohort.images.get(split, 0), 'image')} of {counted(patients, 'patient')}"
        for split, patients in info.cohort.patients.items()
    )
    experiment = info.experiment
    return {
        "Command": command_of(info),
        "Search space": info.space + (f", SHA-256 {info.space_sha256}" if info.space_sha256 else ""),
        "Overrides": _pairs(experiment.get("overrides") or {}) or "none",
        "Scoring": _pairs(experiment.get("scoring") or {}) or "not recorded",
        "Cohort": f"content hash {info.cohort.content_hash}",
        "Images": splits or "not recorded",
        "FID features": info.fid_features or "see the trials",
        "Sampler, scheduler": _method(experiment),
        "Seeds": _pairs(info.seeds) or "not recorded",
        "Code": info.code_revision or "not recorded",
        "Packages": ", ".join(f"{name} {version}" for name, version in info.packages.items()) or "not recorded",
        "Hardware": ", ".join(f"{name} {value}" for name, value in info.hardware.items() if value) or "not recorded",
    }


def command_of(info: SweepInfo) -> str:
    """Returns the command that reruns the sweep, with COHORT and STORAGE in place of paths.

    Args:
        info: record of the sweep.
    """
    words = ["gansweep", "sweep", info.space, "--cohort=COHORT", "--storage=STORAGE", f"--name={info.name}"]
    if not info.options:
        return shlex.join([*words, f"--trials={info.trials}"])
    from gansweep.command_line import as_words
    from gansweep.options import SweepOptions

    own = {name: value for name, value in info.options.items() if name not in _PLACES}
    known = {field.alias or name for name, field in SweepOptions.model_fields.items()}
    own = {name: value for name, value in own.items() if name in known}
    options = SweepOptions.model_validate({"name": info.name, **_PLACES, **own, "trials": info.trials or 1})
    placed = {f"--{name}" for name in (*_PLACES, "name")}
    return shlex.join([*words, *(word for word in as_words(options) if word.partition("=")[0] not in placed)])


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )


def _method(experiment: Mapping[str, Any]) -> str:
    scheduler = experiment.get("scheduler") or {}
    rest = _pairs({name: value for name, value in scheduler.items() if name != "kind"})
    kind = scheduler.get("kind", "unknown")
    return f"{experiment.get('sampler', 'unknown')}, {kind}{f' ({rest})' if rest else ''}"
