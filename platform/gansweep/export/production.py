"""Production training: one configuration for its full budget, with any number of workers. It can be resumed."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gansweep.cohort.dataset import Cohort
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.errors import ClusterError, ConfigError, ExportError, GansweepError, one_line
from gansweep.export.config_file import compared, digest_of
from gansweep.export.evidence import Budget, Evidence, cohort_facts, intervals_of, sample_sizes
from gansweep.export.hang_watch import HangWatch
from gansweep.export.production_worker import CHECKPOINT, ENDED, INTERIM, PROGRESS, Run, last_state, progress_rows, work
from gansweep.files import write_atomically
from gansweep.options import Attribution, TrainOptions
from gansweep.search.answer import of_training
from gansweep.search.cluster import Footprint, ray_cluster, torch_trainer
from gansweep.search.room import room_for
from gansweep.search.silence import SilenceLimit
from gansweep.store.interims import interim_text, polling, read_interim
from gansweep.store.provenance import code_revision, package_versions
from gansweep.training.build import check_config
from gansweep.training.record import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.train import TrainingFailedError

    from gansweep.contracts import Trainables
    from gansweep.export.config_file import Origin
    from gansweep.progress import Interim

__all__ = ["train_production"]

_RUN = "run.json"
_NEAREST = "nearest.png"
_WORKER_RESTARTS = 3  # restarts by Ray Train, from the last checkpoint, before progress is looked at
_POLL_SECONDS = 0.5
_NOTE = "one training run, scored once: train with other seeds, or use `gansweep confirm` on a search, for intervals"

log = logging.getLogger(__name__)


def train_production(
    config: TrialConfig,
    cohort: Path,
    out: Path,
    trainables: Trainables,
    options: TrainOptions | None = None,
    scoring: ScoringSettings | None = None,
    origin: Origin | None = None,
) -> Path:
    """Trains `config` for its full budget on the training patients, and exports the result to `out`.

    After an interruption (Ctrl-C, a crash), the same call continues from the last checkpoint. Workers that hang before
    the final scores are killed and replaced. On a CPU, the result equals that of an uninterrupted run. `out/training/`
    contains the checkpoint, `progress.jsonl`, sample sheets and
    the picture of the samples nearest to training images. The picture shows patients, so do not share it.

    Args:
        config: the configuration.
        cohort: folder of the cohort, readable on every node.
        out: a new folder, or that of an interrupted run with the same settings, on storage shared by all nodes.
        trainables: registries of the names in the configuration.
        options: number of workers, number of reports, and whether a generator that memorised is exported. The model
            card then states that it memorised.
        scoring: settings of the scores on validation patients; None: the defaults.
        origin: the trial from which the configuration comes. A log line states whether its scores were reproduced.

    Returns:
        `out`.

    Raises:
        CohortError: `cohort` is not a cohort.
        ConfigError: the configuration cannot be trained.
        ClusterError: the workers do not fit on the cluster.
        ExportError: `out` has other content, the training diverged, or its generator memorised. The generator is then
            kept in `out/training/`, and the same call with `allow_memorised` exports it without retraining.
        KeyboardInterrupt: Ctrl-C; the same call continues.
    """
    options = options or TrainOptions()
    images = Cohort.open(cohort)
    check_config(config, images.spec(config.data), trainables)
    run = Run(
        config=config,
        cohort=str(images.path.resolve()),
        cohort_hash=images.content_hash,
        folder=str(Path(out).resolve() / "training"),
        trainables=trainables,
        scoring=scoring or ScoringSettings(),
        reports=min(options.reports, config.iterations),
        gpus_per_worker=options.gpus_per_worker,
        checkpoint_seconds=60.0 * options.checkpoint_minutes,
    )
    if _begin(run, Path(out)):
        log.info("%s: finished already", out)
        return Path(out)
    footprint = Footprint(
        options.workers, options.cpus_per_worker, options.gpus_per_worker, options.placement, options.accelerator
    )
    with ray_cluster(), room_for(1, footprint, options.wait_for_nodes):
        _train(run, footprint, SilenceLimit(60.0 * options.hang_minutes, run.checkpoint_seconds, options.hang_factor))
    _publish(run, images, Path(out), options)
    if origin is not None:
        same_cohort = origin.cohort == images.content_hash
        same_config = origin.config == digest_of(config, run.scoring)
        if same_cohort and same_config:
            last = progress_rows(Path(run.folder))[-1]
            log.info("%s", compared(origin, last["scores"]))
    return Path(out)


def _begin(run: Run, out: Path) -> bool:
    """Creates the folder, or checks that it belongs to the same run. Returns whether that run has finished."""
    folder = Path(run.folder)
    identity = run.identity()
    if (folder / _RUN).is_file():
        try:
            here = json.loads((folder / _RUN).read_bytes())
        except (ValueError, RecursionError):
            raise ExportError("is damaged", where=str(folder / _RUN), fix="name a new folder") from None
        if here != identity:
            raise ExportError("holds another training", where=str(out), fix="name a new folder, or repeat its settings")
        if (out / RECORD).is_file():
            return True
        # Read here, because workers that cannot read them would be started again and again.
        progress_rows(folder)
        last_state(folder, run.config)
        return False
    is_empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not is_empty:
        raise ExportError("exists and is no training of ours", where=str(out), fix="name a new folder")
    try:
        folder.mkdir(parents=True)
        write_atomically(folder / _RUN, json.dumps(identity, indent=2).encode())
    except OSError as error:
        raise ExportError(f"cannot write here: {error.strerror}", where=str(out), fix="name another folder") from None
    return False


def _train(run: Run, footprint: Footprint, silence: SilenceLimit) -> None:
    folder = Path(run.folder)
    (folder / ENDED).unlink(missing_ok=True)
    watch = HangWatch(folder, (PROGRESS, INTERIM, CHECKPOINT), silence)
    with _progress_logged(run), polling(watch.look, _POLL_SECONDS):
        _train_while_it_advances(run, footprint)
    watch.close()
    shutil.rmtree(folder / "ray", ignore_errors=True)
    if (folder / ENDED).is_file():
        ended = json.loads((folder / ENDED).read_text(encoding="utf-8"))
        kind = ConfigError if ended["kind"] == "ConfigError" else ExportError
        raise kind(ended["reason"], where="training", fix="change the configuration" if kind is ExportError else "")


def _train_while_it_advances(run: Run, footprint: Footprint) -> None:
    """Trains to the end. Workers that died count only if they left no newer checkpoint than those before them.

    Raises:
        ClusterError: workers died again and again without a newer checkpoint.
        GansweepError: the error of a worker.
    """
    from ray.train import TrainingFailedError

    while True:
        before = _iteration(run)
        try:
            _fit(_trainer(run, footprint))
        except TrainingFailedError as error:
            now = _iteration(run)
            if now <= before:
                raise _told(error, run) from None
            log.warning("its workers died %d times; others go on from iteration %d", _WORKER_RESTARTS + 1, now)
        else:
            return


def _iteration(run: Run) -> int:
    """Returns the iteration of the last checkpoint, or -1 if there is none."""
    state = last_state(Path(run.folder), run.config)
    return -1 if state is None else int(state["iteration"])


def _told(error: TrainingFailedError, run: Run) -> GansweepError:
    """Returns an error that says in one line why a training failed."""
    failures: list[BaseException] = list(getattr(error, "worker_failures", {}).values())
    for failure in failures:
        cause = getattr(failure, "cause", None) or failure
        if isinstance(cause, GansweepError):
            return cause
    why = one_line(failures[0] if failures else error, 200)
    return ClusterError(
        f"its workers died {_WORKER_RESTARTS + 1} times without a newer checkpoint: {why}",
        where=run.folder,
        fix="the same command goes on from the last one",
    )


def _fit(trainer: Any) -> None:
    """Runs the trainer on the main thread, because only there does Ray Train stop its workers at Ctrl-C."""
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt from None  # the exception of Ray Train for an interrupted run
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextmanager
def _progress_logged(run: Run) -> Iterator[None]:
    """Logs a line for each report and each interim that appears while the block runs."""
    folder = Path(run.folder)
    (folder / INTERIM).unlink(missing_ok=True)
    logged = len(progress_rows(folder))
    interim: Interim | None = None

    def look() -> None:
        nonlocal logged, interim
        newest = _interim(folder)
        if newest is not None and newest != interim:
            interim = newest
            log.info("%s", interim_text(interim))
        rows = progress_rows(folder)
        for row in rows[logged:]:
            losses = ", ".join(f"{name} {value:.4g}" for name, value in row["losses"].items())
            log.info("iteration %d of %d: %s", row["iteration"], run.config.iterations, losses)
        logged = len(rows)

    with polling(look, _POLL_SECONDS, at_end=True):
        yield


def _interim(folder: Path) -> Interim | None:
    path = folder / INTERIM
    return read_interim(path.read_bytes()) if path.is_file() else None


def _trainer(run: Run, footprint: Footprint) -> Any:
    # We resume runs ourselves, from the checkpoint in the run's folder.
    return torch_trainer(
        work,
        {"run": run},
        footprint,
        name=f"production-{uuid4().hex[:12]}",
        storage=f"{run.folder}/ray",
        max_failures=_WORKER_RESTARTS,
    )


def _publish(run: Run, cohort: Cohort, out: Path, options: TrainOptions) -> None:
    """Writes the export. `generator.json` is written last, because it marks the export as complete."""
    from gansweep.export.layout import Trained, write_export
    from gansweep.export.memorisation import MemorisationGate

    folder = Path(run.folder)

    def keep(picture: bytes) -> str:
        write_atomically(folder / _NEAREST, picture)
        return str(out / "training" / _NEAREST)

    gate = MemorisationGate.of(
        cohort,
        run.config,
        run.scoring,
        run.trainables,
        folder / "cache",
        keep=keep,
        allow=options.allow_memorised,
    )
    state, last = _ended(run)
    evidence = _evidence(run, cohort, last, options.workers)
    header = ["Production training.", f"Trained on cohort {cohort.content_hash}."]
    draft = folder / "export"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        attribution = Attribution(author=options.author, licence=options.licence, contact=options.contact)
        trained = Trained(run.config, state, cohort, evidence, run.scoring, attribution=attribution)
        write_export(draft, trained, run.trainables, header, gate)
        for path in sorted(draft.iterdir(), key=lambda path: path.name == RECORD):  # the record last
            if (out / path.name).is_dir():
                shutil.rmtree(out / path.name)
            path.replace(out / path.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    # Features of real images, and detectors trained on them, are no longer needed.
    shutil.rmtree(folder / "cache", ignore_errors=True)


def _ended(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the state and the report at the end of a training.

    Raises:
        ExportError: one of them is missing, or is of an earlier iteration.
    """
    folder = Path(run.folder)
    state = last_state(folder, run.config)
    rows = progress_rows(folder)
    if state is None or not rows:
        raise ExportError("no checkpoint or no report", where=str(folder), fix="train again in a new folder")
    if not int(state["iteration"]) == rows[-1]["iteration"] == run.config.iterations:
        raise ExportError(
            f"its checkpoint is of iteration {state['iteration']}, and its scores are of iteration "
            f"{rows[-1]['iteration']} of {run.config.iterations}",
            where=str(folder),
            fix=f"delete {CHECKPOINT} there, and train again",
        )
    return state, rows[-1]


def _evidence(run: Run, cohort: Cohort, last: dict[str, Any], workers: int) -> Evidence:
    facts = cohort_facts(cohort)
    scores = last["scores"]
    return Evidence(
        answer=of_training(scores, facts.patients).text,
        evaluated_on="validation patients, never trained on; where a search on them chose the configuration, these "
        "scores flatter it",
        scores=scores,
        intervals=intervals_of(scores),
        intervals_note=_NOTE,
        fid_features=last["fid_features"],
        n=sample_sizes(facts, run.scoring.model_dump()),
        seeds={"trial": run.config.seed, "cohort_split": facts.split_seed},
        test_patients="not looked at: no score here is about them",
        selection=None,
        trial_id="",
        budget=Budget(
            iterations=last["iteration"],
            images_seen=last["images_seen"],
            seconds=last["seconds"],
            gpu_seconds=last["gpu_seconds"],
            workers=workers,
        ),
        cohort=facts,
        code_revision=code_revision(),
        versions=package_versions(),
    )
