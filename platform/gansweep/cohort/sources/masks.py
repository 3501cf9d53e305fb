"""Finds masks beside their images: `X_mask.png` beside `X.png`, or `masks/X.png` beside `images/X.png`."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from gansweep.cohort.sources.source import NIFTIS, Rejected, Source
from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["is_image_folder", "masks_of", "with_masks", "without_image"]

_WORDS = "masks?|maske|msk|segs?|segmentations?|annotations?|ground[ _-]?truths?|gt|rois?|labels?|contours?|outlines?"
_MASK_FOLDERS = re.compile(rf"(lesion[ _-]?)?(?:{_WORDS})(?:tr|ts)?")
_IMAGE_FOLDERS = re.compile(r"images?(?:tr|ts)?|imgs?|scans?|pictures?|data|raw")
# X_mask, X-seg, X_mask_1 (the second lesion of one image), X_segmentation; mask_X
_MASK_NAME = re.compile(rf"(?P<image>.+?)[ _.-]+(?:lesion[ _-]?)?(?:{_WORDS}|l)(?:[ _-]?\d+)?")
_MASK_FIRST = re.compile(rf"(?:lesion[ _-]?)?(?:{_WORDS})[ _.-]+(?P<image>.+)")

# X_brain_mask: a mask of the organ, not of a lesion
_ORGAN = re.compile(r"(.+?)[ _.-]+(?:brain|bet|head|skull|lung|lungs|liver|body)")

Key = tuple[str, ...]


def is_image_folder(name: str) -> bool:
    """Returns whether a folder's name only indicates images: images, imagesTr, scans."""
    return _IMAGE_FOLDERS.fullmatch(canonical(name).casefold()) is not None


def masks_of(images: Sequence[Path], root: Path) -> tuple[dict[Path, list[Path]], list[Path]]:
    """Distinguishes masks from images by their names.

    A file is a mask only if its image exists, so a class can have the name `mask`.

    Args:
        images: files below `root`.
        root: the folder.

    Returns:
        (the masks of each image that has some, masks of organs and masks without an image).
    """
    outside = {_key(path, root): path for path in images if not _in_mask_folder(path, root)}
    found: dict[Path, list[Path]] = defaultdict(list)
    folders: dict[Path, list[bool]] = defaultdict(list)
    alone: list[Path] = []
    for path in images:
        owner = next((outside[key] for key in _owner_keys(path, root) if key in outside), None)
        organ = _organ_key(path, root)
        if owner is None and organ in outside:
            alone.append(path)
        elif owner is not None:
            found[owner].append(path)
        if _in_mask_folder(path, root):
            folders[path.parent].append(owner is not None)
            alone += [] if owner is not None or path in alone[-1:] else [path]
    return dict(found), [path for path in alone if any(folders[path.parent]) or not _in_mask_folder(path, root)]


def with_masks(sources: Sequence[Source], masks: Mapping[Path, Sequence[Path]]) -> list[Source]:
    """Returns the sources with their masks."""
    return [
        replace(source, mask=masks[source.path][0], more_masks=tuple(masks[source.path][1:]), mask_beside=True)
        if source.path in masks
        else source
        for source in sources
    ]


def without_image(paths: Sequence[Path], root: Path) -> list[Rejected]:
    """Returns records of the masks that are not used."""
    return [
        Rejected(str(path.relative_to(root)), "a mask of an organ, or without an image", bad=False, path=path)
        for path in paths
    ]


def _key(path: Path, root: Path) -> Key:
    """Returns what an image and its mask have in common.

    The stem, and the folders except those named images or masks.
    """
    folders = [canonical(part).casefold() for part in path.relative_to(root).parts[:-1]]
    kept = [name for name in folders if not (_IMAGE_FOLDERS.fullmatch(name) or _MASK_FOLDERS.fullmatch(name))]
    return (*kept, _stem(path))


def _owner_keys(path: Path, root: Path) -> list[Key]:
    """Returns the possible keys of a mask's image; none if neither its folder nor its name indicates a mask."""
    stem = _stem(path)
    folders = _key(path, root)[:-1]
    keys = [(*folders, stem)] if _in_mask_folder(path, root) else []
    named = (pattern.fullmatch(stem) for pattern in (_MASK_NAME, _MASK_FIRST))
    return keys + [(*folders, found["image"]) for found in named if found]


def _organ_key(path: Path, root: Path) -> Key | None:
    """Returns the key of the image whose organ mask a file may be."""
    named = _MASK_NAME.fullmatch(_stem(path))
    organ = named and _ORGAN.fullmatch(named["image"])
    return (*_key(path, root)[:-1], organ[1]) if organ else None


def _in_mask_folder(path: Path, root: Path) -> bool:
    return any(_MASK_FOLDERS.fullmatch(part.casefold()) for part in path.relative_to(root).parts[:-1])


def _stem(path: Path) -> str:
    name = canonical(path.name).casefold()
    suffix = next((end for end in reversed(NIFTIS) if name.endswith(end)), path.suffix)
    return name[: len(name) - len(suffix)]
