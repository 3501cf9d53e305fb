"""From sources to slices of one size: grouped by series, read, windowed, resized; one series in memory at a time."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.dataset import FULL_SCALE, file_hash
from gansweep.cohort.dicom import read_dicom
from gansweep.cohort.dicom_header import read_header
from gansweep.cohort.duplicates import content_key, thumbnail_code
from gansweep.cohort.intensity import WINDOWS, Window, percentile_window, window_named
from gansweep.cohort.nifti import read_nifti
from gansweep.cohort.raster import read_mask, read_raster
from gansweep.cohort.resample import fit_mask, fit_pixels, make_square
from gansweep.cohort.scan import Array, ScanError, Slice, UnneededError
from gansweep.cohort.selection import select_slices
from gansweep.cohort.sources import Rejected, Source, format_of
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gansweep.cohort.settings import IngestSettings

__all__ = ["Picture", "folder_key", "group_by_series", "read_unit", "usual_window"]


@dataclass(frozen=True)
class Picture:
    """One image as it goes into the cohort, with what the manifest says of it.

    Args:
        source: where it came from.
        pixels: `[C, size, size]` uint16.
        paired: `[C, size, size]` uint16 image of the other kind, or None.
        mask: `[size, size]`, or None where nobody has drawn any.
        label: class name.
        patient: identifier, "" where unknown.
        issuer: of the identifier, "" where unknown.
        study: groups pictures of one patient where that is unknown, or "".
        volume: one of several slices of a file or series.
        modality: CT, MR or raster.
        spacing_mm: between the pixels of the original, or NaN.
        shape: rows and columns of the original.
        sha256: of the file.
        key: of the decoded pixels, for exact duplicates.
        code: perceptual code, for near-duplicates.
    """

    source: Source
    pixels: NDArray[np.uint16]
    paired: NDArray[np.uint16] | None
    mask: NDArray[np.bool_] | None
    label: str
    patient: str
    issuer: str
    study: str
    volume: bool
    modality: str
    spacing_mm: float
    shape: tuple[int, int]
    sha256: str
    key: str
    code: Array


def group_by_series(sources: Sequence[Source], series: str | None) -> tuple[list[list[Source]], list[Rejected]]:
    """Sources in units that are read together: the files of one patient's DICOM series, any other file alone.

    A UID alone does not make a series: tools that take identities away leave it empty or give all patients one.

    Args:
        sources: in order; a unit stands where its first file stood.
        series: pattern that a DICOM series' description must match.
    """
    units: dict[str, list[Source]] = defaultdict(list)
    rejected = []
    for source in sources:
        if format_of(source.path) != "dicom":
            units[str(source.path)].append(source)
            continue
        try:
            header = read_header(source.path)
        except ScanError as error:
            rejected.append(Rejected.of(source, error.what))
            continue
        if series is not None and not fnmatch.fnmatch(header.description, series):
            rejected.append(Rejected.of(source, f"its series is not {series!r}", bad=False))
            continue
        whose = source.patient or header.patient or source.folder
        units[f"{header.series} {header.study} {whose}" if header.series else str(source.path)].append(source)
    return list(units.values()), rejected


def read_unit(unit: list[Source], settings: IngestSettings) -> Iterator[Picture | Rejected]:
    """The pictures of one unit, in the order of their positions, and the files that could not be used."""
    found: list[tuple[Source, Slice]] = []
    for source in unit:
        try:
            found += [(source, part) for part in _read(source, settings)]
        except UnneededError as reason:
            yield Rejected.of(source, reason.what, bad=False)
        except (CohortError, OSError) as reason:
            yield Rejected.of(source, reason.what if isinstance(reason, CohortError) else str(reason.strerror))
    if settings.modality:
        wanted = settings.modality.upper()
        others = {source.path: source for source, part in found if part.modality.upper() != wanted}
        yield from (Rejected.of(source, f"not {wanted}", bad=False) for source in others.values())
        found = [(source, part) for source, part in found if part.modality.upper() == wanted]
    if not found:
        return
    found.sort(key=lambda pair: pair[1].position)
    window = _window_of([part for _, part in found], settings.window)
    by_mask = settings.label_from == "mask"
    volume = len(found) > len({source.path for source, _ in found})
    kept = select_slices([part for _, part in found], settings.slices, label_from_mask=by_mask, volume=volume)
    hashes: dict[Path, str] = {}
    for number, part in kept:
        source = found[number][0]
        digest = hashes.setdefault(source.path, "") or file_hash(source.path)
        hashes[source.path] = digest
        try:
            yield _picture(source, part, window, settings, digest, volume=len(found) > 1)
        except ScanError as reason:
            yield Rejected.of(source, reason.what)


def _read(source: Source, settings: IngestSettings) -> list[Slice]:
    kind = format_of(source.path)
    mask: Any = None if source.mask is None else read_mask(source.mask)
    if mask is None and settings.label_from == "mask":
        raise ScanError("has no mask to take its label from", where=source.name)
    if source.path.suffix == ".npy":
        raise ScanError("an array and no image; save DICOM, NIfTI or PNG (generate --format)", where=source.name)
    if kind == "nifti":
        bids = "CT" if source.name.removesuffix(".gz").endswith("_ct.nii") else ""
        return read_nifti(source.path, settings.plane, settings.modality or bids, mask)
    slices = _read_image(source.path, settings)
    if mask is None:
        return slices
    masks = mask[None] if mask.ndim == 2 else mask
    if masks.shape != (len(slices), *slices[0].pixels.shape[-2:]):
        drawn, image = "x".join(map(str, mask.shape)), "x".join(map(str, slices[0].pixels.shape[-2:]))
        raise ScanError(f"its mask is {drawn} pixels, the image {image}", where=source.name)
    return [_with_mask(part, drawn) for part, drawn in zip(slices, masks, strict=True)]


def _read_image(path: Path, settings: IngestSettings) -> list[Slice]:
    slices = read_dicom(path) if format_of(path) == "dicom" else read_raster(path)
    return [replace(part, pixels=_luma(part.pixels)) for part in slices] if settings.grey else slices


def _luma(pixels: Array) -> Array:
    """`[1, H, W]` brightness of `[C, H, W]` grey or RGB pixels (ITU-R BT.601)."""
    if pixels.shape[0] == 1:
        return pixels
    weights = np.array([0.299, 0.587, 0.114], pixels.dtype)
    return np.tensordot(weights, pixels, axes=1)[None]


def _with_mask(part: Slice, mask: Any) -> Slice:
    return replace(part, mask=np.asarray(mask, bool))


def usual_window(modality: str) -> str:
    """The window of a modality when none is asked for."""
    return {"CT": "lesion", "raster": "full"}.get(modality, "percentile")


def _window_of(slices: list[Slice], wanted: str | None) -> Window:
    """The window asked for, or the one for the modality.

    Raises:
        CohortError: a window in units that the images do not have.
    """
    modality = slices[0].modality
    name = wanted or usual_window(modality)
    if name == "percentile":
        return percentile_window([part.pixels for part in slices])
    window = window_named(name)
    if name in WINDOWS and modality != ("raster" if name == "full" else "CT"):
        units = "values in [0, 1]" if name == "full" else "Hounsfield units"
        raise CohortError(f"window {name!r} is for {units}, not for {modality} images", fix="leave --window out")
    if modality == "raster" and not 0 <= window.low < window.high <= 1:
        raise CohortError(
            f"window {name!r} leaves [0, 1], to which pictures of 8 and of 16 bits are scaled",
            fix="leave --window out, or give LOW,HIGH from 0 to 1",
        )
    return window


def _picture(
    source: Source, part: Slice, window: Window, settings: IngestSettings, sha256: str, *, volume: bool
) -> Picture:
    pixels = _fitted(part, window, settings.size)
    mask = None if part.mask is None else fit_mask(part.mask, part.spacing_mm, settings.size)
    spacing = part.spacing_mm
    label = source.label
    if settings.label_from == "mask":
        label = "lesion" if part.mask is not None and part.mask.any() else "no_lesion"
    return Picture(
        source=source,
        pixels=np.round(pixels * FULL_SCALE).astype(np.uint16),
        paired=None if source.paired is None else _paired(source.paired, settings),
        mask=mask,
        label=label,
        patient=source.patient or part.patient or folder_key(source, settings),
        issuer="" if source.patient else part.issuer,
        study=part.study,
        volume=volume,
        modality=part.modality,
        spacing_mm=float("nan") if spacing is None else float(min(spacing)),
        shape=(part.pixels.shape[-2], part.pixels.shape[-1]),
        sha256=sha256,
        key=content_key(part.pixels),
        code=thumbnail_code(pixels),
    )


def folder_key(source: Source, settings: IngestSettings) -> str:
    """Stands for the patient whose files a folder holds; where a patient has one label, each class counts anew."""
    by_class = settings.label_per == "patient" and source.label in PurePath(source.name).parts
    return f"{source.label}/{source.folder}" if source.folder and by_class else source.folder


def _fitted(part: Slice, window: Window, size: int) -> Array:
    square = make_square(part.pixels, part.spacing_mm)
    return window.apply(fit_pixels(square, size, keep_lesions=window.companded))


def _paired(path: Path, settings: IngestSettings) -> NDArray[np.uint16]:
    """The first slice of the image of the other kind, `[C, size, size]`.

    Raises:
        ScanError: it cannot be read.
    """
    try:
        slices = _read_image(path, settings)
    except (ScanError, UnneededError) as error:
        raise ScanError(f"its pair: {error.what}", where=path.name) from None
    pixels = _fitted(slices[0], _window_of(slices[:1], None), settings.size)
    return np.round(pixels * FULL_SCALE).astype(np.uint16)
