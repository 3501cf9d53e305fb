"""Finds masks beside their images: `X_mask.png` beside `X.png`, or `masks/X.png` beside `images/X.png`."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gansweep.cohort.sources.source import NIFTIS, Rejected, Source
from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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

    A file is a mask only if its image exists, so a class can have the name `mask`.

    Args:
        images: files below `root`.
        root: the folder.

    Returns:
        (the masks of each image that has some, masks of organs and masks without an image).
    """
    outside = _image_keys([path for path in images if not _in_mask_folder(path, root)], root)
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


def _image_keys(images: Sequence[Path], root: Path) -> dict[Key, Path]:
    """Returns images by the keys under which a mask may look for them: the whole stem, or that without a word."""
    keys = {_key(path, root): path for path in images}
    shorter: dict[Key, set[Path]] = defaultdict(set)
    for path in images:
        *folders, stem = _key(path, root)
        for pattern in (_IMAGE_LAST, _IMAGE_FIRST):
            found = pattern.fullmatch(stem)
            if found:
                shorter[*folders, found["image"]].add(path)
    only = {key: min(paths) for key, paths in shorter.items() if len(paths) == 1}
    return {**only, **keys}


def _key(path: Path, root: Path) -> Key:
    """Returns what an image and its mask have in common.

    The stem, and the folders except those named images or masks. A twin folder counts as the one that it is beside.
    """
    folders = [canonical(_twin_of(folder) or folder.name).casefold() for folder in _folders(path, root)]
    kept = [name for name in folders if not (_IMAGE_FOLDERS.fullmatch(name) or _MASK_FOLDERS.fullmatch(name))]
    return (*kept, _stem(path))


def _folders(path: Path, root: Path) -> list[Path]:
    """Returns the folders of a file below `root`, outermost first."""
    return list(path.parents)[: len(path.relative_to(root).parts) - 1][::-1]


@lru_cache(maxsize=1024)
def _twin_of(folder: Path) -> str:
    """Returns the name of the folder beside `folder` whose masks it contains by its name, or ""."""
    found = _TWIN_FOLDER.fullmatch(folder.name)
    return found["folder"] if found and (folder.parent / found["folder"]).is_dir() else ""


def _owner_keys(path: Path, root: Path) -> list[Key]:
    """Returns the possible keys of a mask's image; none if neither its folder nor its name indicates a mask."""
    stem = _stem(path)
    folders = _key(path, root)[:-1]
    keys = [(*folders, stem)] if _in_mask_folder(path, root) else []
    named = (pattern.fullmatch(stem) for pattern in (_MASK_NAME, _MASK_FIRST, _MASK_LAST))
    return keys + [(*folders, found["image"]) for found in named if found]


def _organ_key(path: Path, root: Path) -> Key | None:
    """Returns the key of the image whose organ mask a file may be."""
    named = _MASK_NAME.fullmatch(_stem(path))
    organ = named and _ORGAN.fullmatch(named["image"])
    return (*_key(path, root)[:-1], organ[1]) if organ else None


def _in_mask_folder(path: Path, root: Path) -> bool:
    folders = _folders(path, root)
    return any(_MASK_FOLDERS.fullmatch(folder.name.casefold()) or _twin_of(folder) for folder in folders)


def _stem(path: Path) -> str:
    name = canonical(path.name).casefold()
    suffix = next((end for end in reversed(NIFTIS) if name.endswith(end)), path.suffix)
    return name[: len(name) - len(suffix)]
