"""The ingest: reads a folder of scans and writes a cohort."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep._version import __version__
from gansweep.cohort.dataset import FULL_SCALE, CohortInfo, content_hash_of
from gansweep.cohort.ingest.assignment import Assignment, assign
from gansweep.cohort.ingest.identity import Pseudonyms
from gansweep.cohort.ingest.reading import Picture, group_by_series, read_unit, usual_window
from gansweep.cohort.ingest.rejected import rejected_table
from gansweep.cohort.ingest.settings import IngestSettings, is_guess, ordered_classes, positive_of
from gansweep.cohort.ingest.split import SPLITS
from gansweep.cohort.ingest.writing import manifest_of, write_arrays
from gansweep.cohort.intensity import window_named
from gansweep.cohort.sources.find import find_sources
from gansweep.cohort.sources.source import Rejected, Source, format_of
from gansweep.errors import CohortError
from gansweep.files import new_folder, sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from gansweep.files import ProgressCallback

__all__ = ["IngestSettings", "IngestSummary", "ingest"]

DARK = 0.25  # if no image of a cohort exceeds this fraction of the range, the window was probably wrong


@dataclass(frozen=True)
class IngestSummary:
    """The result of an ingest.

    Args:
        path: the cohort's folder.
        info: the contents of its `cohort.json`.
        classes: number of images by class and split: `classes["fahr"]["val"]`.
        rejected: number of files left out.
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
    """Makes a cohort from the images in `source`.

    Args:
        source: a folder of DICOM, NIfTI, BIDS or raster images (see `sources.find` for how labels are found).
        out: the cohort's folder. An earlier cohort there is replaced; a folder with anything else is refused.
        settings: see `IngestSettings`.
        progress: called with (stage, units done, total units).

    Raises:
        CohortError: images, labels, masks or splits cannot be used. Nothing is written then.
    """
    settings = settings or IngestSettings()
    out = Path(out)
    if settings.window not in {None, "percentile"}:
        window_named(str(settings.window))  # refuses an unknown window before an hour of reading

    sources, rejected = find_sources(
        Path(source),
        settings.labels,
        label_column=settings.label_column,
        split_column=settings.split_column,
        paired_column=settings.paired_column,
        labelled=settings.label_from == "labels",
    )
    _stop_if_bad(rejected, len(sources), settings)
    sources, others = _select_classes(sources, settings)
    rejected += others

    with new_folder(out, "cohort", replaces="cohort.json") as folder:
        pictures, refused = _read_all(sources, settings, progress)
        rejected = rejected + refused
        _stop_if_bad(refused, len(sources), settings)
        return _write(folder, out, pictures, rejected, settings)


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


def _stop_if_bad(rejected: Sequence[Rejected], good: int, settings: IngestSettings) -> None:
    bad = [item for item in rejected if item.bad]
    if bad and not settings.skip_bad:
        first = f"{bad[0].name}: {bad[0].reason}"
        count = "" if len(bad) == 1 else f" (first of {len(bad)} bad files)"
        raise CohortError(f"{first}{count}", fix="correct it, or leave bad files out with --skip-bad")
    if bad and not good:
        raise CohortError(f"no usable images: {bad[0].name}: {bad[0].reason}", fix="correct the files")


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
        raise CohortError(f"no usable images{reason}", fix="correct the files")

    modalities = Counter(picture.modality for picture in pictures)
    if len(modalities) > 1:
        counts = " and ".join(f"{name} ({count} images)" for name, count in modalities.most_common())
        fix = f"choose one: --modality {modalities.most_common(1)[0][0]}"
        if all(format_of(picture.source.path) == "nifti" for picture in pictures):
            # `gansweep score` also ingests, but has no such option.
            guess = "NIfTI does not record the modality, so this is a guess"
            fix = f"{guess}: give the true one with gansweep ingest --modality"
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
    files["manifest.parquet"] = sha256_of(folder / "manifest.parquet")
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
        warnings.append(f"{colour} of {len(made.pictures)} images are in colour: all get three channels (--grey: one)")
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
        settings=settings.model_dump(mode="json", exclude={"labels"}),  # a path may name a patient or a person
        salt_fingerprint=fingerprint,
        tool_version=__version__,
        content_hash=content_hash_of(files, manifest),
        files=files,
        images={name: len(part) for name, part in parts.items()},
        patients={name: int(part["patient"].nunique()) for name, part in parts.items()},
        patients_known=all(picture.patient for picture in made.pictures),
        warnings=tuple(warnings),
    )
