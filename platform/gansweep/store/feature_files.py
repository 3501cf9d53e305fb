"""Files of feature extractors that a sweep's scoring names. They are programs (TorchScript), which a store may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError
from gansweep.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.config import ScoringSettings

__all__ = ["check_feature_files", "feature_digests"]

_SETTINGS = ("features", "detector_features")


def feature_digests(scoring: ScoringSettings) -> dict[str, str]:
    """Returns the SHA-256 of each feature extractor's file, by setting."""
    return {name: sha256_of(Path(file)) for name, file in _files(scoring).items()}


def check_feature_files(scoring: ScoringSettings, recorded: Mapping[str, str]) -> None:
    """Refuses to execute a file that only a store names, unless it is the file of the sweep.

    Args:
        scoring: settings that the store recorded.
        recorded: result of `feature_digests` when the sweep began.

    Raises:
        ConfigError: a file is another one.
    """
    for name, file in _files(scoring).items():
        path = Path(file)
        # One that is missing is told where it is needed: a generator can be exported without it.
        if path.is_file() and sha256_of(path) != recorded.get(name):
            raise ConfigError(
                "is not executed: it is not the file that the sweep used",
                where=f"scoring.{name} = {file}",
                fix="put back the one that it used",
            )


def _files(scoring: ScoringSettings) -> dict[str, str]:
    named = {name: getattr(scoring, name) for name in _SETTINGS}
    return {name: file for name, file in named.items() if file is not None}
