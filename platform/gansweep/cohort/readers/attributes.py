"""Finds attributes in DICOM objects: their values, and the functional groups of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["functional_group", "values_of"]


def functional_group(dataset: Dataset, number: int, name: str) -> Dataset | None:
    """Returns a functional group of one frame, or else the shared one (PS3.3 C.7.6.16); None if there is neither.

    Args:
        dataset: the object.
        number: of the frame.
        name: keyword of the group's sequence: `PixelMeasuresSequence`.
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    for candidate in ([frames[number]] if frames and number < len(frames) else []) + list(shared or []):
        if candidate.get(name):
            found: Dataset = candidate[name][0]
            return found
    return None


def values_of(value: Any) -> list[Any]:
    """Returns the values of an attribute.

    pydicom returns a bare value for multiplicity 1, and None or "" for an empty attribute.
    """
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)
