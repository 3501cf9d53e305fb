"""Finds masks beside their images: `X_mask.png` beside `X.png`, or `masks/X.png` beside `images/X.png`."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gansweep.cohort.readers.masks import looks_drawn
from gansweep.cohort.readers.sequences import sequence_in
from gansweep.cohort.sources.mask_numbers import Key, check_numbers
from gansweep.cohort.sources.shared_masks import cases_of, fitting_masks
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
_MASK_NAME = re.compile(rf"(?P<image>.+?)[ _.([-]+(?:lesion[ _-]?)?(?:{_WORDS})(?:[ _-]?\d+)?[)\]]?")
# X_L is a mask, or the left side of a patient
_MASK_OR_LEFT = re.compile(r"(?P<image>.+?)[ _.([-]+l(?:[ _-]?\d+)?[)\]]?")
_MASK_LAST = re.compile(r"(?P<image>.+?)masks?")
_MASK_FIRST = re.compile(rf"(?:lesion[ _-]?)?(?:{_WORDS})[ _.-]+(?P<image>.+)")
# mask.png beside image.png, segmentation.nii beside imaging.nii: a folder for each case
_BARE = re.compile(rf"(?:(?:lesion|tumou?r)[ _-]?)?(?:{_MASK}|labels?)(?P<number>[ _-]?\d+)?")
# Likewise, but an image may be called so, too.
_BARE_OR_IMAGE = re.compile("lesions?|tumou?rs?|rois?|contours?|outlines?")
# Label maps of FreeSurfer and BIDS, for every region of the brain
_LABEL_MAP = re.compile(r"(?:.+[ _.-])?(?:aparc[.+].*|aseg(?:[.+].*)?|wmparc|dseg|probseg)|ribbon")
_RIGHT = re.compile(r"[ _.-]r$")
MOST_SEQUENCES = 8  # images of one case
# What distinguishes an image from its mask: X_img beside X_mask, img_X beside mask_X, X_0000 beside X (nnU-Net)
_IMAGE_LAST = re.compile(r"(?P<image>.+?)[ _.-]+(?:images?|img|scan|orig|original|raw|0000)")
_IMAGE_FIRST = re.compile(r"(?:images?|img|scan|orig|original|raw)[ _.-]+(?P<image>.+)")
_CHANNEL = re.compile(r"000\d")

_SEPARATOR = re.compile(r"[ _.-]+")
_LAST_WORD = re.compile(r"(?P<image>.+?)[ _.-]+(?P<word>[^ _.-]+)")
_NUMBERED_IMAGE = re.compile(r"(?:images?|img|scan|orig|original|raw)[ _-]?0*(?P<number>\d+)")  # beside mask_1

# X_brain_mask: a mask of the organ, not of a lesion
_ORGAN = re.compile(r"(.+?)[ _.-]+(?:brain|bet|head|skull|lung|lungs|liver|body)")

NUMBER = "/number"  # in a key; no file can be called so


def is_image_folder(name: str) -> bool:
    """Returns whether a folder's name only indicates images: images, imagesTr, scans."""
    return _IMAGE_FOLDERS.fullmatch(canonical(name).casefold()) is not None


def masks_of(images: Sequence[Path], root: Path, *, check: bool = True) -> tuple[dict[Path, list[Path]], list[Path]]:
    """Distinguishes masks from images by their names.

    A file is a mask if its image exists, so a class can have the name `mask`, and its images X_mask. A file without an
    image is a mask too, if most files of its folder with the same addition to their names have one, if it is in a
    folder `masks` and another file in a folder of this name has one, or if these look like masks. The last decides
    alone where a name has two meanings: X_L may be the left side of a patient.

    A mask may belong to several images of one case: X_seg to X_t1 and X_flair, and a file that is only called `mask` to
    all sequences in its folder.

    Args:
        images: files below `root`.
        root: the folder.
        check: whether to refuse masks that are numbered otherwise than their images.

    Returns:
        (the masks of each image that has some, masks of organs and masks without an image).

    Raises:
        CohortError: masks are numbered otherwise than their images.
    """
    names = _Names(root)
    named = _without_doubt([(path, names.of(path)) for path in images])
    owners_of = _Owners([(path, name) for path, name in named if not name.mask_folder and not name.bare])
    if check:
        masks = [key for _, name in named if name.like_mask for key in name.owner_keys()]
        check_numbers(owners_of.keys, masks, root)
    found: dict[Path, list[Path]] = defaultdict(list)
    in_folders: dict[str, list[tuple[Path, bool]]] = defaultdict(list)
    marked: dict[tuple[Path, str], list[tuple[Path, bool]]] = defaultdict(list)
    alone: list[Path] = []
    for path, name in named:
        if not name.like_mask:
            continue
        owners = owners_of(name)
        for owner in owners:
            found[owner].append(path)
        if name.mask_folder:
            in_folders[name.mask_folder].append((path, bool(owners)))
        elif not owners and (name.bare or owners_of.has_organ(name)):
            alone.append(path)
        elif name.mark() and not name.bare:
            marked[path.parent, name.mark()].append((path, bool(owners)))
    for files in in_folders.values():
        orphans = [path for path, has_image in files if not has_image]
        alone += orphans if len(orphans) < len(files) or _look_drawn(orphans) else []
    return dict(found), alone + _orphans(marked.values())


def _without_doubt(named: Sequence[tuple[Path, _Name]]) -> list[tuple[Path, _Name]]:
    """Returns the files with their names, of which those with two meanings are names of images if the files are."""
    right = {(name.folders, name.stem[:-1]) for _, name in named if _RIGHT.search(name.stem)}
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    sides: set[tuple[Path, str]] = set()
    for path, name in named:
        if name.doubtful:
            groups[path.parent, name.mark()].append(path)
            if (name.folders, name.stem[:-1]) in right:
                sides.add((path.parent, name.mark()))
    shown = {path for key, paths in groups.items() if key in sides or not _look_drawn(paths) for path in paths}
    return [
        (path, replace(name, matches=(), bare=False, of_case=False) if path in shown else name) for path, name in named
    ]


def _look_drawn(paths: Sequence[Path]) -> bool:
    """Returns whether files look like masks: the first, the last and one between."""
    return all(looks_drawn(path) for path in {paths[0], paths[len(paths) // 2], paths[-1]})


def _orphans(groups: Iterable[Sequence[tuple[Path, bool]]]) -> list[Path]:
    """Returns the files without an image of each group in which most files have one, or whose files look like masks."""
    found = []
    for files in groups:
        orphans = [path for path, has_image in files if not has_image]
        if orphans and (len(orphans) < len(files) / 2 or _look_drawn(orphans)):
            found += orphans
    return found


def with_masks(sources: Sequence[Source], masks: Mapping[Path, Sequence[Path]]) -> list[Source]:
    """Returns the sources with their masks.

    Images that share a mask belong to one patient, and only those that it fits have it.
    """
    kept, without = fitting_masks(masks)
    cases = cases_of(masks)
    names = {source.path: source.name for source in sources}
    found = []
    for source in sources:
        if source.path in cases and not source.folder:
            source = replace(source, folder=names.get(cases[source.path], ""))
        paths = kept.get(source.path, [])
        lost = source.path in without
        if paths or lost:
            first = paths[0] if paths else None
            source = replace(source, mask=first, more_masks=tuple(paths[1:]), mask_beside=bool(paths), mask_lost=lost)
        found.append(source)
    return found


def without_image(paths: Sequence[Path], root: Path) -> list[Rejected]:
    """Returns records of the masks that are not used."""
    return [
        Rejected(str(path.relative_to(root)), "a mask of an organ, or without an image", bad=False, path=path)
        for path in paths
    ]


@dataclass(frozen=True, slots=True)
class _Name:
    """What the name of a file and those of its folders say.

    An image and its mask have folders and stem in common.

    Args:
        folders: the folders except those named images or masks. A twin folder counts as the one that it is beside.
        stem: the name without the suffix.
        mask_folder: the name of its folder that says that it holds masks, or "". Of a twin folder without the name of
            the other.
        matches: the patterns of masks that the stem matches.
        bare: whether the stem says that it is a mask, without an image's name.
        of_case: whether such a mask is that of the images in its folder.
        number: the number of such a mask, or "".
        doubtful: whether an image may have such a name.
    """

    folders: Key
    stem: str
    mask_folder: str
    matches: tuple[re.Match[str], ...]
    bare: bool
    of_case: bool
    number: str
    doubtful: bool

    @property
    def like_mask(self) -> bool:
        """Whether the name or a folder indicates a mask."""
        return bool(self.mask_folder or self.matches) or self.bare or self.of_case

    def of_image(self) -> _Name:
        """Returns the name as that of an image."""
        return replace(self, matches=(), bare=False, of_case=False)

    def owner_keys(self) -> list[Key]:
        """Returns the possible keys of a mask's image."""
        keys: list[Key] = [(*self.folders, self.stem)] if self.mask_folder else []
        keys += [(*self.folders, NUMBER, self.number)] if self.number else []
        return keys + [(*self.folders, found["image"]) for found in self.matches]

    def mark(self) -> str:
        """Returns what the name of a file adds to that of its image, without numbers, or "": `_mask` in X_mask_2."""
        if not self.matches:
            return re.sub(r"\d+", "", self.stem) if self.number else ""
        start, end = self.matches[0].span("image")
        return re.sub(r"\d+", "", f"{self.stem[:start]}*{self.stem[end:]}")

    def organ_key(self) -> Key | None:
        """Returns the key of the image whose organ mask a file may be."""
        named = _MASK_NAME.fullmatch(self.stem)
        organ = named and _ORGAN.fullmatch(named["image"])
        return (*self.folders, organ[1]) if organ else None


class _Names:
    """What the names of files and folders below `root` say about images and masks.

    Each folder is looked at once, since its files share what it says.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, tuple[Key, str]] = {}

    def of(self, path: Path) -> _Name:
        """Returns what the name of a file says."""
        folder = os.path.dirname(path)  # noqa: PTH120 - for every file, and a Path is slow
        if folder not in self._folders:
            self._folders[folder] = self._look_at(path.parent)
        folders, mask_folder = self._folders[folder]
        stem = _stem(path)
        found = tuple(pattern.fullmatch(stem) for pattern in (_MASK_NAME, _MASK_FIRST, _MASK_LAST))
        matches = tuple(match for match in found if match)
        left = None if matches else _MASK_OR_LEFT.fullmatch(stem)
        only = _BARE.fullmatch(stem)
        or_image = _BARE_OR_IMAGE.fullmatch(stem) is not None
        # A class may have images mask_001 and so on.
        bare = (only is not None and not only["number"]) or or_image or _LABEL_MAP.fullmatch(stem) is not None
        return _Name(
            folders,
            stem,
            mask_folder,
            (left,) if left else matches,
            bare,
            of_case=only is not None or or_image,
            number=str(int(only["number"].strip(" _-"))) if only and only["number"] else "",
            doubtful=not mask_folder and (left is not None or or_image),
        )

    def _look_at(self, folder: Path) -> tuple[Key, str]:
        key: list[str] = []
        of_masks = ""
        above = self._root
        for part in folder.relative_to(self._root).parts:
            twin = _twin_of(part, above)
            if twin or _MASK_FOLDERS.fullmatch(part.casefold()):
                of_masks = of_masks or part.removeprefix(twin).casefold()
            name = canonical(twin or part).casefold()
            if not (_IMAGE_FOLDERS.fullmatch(name) or _MASK_FOLDERS.fullmatch(name)):
                key.append(name)
            above = above / part
        return tuple(key), of_masks


class _Owners:
    """Finds the images of a mask by its name.

    Args:
        images: the files that may be images, with their names.
    """

    def __init__(self, images: Sequence[tuple[Path, _Name]]) -> None:
        self._exact = _image_keys(images)
        self._sequences: dict[Key, list[Path]] = defaultdict(list)
        self._cases: dict[Key, list[tuple[Path, _Name]]] = defaultdict(list)
        channels: dict[Key, list[Path]] = defaultdict(list)
        for path, name in images:
            found = _LAST_WORD.fullmatch(name.stem)
            if found and _is_sequence(found["word"]):
                self._sequences[*name.folders, found["image"]].append(path)
            # Pictures are numbered so, too, but as slices.
            if found and _CHANNEL.fullmatch(found["word"]) and path.name.casefold().endswith(NIFTIS):
                channels[*name.folders, found["image"]].append(path)
            if not name.matches and not name.of_case:
                self._cases[name.folders].append((path, name))
        # nnU-Net numbers the channels of a case from 0; what the first one belongs to, the others do, too.
        self._channels = {key: paths for key, paths in channels.items() if self._exact.get(key) in paths}

    @property
    def keys(self) -> set[Key]:
        """The keys under which masks may look for their images."""
        return self._exact.keys() | self._sequences.keys()

    def __call__(self, name: _Name) -> list[Path]:
        """Returns the images of a mask; none if it has none."""
        for key in name.owner_keys():
            if key in self._channels:
                return self._channels[key]
            if key in self._exact:
                return [self._exact[key]]
            if key in self._sequences:
                return self._sequences[key]
        return self._of_case(name)

    def _of_case(self, name: _Name) -> list[Path]:
        """Returns the images in the folder of a mask, if it holds one case: one image, or some sequences."""
        images = self._cases.get(name.folders, [])
        if len(images) == 1:
            path, image = images[0]
            starts = [found["image"] for found in name.matches if image.stem.startswith(found["image"])]
            named_after = any(_SEPARATOR.match(image.stem, len(start)) for start in starts)
            return [path] if name.of_case or named_after else []
        # Several images of one sequence are those of several cases.
        words = {_SEPARATOR.split(image.stem)[-1] for _, image in images}
        one_case = len(words) == len(images) <= MOST_SEQUENCES and all(map(_is_sequence, words))
        return [path for path, _ in images] if name.of_case and one_case else []

    def has_organ(self, name: _Name) -> bool:
        """Returns whether a file may be the mask of an organ in an image that exists."""
        return name.organ_key() in self._exact


def _image_keys(images: Sequence[tuple[Path, _Name]]) -> dict[Key, Path]:
    """Returns images by the keys under which a mask may look for them: the whole stem, or that without a word."""
    keys = {(*name.folders, name.stem): path for path, name in images}
    shorter: dict[Key, set[Path]] = defaultdict(set)
    for path, name in images:
        for pattern in (_IMAGE_LAST, _IMAGE_FIRST):
            found = pattern.fullmatch(name.stem)
            if found:
                shorter[*name.folders, found["image"]].add(path)
        numbered = _NUMBERED_IMAGE.fullmatch(name.stem)
        if numbered:
            shorter[*name.folders, NUMBER, numbered["number"]].add(path)
    only = {key: min(paths) for key, paths in shorter.items() if len(paths) == 1}
    return {**only, **keys}


def _is_sequence(word: str) -> bool:
    return word == "ct" or bool(sequence_in(word))


def _twin_of(name: str, above: Path) -> str:
    """Returns the name of the folder in `above` whose masks the folder `name` beside it contains, or ""."""
    found = _TWIN_FOLDER.fullmatch(name)
    return found["folder"] if found and (above / found["folder"]).is_dir() else ""


def _stem(path: Path) -> str:
    name = canonical(path.name).casefold()
    suffix = next((end for end in reversed(NIFTIS) if name.endswith(end)), path.suffix)
    return name[: len(name) - len(suffix)]
