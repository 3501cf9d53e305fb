"""The code a job takes along: the platform, the trainables, the spaces and the user's own space file.

Only code travels. The user's working directory is not uploaded, because scans may lie in it.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from gansweep.errors import ClusterError, ConfigError

__all__ = ["PACKAGES", "stage_code"]

PACKAGES = ("gansweep", "trainables", "search_spaces")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def stage_code(space: str, into: Path) -> str:
    """Copies the code of a job into the empty folder `into`, which becomes the job's working directory.

    A repository and an installed wheel give the same folder, so that the code that runs is the code submitted, whatever
    version the cluster's nodes have installed.

    Args:
        space: a space's name or `path/file.py:function`.
        into: an existing folder.

    Returns:
        `space` as the job has to spell it.

    Raises:
        ConfigError: a space file that does not exist.
        ClusterError: a package that cannot be found as files.
    """
    for name in PACKAGES:
        shutil.copytree(_folder_of(name), into / name, ignore=_IGNORED)
    path, colon, function = space.partition(":")
    if not colon:
        return space
    source = Path(path)
    if not source.is_file():
        raise ConfigError("no such file", where=path, fix="give a space as path/to/file.py:function")
    shutil.copy2(source, into / source.name)
    return f"{source.name}:{function}"


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ClusterError(f"package {package!r} is not installed as files", fix="install the gansweep wheel")
    return Path(next(iter(spec.submodule_search_locations)))
