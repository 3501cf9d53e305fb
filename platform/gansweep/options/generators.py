"""Options of the commands that use generators and their images, and of submitted jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from gansweep.config import Frozen
from gansweep.options.search import LARGEST_SEED, TrainingOptions

__all__ = [
    "Attribution",
    "GenerateOptions",
    "JobOptions",
    "ReaderStudyOptions",
    "ScoreOptions",
    "TrainOptions",
]


class Attribution(Frozen):
    """Author of an exported generator, for its model card and its bundle."""

    author: str = Field("", description="Author, for the model card and the bundle.")
    licence: str = Field("", description="Licence of the generator.")
    contact: str = Field("", description="Contact for questions.")


class GenerateOptions(Frozen):
    """Which images a generator draws: the options of `gansweep generate` and `gansweep.generate`."""

    format: Literal["dicom", "nifti", "png", "npy"] = Field(
        "png", description="File format. PNG has the window only; the others have HU."
    )
    label: str | None = Field(
        None, description="Class of the images; default: each in turn.", json_schema_extra={"metavar": "L"}
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of every random choice.")
    cohort: Path | None = Field(
        None, description="Real images, for families that start from them.", json_schema_extra={"metavar": "DIR"}
    )


class TrainOptions(Attribution, TrainingOptions):
    """How a production training runs: the options of `gansweep train` and `gansweep.train`."""

    workers: int = Field(1, ge=1, description="Number of workers that share every batch.")
    gpus_per_worker: float = Field(0.0, ge=0.0, description="GPUs per worker; with 0.5, two trials share one.")
    cpus_per_worker: float = Field(1.0, ge=0.1, description="CPU cores per worker.")
    reports: int = Field(20, ge=1, description="Number of progress reports, each with a checkpoint.")
    allow_memorised: bool = Field(
        False, description="Export a generator that copies training patients. Its card says so."
    )


class ScoreOptions(Frozen):
    """How two sets of images are compared: the options of `gansweep score` and `gansweep.score`."""

    features: Path | None = Field(
        None,
        description="TorchScript feature extractor; default: an encoder trained on REAL.",
        json_schema_extra={"metavar": "FILE.pt"},
    )
    lpips: Path | None = Field(
        None, description="LPIPS weights, with --paired.", json_schema_extra={"metavar": "FILE.pt"}
    )
    paired: bool = Field(False, description="Image i of FAKE was made for image i of REAL (test images left out).")
    training: Path | None = Field(
        None,
        description="Training images of FAKE's generator, to test for memorisation; default: REAL's training patients.",
        json_schema_extra={"metavar": "DIR"},
    )
    size: int = Field(64, description="Size in pixels if REAL is a folder. A cohort has its own.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of every random choice.")


class JobOptions(Frozen):
    """Where a job of `gansweep submit` runs, and whether the command waits for it."""

    address: str | None = Field(
        None, description="URL of the cluster's dashboard: http://127.0.0.1:8265.", json_schema_extra={"metavar": "URL"}
    )
    wait: bool = Field(True, description="Stream the job's log and return its exit status.")


class ReaderStudyOptions(Frozen):
    """Which images readers are shown: the options of `gansweep reader-study`."""

    images: int = Field(60, ge=4, description="Total number of images, half of them real.")
    split: Literal["val", "train"] = Field("val", description="Patients of a cohort whose images are shown.")
    size: int = Field(64, ge=8, description="Size in pixels if REAL is a folder. A cohort has its own.")
    seed: int | None = Field(
        None,
        ge=0,
        description="Seed of the choice and order; default: a new one each time, because a known seed reveals the key.",
    )
