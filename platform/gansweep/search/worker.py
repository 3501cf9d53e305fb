"""Loop of each Ray Train worker in a worker group: fetch a trial, train it, report, fetch the next.

The cohort, the feature statistics and the detector baseline are loaded once and reused for every trial.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psutil

from gansweep.cohort.dataset import Cohort
from gansweep.config import ScoringSettings, TrialConfig, validated
from gansweep.contracts import Condition, Sampler, Trainables
from gansweep.errors import CohortError, ConfigError, Diverged, GansweepError, StoreError, one_line
from gansweep.progress import Interim, Progress, Report
from gansweep.search.cohorts import find_cohort, is_in_storage
from gansweep.search.mailbox import OUT_OF_MEMORY
from gansweep.search.relay import relay_log
from gansweep.search.start import kept_start
from gansweep.store.artifacts import growth_path, sheet_path
from gansweep.store.filesystem import PATIENCE_S
from gansweep.store.interims import write_interim
from gansweep.store.sheet import growth_png, sheet_png
from gansweep.store.store import Store

if TYPE_CHECKING:
    import torch

    from gansweep.contracts import ImageSet
    from gansweep.scoring.trial import TrialScorer
    from gansweep.search.mailbox import Job

__all__ = ["WorkerGroupSettings", "work"]

log = logging.getLogger(__name__)

_SHEET_IMAGES = 8  # generated images per class on a sample sheet


@dataclass(frozen=True)
class WorkerGroupSettings:
    """Settings of a worker that are the same for all trials of a sweep.

    Args:
        store: URI of the sweep's store.
        cohort: path of the cohort, readable on every node.
        cache: folder for features and baselines. Each node has its own.
        trainables: registry of the names in configurations.
        scoring: scoring settings.
        reports: number of reports per trial.
        checkpoint_seconds: interval between checkpoints; 0: only at reports.
        hang_seconds: minimum silence of the workers after which they count as hung; 0: they never do.
        hang_factor: workers count as hung only after this factor times their longest silence so far.
        scored: whether reports have scores.
        relay: handle of the actor that forwards lines of the log to the driver; None: none are forwarded.
        patience_s: how long to retry a storage that fails, in seconds.
    """

    store: str = field(repr=False)  # it may contain credentials, and Ray shows the settings of a run
    cohort: str
    cache: str
    trainables: Trainables
    scoring: ScoringSettings
    reports: int
    checkpoint_seconds: float = 0.0
    hang_seconds: float = 0.0
    hang_factor: float = 20.0
    scored: bool = True
    relay: Any = field(default=None, repr=False)
    patience_s: float = PATIENCE_S


def work(loop_config: dict[str, Any]) -> None:
    """Training function of the worker group's TorchTrainer. Returns when the mailbox closes."""
    import ray
    from ray.train import get_context

    worker = _Worker(loop_config["settings"], loop_config["mailbox"], get_context().get_world_rank())
    node = ray.get_runtime_context().get_node_id()
    process = psutil.Process()
    done = -1
    while (job := worker.ask("next_job", worker.rank, done, node, process.pid, process.create_time())) is not None:
        worker.run(job)
        done = job.ticket


class _Worker:
    def __init__(self, settings: WorkerGroupSettings, mailbox: Any, rank: int) -> None:
        from ray.train.torch import get_device

        self.settings = settings
        self.mailbox = mailbox
        self.rank = rank
        relay_log(settings.relay)
        self.store = Store.open(settings.store, patience_s=settings.patience_s)
        self.device: torch.device = get_device()
        self._views: dict[Any, ImageSet] = {}

    def ask(self, method: str, *args: Any) -> Any:
        import ray

        return ray.get(getattr(self.mailbox, method).remote(*args))

    @cached_property
    def cohort(self) -> Cohort:
        place = self.settings.cohort
        found = find_cohort(place, self.store.storage) if is_in_storage(place) else Cohort.open(place)
        wanted = self.store.info.cohort.content_hash
        if found.content_hash != wanted:
            raise CohortError(
                f"is cohort {found.content_hash[:12]} on one of the nodes, and the sweep's is {wanted[:12]}",
                where=self.settings.cohort,
                fix="share one folder among the nodes",
            )
        return found

    @cached_property
    def scorer(self) -> TrialScorer:
        from pathlib import Path

        from gansweep.scoring.trial import TrialScorer

        settings = self.settings
        return TrialScorer(self.cohort, settings.scoring, settings.trainables, Path(settings.cache), self.device)

    def run(self, job: Job) -> None:
        """Trains one trial to its end, whatever the outcome.

        Raises only errors that should restart the worker group.
        """
        from gansweep.devices import out_of_memory

        try:
            self.cohort  # noqa: B018 (opened here, where no configuration can be what is wrong)
        except CohortError as mistake:
            self.ask("refuse", job.ticket, mistake)
            raise
        try:
            self._train(job)
        except Diverged as divergence:
            self.ask("end", job.ticket, "diverged", str(divergence))
        except ConfigError as mistake:
            # A wrong configuration fails on all ranks, so none waits for another.
            self.ask("end", job.ticket, "failed", str(mistake))
        except StoreError as error:
            # Only rank 0 writes, so the other ranks now hang in a collective operation. A new group resumes from the
            # checkpoint.
            self.ask("fault", job.ticket, str(error))
            raise
        except GansweepError as mistake:
            # A cohort may be bad on only one node.
            self.ask("end", job.ticket, "failed", str(mistake))
            raise
        except Exception as error:
            # The other ranks now hang in a collective operation, so the group must be replaced.
            if out_of_memory(error):
                # A retry would fail in the same way.
                self.ask("end", job.ticket, "failed", OUT_OF_MEMORY)
            else:
                # Unknown error: the process may be unusable (a CUDA error is sticky). A new worker group retries.
                self.ask("fault", job.ticket, f"{type(error).__name__}: {one_line(error, 300)}")
                log.exception("trial %s", job.trial_id)
            raise
        self.ask("memory", psutil.Process().memory_info().rss)

    def _train(self, job: Job) -> None:
        import ray

        from gansweep.devices import check_gpu
        from gansweep.training.build import build_gan
        from gansweep.training.loop import train

        config = validated(TrialConfig, job.config, where=f"trial {job.trial_id}")
        check_gpu(self.device, len(ray.get_gpu_ids()))
        data = self.data(config)
        gan = build_gan(config, self.cohort.spec(config.data), self.settings.trainables)
        if (start := kept_start(self.store)) is not None:
            start.into(gan)
        reporter = _MailboxReporter(self, job, config)
        if not reporter.wanted():
            return
        train(
            config,
            gan,
            data,
            reporter,
            _Scoring(self, job, config) if self.settings.scored else _unscored,
            reports=self.settings.reports,
            device=self.device,
            checkpoint_seconds=self.settings.checkpoint_seconds,
        )

    def data(self, config: TrialConfig) -> ImageSet:
        from gansweep.training.placement import training_images

        if config.data not in self._views:
            self._views.clear()  # one view at a time: a worker group must not grow with the views it has seen
            self._views[config.data] = training_images(self.cohort, config.data, self.device)
        return self._views[config.data]


def _unscored(_sampler: Sampler, _iteration: int) -> dict[str, float]:
    """`Score` of a training of which only the generator is needed."""
    return {}


class _Scoring:
    """The trial's `Score`: computes the scores, and rank 0 stores the sample sheet."""

    def __init__(self, worker: _Worker, job: Job, config: TrialConfig) -> None:
        self._worker = worker
        self._job = job
        self._config = config

    def __call__(self, sampler: Sampler, iteration: int) -> dict[str, float]:
        worker = self._worker
        if worker.rank == 0:
            self._draw(sampler, iteration)
        return worker.scorer.score(sampler, self._config, iteration)

    def _draw(self, sampler: Sampler, iteration: int) -> None:
        import torch

        worker = self._worker
        config = self._config
        data = worker.data(config)
        classes = worker.cohort.info.classes
        made = worker.settings.trainables.classes_made(config, worker.cohort.spec(config.data))
        labels = torch.tensor(made).repeat_interleave(_SHEET_IMAGES)
        images = sampler(Condition(labels), config.seed)
        trial_id = self._job.trial_id
        worker.store.write_bytes(sheet_path(trial_id), sheet_png(data, images, labels, classes))
        worker.store.write_bytes(growth_path(trial_id, iteration), growth_png(images, labels))


class _MailboxReporter:
    """`Reporter` of a trial in a worker group: checkpoints go to the store, reports to the mailbox."""

    def __init__(self, worker: _Worker, job: Job, config: TrialConfig) -> None:
        self._worker = worker
        self._job = job
        self._config = config
        self._checkpoint = worker.store.checkpoint(job.trial_id)

    def wanted(self) -> bool:
        """Returns whether the trial continues after the last report.

        A group that restarted in between must ask again.
        """
        received = self.reported()
        return received == 0 or bool(self._worker.ask("verdict", self._job.ticket, received - 1))

    def restore(self) -> dict[str, Any] | None:
        return self._checkpoint.state_to_continue(self._config)

    def checkpoint(self, state: dict[str, Any]) -> None:
        if self._worker.rank == 0:
            self._checkpoint.write(state)
            self._worker.ask("alive", self._job.ticket)

    def reported(self) -> int:
        return int(self._worker.ask("reported", self._job.ticket))

    def interim(self, interim: Interim) -> None:
        write_interim(self._worker.store, self._job.trial_id, interim)

    def report(self, progress: Progress) -> bool:
        if self._worker.rank == 0:
            scored = self._worker.settings.scored
            report = Report(progress, self._worker.scorer.fid_features if scored else "")
            self._worker.ask("hand_in", self._job.ticket, progress.index, report)
        return not progress.final and bool(self._worker.ask("verdict", self._job.ticket, progress.index))
