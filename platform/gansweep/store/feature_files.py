"""Files of feature extractors that a sweep's scoring names. They are programs (TorchScript), which a store may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError
from gansweep.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.config import ScoringSettings

__all__ = ["FEATURE_FILES", "check_feature_files", "feature_digests"]

FEATURE_FILES = ("features", "detector_features")
"""Settings of `scoring` that name a file."""


def feature_digests(scoring: ScoringSettings) -> dict[str, str]:
    """Returns the SHA-256 of each feature extractor's file, by setting."""
    return {name: sha256_of(Path(file)) for name, file in _files(scoring).items()}


def check_feature_files(scoring: ScoringSettings, recorded: Mapping[str, str], *, fix: str) -> None:
    """Refuses to execute a file that only a store names, unless it is the file of the sweep.

    Args:
        scoring: settings that the store recorded.
        recorded: result of `feature_digests` when the sweep began. Earlier versions recorded none.
        fix: what the user can do about a file that was not recorded.

    Raises:
        ConfigError: a file is another one, or was not recorded.
    """
    for name, file in _files(scoring).items():
        path = Path(file)
        # One that is missing is told where it is needed: a generator can be exported without it.
        if not path.is_file():
            continue
        where = f"scoring.{name} = {file}"
        if name not in recorded:
            raise ConfigError("is not executed: the sweep did not record its hash", where=where, fix=fix)
        if sha256_of(path) != recorded[name]:
            what = "is not executed: it is not the file that the sweep used"
            raise ConfigError(what, where=where, fix="put back the one that it used")


def _files(scoring: ScoringSettings) -> dict[str, str]:
    named = {name: getattr(scoring, name) for name in FEATURE_FILES}
    return {name: file for name, file in named.items() if file is not None}
