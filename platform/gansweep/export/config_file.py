"""Reads and writes `config.yaml`: one complete trial configuration, which `gansweep train` can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from gansweep.config import TrialConfig, validated
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["config_yaml", "read_config"]


def config_yaml(config: TrialConfig, header: list[str]) -> str:
    """The content of the file: the lines of `header` as comments, then all keys with their values."""
    comments = "".join(f"# {line}\n" for line in header)
    return comments + yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)


def read_config(path: Path) -> TrialConfig:
    """Reads a configuration.

    Args:
        path: a YAML file.

    Raises:
        ConfigError: the file does not exist, is not YAML, or has an unknown key or an invalid value.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not YAML ({str(error).splitlines()[0]})", where=str(path)) from None
    if not isinstance(values, dict):  # YAML may also hold a list or a bare value
        raise ConfigError("not a trial configuration", where=str(path), fix="give config.yaml of an export")
    return validated(TrialConfig, values, where=str(path))
