"""Reads sources into images of one size: windows and resizes them, one series at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.dataset import FULL_SCALE
from gansweep.cohort.ingest.duplicates import content_key, thumbnail_code
from gansweep.cohort.ingest.selection import Chosen, select_slices
from gansweep.cohort.ingest.source_slices import read_image, read_source
from gansweep.cohort.ingest.suitability import (
    impossible,
    remarks,
    repeats_told,
    surveys_in,
    two_valued,
    useless,
)
from gansweep.cohort.ingest.surroundings import background_of, edge_of
from gansweep.cohort.intensity import WINDOWS, Window, percentile_window, window_named
from gansweep.cohort.readers.limits import check_square
from gansweep.cohort.readers.masks import Marks, marks_of
from gansweep.cohort.readers.placeholders import placeholder_in
from gansweep.cohort.readers.resample import fit_mask, fit_pixels, isotropic_shape, make_square
from gansweep.cohort.readers.slices import Array, Flaw, ScanError, Slice, UnneededError
from gansweep.cohort.sources.codes import code_in, person_in
from gansweep.cohort.sources.naming import name_of
from gansweep.cohort.sources.source import Rejected, Source, format_of
from gansweep.cohort.sources.words import known_patient
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gansweep.cohort.ingest.grouping import Unit
    from gansweep.cohort.ingest.settings import IngestSettings
    from gansweep.cohort.ingest.spool import Spool, Spooled
    from gansweep.cohort.readers.acquisition import Acquisition

__all__ = ["Picture", "folder_key", "read_unit", "usual_window"]


@dataclass(frozen=True)
class Picture:
    """One image of the cohort, with its entries in the manifest.

    Arrays are in memory when a picture was read, and in a spool as soon as it is one of many.

    Args:
        source: the file it was read from.
        pixels: `[C, size, size]` uint16.
        paired: `[C, size, size]` uint16, the image of the other kind, or None.
        mask: `[size, size]`, or None if there is no mask.
        brightest: the largest of the pixels.
        marks: what the mask marks: nothing, the edges of the image, or something inside; "" if there is no mask.
        drawn: hash of mask and pair, "" if there are none.
        label: class name.
        patient: patient identifier, "" if unknown. Never written out.
        coded: the dataset of which the patient is a code in the file's name, or "".
        issuer: issuer of that identifier, "" if unknown. Never written out.
        study: groups the images of an unknown patient, or "". Never written out.
        volume: whether it is one of several slices of a file or series.
        chosen: how the slices of its file were selected.
        sequence: the MR sequence that the file names, or "".
        plane: the anatomical plane that the file gives, or "".
        modality: raster, or a DICOM modality.
        spacing_mm: pixel spacing of the original, or NaN.
        shape: rows and columns of the original.
        sha256: hash of the file.
        key: hash of the decoded pixels, for finding exact duplicates.
        code: perceptual code, for finding near-duplicates.
        depth: how the file stores its values: `8-bit`, `12-bit`, `float`.
        low: the darkest value, in Hounsfield or scanner units, or as a fraction of the range for rasters.
        high: the brightest value, likewise.
        edge: the median of the outermost pixels, as a fraction of the range; 0 for CT and MR.
        background: the fraction of pixels that have the most frequent grey level.
        guess: what the reader assumed because the file does not say it, or "".
        flaws: what is odd in the file.
        two_valued: whether it consists of two grey levels or colours, as a mask does.
        acquisition: how it was made, and of whom. Never written out.
    """

    source: Source
    pixels: NDArray[np.uint16] | Spooled
    paired: NDArray[np.uint16] | Spooled | None
    mask: NDArray[np.bool_] | Spooled | None
    brightest: int
    marks: Marks
    drawn: str
    label: str
    patient: str
    coded: str
    issuer: str
    study: str
    volume: bool
    chosen: Chosen
    sequence: str
    plane: str
    modality: str
    spacing_mm: float
    shape: tuple[int, int]
    sha256: str
    key: str
    code: Array
    depth: str
    low: float
    high: float
    edge: float
    background: float
    guess: str
    flaws: tuple[Flaw, ...]
    two_valued: bool
    acquisition: Acquisition

    def spooled(self, spool: Spool) -> Picture:
        """Returns the picture with its arrays in a spool."""
        return replace(
            self,
            pixels=spool.put(self.pixels),
            paired=None if self.paired is None else spool.put(self.paired),
            mask=None if self.mask is None else spool.put(self.mask),
        )


def read_unit(unit: Unit, settings: IngestSettings) -> list[Picture | Rejected]:
    """Returns the pictures of one unit in the order of their positions, and the files that cannot be used.

    Args:
        unit: files that `group_by_series` put together.
        settings: the options of the ingest.

    Raises:
        CohortError: the window does not suit the modality.
    """
    return list(_pictures(unit.sources, settings, unit.digests))


def _pictures(
    unit: Sequence[Source], settings: IngestSettings, digests: Mapping[Path, str]
) -> Iterator[Picture | Rejected]:
    found: list[tuple[Source, Slice]] = []
    for source in unit:
        try:
            found += [(source, part) for part in read_source(source, settings)]
        except UnneededError as reason:
            yield Rejected.of(source, reason.what, bad=False)
        except (CohortError, OSError) as reason:
            what = reason.what if isinstance(reason, CohortError) else str(reason.strerror)
            yield Rejected.of(source, placeholder_in(source.path) or what)

    yield from remarks(found)
    surveys, outside = surveys_in(found)
    yield from surveys
    found = [pair for index, pair in enumerate(found) if index not in outside]
    if settings.modality:
        wanted = settings.modality.upper()
        others = {source.path: source for source, part in found if part.modality.upper() != wanted}
        yield from (Rejected.of(source, f"not {wanted}", bad=False) for source in others.values())
        found = [(source, part) for source, part in found if part.modality.upper() == wanted]
    if not found:
        return

    found = repeats_told(found, digests)
    found.sort(key=lambda pair: pair[1].position)
    first = found[0][0]
    window = _window_of([part for _, part in found], settings.window, first)
    by_mask = settings.label_from == "mask"
    # A file may have several rows, each with a pair of its own.
    volume = len(found) > len({id(source) for source, _ in found})
    parts = [part for _, part in found]
    kept, rule = select_slices(parts, settings.slices, label_from_mask=by_mask, volume=volume)
    slices = Counter(id(source) for source, _ in found)
    taken = Counter(id(found[number][0]) for number, _ in kept)
    for source in {id(source): source for source, _ in found if id(source) not in taken}.values():
        yield Rejected.of(source, "none of its slices is selected; --slices takes more", bad=False)

    for number, part in kept:
        source = found[number][0]
        chosen = Chosen(slices[id(source)], taken[id(source)], rule)
        if source.paired is not None and chosen.slices > 1:
            yield Rejected.of(source, f"has {chosen.slices} slices and one pair, and pairs are single slices")
            continue
        flaw = useless(part, keep_blank=settings.keep_blank)
        if flaw:
            yield Rejected.of(source, flaw, bad=False)
            continue
        try:
            yield _picture(source, part, window, settings, chosen, digests[source.path], volume=len(found) > 1)
        except ScanError as reason:
            yield Rejected.of(source, reason.what)


def usual_window(modality: str) -> str:
    """Returns the name of the default window of a modality: CT, MR or raster."""
    return {"CT": "lesion", "raster": "full"}.get(modality, "percentile")


def _window_of(slices: list[Slice], wanted: str | None, first: Source | None = None) -> Window:
    """Returns the window that the user named, or the default of the modality.

    Args:
        slices: images of one unit.
        wanted: the window that the user named, or None.
        first: the file of the first image, for messages.

    Raises:
        CohortError: the window is in units that the images do not have.
    """
    modality = slices[0].modality
    name = wanted or usual_window(modality)
    if name == "percentile":
        return percentile_window([part.pixels for part in slices])
    window = window_named(name)
    if name in WINDOWS and modality != ("raster" if name == "full" else "CT"):
        units = "values in [0, 1]" if name == "full" else "Hounsfield units"
        raise CohortError(
            f"window {name!r} is for {units}, not for {modality} images",
            where=_shown(first),
            fix="leave --window out",
        )
    if modality == "raster" and not 0 <= window.low < window.high <= 1:
        raise CohortError(
            f"window {name!r} leaves [0, 1], the range to which 8-bit and 16-bit pictures are scaled",
            where=_shown(first),
            fix="leave --window out, or give LOW,HIGH from 0 to 1",
        )
    _check_units(window, slices, first)
    return window


def _check_units(window: Window, slices: Sequence[Slice], first: Source | None) -> None:
    """Refuses a window within [0, 1] for scanner units: radiographs of 8 bits have values up to 255.

    Raises:
        CohortError: the images have larger values, nearly all of which the window would show as white.
    """
    modality = slices[0].modality
    if modality == "raster" or window.low < 0 or window.high > 1:
        return
    brightest = max(float(part.pixels.max()) for part in slices)
    if brightest > 1:
        raise CohortError(
            f"window {window.name!r} is for values in [0, 1], but those of this {modality} image reach {brightest:g}",
            where=_shown(first),
            fix="leave --window out, or give LOW,HIGH in the image's own values",
        )


def _shown(source: Source | None) -> str:
    return "" if source is None else name_of(source, [source.label])


def _picture(
    source: Source,
    part: Slice,
    window: Window,
    settings: IngestSettings,
    chosen: Chosen,
    sha256: str,
    *,
    volume: bool,
) -> Picture:
    shown = _windowed(part, window, settings.size, source.path)
    pixels = np.round(shown * FULL_SCALE).astype(np.uint16)
    paired = None if source.paired is None else _read_pair(source.paired, settings)
    mask = None if part.mask is None else fit_mask(part.mask, part.proportions, settings.size)
    spacing = part.spacing_mm
    if not settings.assume_hu and impossible(part):
        raise ScanError(impossible(part), where=source.name)

    label = source.label
    if settings.label_from == "mask":
        label = "lesion" if part.mask is not None and part.mask.any() else "no_lesion"

    known = source.patient or person_in(known_patient(part.patient))
    return Picture(
        source=source,
        pixels=pixels,
        paired=paired,
        mask=mask,
        brightest=int(pixels.max()),
        marks=marks_of(part.mask),
        drawn=_hash_of(mask, paired),
        label=label,
        patient=known or folder_key(source, settings),
        coded="" if known or not source.folder else code_in(source.name)[0] or code_in(source.path.name)[0],
        issuer="" if source.patient else part.issuer,
        study=part.study,
        volume=volume,
        chosen=chosen,
        sequence=part.sequence,
        plane=part.plane,
        modality=part.modality,
        spacing_mm=float("nan") if spacing is None else float(min(spacing)),
        shape=(part.pixels.shape[-2], part.pixels.shape[-1]),
        sha256=sha256,
        key=content_key(part.pixels),
        code=thumbnail_code(shown),
        depth=part.depth,
        low=float(part.pixels.min()),
        high=float(part.pixels.max()),
        edge=edge_of(part, window),
        background=background_of(pixels),
        guess=part.guess,
        flaws=part.flaws + _flattened(part, pixels),
        two_valued=two_valued(part),
        acquisition=part.acquisition.filled_from(source.acquisition),
    )


def _flattened(part: Slice, pixels: NDArray[np.uint16]) -> tuple[Flaw, ...]:
    """Returns a flaw if the window shows all pixels of an image alike, although they differ."""
    if pixels.min() < pixels.max() or part.pixels.min() == part.pixels.max():
        return ()
    return (Flaw("all pixels look alike in this window, although their values differ; --window chooses another"),)


def _hash_of(*parts: NDArray[Any] | None) -> str:
    """Returns a hash of some arrays, "" if all are None."""
    if all(part is None for part in parts):
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(b"none" if part is None else part.tobytes())
    return digest.hexdigest()


def folder_key(source: Source, settings: IngestSettings) -> str:
    """Returns the identifier of the patient whose files are in a folder.

    If a patient has one label, folders with the same name in different classes belong to different patients, unless the
    name is a code of a public dataset.

    Args:
        source: a file in the folder.
        settings: options of the ingest, which state whether a patient has one label.
    """
    by_class = settings.label_per == "patient" and source.label in PurePath(source.name).parts
    if not source.folder or not by_class or source.folder == code_in(source.name)[1]:
        return source.folder
    return f"{source.label}/{source.folder}"


def _windowed(part: Slice, window: Window, size: int, path: Path) -> Array:
    """Returns `[C, size, size]` in [0, 1].

    Resizing comes first, so that it averages Hounsfield units, not shown values.

    Raises:
        ScanError: the square would be too large.
    """
    channels, height, width = part.pixels.shape
    check_square(*isotropic_shape((height, width), part.proportions), channels, path)
    square = make_square(part.pixels, part.proportions)
    return window.apply(fit_pixels(square, size, keep_lesions=window.companded))


def _read_pair(path: Path, settings: IngestSettings) -> NDArray[np.uint16]:
    """Reads the image of the other modality, `[C, size, size]`.

    Raises:
        ScanError: the file cannot be read, or has several slices.
    """
    if format_of(path) == "nifti":
        raise ScanError("its pair is a NIfTI volume, and pairs are single slices; save PNG or DICOM", where=path.name)
    try:
        slices = read_image(path, settings)
    except (ScanError, UnneededError) as error:
        raise ScanError(f"its pair: {error.what}", where=path.name) from None
    if len(slices) > 1:
        raise ScanError(f"its pair has {len(slices)} slices, and pairs are single slices", where=path.name)
    pixels = _windowed(slices[0], _window_of(slices[:1], None), settings.size, path)
    return np.round(pixels * FULL_SCALE).astype(np.uint16)
