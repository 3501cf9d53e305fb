"""An interpreter that sees chosen distributions and what they require, and nothing else that is installed."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["bare_python"]


def bare_python(
    folder: Path, distributions: Sequence[str], sources: Sequence[Path]
) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the interpreter.

    Args:
        folder: empty; it is filled with links into the installed packages.
        distributions: what may be imported, with its requirements.
        sources: folders that are on the path besides.
    """
    for name in _closure(distributions):
        found = metadata.distribution(name)
        for entry in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = folder / entry
            if not link.exists():
                link.symlink_to(str(found.locate_file(entry)))
    path = ":".join(map(str, (folder, *sources)))
    # -S: without site-packages.
    return [sys.executable, "-S"], {"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}


def _closure(distributions: Sequence[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(distributions)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        found.add(name)
        waiting += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requirements if "extra ==" not in line]
    return found
