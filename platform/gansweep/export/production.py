"""Production training: one configuration, its full budget, any number of workers, one folder that can be resumed."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gansweep.cohort.dataset import Cohort
from gansweep.errors import ConfigError, ExportError
from gansweep.experiment import ScoringSettings, TrialConfig
from gansweep.export.evidence import Budget, Evidence, cohort_facts, intervals_of, sample_sizes
from gansweep.export.files import write_atomically
from gansweep.export.production_worker import CHECKPOINT, ENDED, Run, progress_rows, work
from gansweep.export.record import RECORD
from gansweep.search.capacity import Footprint, check_capacity
from gansweep.search.sweep import ray_cluster
from gansweep.store.provenance import code_revision, package_versions
from gansweep.training.build import check_config

if TYPE_CHECKING:
    from gansweep.contracts import Trainables

__all__ = ["train_production"]

_RUN, _NEAREST = "run.json", "nearest.png"
_WORKER_RESTARTS = 3
_POLL_SECONDS = 0.5
_NOTE = "one training run, scored once: train with other seeds, or use `gansweep confirm` on a search, for intervals"

Say = Callable[[str], None]


def train_production(
    config: TrialConfig,
    cohort: Path,
    out: Path,
    trainables: Trainables,
    *,
    workers: int = 1,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
    reports: int = 20,
    scoring: ScoringSettings | None = None,
    allow_memorised: bool = False,
    say: Say = print,
) -> Path:
    """Trains `config` for its full budget on the training patients, and exports the result into `out`.

    Interrupted (Ctrl-C, a crash), the same call goes on from the last report; on a CPU with the result of an
    uninterrupted run. `out/training/` holds checkpoint, `progress.jsonl`, sample sheets and the picture of the samples
    nearest to training images. It shows patients' images: it is no part of what may be passed on.

    Args:
        config: what to train.
        cohort: its folder, readable on every node.
        out: a new folder, or one that an interrupted run of the same kind has left; on storage all nodes share.
        trainables: what the configuration names.
        workers: Ray Train workers that share every batch.
        cpus_per_worker: CPU cores of each.
        gpus_per_worker: GPUs of each; a fraction shares one.
        reports: how often progress is told and kept, at equal fractions of the budget.
        scoring: how the result is scored on validation patients; None: with the default settings.
        allow_memorised: exports a generator that memorised; the model card then says so.
        say: gets one line for each report, and what the examination for memorisation found.

    Returns:
        `out`.

    Raises:
        CohortError: no cohort there.
        ConfigError: a configuration that cannot be trained.
        ClusterError: the workers do not fit the cluster.
        ExportError: `out` holds something else, the training diverged, or its generator memorised: it is then kept
            in `out/training/`, and the same call with `allow_memorised` exports it without training again.
        KeyboardInterrupt: Ctrl-C; the same call goes on.
    """
    images = Cohort.open(cohort)
    check_config(config, images.spec(config.data), trainables)
    run = Run(
        config=config,
        cohort=str(images.path.resolve()),
        cohort_hash=images.content_hash,
        folder=str(Path(out).resolve() / "training"),
        trainables=trainables,
        scoring=scoring or ScoringSettings(),
        reports=min(reports, config.iterations),
        gpus_per_worker=gpus_per_worker,
    )
    if _begin(run, Path(out)):
        say(f"{out}: finished already")
        return Path(out)
    footprint = Footprint(workers, cpus_per_worker, gpus_per_worker)
    with ray_cluster() as nodes:
        check_capacity(footprint, nodes)
        _train(run, footprint, say)
    _publish(run, images, Path(out), workers, allow_memorised=allow_memorised, say=say)
    return Path(out)


def _begin(run: Run, out: Path) -> bool:
    """Makes the folder, or finds the same run in it; whether that run has been finished."""
    folder, identity = Path(run.folder), run.identity()
    if (folder / _RUN).is_file():
        if json.loads((folder / _RUN).read_text(encoding="utf-8")) != identity:
            raise ExportError("holds another training", where=str(out), fix="name a new folder, or repeat its settings")
        return (out / RECORD).is_file()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError("exists and is no training of ours", where=str(out), fix="name a new folder")
    try:
        folder.mkdir(parents=True)
        write_atomically(folder / _RUN, json.dumps(identity, indent=2).encode())
    except OSError as error:
        raise ExportError(f"cannot write here: {error.strerror}", where=str(out), fix="name another folder") from None
    return False


def _train(run: Run, footprint: Footprint, say: Say) -> None:
    folder = Path(run.folder)
    (folder / ENDED).unlink(missing_ok=True)
    with _told(run, say):
        _fit(_trainer(run, footprint))
    shutil.rmtree(folder / "ray", ignore_errors=True)
    if (folder / ENDED).is_file():
        ended = json.loads((folder / ENDED).read_text(encoding="utf-8"))
        kind = ConfigError if ended["kind"] == "ConfigError" else ExportError
        raise kind(ended["reason"], where="training", fix="change the configuration" if kind is ExportError else "")


def _fit(trainer: Any) -> None:
    """Runs the trainer on this thread: only there does Ray Train stop its workers at Ctrl-C before it lets go."""
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt from None  # what Ray Train ends an interrupted run with
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextmanager
def _told(run: Run, say: Say) -> Iterator[None]:
    """Says a line for each report that appears while the block runs."""
    folder, done = Path(run.folder), threading.Event()
    before = len(progress_rows(folder))

    def tell() -> None:
        told, last = before, False
        while not last:
            last = done.wait(_POLL_SECONDS)
            rows = progress_rows(folder)
            for row in rows[told:]:
                losses = ", ".join(f"{name} {value:.4g}" for name, value in row["losses"].items())
                say(f"iteration {row['iteration']} of {run.config.iterations}: {losses}")
            told = len(rows)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _trainer(run: Run, footprint: Footprint) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    gpus = {"GPU": footprint.gpus_per_worker} if footprint.gpus_per_worker else {}
    return TorchTrainer(
        work,
        train_loop_config={"run": run},
        scaling_config=ScalingConfig(
            num_workers=footprint.workers,
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": footprint.cpus_per_worker, **gpus},
        ),
        run_config=RunConfig(
            # A name of its own: Ray Train silently loads an old run's state found under the same name. Resuming is
            # ours, by the checkpoint in the run's folder.
            name=f"production-{uuid4().hex[:12]}",
            storage_path=f"{run.folder}/ray",
            failure_config=FailureConfig(max_failures=_WORKER_RESTARTS, controller_failure_limit=0),
        ),
    )


def _publish(run: Run, cohort: Cohort, out: Path, workers: int, *, allow_memorised: bool, say: Say) -> None:
    """Writes the export beside the training; `generator.json`, which makes it one, comes last."""
    import torch

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
        say=say,
        allow=allow_memorised,
    )
    state: dict[str, Any] = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    evidence = _evidence(run, cohort, progress_rows(folder)[-1], workers)
    header = ["Production training.", f"Trained on cohort {cohort.content_hash}."]
    draft = folder / "export"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        write_export(draft, Trained(run.config, state, cohort, evidence), run.trainables, header, gate)
        for path in sorted(draft.iterdir(), key=lambda path: path.name == RECORD):
            if (out / path.name).is_dir():
                shutil.rmtree(out / path.name)
            path.replace(out / path.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    # Features of real images and detectors trained on them have done their work.
    shutil.rmtree(folder / "cache", ignore_errors=True)


def _evidence(run: Run, cohort: Cohort, last: dict[str, Any], workers: int) -> Evidence:
    facts, scores = cohort_facts(cohort), last["scores"]
    return Evidence(
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
