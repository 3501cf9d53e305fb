"""Refuses masks that are numbered otherwise than their images: mask_0 to mask_11 beside image_1 to image_12."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check_numbers"]

logger = logging.getLogger(__name__)

_LAST_NUMBER = re.compile(r"(?P<before>.*?)(?P<number>\d{1,9})(?P<after>\D*)")

Key = tuple[str, ...]


def check_numbers(images: Iterable[Key], masks: Iterable[Key], root: Path) -> None:
    """Refuses masks whose numbers are those of their images, shifted by one or more.

    Equal numbers would give most images the mask of their neighbour. If there are fewer masks, some of which have no
    image, this is only probable, and logged.

    Args:
        images: the keys of images, of which the last part is a name.
        masks: the keys that masks have in common with their images.
        root: the folder of both.

    Raises:
        CohortError: as many masks as images differ only by their last number, and these by the same difference.
    """
    of_masks = _numbers(masks)
    if not of_masks:
        return
    of_images = _numbers(images)
    doubtful = []
    for key, numbers in of_masks.items():
        found = sorted(of_images.get(key, ()))
        expected = sorted(numbers)
        if numbers.issubset(found) or not numbers.intersection(found):
            continue
        shift = found[0] - expected[0]
        shown = f"{len(found)} images are numbered from {found[0]} to {found[-1]}"
        shown = f"{shown}, and their masks from {expected[0]} to {expected[-1]}"
        if [number + shift for number in expected] == found:
            raise CohortError(
                shown,
                where=str(root),
                fix="give each mask the number of its image, or name masks in a column 'mask' of a labels CSV",
            )
        if len(expected) < len(found) and _fit_after_one_step(expected, found):
            doubtful.append(shown)
    if doubtful:
        more = f" ({len(doubtful)} such series)" if len(doubtful) > 1 else ""
        logger.warning("%s%s: images may have the masks of their neighbours", doubtful[0], more)


def _fit_after_one_step(masks: Iterable[int], images: Iterable[int]) -> bool:
    """Returns whether all masks would have an image if their numbers were one more, or one less."""
    return any({number + step for number in masks}.issubset(images) for step in (-1, 1))


def _numbers(keys: Iterable[Key]) -> dict[Key, set[int]]:
    """Returns the last numbers in names by the rest of their keys."""
    numbers: dict[Key, set[int]] = defaultdict(set)
    for *folders, name in keys:
        found = _LAST_NUMBER.fullmatch(name)
        if found:
            numbers[*folders, found["before"], found["after"]].add(int(found["number"]))
    return numbers
