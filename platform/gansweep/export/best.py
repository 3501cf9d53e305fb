"""Exports the best generator of a sweep, with its configuration and evidence."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.cohort.dataset import Cohort
from gansweep.errors import CohortError, ExportError, StoreError
from gansweep.export.config_file import Origin, digest_of
from gansweep.export.evidence import scores_of, search_evidence, tried
from gansweep.files import new_folder
from gansweep.options import Attribution

if TYPE_CHECKING:
    import pandas as pd

    from gansweep.config import ScoringSettings, TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.scoring.memorisation.evidence import MemorisationEvidence
    from gansweep.store.store import Store

__all__ = ["export_best"]

_USABLE = ("completed", "stopped")  # statuses of trials with a checkpoint worth exporting


def export_best(
    store: Store,
    out: Path,
    trainables: Trainables,
    trial_id: str | None = None,
    cohort: Path | None = None,
    *,
    cache: Path | None = None,
    allow_memorised: bool = False,
    attribution: Attribution | None = None,
) -> Path:
    """Writes the best trial's configuration, generator, MONAI bundle, evidence and model card.

    The generator is examined for memorisation. The picture of the samples nearest to training images shows patients, so
    it is written to the sweep's store beside the sample sheets, not to `out`. The store also keeps the result, for the
    report.

    Args:
        store: the sweep's store.
        out: a new folder.
        trainables: registries of the names in configurations.
        trial_id: the trial to export; None: the first usable one of the leaderboard that keeps the constraints.
        cohort: path of the sweep's cohort; None: the path that the sweep recorded.
        cache: folder of the cohort's encoder; None: the default of sweeps.
        allow_memorised: export a generator even if it memorised; the model card then says so.
        attribution: author, licence and contact; None: not stated.

    Returns:
        `out`.

    Raises:
        ExportError: no trial has a generator, or none that keeps the sweep's constraints; `trial_id` does not exist,
            the cohort is another one, or the generator memorised.
        CohortError: `out` is not empty or cannot be written, or `cohort` is not a cohort.
        StoreError: no trial is named, and rows are damaged or missing.
    """
    from gansweep.export.layout import Trained, write_export
    from gansweep.export.memorisation import MemorisationGate
    from gansweep.files import cache_folder
    from gansweep.store.artifacts import memorisation_path, nearest_path

    ranked = store.ranked_trials()
    place = _chosen(ranked, trial_id, store)
    row = ranked.iloc[place]
    name = str(row["trial_id"])
    if trial_id is None:
        store.check_whole()  # what was left out could be better
    rank = int(row["rank"])
    config = store.config(name)
    state = _checkpoint(store, name, config, int(row["iterations"]))
    images = _cohort(store, cohort)
    scoring = store.scoring
    evidence = search_evidence(store, row, config, images, rank, "by rank" if trial_id is None else "by name")
    header = [
        f"Trial {name} of sweep {store.info.name}, number {rank} of {tried(ranked, store.info.objectives)}.",
        f"Trained on cohort {images.content_hash}.",
        "Run it in full: gansweep train config.yaml --cohort COHORT --out production",
    ]

    # A store that this user may only read still gives its generator.
    def keep(picture: bytes) -> str:
        try:
            store.write_bytes(nearest_path(name), picture)
        except StoreError as error:
            return f"not kept, because the store cannot be written ({error.what})"
        return f"{store.label}/{nearest_path(name)}"

    def note(found: MemorisationEvidence) -> None:
        with contextlib.suppress(StoreError):
            store.write_bytes(memorisation_path(name), found.model_dump_json(indent=2).encode())

    gate = MemorisationGate.of(
        images, config, scoring, trainables, cache or cache_folder(), keep=keep, allow=allow_memorised
    )
    gate = replace(gate, note=note)
    with new_folder(Path(out), "export") as draft:
        origin = _origin(row, config, images, scoring)
        trained = Trained(config, state, images, evidence, scoring, origin, attribution or Attribution())
        write_export(draft, trained, trainables, header, gate)
    return Path(out)


def _chosen(ranked: pd.DataFrame, trial_id: str | None, store: Store) -> int:
    """Returns the row index, in the ranking, of the trial to export."""
    if trial_id is not None:
        found = ranked.index[ranked["trial_id"] == trial_id]
        if found.empty:
            padded = trial_id.zfill(4)
            fix = f"write --trial {padded}" if padded in set(ranked["trial_id"]) else "see gansweep leaderboard"
            raise ExportError(f"no trial {trial_id!r}", where=store.label, fix=fix)
        return int(found[0])
    usable = ranked.index[ranked["status"].isin(_USABLE)]
    if usable.empty:
        raise ExportError("no trial has come to a usable end", where=store.label, fix="see gansweep status")
    first = int(usable[0])  # trials that break a constraint are behind all others
    if broken := ranked["infeasible"].iloc[first]:
        name = ranked["trial_id"].iloc[first]
        what = f"no trial keeps the constraints; the first, {name}: {broken}"
        raise ExportError(what, where=store.label, fix=f"run more trials, or export it all the same: --trial {name}")
    return first


def _origin(row: pd.Series, config: TrialConfig, cohort: Cohort, scoring: ScoringSettings) -> Origin | None:
    """Returns the scores that a training of the same configuration should reproduce.

    None for a trial that did not use its whole budget, and for one scored with a user's network: the file names no
    path of this machine.
    """
    whole = row["status"] == "completed" and int(row["iterations"]) == config.iterations
    if not whole or scoring.features or scoring.detector_features:
        return None
    return Origin(
        trial=str(row["trial_id"]),
        cohort=cohort.content_hash,
        config=digest_of(config, scoring),
        scores=scores_of(row),
    )


def _checkpoint(store: Store, trial_id: str, config: TrialConfig, iterations: int) -> dict[str, Any]:
    checkpoint = store.checkpoint(trial_id)
    if not checkpoint.exists():
        raise ExportError(f"trial {trial_id} has no checkpoint", where=store.label, fix="choose another with --trial")
    state = checkpoint.read_for(config, needs=("ema", "gan_state", "iteration", "images_seen"))
    if int(state["iteration"]) < iterations:
        raise ExportError(
            f"its checkpoint is of iteration {state['iteration']}, and its scores are of iteration {iterations}",
            where=f"{store.label} trial {trial_id}",
            fix="put back the last checkpoint, or choose another with --trial",
        )
    return state


def _cohort(store: Store, path: Path | None) -> Cohort:
    reference = store.info.cohort
    try:
        cohort = Cohort.open(path or reference.path)
    except CohortError as error:
        if path is not None:
            raise
        raise ExportError(
            f"the sweep's cohort cannot be read: {error.what}", where=reference.path, fix="name it with --cohort"
        ) from None
    if cohort.content_hash != reference.content_hash:
        raise ExportError(
            f"this is cohort {cohort.content_hash[:12]}, the sweep's is {reference.content_hash[:12]}",
            where=str(cohort.path),
            fix="give the cohort of the sweep",
        )
    return cohort
