"""Provenance of a sweep's numbers: code revision, package versions, hardware and cohort."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep._version import __version__
from gansweep.files import modules_in, sha256_of
from gansweep.store.columns import config_columns
from gansweep.store.feature_files import feature_digests
from gansweep.store.study_database import place_of
from gansweep.store.sweep_info import CohortReference, SweepInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.cohort.dataset import Cohort
    from gansweep.experiment import Experiment
    from gansweep.options import SweepOptions

__all__ = ["REVISION_VARIABLE", "code_revision", "describe_sweep", "hardware", "package_versions"]

REVISION_VARIABLE = "GANSWEEP_CODE_REVISION"

_PACKAGES = (
    "gansweep",
    "monai",
    "numpy",
    "optuna",
    "pandas",
    "pyarrow",
    "pydicom",
    "ray",
    "scikit-learn",
    "scipy",
    "torch",
    "torchmetrics",
)


def describe_sweep(
    experiment: Experiment,
    cohort: Cohort,
    options: SweepOptions,
    *,
    space: str,
    concurrent: int = 1,
    fid_features: str = "",
    resources: Mapping[str, float] | None = None,
) -> SweepInfo:
    """Returns the information that `Store.create` needs about a sweep that is about to start on this machine.

    Args:
        experiment: the search, with the user's settings applied.
        cohort: the images.
        options: the options of the sweep.
        space: the user's SPACE argument.
        concurrent: number of concurrent trials.
        fid_features: name and hash of the feature extractor, if already known.
        resources: resources of the whole cluster, as reported by Ray.
    """
    machine = hardware()
    if resources:
        machine["cluster"] = dict(resources)
    return SweepInfo(
        name=options.name,
        experiment=experiment.model_dump(mode="json", by_alias=True),
        space=space,
        space_sha256=_space_digest(space),
        space_imports=_space_imports(space),
        feature_files=feature_digests(experiment.scoring),
        cohort=_reference(cohort),
        objectives=experiment.objectives,
        fid_features=fid_features,
        trials=options.trials,
        workers_per_trial=options.workers_per_trial,
        gpus_per_worker=options.gpus_per_worker,
        concurrent=concurrent,
        seeds={"sampler": options.seed, "cohort_split": cohort.info.seed},
        code_revision=code_revision(),
        packages=package_versions(),
        hardware=machine,
        created=datetime.now(UTC),
        options=options.recorded(),
        study=place_of(options.study) if options.study else "",
        config_columns=config_columns(experiment.trainables),
    )


def code_revision() -> str:
    """Returns the git commit gansweep runs from, with `+changes` if files were modified, or else the package's version.

    A submitted job runs from uploaded files, which have no commit. Its submitter passes the commit in the environment.
    """
    submitted = os.environ.get(REVISION_VARIABLE)
    if submitted:
        return submitted
    here = str(Path(__file__).parent)
    commit = _git("-C", here, "rev-parse", "--verify", "HEAD")
    # A virtual environment may be inside another project's checkout. Only tracked code has a revision.
    if not commit or not _git("-C", here, "ls-files", __file__):
        return f"gansweep {__version__}"
    changes = _git("-C", here, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changes else commit


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages that affect the numbers."""
    versions = {"python": platform.python_version(), "gansweep": __version__}
    for package in _PACKAGES:
        try:
            versions.setdefault(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def hardware() -> dict[str, Any]:
    """Returns this machine's processors, memory in GiB, GPUs and arithmetic.

    Omits the host name: it may identify a site.
    """
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "gpus": gpus,
        "arithmetic": "float32 without TF32 in penalties, samples and scores; elsewhere each trial's precision",
        "execution": "as each row says: captured as CUDA graphs, or eager",
    }


def _space_digest(space: str) -> str:
    path = Path(space.partition(":")[0])
    return sha256_of(path) if path.is_file() else ""


def _space_imports(space: str) -> dict[str, str]:
    """Returns the imported files in the same folder as the space's file, with their SHA-256 digests."""
    path = Path(space.partition(":")[0])
    if not path.is_file():
        return {}
    own = path.resolve()
    imported = [Path(str(module.__file__)) for module in modules_in(own.parent)]
    return {file.name: sha256_of(file) for file in sorted(imported) if file.is_file() and file.name != own.name}


def _reference(cohort: Cohort) -> CohortReference:
    by_split = cohort.manifest.groupby("split")["patient"]
    return CohortReference(
        path=str(cohort.path),
        content_hash=cohort.content_hash,
        classes=tuple(cohort.info.classes),
        patients={str(split): int(count) for split, count in by_split.nunique().items()},
        images={str(split): int(count) for split, count in by_split.size().items()},
    )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
