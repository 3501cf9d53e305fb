"""Verbs that make sets of images: phantom, ingest."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gansweep.cli.console import Ticker, emit
from gansweep.cli.options import Json, SeedOption, parse_fractions

if TYPE_CHECKING:
    from gansweep.cohort.ingest import IngestSummary

__all__ = ["ingest", "phantom"]


def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    patients: Annotated[int, typer.Option(help="Half of them with calcifications.")] = 40,
    slices: Annotated[int, typer.Option(help="Slices per patient, at the basal ganglia.")] = 4,
    fossa: Annotated[int, typer.Option(help="More slices per patient, through the posterior fossa.")] = 0,
    size: Annotated[int, typer.Option(help="Rows and columns, in pixels.")] = 128,
    seed: SeedOption = 0,
    as_json: Json = False,
) -> None:
    """Write head-CT DICOM phantoms with and without bilateral basal-ganglia calcification, and labels.csv."""
    from gansweep.cohort.phantom import write_phantom

    write_phantom(out, patients=patients, slices=slices, size=size, seed=seed, progress=Ticker(), fossa=fossa)
    images = patients * (slices + fossa)
    emit(
        {"out": out, "labels": out / "labels.csv", "patients": patients, "images": images, "seed": seed},
        f"{patients} patients, {images} images in {out}; next: gansweep ingest {shlex.quote(str(out))} COHORT",
        as_json=as_json,
    )


def ingest(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of DICOM, NIfTI, BIDS, PNG or JPEG files.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The cohort's folder: new, or a cohort to replace.")],
    size: Annotated[int, typer.Option(help="Rows and columns of the cohort's images, in pixels.")] = 64,
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="path,label[,patient_id,split,mask]. Default: SRC/labels.csv.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="NAME|LOW,HIGH", help="Intensity window, in HU for CT: --window=-20,120.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="TRAIN,VAL,TEST", help="Shares of the patients.")] = "0.6,0.2,0.2",
    seed: SeedOption = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad files out instead of stopping.")] = False,
    positive: Annotated[str | None, typer.Option(help="The disease's class, which sensitivity counts.")] = None,
    classes: Annotated[str | None, typer.Option(metavar="A,B", help="Take only images of these classes.")] = None,
    modality: Annotated[str | None, typer.Option(help="Take only images of this one: CT, MR.")] = None,
    series: Annotated[str | None, typer.Option(help="Take only DICOM series so described: 'T1*'.")] = None,
    label_from: Annotated[Literal["labels", "mask"], typer.Option(help="The labels given, or the masks.")] = "labels",
    label_per: Annotated[Literal["patient", "image"], typer.Option(help="What has one label.")] = "patient",
    label_column: Annotated[str | None, typer.Option(help="Of the CSV or participants.tsv.")] = None,
    split_column: Annotated[str, typer.Option(help="Of the CSV.")] = "split",
    paired_column: Annotated[str | None, typer.Option(help="Of the CSV: the image of the other kind.")] = None,
    resplit: Annotated[bool, typer.Option("--resplit", help="Ignore the split that the CSV gives.")] = False,
    plane: Annotated[Literal["axial", "coronal", "sagittal"], typer.Option(help="How volumes are cut.")] = "axial",
    slices: Annotated[int | None, typer.Option(help="At most so many of each volume or series.")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Make colour images grey.")] = False,
    as_json: Json = False,
) -> None:
    """Turn DICOM, NIfTI, BIDS or PNG files into a cohort, split by patient."""
    from gansweep.cohort.ingest import IngestSettings
    from gansweep.cohort.ingest import ingest as run
    from gansweep.experiment import validated

    chosen = {
        "size": size,
        "labels": labels,
        "window": window,
        "split": parse_fractions(split),
        "seed": seed,
        "skip_bad": skip_bad,
        "positive": positive,
        "classes": tuple(name.strip() for name in classes.split(",")) if classes else None,
        "modality": modality,
        "series": series,
        "label_from": label_from,
        "label_per": label_per,
        "label_column": label_column,
        "split_column": split_column,
        "paired_column": paired_column,
        "resplit": resplit,
        "plane": plane,
        "slices": slices,
        "grey": grey,
    }
    summary = run(source, out, validated(IngestSettings, chosen, where="ingest"), progress=Ticker())
    emit(_as_data(summary), _as_text(summary), as_json=as_json)


def _as_data(summary: "IngestSummary") -> dict[str, object]:
    info = summary.info.model_dump(mode="json", exclude={"settings", "files"})
    return {"cohort": summary.path, "classes": summary.classes, "rejected": summary.rejected, "info": info}


def _as_text(summary: "IngestSummary") -> str:
    info = summary.info
    splits = ", ".join(f"{name} {info.images[name]} ({info.patients[name]} patients)" for name in info.images)
    lines = [
        f"{sum(info.images.values())} {info.modality} images of {', '.join(info.classes)} in {summary.path}: {splits}",
        f"positive: {info.positive_class} (what sensitivity counts)",
        *(f"warning: {warning}" for warning in info.warnings),
    ]
    if summary.rejected:
        lines.append(f"{summary.rejected} files left out; the reasons are in {summary.path / 'rejected.parquet'}")
    return "\n".join(lines)
