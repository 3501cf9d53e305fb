"""Finds differences between classes in how images were stored, because brightness would then reveal the class."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING

from gansweep.cohort.dataset import FULL_SCALE
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = [
    "by_class",
    "check_ranges",
    "dark_warnings",
    "depth_warnings",
    "difference_text",
    "difference_warnings",
    "ranges_by_class",
]

SHARE = 0.2  # minimum difference between classes in a bit depth's share that is reported
FACTOR = 2.0  # minimum factor between brightest values that is reported
LIFT = 0.25  # minimum difference between darkest values that is reported, as a fraction of the range
EDGE = 0.5  # minimum difference at the edges that is reported: that of a black and of a white background is 1
DIM = 0.125  # 16-bit pictures that do not exceed this fraction of their range use at most 13 bits
EMPTY = 0.25  # minimum difference between fractions of pixels with one grey level that is reported
PROPORTION = 0.15  # minimum difference between proportions of sides that is reported: bars make the images square
LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp"}  # of which most are compressed with losses
SPACING_FACTOR = 1.5  # minimum factor between pixel spacings that is reported
DARK = 0.25  # if no image of a cohort exceeds, or spans, this fraction of the range, the window was probably wrong
AIR = 500.0  # HU: if darkest values differ by more, not all classes show air


def ranges_by_class(pictures: Sequence[Picture]) -> dict[str, dict[str, object]]:
    """Returns how the images of each class were stored.

    Returns:
        By class: `depths` (number of images by bit depth), `low` and `high` (medians of the images' darkest and
        brightest values, in Hounsfield or scanner units, or as fractions of the range for rasters).
    """
    ranges: dict[str, dict[str, object]] = {}
    for label, group in by_class(pictures).items():
        depths = Counter(picture.depth for picture in group)
        ranges[label] = {
            "depths": dict(depths.most_common()),
            "low": round(median(picture.low for picture in group), 4),
            "high": round(median(picture.high for picture in group), 4),
        }
    return ranges


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
    brightest = modality == "raster" and _factor(_values(ranges, "high")) >= FACTOR
    used = brightest or _darkest_differ(ranges, modality)
    usual = {_most_common_depth(facts["depths"]) for facts in ranges.values()}
    differs = depths and brightest and len(usual) > 1
    if differs and bits is None:
        raise CohortError(
            f"classes are stored differently, so brightness would give them away: {_shown(ranges, modality)}",
            fix="say with --bits how many bits the 16-bit pictures use (12: the value 4095 is white), or convert them",
        )
    what_differs = []
    if depths:
        what_differs.append("bit depth")
    if used:
        what_differs.append("used range")
    shown = _shown(ranges, modality)
    return [f"{what} differs between classes, which may give them away: {shown}" for what in what_differs]


def depth_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if some pictures of 16 bits are dark, because they use fewer, and other pictures are not.

    A class may hold both, so that the classes do not differ.
    """
    rasters = [picture for picture in pictures if picture.modality == "raster"]
    by_depth: dict[str, list[float]] = defaultdict(list)
    for picture in rasters:
        by_depth[picture.depth].append(picture.high)
    hint = "say with --bits how many bits 16-bit pictures use (12: the value 4095 is white), or convert them"
    highs = {depth: median(values) for depth, values in by_depth.items()}
    if _factor(highs) >= FACTOR:
        shown = "; ".join(
            f"{len(by_depth[depth])} x {depth} up to {high:.1%} of the range" for depth, high in sorted(highs.items())
        )
        return [f"bit depths use different parts of their range, so some images are darker: {shown}; {hint}"]
    deep = [picture.high for picture in rasters if picture.depth not in {"8-bit", "float"}]
    dim = [high for high in deep if high <= DIM]
    bright = [picture.high for picture in rasters if picture.high > DIM]
    # Pictures of one depth have maxima without a gap.
    if not dim or not bright or min(bright) < FACTOR * max(dim):
        return []
    return [f"{len(dim)} of {len(deep)} pictures of 16 bits use at most {DIM:.1%} of their range, and are dark: {hint}"]


def dark_warnings(pictures: Sequence[Picture], window: str | None) -> list[str]:
    """Returns a warning if a whole cohort is dark, or grey: Hounsfield units are often stored as 32768 and more.

    Args:
        pictures: images of the cohort.
        window: the window that the user named, or None.
    """
    brightest = max(picture.brightest for picture in pictures) / FULL_SCALE
    if brightest < DARK:
        hint = "choose another --window, or say with --bits how many bits 16-bit pictures use"
        return [f"no pixel reaches more than {brightest:.1%} of the range: {hint}"]
    rasters = [picture for picture in pictures if picture.modality == "raster"]
    if window is not None or not rasters or max(picture.high - picture.low for picture in rasters) >= DARK:
        return []
    low = min(picture.low for picture in rasters)
    high = max(picture.high for picture in rasters)
    span = f"from {low:.4f} to {high:.4f} of the range"
    return [f"the images have little contrast: their values are {span}, which --window={low:.4f},{high:.4f} spreads"]


def difference_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns warnings if colour, compression, shape, size, spacing or the background would give a class away."""
    groups = by_class(pictures)
    if len(groups) < 2:
        return []
    colour: dict[str, float] = {}
    sides: dict[str, float] = {}
    named: dict[str, float] = {}
    known: dict[str, float] = {}
    spacings: dict[str, float] = {}
    edges: dict[str, float] = {}
    backgrounds: dict[str, float] = {}
    sampled: dict[str, float] = {}
    lossy: dict[str, float] = {}
    shapes: dict[str, float] = {}
    for label, group in groups.items():
        in_colour = [picture for picture in group if picture.pixels.shape[0] == 3]
        colour[label] = len(in_colour) / len(group)
        sides[label] = median(max(picture.shape) for picture in group)
        edges[label] = median(picture.edge for picture in group)
        backgrounds[label] = median(picture.background for picture in group)
        named[label] = sum(picture.acquisition.scanner != "" for picture in group) / len(group)
        sampled[label] = sum(picture.chosen.rule == "middle" for picture in group) / len(group)
        lossy[label] = sum(picture.source.path.suffix.casefold() in LOSSY for picture in group) / len(group)
        shapes[label] = median(min(picture.shape) / max(picture.shape) for picture in group)
        known_spacings = [picture.spacing_mm for picture in group if isfinite(picture.spacing_mm)]
        known[label] = len(known_spacings) / len(group)
        if known_spacings:
            spacings[label] = median(known_spacings)
    checks = (
        ("the share of colour images", colour, _apart(colour) > SHARE, "{:.0%}"),
        ("the share of JPEG and WebP files", lossy, _apart(lossy) > SHARE, "{:.0%}"),
        ("the shape of images", shapes, _apart(shapes) > PROPORTION, "short side {:.0%} of the long one"),
        ("the size of images", sides, _factor(sides) >= FACTOR, "{:g} pixels"),
        ("the share of images with a known scanner", named, _apart(named) > SHARE, "{:.0%}"),
        ("the share of images with known pixel spacing", known, _apart(known) > SHARE, "{:.0%}"),
        ("the share of images from the middle half of a volume", sampled, _apart(sampled) > SHARE, "{:.0%}"),
        ("pixel spacing", spacings, _factor(spacings) >= SPACING_FACTOR, "{:g} mm"),
        (
            "the size of the background (is one cropped or skull-stripped?)",
            backgrounds,
            _apart(backgrounds) > EMPTY,
            "{:.0%}",
        ),
        ("brightness at the edges (is one inverted?)", edges, _apart(edges) > EDGE, "{:.0%} of the range"),
    )
    return [difference_text(what, values, form) for what, values, differs, form in checks if differs]


def difference_text(what: str, values: Mapping[str, float], form: str) -> str:
    """Returns a warning that something differs between classes.

    Args:
        what: what differs.
        values: by class.
        form: format of a value, with its unit: `{:g} mm`.
    """
    shown = "; ".join(f"{label}: {form.format(value)}" for label, value in values.items())
    return f"{what} differs between classes, which may give them away: {shown}"


def by_class(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Returns the images of each class, with classes in alphabetical order."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.label].append(picture)
    return dict(sorted(groups.items()))


def _apart(values: Mapping[str, float]) -> float:
    return max(values.values()) - min(values.values())


def _factor(values: Mapping[str, float]) -> float:
    return max(values.values()) / max(min(values.values()), 1e-6) if values else 1.0


def _depths_differ(ranges: Mapping[str, Mapping[str, object]]) -> bool:
    """Returns whether the fraction of images with some bit depth differs between classes."""
    shares_by_class = [_shares(facts["depths"]) for facts in ranges.values()]
    depths: set[str] = set().union(*shares_by_class)
    for depth in depths:
        fractions = [shares.get(depth, 0.0) for shares in shares_by_class]
        if max(fractions) - min(fractions) > SHARE:
            return True
    return False


def _most_common_depth(depths: object) -> str:
    assert isinstance(depths, dict)
    return str(max(depths, key=depths.__getitem__))


def _shares(depths: object) -> dict[str, float]:
    assert isinstance(depths, dict)
    total = sum(depths.values())
    return {kind: count / total for kind, count in depths.items()}


def _values(ranges: Mapping[str, Mapping[str, object]], which: str) -> dict[str, float]:
    return {label: float(str(facts[which])) for label, facts in ranges.items()}


def _darkest_differ(ranges: Mapping[str, Mapping[str, object]], modality: str) -> bool:
    """Returns whether the darkest values differ between classes.

    MR is scaled per series, so its range is irrelevant.
    """
    least = {"CT": AIR, "raster": LIFT}.get(modality)
    return least is not None and _apart(_values(ranges, "low")) > least


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
