"""Warns about options that could not do anything with the files of a cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.cohort.sources.source import format_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.ingest.reading import Picture
    from gansweep.cohort.ingest.settings import IngestSettings
    from gansweep.cohort.sources.source import Rejected

__all__ = ["option_warnings"]


def option_warnings(pictures: Sequence[Picture], rejected: Sequence[Rejected], settings: IngestSettings) -> list[str]:
    """Returns one warning per option without effect.

    A file that was left out may be the one that the option was for.

    Args:
        pictures: images of the cohort.
        rejected: files left out.
        settings: options of the ingest.
    """
    formats = {format_of(picture.source.path) for picture in pictures}
    formats |= {format_of(item.path) for item in rejected if item.path is not None}
    has_split = any(picture.source.split for picture in pictures)
    has_volumes = any(picture.volume for picture in pictures)
    has_ct = any(picture.modality == "CT" for picture in pictures)
    has_dicom = "dicom" in formats
    checks = (
        ("--resplit", settings.resplit, has_split, "the source gives no split"),
        ("--bits", settings.bits is not None, _has_deep_rasters(pictures), "no picture has more than 8 bits"),
        ("--plane", settings.plane != "axial", "nifti" in formats, "there are no NIfTI volumes"),
        ("--slices", settings.slices is not None, has_volumes, "there are no volumes and no series of several slices"),
        ("--series", settings.series is not None, has_dicom, "there is no DICOM"),
        ("--assume-hu", settings.assume_hu, has_ct or has_dicom, "there is no CT"),
        ("--derived", settings.derived, has_dicom, "there is no DICOM"),
    )
    return [f"{option} does nothing, because {why}" for option, asked, used, why in checks if asked and not used]


def _has_deep_rasters(pictures: Sequence[Picture]) -> bool:
    depths = {picture.depth for picture in pictures if format_of(picture.source.path) == "raster"}
    return any(depth.endswith("-bit") and int(depth.removesuffix("-bit")) > 8 for depth in depths)
