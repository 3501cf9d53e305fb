"""Finds differences between classes in how images were stored, because brightness would then reveal the class."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import median
from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["check_ranges", "flaw_warnings", "guess_warnings", "ranges_by_class"]

SHARE = 0.2  # minimum difference between classes in a bit depth's share that is reported
FACTOR = 2.0  # minimum factor between brightest values that is reported
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


def guess_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns what readers assumed because the files do not state it, with the number of images and their values."""
    guesses = Counter(picture.guess for picture in pictures if picture.guess)
    warnings = []
    for guess, count in guesses.items():
        values = [picture for picture in pictures if picture.guess == guess]
        low = min(picture.low for picture in values)
        high = max(picture.high for picture in values)
        warnings.append(f"{guess} ({count} images, values {low:g} to {high:g}); set it with --modality CT or MR")
    return warnings


def flaw_warnings(pictures: Sequence[Picture]) -> list[str]:
    """What is odd in files that are used all the same, with the number of images and of values."""
    images: Counter[str] = Counter()
    values: dict[tuple[str, Path], int] = {}
    for picture in pictures:
        for what, count in picture.flaws:
            images[what] += 1
            values[what, picture.source.path] = count
    warnings = []
    for what, count in images.items():
        files = [number for (flaw, _), number in values.items() if flaw == what]
        total = f", {sum(files)} values" if sum(files) else ""
        warnings.append(f"{what} ({count} images of {len(files)} files{total}; column flaws of manifest.parquet)")
    return warnings


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
