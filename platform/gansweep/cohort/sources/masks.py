"""Finds masks beside their images: `X_mask.png` beside `X.png`, or `masks/X.png` beside `images/X.png`."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from gansweep.cohort.sources.source import NIFTIS, Rejected, Source
from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["is_image_folder", "masks_of", "with_masks", "without_image"]

_MASK = "masks?|maske|msk|segs?|segmentations?|annotations?|ground[ _-]?truths?|gt"
_WORDS = f"{_MASK}|rois?|labels?|contours?|outlines?|lesions?"
_FORMAT = r"png|jpe?g|tiff?|nii|binary|bin"
_MASK_FOLDERS = re.compile(rf"(?:(?:lesion|{_FORMAT})[ _-]?)?(?:{_WORDS})(?:tr|ts)?(?:[ _-]?(?:{_FORMAT}))?")
_IMAGE_FOLDERS = re.compile(rf"(?:images?(?:tr|ts)?|imgs?|scans?|pictures?|data|raw)(?:[ _-]?(?:{_FORMAT}))?")
# train_masks beside train, fahr_mask beside fahr
_TWIN_FOLDER = re.compile(rf"(?P<folder>.+?)[ _-]+(?:{_MASK})(?:[ _-]?(?:{_FORMAT}))?", re.IGNORECASE)
# X_mask, X-seg, X (mask), X_mask_1 (the second lesion of one image), X_segmentation; Xmask; mask_X
_MASK_NAME = re.compile(rf"(?P<image>.+?)[ _.([-]+(?:lesion[ _-]?)?(?:{_WORDS}|l)(?:[ _-]?\d+)?[)\]]?")
_MASK_LAST = re.compile(r"(?P<image>.+?)masks?")
_MASK_FIRST = re.compile(rf"(?:lesion[ _-]?)?(?:{_WORDS})[ _.-]+(?P<image>.+)")
# What distinguishes an image from its mask: X_img beside X_mask, img_X beside mask_X, X_0000 beside X (nnU-Net)
_IMAGE_LAST = re.compile(r"(?P<image>.+?)[ _.-]+(?:images?|img|scan|orig|original|raw|0000)")
_IMAGE_FIRST = re.compile(r"(?:images?|img|scan|orig|original|raw)[ _.-]+(?P<image>.+)")

# X_brain_mask: a mask of the organ, not of a lesion
_ORGAN = re.compile(r"(.+?)[ _.-]+(?:brain|bet|head|skull|lung|lungs|liver|body)")

Key = tuple[str, ...]


def is_image_folder(name: str) -> bool:
    """Returns whether a folder's name only indicates images: images, imagesTr, scans."""
    return _IMAGE_FOLDERS.fullmatch(canonical(name).casefold()) is not None


def masks_of(images: Sequence[Path], root: Path) -> tuple[dict[Path, list[Path]], list[Path]]:
    """Distinguishes masks from images by their names.

    A file is a mask only if its image exists, so a class can have the name `mask`, and its images X_mask. A file
    without an image is a mask too, if most files of its folder with the same addition to their names have one.

    Args:
        images: files below `root`.
        root: the folder.

    Returns:
        (the masks of each image that has some, masks of organs and masks without an image).
    """
    names = _Names(root)
    outside = _image_keys([path for path in images if not names.in_mask_folder(path)], names)
    found: dict[Path, list[Path]] = defaultdict(list)
    owned: dict[Path, list[bool]] = defaultdict(list)
    marked: dict[tuple[Path, str], list[tuple[Path, bool]]] = defaultdict(list)
    alone: list[Path] = []
    for path in images:
        owner = next((outside[key] for key in names.owner_keys(path) if key in outside), None)
        organ = names.organ_key(path)
        if owner is None and organ in outside:
            alone.append(path)
        elif owner is not None:
            found[owner].append(path)
        if names.in_mask_folder(path):
            owned[path.parent].append(owner is not None)
            alone += [] if owner is not None or path in alone[-1:] else [path]
        elif owner is not None or organ not in outside:
            mark = names.mark(path)
            if mark:
                marked[path.parent, mark].append((path, owner is not None))
    left = [path for path in alone if any(owned[path.parent]) or not names.in_mask_folder(path)]
    return dict(found), left + _orphans(marked.values())


def _orphans(groups: Iterable[Sequence[tuple[Path, bool]]]) -> list[Path]:
    """Returns the files without an image of each group in which most files have one."""
    found = []
    for files in groups:
        orphans = [path for path, has_image in files if not has_image]
        if len(orphans) < len(files) / 2:
            found += orphans
    return found


def with_masks(sources: Sequence[Source], masks: Mapping[Path, Sequence[Path]]) -> list[Source]:
    """Returns the sources with their masks."""
    found = []
    for source in sources:
        if source.path in masks:
            first, *more = masks[source.path]
            found.append(replace(source, mask=first, more_masks=tuple(more), mask_beside=True))
        else:
            found.append(source)
    return found


def without_image(paths: Sequence[Path], root: Path) -> list[Rejected]:
    """Returns records of the masks that are not used."""
    return [
        Rejected(str(path.relative_to(root)), "a mask of an organ, or without an image", bad=False, path=path)
        for path in paths
    ]


class _Names:
    """What the names of files and folders below `root` say about images and masks.

    Each folder is looked at once, since its files share what it says.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, tuple[Key, bool]] = {}

    def key(self, path: Path) -> Key:
        """Returns what an image and its mask have in common.

        The stem, and the folders except those named images or masks. A twin folder counts as the one that it is beside.
        """
        return (*self._of(path.parent)[0], _stem(path))

    def in_mask_folder(self, path: Path) -> bool:
        """Returns whether the name of one of a file's folders says that it holds masks."""
        return self._of(path.parent)[1]

    def owner_keys(self, path: Path) -> list[Key]:
        """Returns the possible keys of a mask's image; none if neither its folder nor its name indicates a mask."""
        *folders, stem = self.key(path)
        keys: list[Key] = [(*folders, stem)] if self.in_mask_folder(path) else []
        named = (pattern.fullmatch(stem) for pattern in (_MASK_NAME, _MASK_FIRST, _MASK_LAST))
        return keys + [(*folders, found["image"]) for found in named if found]

    def mark(self, path: Path) -> str:
        """Returns what the name of a file adds to that of its image, without numbers, or "": `_mask` in X_mask_2."""
        stem = _stem(path)
        named = (pattern.fullmatch(stem) for pattern in (_MASK_NAME, _MASK_FIRST, _MASK_LAST))
        found = next((match for match in named if match), None)
        if found is None:
            return ""
        start, end = found.span("image")
        return re.sub(r"\d+", "", f"{stem[:start]}*{stem[end:]}")

    def organ_key(self, path: Path) -> Key | None:
        """Returns the key of the image whose organ mask a file may be."""
        *folders, stem = self.key(path)
        named = _MASK_NAME.fullmatch(stem)
        organ = named and _ORGAN.fullmatch(named["image"])
        return (*folders, organ[1]) if organ else None

    def _of(self, folder: Path) -> tuple[Key, bool]:
        """Returns the part of the key that a folder's files share, and whether it holds masks."""
        if folder not in self._folders:
            self._folders[folder] = self._look_at(folder)
        return self._folders[folder]

    def _look_at(self, folder: Path) -> tuple[Key, bool]:
        key: list[str] = []
        of_masks = False
        above = self._root
        for part in folder.relative_to(self._root).parts:
            twin = _twin_of(part, above)
            of_masks = of_masks or bool(twin) or _MASK_FOLDERS.fullmatch(part.casefold()) is not None
            name = canonical(twin or part).casefold()
            if not (_IMAGE_FOLDERS.fullmatch(name) or _MASK_FOLDERS.fullmatch(name)):
                key.append(name)
            above = above / part
        return tuple(key), of_masks


def _image_keys(images: Sequence[Path], names: _Names) -> dict[Key, Path]:
    """Returns images by the keys under which a mask may look for them: the whole stem, or that without a word."""
    keys = {names.key(path): path for path in images}
    shorter: dict[Key, set[Path]] = defaultdict(set)
    for path in images:
        *folders, stem = names.key(path)
        for pattern in (_IMAGE_LAST, _IMAGE_FIRST):
            found = pattern.fullmatch(stem)
            if found:
                shorter[*folders, found["image"]].add(path)
    only = {key: min(paths) for key, paths in shorter.items() if len(paths) == 1}
    return {**only, **keys}


def _twin_of(name: str, above: Path) -> str:
    """Returns the name of the folder in `above` whose masks the folder `name` beside it contains, or ""."""
    found = _TWIN_FOLDER.fullmatch(name)
    return found["folder"] if found and (above / found["folder"]).is_dir() else ""


def _stem(path: Path) -> str:
    name = canonical(path.name).casefold()
    suffix = next((end for end in reversed(NIFTIS) if name.endswith(end)), path.suffix)
    return name[: len(name) - len(suffix)]
