"""The ingest: reads a folder of scans and writes a cohort."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep._version import __version__
from gansweep.cohort.dataset import FULL_SCALE, CohortInfo, content_hash_of, write_record
from gansweep.cohort.ingest.acquisitions import acquisition_warnings, intent_warnings, person_warnings, pet_warnings
from gansweep.cohort.ingest.assignment import Assignment, assign, codes_used, folders_shared_by_classes
from gansweep.cohort.ingest.checks import (
    check_classes,
    check_label_text,
    class_table,
    class_warnings,
    label_warnings,
    patients_by_class,
)
from gansweep.cohort.ingest.grouping import group_by_series
from gansweep.cohort.ingest.identity import Pseudonyms
from gansweep.cohort.ingest.leaks import digests_of, drop_leaks, leak_error, leaks_of_bytes, write_pairs
from gansweep.cohort.ingest.lost_classes import lost_classes
from gansweep.cohort.ingest.mask_content import content_warnings, owner_warnings
from gansweep.cohort.ingest.masks_among_images import beside_warnings, check_masks, mask_warnings
from gansweep.cohort.ingest.name_copies import copy_warnings
from gansweep.cohort.ingest.oddities import flaw_warnings, guess_warnings, unit_warnings
from gansweep.cohort.ingest.parallel import map_in_order
from gansweep.cohort.ingest.ranges import (
    check_ranges,
    dark_warnings,
    depth_warnings,
    difference_warnings,
    ranges_by_class,
)
from gansweep.cohort.ingest.reading import Picture, read_unit, usual_window
from gansweep.cohort.ingest.rejected import reasons_of, rejected_table
from gansweep.cohort.ingest.sampling import plane_warnings, sequence_warnings, slice_warnings
from gansweep.cohort.ingest.settings import IngestSettings, is_guess, ordered_classes, positive_of
from gansweep.cohort.ingest.split import SPLITS, check_given, missing_splits
from gansweep.cohort.ingest.spool import spool_in
from gansweep.cohort.ingest.vain_options import option_warnings
from gansweep.cohort.ingest.writing import manifest_of, write_arrays
from gansweep.cohort.intensity import window_named
from gansweep.cohort.readers.dicom_kind import UNKNOWN
from gansweep.cohort.sources.columns import Columns
from gansweep.cohort.sources.find import find_sources
from gansweep.cohort.sources.naming import name_of, patients_of
from gansweep.cohort.sources.nesting import folder_warnings
from gansweep.cohort.sources.source import Rejected, Source, format_of
from gansweep.errors import CohortError, counted
from gansweep.files import new_folder, sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from gansweep.cohort.ingest.spool import Spool
    from gansweep.files import ProgressCallback

__all__ = ["IngestSettings", "IngestSummary", "ingest"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestSummary:
    """Result of an ingest.

    Args:
        path: folder of the cohort.
        info: content of its `cohort.json`.
        classes: number of images by class and split: `classes["fahr"]["val"]`.
        rejected: number of files left out.
        table: images and patients by class and split, one line of text each.
    """

    path: Path
    info: CohortInfo
    classes: dict[str, dict[str, int]]
    rejected: int
    table: tuple[str, ...] = ()


def ingest(
    source: str | Path,
    out: str | Path,
    settings: IngestSettings | None = None,
    progress: ProgressCallback | None = None,
) -> IngestSummary:
    """Makes a cohort from the images in `source`.

    Args:
        source: folder of DICOM, NIfTI, BIDS or raster images (see `sources.find` for how labels are found).
        out: folder of the cohort. An existing cohort is replaced; a folder with any other content is refused.
        settings: see `IngestSettings`.
        progress: called with (stage, units done, total units).

    Raises:
        CohortError: images, labels, masks or splits cannot be used. Nothing is written then.
    """
    settings = settings or IngestSettings()
    out = Path(out)
    if settings.window not in {None, "percentile"}:
        window_named(str(settings.window))  # refuses an unknown window before the long reading

    sources, rejected = find_sources(
        Path(source),
        settings.labels,
        columns=Columns(
            path=settings.path_column,
            label=settings.label_column,
            patient=settings.patient_column,
            split=settings.split_column,
            paired=settings.paired_column,
        ),
        labelled=settings.label_from == "labels",
        relabel=settings.map,
    )
    _stop_if_bad(rejected, sources, settings)
    check_label_text(source.label for source in sources)
    sources, others = _select_classes(sources, settings)
    rejected += others
    digests = digests_of(sources, progress)
    given = not settings.resplit and any(item.split for item in sources)
    if settings.drop_leaks and not given:
        why = "--resplit makes a new split" if settings.resplit else "the source gives no split"
        raise CohortError(f"does nothing, because {why}", where="--drop-leaks", fix="leave --drop-leaks out")
    if given:
        sources, leaking = _check_given_split(sources, digests, settings, out)
        rejected += leaking

    with new_folder(out, "cohort", replaces="cohort.json") as folder, spool_in(folder) as spool:
        pictures, refused = _read_all(sources, settings, digests, spool, progress)
        return _write(folder, out, pictures, rejected + refused, settings)


def _check_given_split(
    sources: list[Source], digests: Mapping[Path, str], settings: IngestSettings, out: Path
) -> tuple[list[Source], list[Rejected]]:
    """Checks a split provided by the user before anything is decoded.

    Returns:
        (sources that are kept, copies in another split).

    Raises:
        CohortError: it is incomplete, a class cannot be learned or scored, or files are in two splits.
    """
    splits = [source.split for source in sources]
    nobody = [str(index) for index in range(len(sources))]  # patients are known only after reading
    check_given(splits, nobody, [source.line for source in sources])
    _refuse_options_in_vain(splits, settings)
    try:
        if settings.label_from == "labels":
            check_classes([source.label for source in sources], splits)
        leaks = leaks_of_bytes(sources, digests)
        if leaks and not settings.drop_leaks:
            raise leak_error(leaks, out)
    except CohortError:
        _log_given_table(sources, settings)
        raise
    return drop_leaks(sources, leaks) if leaks else (sources, [])


def _log_given_table(sources: Sequence[Source], settings: IngestSettings) -> None:
    """Logs the classes of a split provided by the user, if it gives both. Patients are not known: files are counted."""
    splits = [source.split for source in sources]
    if settings.label_from == "labels" and not settings.resplit and any(splits):
        log_table(class_table([source.label for source in sources], splits, [str(source.path) for source in sources]))


def _refuse_options_in_vain(given: Sequence[str], settings: IngestSettings) -> None:
    """Refuses options that do nothing beside a split provided by the user.

    `--split 0.8,0.2,0` does something beside train and val: it keeps a test split from being drawn.
    """
    in_vain = []
    if settings.split is not None and all(split in given for split in SPLITS):
        in_vain.append("--split")
    if settings.seed is not None and not missing_splits(given, settings.fractions):
        in_vain.append("--seed")
    if in_vain:
        option = in_vain[0]
        fix = f"leave {option} out, or make a new split with --resplit"
        raise CohortError("does nothing, because the source gives a split", where=option, fix=fix)


def log_table(lines: Sequence[str]) -> None:
    """Logs a table, so that the user sees it even if the ingest is refused."""
    for line in lines:
        logger.info(line)


def _select_classes(sources: list[Source], settings: IngestSettings) -> tuple[list[Source], list[Rejected]]:
    classes = settings.classes
    if classes is None:
        return sources, []
    if settings.label_from == "mask":
        raise CohortError("classes cannot be selected when masks give the labels", fix="leave --classes out")
    unknown = sorted(set(classes) - {source.label for source in sources})
    if unknown:
        there = ", ".join(sorted({source.label for source in sources}))
        raise CohortError(f"no images are labelled {unknown[0]!r}", fix=f"choose from {there}")
    others = [
        Rejected.of(item, "its class was not selected", bad=False) for item in sources if item.label not in classes
    ]
    return [source for source in sources if source.label in classes], others


def _stop_if_bad(rejected: Sequence[Rejected], sources: Sequence[Source], settings: IngestSettings) -> None:
    bad = [item for item in rejected if item.bad]
    if bad and not settings.skip_bad:
        count = "" if len(bad) == 1 else f" (first of {len(bad)} bad files)"
        raise CohortError(f"{_shown(bad[0], sources)}{count}", fix="correct it, or ingest with --skip-bad")
    if not sources and rejected:
        first = (bad or rejected)[0]
        raise CohortError(f"no usable images: {_shown(first, sources)}", fix="correct the files")


def _shown(item: Rejected, sources: Sequence[Source]) -> str:
    labels = {source.label for source in sources}
    return f"{name_of(item, labels, patients_of(sources))}: {item.reason}"


def _read_all(
    sources: Sequence[Source],
    settings: IngestSettings,
    digests: Mapping[Path, str],
    spool: Spool,
    progress: ProgressCallback | None,
) -> tuple[list[Picture], list[Rejected]]:
    units, rejected = group_by_series(sources, settings, digests, progress)
    pictures: list[Picture] = []
    read = partial(read_unit, settings=settings)
    for items in map_in_order(read, units, "reading", progress):
        rejected += [item for item in items if isinstance(item, Rejected)]
        pictures += [item.spooled(spool) for item in items if isinstance(item, Picture)]

    _stop_if_bad(rejected, sources, settings)
    if not pictures:
        reason = f": {_shown(rejected[0], sources)}" if rejected else ""
        raise CohortError(f"no usable images{reason}", fix="correct the files")
    _check_modalities(pictures)
    check_masks(pictures)
    return pictures, rejected


def _check_modalities(pictures: Sequence[Picture]) -> None:
    modalities = Counter(picture.modality for picture in pictures)
    if len(modalities) > 1:
        shown = {name: "an unknown modality" if name == UNKNOWN else name for name in modalities}
        counts = " and ".join(f"{shown[name]} ({counted(count, 'image')})" for name, count in modalities.most_common())
        fix = f"choose one: --modality {modalities.most_common(1)[0][0]}"
        if all(format_of(picture.source.path) == "nifti" for picture in pictures):
            # `gansweep score` also ingests, but has no such option.
            guess = "NIfTI does not record the modality, so this is a guess"
            fix = f"{guess}: give the true one with gansweep ingest --modality"
        raise CohortError(f"{counts} in one cohort", fix=fix)


def _write(
    folder: Path, out: Path, pictures: list[Picture], rejected: list[Rejected], settings: IngestSettings
) -> IngestSummary:
    pseudonyms = Pseudonyms()
    doubts = [] if settings.label_from == "mask" else folder_warnings([picture.source for picture in pictures])
    try:
        made = assign(pictures, settings, pseudonyms, out)
    except CohortError:
        # Of classes that are taken for patients, there are too few, and numbers in names may be no patients.
        doubts += codes_used(pictures) + folders_shared_by_classes(pictures, settings) + mask_warnings(pictures)
        for doubt in doubts:
            logger.warning(doubt)
        _log_given_table([picture.source for picture in pictures], settings)
        raise
    rejected = rejected + made.rejected
    labels = [picture.label for picture in made.pictures]
    table = class_table(labels, made.splits, made.patients)
    try:
        check_classes(labels, made.splits)
        warnings = check_ranges(made.pictures, settings.bits)
        warnings += depth_warnings(made.pictures) + difference_warnings(made.pictures)
    except CohortError:
        log_table(table)
        raise

    files = write_arrays(folder, made.pictures, settings.size)
    manifest = manifest_of(made.pictures, made.patients, made.splits)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    files["manifest.parquet"] = sha256_of(folder / "manifest.parquet")
    rejected_table(rejected, made, pseudonyms).to_parquet(folder / "rejected.parquet", index=False)
    if made.pairs:
        write_pairs(folder / "duplicates.csv", made.pairs)

    counts = reasons_of(rejected)
    info = _info(made, manifest, files, settings, pseudonyms.fingerprint)
    warnings += option_warnings(made.pictures, rejected, settings)
    kept = [picture.source for picture in made.pictures]
    warnings += lost_classes(kept, set(labels), rejected, settings.classes)
    info = info.model_copy(update={"left_out": counts, "warnings": (*doubts, *warnings, *info.warnings)})
    write_record(info, folder)
    sizes = manifest.groupby(["label", "split"]).size()
    shown = {name: {split: int(sizes.get((name, split), 0)) for split in SPLITS} for name in info.classes}
    return IngestSummary(out, info, shown, len(rejected), tuple(table))


def _info(
    made: Assignment, manifest: pd.DataFrame, files: dict[str, str], settings: IngestSettings, fingerprint: str
) -> CohortInfo:
    classes = ordered_classes(set(manifest["label"]))
    positive = positive_of(classes, settings.positive)
    modality = made.pictures[0].modality
    parts = {name: manifest[manifest["split"] == name] for name in SPLITS}
    return CohortInfo(
        classes=classes,
        positive_class=positive,
        size=settings.size,
        channels=max(picture.pixels.shape[0] for picture in made.pictures),
        modality=modality,
        window=settings.window or usual_window(modality),
        scale=FULL_SCALE,
        split="given" if made.given else settings.fractions,
        seed=settings.seed_used,
        settings=settings.model_dump(mode="json", exclude={"labels"}),  # a path may name a patient or a person
        salt_fingerprint=fingerprint,
        tool_version=__version__,
        content_hash=content_hash_of(files, manifest),
        files=files,
        images={name: len(part) for name, part in parts.items()},
        patients={name: int(part["patient"].nunique()) for name, part in parts.items()},
        patients_known=all(picture.patient for picture in made.pictures),
        warnings=tuple(_warnings(made, classes, positive, settings)),
        ranges=ranges_by_class(made.pictures),
    )


def _warnings(made: Assignment, classes: tuple[str, ...], positive: str, settings: IngestSettings) -> list[str]:
    """Returns warnings about the cohort."""
    pictures = made.pictures
    warnings = (
        guess_warnings(pictures)
        + unit_warnings(pictures)
        + flaw_warnings(pictures)
        + mask_warnings(pictures)
        + content_warnings(pictures)
        + slice_warnings(pictures, settings)
        + sequence_warnings(pictures)
        + plane_warnings(pictures)
        + acquisition_warnings(pictures)
        + intent_warnings(pictures)
        + pet_warnings(pictures)
        + person_warnings(pictures, made.patients)
        + made.warnings
        + label_warnings(set(classes))
    )
    if len(classes) == 1:
        warnings.append(f"only one class ({classes[0]}): nothing to detect, so only realism can be scored")
    colour = sum(picture.pixels.shape[0] == 3 for picture in pictures)
    if 0 < colour < len(pictures):
        warnings.append(f"{colour} of {len(pictures)} images are in colour: all get three channels (--grey: one)")
    warnings += dark_warnings(pictures, settings.window)
    small = sum(max(picture.shape) < settings.size for picture in pictures)
    if small:
        warnings.append(f"{small} of {len(pictures)} images are smaller than {settings.size} pixels and were enlarged")
    warnings += beside_warnings(pictures) + owner_warnings(pictures, made.patients) + copy_warnings(pictures)
    if is_guess(classes, settings.positive):
        warnings.append(f"sensitivity counts {positive!r}, the last by name: choose with --positive")
    counts = patients_by_class([picture.label for picture in pictures], made.splits, made.patients)
    return warnings + class_warnings(counts, positive)
