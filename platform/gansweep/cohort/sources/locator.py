"""Finds the files that a labels CSV names."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.cohort.sources.masks import masks_of
from gansweep.cohort.sources.source import NIFTIS
from gansweep.cohort.sources.walk import leaves, real_path, walk
from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Locator", "exists", "is_dangling"]

logger = logging.getLogger(__name__)


class Locator:
    """Finds the files that a CSV names, below the source folder or beside the CSV.

    Separators may be / or those of Windows. If there is no such file, one that differs only in case or in Unicode form
    is used, provided that there is exactly one. The same holds for a name without its suffix (`ISIC_0024306`), and for
    a name without its folders. Of an image and a mask of one name, the cell's column decides which is meant.

    Args:
        root: the user's folder.
        table: the CSV.
        cells: the cells with the paths of images. If all are below one folder that is not here, it is taken for the
            source folder, which is logged: /kaggle/input/set/train/1.png.
    """

    def __init__(self, root: Path, table: Path, cells: Sequence[str] = ()) -> None:
        self.folders = tuple(dict.fromkeys((root, table.parent)))
        self._real_folders = [real_path(folder) for folder in self.folders]
        self._images: _Names | None = None
        self._masks: set[Path] | None = None
        self._ambiguous: set[Path] = set()
        self._resolved_folders: dict[str, str] = {}
        self._inside: dict[str, bool] = {}
        self._elsewhere = ""
        self._elsewhere = self._folder_elsewhere([cell.replace("\\", "/").removeprefix("./") for cell in cells if cell])
        if self._elsewhere:
            logger.warning("%s: all paths begin with a folder that is not here; it is taken for %s", table.name, root)

    def __call__(self, cell: str, *, mask: bool = False) -> Path | None:
        """Returns the file that a cell of a path column names.

        None for an empty cell; a path that does not exist if there is no such file or no single one.

        Args:
            cell: content of the cell.
            mask: whether it names a mask.
        """
        there = self.in_full(cell)
        if there is None or exists(there):
            return there
        names = self._names()
        word = _folded(cell)
        alike = names.stems.get(word) or names.bare.get(word) or set()
        if len(alike) > 1:
            alike = alike & self._all_masks() if mask else alike - self._all_masks()
        if len(alike) == 1:
            return min(alike)
        if alike:
            self._ambiguous.add(there)
        return there

    def is_ambiguous(self, path: Path) -> bool:
        """Returns whether a call returned a path that does not exist because several files have that name."""
        return path in self._ambiguous

    def in_full(self, cell: str) -> Path | None:
        """Returns the file that a cell names with its folders and suffix, as a call does.

        Cells that are not of a path column could match shorter names by chance.
        """
        if not cell:
            return None
        candidates = [folder / cell for folder in self.folders]
        if "\\" in cell:
            candidates += [folder / cell.replace("\\", "/") for folder in self.folders]
        # The path may begin with the name of the folder itself: dataset/images/1.png in dataset/labels.csv.
        slashed = cell.replace("\\", "/").removeprefix("./")
        first, _, rest = slashed.partition("/")
        candidates += [folder / rest for folder in self.folders if rest and folder.absolute().name == first]
        if self._elsewhere and slashed.startswith(self._elsewhere):
            candidates += [folder / slashed.removeprefix(self._elsewhere) for folder in self.folders]
        for path in candidates:
            if exists(path):
                return path
        alike = self._names().paths.get(_folded(cell), set())
        return min(alike) if len(alike) == 1 else candidates[0]

    def name(self, cell: str) -> str:
        """Returns a cell for messages, without the folder that is not here."""
        slashed = cell.replace("\\", "/").removeprefix("./")
        known = self._elsewhere and slashed.startswith(self._elsewhere)
        return slashed.removeprefix(self._elsewhere) if known else cell

    def resolved(self, path: Path) -> str:
        """Returns a path without links. Each folder is resolved once, since most of its files are no links."""
        folder, name = os.path.split(path)
        if name in {"", ".", ".."} or path.is_symlink():
            return os.path.realpath(path)
        if folder not in self._resolved_folders:
            self._resolved_folders[folder] = os.path.realpath(folder)
        return os.path.join(self._resolved_folders[folder], name)  # noqa: PTH118 - for every file, and a Path is slow

    def leaves(self, path: Path) -> bool:
        """Returns whether a path is, or leads through, a link out of the source folder and that of the CSV."""
        real = self.resolved(path)
        folder = os.path.dirname(real)  # noqa: PTH120 - likewise
        if folder not in self._inside:
            self._inside[folder] = any(Path(folder).is_relative_to(outer) for outer in self._real_folders)
        return not self._inside[folder] and leaves(path, self.folders, Path(real))

    def _folder_elsewhere(self, cells: Sequence[str]) -> str:
        """Returns the fewest folders that all cells have in common and without which the first and last file exist."""
        if len(cells) < 2 or exists(self.in_full(cells[0]) or self.folders[0]):
            return ""
        start = ""
        for part in cells[0].split("/")[:-1]:
            start += f"{part}/"
            if not all(cell.startswith(start) for cell in cells):
                break
            rests = [cells[place].removeprefix(start) for place in (0, -1)]
            if all(any(exists(folder / rest) for folder in self.folders) for rest in rests):
                return start
        return ""

    def _all_masks(self) -> set[Path]:
        if self._masks is None:
            self._masks = set()
            for folder in self.folders:
                found, alone = masks_of(walk(folder)[0] if folder.is_dir() else [], folder, check=False)
                self._masks |= {mask for masks in found.values() for mask in masks} | set(alone)
        return self._masks

    def _names(self) -> _Names:
        if self._images is None:
            self._images = _Names()
            for folder in self.folders:
                for path in walk(folder)[0] if folder.is_dir() else []:
                    self._images.add(_folded(str(path.relative_to(folder))), path)
        return self._images


class _Names:
    """Images by their folded names: with folders and suffix, with folders alone, and without folders."""

    def __init__(self) -> None:
        self.paths: dict[str, set[Path]] = defaultdict(set)
        self.stems: dict[str, set[Path]] = defaultdict(set)
        self.bare: dict[str, set[Path]] = defaultdict(set)

    def add(self, name: str, path: Path) -> None:
        stem = _without_suffix(name)
        self.paths[name].add(path)
        self.stems[stem].add(path)
        for whole in {name, stem}:
            self.bare[whole.rpartition("/")[2]].add(path)


def _folded(name: str) -> str:
    return canonical(name.replace("\\", "/").removeprefix("./")).casefold()


def _without_suffix(name: str) -> str:
    ending = next((end for end in reversed(NIFTIS) if name.endswith(end)), None)
    if ending is None:
        stem, dot, _ = name.rpartition(".")
        return stem if dot and stem and "/" not in name[len(stem) :] else name
    return name.removesuffix(ending)


def is_dangling(path: Path) -> bool:
    """Returns whether a path is a link that leads to no file, perhaps because it leads in a circle."""
    try:
        return path.is_symlink() and not path.exists()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Returns whether the path exists; False for an impossible name (too long, or with a NUL)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
