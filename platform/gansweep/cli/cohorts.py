"""Commands that make and show sets of images: phantom, ingest, cohort."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gansweep.cli.console import Ticker, emit
from gansweep.cli.model_options import with_model_options
from gansweep.cli.options import Json, SeedOption
from gansweep.cohort.ingest.settings import IngestSettings
from gansweep.errors import counted

if TYPE_CHECKING:
    from gansweep.cohort.ingest.run import IngestSummary

__all__ = ["cohort", "ingest", "phantom"]


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
    from gansweep.cohort.phantom.scans import write_phantom

    write_phantom(out, patients=patients, slices=slices, size=size, seed=seed, progress=Ticker(), fossa=fossa)
    images = patients * (slices + fossa)
    emit(
        {"out": out, "labels": out / "labels.csv", "patients": patients, "images": images, "seed": seed},
        f"{counted(patients, 'patient')}, {counted(images, 'image')} in {out}; "
        f"next: gansweep ingest {shlex.quote(str(out))} COHORT",
        as_json=as_json,
    )


@with_model_options
def ingest(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of DICOM, NIfTI, BIDS, PNG or JPEG files.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The cohort's folder: new, or a cohort to replace.")],
    settings: IngestSettings,
    as_json: Json = False,
) -> None:
    """Turn DICOM, NIfTI, BIDS or PNG files into a cohort, split by patient."""
    from gansweep.cohort.ingest.run import ingest as run
    from gansweep.search.interrupts import ending_like_interrupts

    # A scheduler or a closed terminal must not leave a half-written folder, which may show patients.
    with ending_like_interrupts():
        summary = run(source, out, settings, progress=Ticker())
    emit(_as_data(summary), _as_text(summary), as_json=as_json)


def cohort(
    folder: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder that `gansweep ingest` wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file.")] = Path("cohort.html"),
    time_trial: Annotated[
        bool, typer.Option("--time-trial", help="Train a few iterations to say what one trial takes here.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash all files again, also those that this machine has checked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write one HTML page to look at a cohort: pictures, classes, intensities, duplicates, and what was left out."""
    from gansweep.cohort.dataset import Cohort
    from gansweep.report.cohort_page import write_cohort_page
    from gansweep.report.space_fit import fitting_spaces, seconds_per_trial

    opened = Cohort.open(folder, verify=verify)
    spaces = fitting_spaces(opened)
    seconds = seconds_per_trial(opened, spaces[0].name) if time_trial and not spaces[0].problem else None
    written = write_cohort_page(opened, out, spaces=spaces, trial_s=seconds)
    data = {"page": written, "spaces": [asdict(space) for space in spaces], "trial_s": seconds}
    emit(data, f"page in {written}; it shows pictures of patients", as_json=as_json)


def _as_data(summary: "IngestSummary") -> dict[str, object]:
    info = summary.info.model_dump(mode="json", exclude={"settings", "files"})
    return {"cohort": summary.path, "classes": summary.classes, "rejected": summary.rejected, "info": info}


def _as_text(summary: "IngestSummary") -> str:
    info = summary.info
    splits = ", ".join(
        f"{name} {info.images[name]} ({counted(info.patients[name], 'patient')})" for name in info.images
    )
    lines = [
        f"{sum(info.images.values())} {info.modality} images of {', '.join(info.classes)} in {summary.path}: {splits}",
        "images (patients):",
        *(f"  {line}" for line in summary.table),
        f"positive: {info.positive_class} (what sensitivity counts)",
        *(f"warning: {warning}" for warning in info.warnings),
    ]
    if summary.rejected:
        lines.append(f"{summary.rejected} files left out; all are in {summary.path / 'rejected.parquet'}:")
        lines += [f"  {count} x {reason}" for reason, count in info.left_out.items()]
    lines.append(f"look at it: gansweep cohort {shlex.quote(str(summary.path))} --out cohort.html")
    return "\n".join(lines)
