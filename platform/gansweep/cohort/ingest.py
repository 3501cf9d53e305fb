"""Scans in, cohort out: reads, refuses, splits by patient, and writes what everything else opens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep import __version__
from gansweep.cohort.assignment import Assignment, assign
from gansweep.cohort.dataset import FULL_SCALE, CohortInfo, content_hash_of, file_hash
from gansweep.cohort.files import new_folder
from gansweep.cohort.identity import Pseudonyms
from gansweep.cohort.intensity import window_named
from gansweep.cohort.reading import Picture, group_by_series, read_unit, usual_window
from gansweep.cohort.rejected import rejected_table
from gansweep.cohort.settings import IngestSettings, is_guess, ordered_classes, positive_of
from gansweep.cohort.sources import Rejected, Source, find_sources, format_of
from gansweep.cohort.split import SPLITS
from gansweep.cohort.writing import manifest_of, write_arrays
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from gansweep.cohort.files import ProgressCallback

__all__ = ["IngestSettings", "IngestSummary", "ingest"]

DARK = 0.25  # share of the range below which all images of a cohort are too dark to be meant so


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest made.

    Args:
        path: the cohort.
        info: its `cohort.json`.
        classes: images of each class in each split: `classes["fahr"]["val"]`.
        rejected: files left out.
    """

    path: Path
    info: CohortInfo
    classes: dict[str, dict[str, int]]
    rejected: int


def ingest(
    source: str | Path,
    out: str | Path,
    settings: IngestSettings | None = None,
    progress: ProgressCallback | None = None,
) -> IngestSummary:
    """Makes a cohort of the images in `source`.

    Args:
        source: folder of DICOM, NIfTI, BIDS or raster images (see `sources` for how labels are found).
        out: the cohort's folder; an earlier cohort there is replaced, anything else is left alone.
        settings: see `IngestSettings`.
        progress: called with (stage, units done, units in all).

    Raises:
        CohortError: anything about the images, labels, masks or splits that cannot be used; nothing is written then.
    """
    settings = settings or IngestSettings()
    out = Path(out)
    if settings.window not in {None, "percentile"}:
        window_named(str(settings.window))
    sources, rejected = find_sources(
        Path(source),
        settings.labels,
        label_column=settings.label_column,
        split_column=settings.split_column,
        paired_column=settings.paired_column,
        labelled=settings.label_from == "labels",
    )
    _stop_if_bad(rejected, len(sources), settings)
    sources, others = _of_classes(sources, settings)
    rejected += others
    with new_folder(out, "cohort", replaces="cohort.json") as folder:
        pictures, refused = _read_all(sources, settings, progress)
        rejected = rejected + refused
        _stop_if_bad(refused, len(sources), settings)
        return _write(folder, out, pictures, rejected, settings)


def _of_classes(sources: list[Source], settings: IngestSettings) -> tuple[list[Source], list[Rejected]]:
    classes = settings.classes
    if classes is None:
        return sources, []
    if settings.label_from == "mask":
        raise CohortError("classes cannot be chosen where each mask decides", fix="leave --classes out")
    unknown = sorted(set(classes) - {source.label for source in sources})
    if unknown:
        there = ", ".join(sorted({source.label for source in sources}))
        raise CohortError(f"no images are labelled {unknown[0]!r}", fix=f"choose among {there}")
    others = [
        Rejected.of(item, "its class was not asked for", bad=False) for item in sources if item.label not in classes
    ]
    return [source for source in sources if source.label in classes], others


def _stop_if_bad(rejected: Sequence[Rejected], good: int, settings: IngestSettings) -> None:
    bad = [item for item in rejected if item.bad]
    if bad and not settings.skip_bad:
        first = f"{bad[0].name}: {bad[0].reason}"
        count = "" if len(bad) == 1 else f" (first of {len(bad)} bad files)"
        raise CohortError(f"{first}{count}", fix="put it right, or leave bad files out with --skip-bad")
    if bad and not good:
        raise CohortError(f"no usable images: {bad[0].name}: {bad[0].reason}", fix="put the files right")


def _read_all(
    sources: Sequence[Source], settings: IngestSettings, progress: ProgressCallback | None
) -> tuple[list[Picture], list[Rejected]]:
    units, rejected = group_by_series(sources, settings.series)
    pictures: list[Picture] = []
    for number, unit in enumerate(units, start=1):
        for item in read_unit(unit, settings):
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                pictures.append(item)
        if progress:
            progress("reading", number, len(units))
    _stop_if_bad(rejected, 1, settings)
    if not pictures:
        reason = f": {rejected[0].name}: {rejected[0].reason}" if rejected else ""
        raise CohortError(f"no usable images{reason}", fix="put the files right")
    modalities = Counter(picture.modality for picture in pictures)
    if len(modalities) > 1:
        counts = " and ".join(f"{name} ({count} images)" for name, count in modalities.most_common())
        fix = f"choose one: --modality {modalities.most_common(1)[0][0]}"
        if all(format_of(picture.source.path) == "nifti" for picture in pictures):
            fix = "NIfTI does not say which, and this was a guess: name the true one with gansweep ingest --modality"
        raise CohortError(f"{counts} in one cohort", fix=fix)
    return pictures, rejected


def _write(
    folder: Path, out: Path, pictures: list[Picture], rejected: list[Rejected], settings: IngestSettings
) -> IngestSummary:
    pseudonyms = Pseudonyms()
    made = assign(pictures, settings, pseudonyms)
    rejected = rejected + made.rejected
    files = write_arrays(folder, made.pictures, settings.size)
    manifest = manifest_of(made.pictures, made.patients, made.splits)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    files["manifest.parquet"] = file_hash(folder / "manifest.parquet")
    rejected_table(rejected, made, pseudonyms).to_parquet(folder / "rejected.parquet", index=False)
    info = _info(made, manifest, files, settings, pseudonyms.fingerprint)
    (folder / "cohort.json").write_text(info.model_dump_json(indent=2) + "\n")
    counts = manifest.groupby(["label", "split"]).size()
    shown = {name: {split: int(counts.get((name, split), 0)) for split in SPLITS} for name in info.classes}
    return IngestSummary(out, info, shown, len(rejected))


def _info(
    made: Assignment, manifest: pd.DataFrame, files: dict[str, str], settings: IngestSettings, fingerprint: str
) -> CohortInfo:
    classes = ordered_classes(set(manifest["label"]))
    positive = positive_of(classes, settings.positive)
    warnings = list(made.warnings)
    if len(classes) == 1:
        warnings.append(f"only one class ({classes[0]}): nothing to detect, so only realism can be scored")
    colour = sum(picture.pixels.shape[0] == 3 for picture in made.pictures)
    if 0 < colour < len(made.pictures):
        warnings.append(f"{colour} of {len(made.pictures)} images in colour: all get three channels, with --grey one")
    brightest = max(int(picture.pixels.max()) for picture in made.pictures) / FULL_SCALE
    if brightest < DARK:
        warnings.append(f"no pixel reaches more than {brightest:.1%} of the range: choose another --window")
    if is_guess(classes, settings.positive):
        warnings.append(f"sensitivity counts {positive!r}, the last by name: choose with --positive")
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
        split="given" if made.given else settings.split,
        seed=settings.seed,
        settings=settings.model_dump(mode="json", exclude={"labels"}),
        salt_fingerprint=fingerprint,
        tool_version=__version__,
        content_hash=content_hash_of(files, manifest),
        files=files,
        images={name: len(part) for name, part in parts.items()},
        patients={name: int(part["patient"].nunique()) for name, part in parts.items()},
        patients_known=all(picture.patient for picture in made.pictures),
        warnings=tuple(warnings),
    )
