"""Sample sheets as Optuna artifacts, so that the dashboard shows each sheet with its trial."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

from optuna.artifacts import ArtifactMeta
from optuna.artifacts.exceptions import ArtifactNotFound

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from gansweep.store.store import Store

__all__ = [
    "StoreArtifacts",
    "attach_sheet",
    "attach_sheets",
    "growth_path",
    "growth_paths",
    "memorisation_path",
    "nearest_path",
    "sheet_path",
]

# The keys that optuna.artifacts and optuna-dashboard read. `optuna.artifacts.upload_artifact` would choose a random
# identifier and keep a second copy of each sheet. With the trial number as identifier there is a single file, which
# each report replaces.
_ON_TRIAL = "artifacts:{artifact}"
_ON_STUDY = "dashboard:artifacts:{trial}:{artifact}"  # finished trials are closed to changes


def sheet_path(trial_id: str) -> str:
    """Returns the path of a trial's sample sheet in its store."""
    return f"artifacts/{trial_id}.png"


def nearest_path(trial_id: str) -> str:
    """Returns the path, in the store, of the picture that shows a trial's samples with their nearest real images."""
    return f"artifacts/{trial_id}-nearest.png"


def memorisation_path(trial_id: str) -> str:
    """Returns the path, in the store, of the result of a trial's memorisation test."""
    return f"memorisation/{trial_id}.json"


def growth_path(trial_id: str, iteration: int) -> str:
    """Returns the path, in the store, of the picture of a trial's samples at one report."""
    return f"artifacts/{trial_id}-at-{iteration:08d}.png"


def growth_paths(store: Store) -> dict[str, list[tuple[int, str]]]:
    """Returns, by trial, the iterations whose samples were kept, in order, with the paths of their pictures."""
    found: dict[str, list[tuple[int, str]]] = {}
    for entry in store.list("artifacts"):
        trial_id, separator, iteration = entry.name.removesuffix(".png").rpartition("-at-")
        if separator and iteration.isdecimal():
            found.setdefault(trial_id, []).append((int(iteration), f"artifacts/{entry.name}"))
    return found


class StoreArtifacts:
    """Optuna artifact store (its `ArtifactStore` protocol) over the sample sheets of a sweep's store.

    An artifact's identifier is the trial's id.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Opens a sheet for reading. Raises ArtifactNotFound."""
        if not self._store.exists(sheet_path(artifact_id)):
            raise ArtifactNotFound(f"no sample sheet of trial {artifact_id}")
        return io.BytesIO(self._store.read_bytes(sheet_path(artifact_id)))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Writes a sheet."""
        self._store.write_bytes(sheet_path(artifact_id), content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Deletes a sheet."""
        self._store.delete(sheet_path(artifact_id))


def attach_sheet(store: Store, study: optuna.Study, number: int) -> bool:
    """Links a trial's sample sheet, if there is one, to the trial in Optuna's dashboard.

    Call it only in the process that owns the study, because it writes to the study's database. Calling it again has no
    effect.

    Returns:
        Whether the trial has a sheet.
    """
    artifact = f"{number:04d}"
    if not store.exists(sheet_path(artifact)):
        return False
    storage = study._storage  # noqa: SLF001 (another connection per trial would cost more than the sheet)
    study_id = storage.get_study_id_from_name(study.study_name)
    trial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study_id, number))
    _link(storage, study_id, trial)
    return True


def attach_sheets(store: Store) -> int:
    """Calls `attach_sheet` for every trial of a sweep and returns the number of trials with a sheet."""
    study = store.load_study()
    return sum(attach_sheet(store, study, trial.number) for trial in study.get_trials(deepcopy=False))


def _link(storage: BaseStorage, study_id: int, trial: FrozenTrial) -> None:
    artifact = f"{trial.number:04d}"
    database_id = trial._trial_id  # noqa: SLF001 (storages know trials by nothing else)
    meta = json.dumps(asdict(ArtifactMeta(artifact, f"{artifact}.png", "image/png", None)))
    on_trial = _ON_TRIAL.format(artifact=artifact)
    if on_trial in trial.system_attrs:
        return
    if trial.state.is_finished():
        storage.set_study_system_attr(study_id, _ON_STUDY.format(trial=database_id, artifact=artifact), meta)
    else:
        storage.set_trial_system_attr(database_id, on_trial, meta)
