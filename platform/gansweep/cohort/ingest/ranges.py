"""Finds differences between classes in how images were stored, because brightness would then reveal the class."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["check_ranges", "difference_warnings", "ranges_by_class"]

SHARE = 0.2  # minimum difference between classes in a bit depth's share that is reported
FACTOR = 2.0  # minimum factor between brightest values that is reported
SPACING_FACTOR = 1.5  # minimum factor between pixel spacings that is reported
AIR = 500.0  # HU: if darkest values differ by more, not all classes show air


def ranges_by_class(pictures: Sequence[Picture]) -> dict[str, dict[str, object]]:
    """Returns how the images of each class were stored.

    Returns:
        By class: `depths` (number of images by bit depth), `low` and `high` (medians of the images' darkest and
        brightest values, in Hounsfield or scanner units, or as fractions of the range for rasters).
    """
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.label].append(picture)
    return {
        label: {
            "depths": dict(Counter(picture.depth for picture in group).most_common()),
            "low": round(median(picture.low for picture in group), 4),
            "high": round(median(picture.high for picture in group), 4),
        }
        for label, group in sorted(groups.items())
    }


def check_ranges(pictures: Sequence[Picture], bits: int | None) -> list[str]:
    """Returns warnings about depths and ranges that differ between classes.

    Args:
        pictures: images of one modality.
        bits: number of bits that 16-bit images use, according to the user, or None.

    Raises:
        CohortError: the classes have different bit depths and use different parts of them, and `bits` is None.
    """
    ranges = ranges_by_class(pictures)
    modality = pictures[0].modality
    depths = _depths_differ(ranges)
    used = _ranges_differ(ranges, modality)
    usual = {max(facts["depths"], key=facts["depths"].get) for facts in ranges.values()}  # type: ignore[attr-defined,call-overload]
    if modality == "raster" and depths and used and len(usual) > 1 and bits is None:
        raise CohortError(
            f"classes are stored differently, so brightness would give them away: {_shown(ranges, modality)}",
            fix="say with --bits how many bits the 16-bit pictures use (12: the value 4095 is white), or convert them",
        )
    return [
        f"{what} differs between classes, which may give them away: {_shown(ranges, modality)}"
        for what, differs in (("bit depth", depths), ("used range", used))
        if differs
    ]


def difference_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns warnings if colour, size or pixel spacing would give a class away."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.label].append(picture)
    if len(groups) < 2:
        return []
    colour = {label: _share(group, lambda one: one.pixels.shape[0] == 3) for label, group in sorted(groups.items())}
    sides = {label: median(max(picture.shape) for picture in group) for label, group in sorted(groups.items())}
    known = {label: _share(group, lambda one: isfinite(one.spacing_mm)) for label, group in sorted(groups.items())}
    spacings = {
        label: median(found)
        for label, group in sorted(groups.items())
        if (found := [picture.spacing_mm for picture in group if isfinite(picture.spacing_mm)])
    }
    warnings = []
    for what, values, differs, form in (
        ("the share of colour images", colour, _apart(colour) > SHARE, "{:.0%}"),
        ("the size of images", sides, _factor(sides) >= FACTOR, "{:g} pixels"),
        ("the share of images with known pixel spacing", known, _apart(known) > SHARE, "{:.0%}"),
        ("pixel spacing", spacings, _factor(spacings) >= SPACING_FACTOR, "{:g} mm"),
    ):
        if differs:
            shown = "; ".join(f"{label}: {form.format(value)}" for label, value in values.items())
            warnings.append(f"{what} differs between classes, which may give them away: {shown}")
    return warnings


def _share(group: Sequence[Picture], holds: Callable[[Picture], bool]) -> float:
    return sum(map(holds, group)) / len(group)


def _apart(values: Mapping[str, float]) -> float:
    return max(values.values()) - min(values.values())


def _factor(values: Mapping[str, float]) -> float:
    return max(values.values()) / min(values.values()) if values else 1.0


def _depths_differ(ranges: Mapping[str, Mapping[str, object]]) -> bool:
    shares = [_shares(facts["depths"]) for facts in ranges.values()]
    kinds = {kind for share in shares for kind in share}
    return any(
        max(share.get(kind, 0.0) for share in shares) - min(share.get(kind, 0.0) for share in shares) > SHARE
        for kind in kinds
    )


def _shares(depths: object) -> dict[str, float]:
    assert isinstance(depths, dict)
    total = sum(depths.values())
    return {kind: count / total for kind, count in depths.items()}


def _ranges_differ(ranges: Mapping[str, Mapping[str, object]], modality: str) -> bool:
    """Returns whether classes use different parts of the range. MR is scaled per series, so its range is irrelevant."""
    lows = [float(str(facts["low"])) for facts in ranges.values()]
    highs = [float(str(facts["high"])) for facts in ranges.values()]
    if modality == "CT":
        return max(lows) - min(lows) > AIR
    return modality == "raster" and max(highs) >= FACTOR * max(min(highs), 1e-6)


def _shown(ranges: Mapping[str, Mapping[str, object]], modality: str) -> str:
    parts = []
    for label, facts in ranges.items():
        depths = facts["depths"]
        assert isinstance(depths, dict)
        stored = " and ".join(f"{count} x {kind}" for kind, count in depths.items())
        low = float(str(facts["low"]))
        high = float(str(facts["high"]))
        span = f"{low:.1%} to {high:.1%} of the range" if modality == "raster" else f"{low:g} to {high:g}"
        parts.append(f"{label}: {stored}, {span}")
    return "; ".join(parts)
