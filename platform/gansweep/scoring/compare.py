"""All metrics of two cohorts or folders of images, as computed by `gansweep score`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import ingest
from gansweep.cohort.ingest.settings import IngestSettings
from gansweep.cohort.intensity import window_named
from gansweep.config import validated
from gansweep.contracts import ImageSet
from gansweep.errors import CohortError
from gansweep.scoring.panel.score import PanelInputs, score_sets
from gansweep.scoring.unlabelled import is_unlabelled, one_label, without_labels

if TYPE_CHECKING:
    from gansweep.cohort.dataset import CohortInfo
    from gansweep.cohort.intensity import Window
    from gansweep.files import ProgressCallback
    from gansweep.options import ScoreOptions
    from gansweep.scoring.values import MetricValue

__all__ = ["compare", "load_images"]

Split = Literal["train", "val"]


def compare(
    real: Path, fake: Path, options: ScoreOptions, progress: ProgressCallback | None = None
) -> dict[str, MetricValue]:
    """Computes every metric between two sets of images, with intervals and the real-against-real floor.

    For a cohort, only training and validation images are used; its test patients stay unseen. Memorisation is measured
    against the validation patients of `real`. If `options.training` is given, it is measured against all images of
    `real` that are not among the training images.

    Args:
        real: a cohort, a folder that `ingest` can read, or a folder of images without labels.
        fake: the same for the synthetic images, read with the settings of `real`.
        options: the extractor, whether images are paired, and the generator's training images.
        progress: called after each step.

    Returns:
        For each metric, its value with an interval, or the reason why it has none.

    Raises:
        CohortError: a folder cannot be read, or the two sets cannot be compared.
        ConfigError: the extractor cannot be used.
    """
    if options.paired:
        _refuse_unlike_pairs(real, fake)
    plain = is_unlabelled(real) or is_unlabelled(fake)
    real_images, info = load_images(real, options.size, progress)
    fake_images = _drawn_apart(*load_images(fake, info.size, progress, like=info, labelled=not plain))
    seen, unseen = _seen_and_unseen(real, real_images, options.training, info, progress)
    if plain:
        # Labels of only one of the sets cannot be compared.
        real_images = without_labels(real_images)
        fake_images = without_labels(fake_images)
    inputs = PanelInputs(
        real_images,
        fake_images,
        positive=info.classes.index(info.positive_class),
        training=seen,
        held_out=unseen,
        window=_hounsfield_window(info),
    )
    return score_sets(
        inputs, options.features, options.seed, paired=options.paired, lpips=options.lpips, progress=progress
    )


def _drawn_apart(images: ImageSet, info: CohortInfo) -> ImageSet:
    """Returns the fake images, each as its own patient unless the files name patients.

    Ingest assigns similar images of unknown patients to one patient, so that no copy is in the test split. Similar
    samples, however, were still drawn independently.
    """
    if info.patients_known or info.modality != "raster":
        return images
    return replace(images, patients=())


def _hounsfield_window(info: CohortInfo) -> Window | None:
    """Returns the window that maps HU to intensities; None if the images are not CT, or if each has its own window."""
    if info.modality != "CT" or info.window in ("percentile", "full"):
        return None
    return window_named(info.window)


def _seen_and_unseen(
    real: Path,
    real_images: ImageSet,
    training: Path | None,
    info: CohortInfo,
    progress: ProgressCallback | None,
) -> tuple[ImageSet | None, ImageSet | None]:
    """Returns the generator's assumed training images, and real images that it was not trained on."""
    if training is not None:
        labelled = not is_unlabelled(training)
        seen, _ = load_images(training, info.size, progress, like=info, splits=("train",), labelled=labelled)
        return seen, real_images
    if not (real / "cohort.json").is_file():
        return None, None
    cohort = Cohort.open(real)
    held_out = _of(cohort, ("val",)) if cohort.info.images.get("val") else None
    return _of(cohort, ("train",)), held_out


def load_images(
    path: Path,
    size: int,
    progress: ProgressCallback | None,
    *,
    like: CohortInfo | None = None,
    splits: tuple[Split, ...] = ("train", "val"),
    labelled: bool = True,
) -> tuple[ImageSet, CohortInfo]:
    """Loads the images at `path`: some splits of a cohort, or all images of a folder.

    Args:
        path: a cohort, or a folder that `ingest` can read.
        size: height and width, in pixels, to which a folder's images are resized. A cohort has its own size.
        progress: called after each step.
        like: the cohort that the images are compared with. A folder is read with its settings.
        splits: splits of a cohort to load.
        labelled: whether the images have the classes of `like`.

    Returns:
        The images, and the information about their cohort. A folder is ingested into a temporary cohort.

    Raises:
        CohortError: the folder cannot be read, or the images cannot be compared with those of `like`.
    """
    named = like if labelled else None
    if (path / "cohort.json").is_file():
        cohort = Cohort.open(path)
        _refuse_other_intensities(cohort.info, like, path)
        return _labelled_as(_of(cohort, splits), cohort.info, named, path), cohort.info
    reading = _reading(path, size, like)
    with TemporaryDirectory(prefix="gansweep-score-") as scratch:
        cohort = _ingested(path, Path(scratch) / "a", reading, progress)
        # The window depends on the modality, which is known only after the files were read.
        comparable = like is not None and like.modality == cohort.info.modality
        if like is not None and comparable and like.window != cohort.info.window:
            cohort = _ingested(path, Path(scratch) / "b", reading | {"window": like.window}, progress)
        _refuse_other_intensities(cohort.info, like, path)
        return _labelled_as(_of(cohort, ("train",)), cohort.info, named, path), cohort.info


def _refuse_other_intensities(info: CohortInfo, like: CohortInfo | None, path: Path) -> None:
    """Refuses sets of different modalities or windows, whose images of the same head differ whatever generated them.

    Raises:
        CohortError: `info` and `like` have different modalities or windows.
    """
    if like is None:
        return
    if info.modality != like.modality and {info.modality, like.modality} <= {"CT", "MR"}:
        raise CohortError(f"holds {info.modality}, REAL {like.modality}", where=str(path), fix="compare like with like")
    if info.modality == like.modality and info.window != like.window:
        raise CohortError(
            f"was ingested with window {info.window}, REAL with {like.window}",
            where=str(path),
            fix=f"ingest it with --window={like.window}",
        )


def _reading(source: Path, size: int, like: CohortInfo | None) -> dict[str, object]:
    """Returns the settings for reading a folder. With `like`: its crop, and its modality if the files have none."""
    chosen = {"size": size, "split": (1.0, 0.0, 0.0), "resplit": True, "label_per": "image", "keep_blank": True}
    if like is None:
        return chosen
    # NIfTI files do not state their modality.
    needs_modality = like.modality != "raster" and any(source.rglob("*.nii*"))
    chosen["modality"] = like.modality if needs_modality else None
    chosen["plane"] = like.settings["plane"]
    chosen["slices"] = like.settings["slices"]
    return chosen


def _ingested(source: Path, out: Path, reading: dict[str, object], progress: ProgressCallback | None) -> Cohort:
    if is_unlabelled(source):
        reading = reading | {"labels": one_label(source, out.with_suffix(".csv"))}
    ingest(source, out, validated(IngestSettings, reading, where="score"), progress=progress)
    return Cohort.open(out)


def _of(cohort: Cohort, splits: tuple[Split, ...]) -> ImageSet:
    """Returns the images of some splits as one set in the manifest's order, which pairs rely on. Skips empty splits."""
    present = [split for split in splits if split == "train" or cohort.info.images.get(split)]
    parts = [cohort.load(split) for split in present]
    of_split = cohort.manifest["split"].to_numpy()
    rows = np.concatenate([np.flatnonzero(of_split == split) for split in present])
    order = np.argsort(rows)
    masks = [part.masks for part in parts if part.masks is not None]
    patients: list[str] = []
    for part in parts:
        patients += part.patients
    return ImageSet(
        images=torch.cat([part.images for part in parts])[order],
        labels=torch.cat([part.labels for part in parts])[order],
        masks=torch.cat(masks)[order] if masks else None,
        patients=tuple(patients[row] for row in order),
    )


def _refuse_unlike_pairs(real: Path, fake: Path) -> None:
    """Refuses paired cohorts with different test images.

    Test images are left out, so the remaining ones would not pair.

    Raises:
        CohortError: both are cohorts, and their test images are not in the same places.
    """
    if not all((path / "cohort.json").is_file() for path in (real, fake)):
        return
    real_is_test = _is_test(real)
    fake_is_test = _is_test(fake)
    if any(fake_is_test) and fake_is_test != real_is_test:
        raise CohortError(
            "its test images, which are left out, are not the counterparts of REAL's",
            where=str(fake),
            fix="name the folder of FAKE's images, or ingest them with --split=1,0,0",
        )


def _is_test(cohort: Path) -> list[bool]:
    """Returns whether each image of a cohort is in its test split."""
    return [split == "test" for split in Cohort.open(cohort).manifest["split"]]


def _labelled_as(images: ImageSet, info: CohortInfo, like: CohortInfo | None, path: Path) -> ImageSet:
    """Returns the images with labels as indices into the classes of `like`, which may have additional classes.

    Raises:
        CohortError: `like` does not have one of the classes.
    """
    if like is None:
        return images
    unknown = sorted(set(info.classes) - set(like.classes))
    if unknown:
        raise CohortError(
            f"has class {unknown[0]!r}, REAL has {', '.join(like.classes)}",
            where=str(path),
            fix="use the same class names",
        )
    index = torch.tensor([like.classes.index(name) for name in info.classes])
    return replace(images, labels=index[images.labels])
