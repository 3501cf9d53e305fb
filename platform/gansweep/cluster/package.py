"""Collects the code of a job: the platform, the trainables, the search spaces and the user's space file.

Only code is uploaded. The user's working directory is not, because it may contain scans.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from gansweep.errors import ClusterError, ConfigError

__all__ = ["LAUNCHER", "PACKAGES", "stage_code"]

LAUNCHER = "gansweep.sh"
"""The job's file that runs gansweep, with the words of the command line as its arguments."""

# The shell of a job may find another `python` than that of the cluster, or none, if `ray` was started by its full path.
# The command line of the raylet, which is a parent of every job, names the interpreter of its workers.
_LAUNCH = r"""#!/bin/sh
found=
process=$$
while [ -z "$found" ] && [ "${process:-0}" -gt 1 ]; do
  found=$({ tr '\0' '\n' < "/proc/$process/cmdline"; } 2>/dev/null \
    | sed -n 's/^--python_worker_command=\([^ ]*\) .*/\1/p')
  process=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$process/status" 2>/dev/null)
done
python=${found:-python}
if ! "$python" -c 'import ray' 2>/dev/null; then
  echo "error: $(command -v "$python" || echo "$python") on the head node has no Ray: start ray from an activated\
 environment" >&2
  exit 2
fi
exec "$python" -m gansweep.cli "$@"
"""

PACKAGES = ("gansweep", "trainables", "search_spaces")
# Caches and hidden files are not code.
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def stage_code(space: str | None, into: Path) -> str:
    """Copies the code of a job into a folder, which becomes the job's working directory.

    A repository and an installed wheel give the same folder. The job runs this code, whatever version of gansweep is
    installed on the nodes.

    Args:
        space: name of a search space, or `path/file.py:function`; None: no space is needed.
        into: an existing, empty folder.

    Returns:
        The argument `space` for the job; empty without one.

    Raises:
        ConfigError: the space file does not exist.
        ClusterError: a package is not installed as files.
    """
    (into / LAUNCHER).write_text(_LAUNCH)
    for name in PACKAGES:
        shutil.copytree(_folder_of(name), into / name, ignore=_IGNORED)
    path, colon, function = (space or "").partition(":")
    if not colon:
        return path
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
