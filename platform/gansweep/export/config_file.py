"""`config.yaml`: one complete trial configuration that a person can read and `gansweep train` can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from gansweep.errors import ConfigError
from gansweep.experiment import TrialConfig, validated

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["config_yaml", "read_config"]


def config_yaml(config: TrialConfig, header: list[str]) -> str:
    """The file's content: `header` as comments, then every key with its value."""
    comments = "".join(f"# {line}\n" for line in header)
    return comments + yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)


def read_config(path: Path) -> TrialConfig:
    """The configuration in a file.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a value out of range.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not YAML ({str(error).splitlines()[0]})", where=str(path)) from None
    if not isinstance(values, dict):
        raise ConfigError("not a trial configuration", where=str(path), fix="give config.yaml of an export")
    return validated(TrialConfig, values, where=str(path))
