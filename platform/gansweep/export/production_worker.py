"""Work of each worker in a production training, and the files that it writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gansweep.contracts import Condition, Sampler, Trainables
from gansweep.errors import CohortError, ConfigError, Diverged, ExportError
from gansweep.export.hang_watch import end_of_watch, watch_this_process
from gansweep.files import read_tensors, write_atomically

if TYPE_CHECKING:
    import torch

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import ScoringSettings, TrialConfig
    from gansweep.contracts import ImageSet
    from gansweep.progress import Interim, Progress

__all__ = ["CHECKPOINT", "ENDED", "INTERIM", "PROGRESS", "Run", "last_state", "progress_rows", "train_run", "work"]

CHECKPOINT = "checkpoint.pt"
ENDED = "ended.json"
INTERIM = "interim.json"
PROGRESS = "progress.jsonl"
_SHEET_IMAGES = 8
"""Number of samples per class on a sheet."""


@dataclass(frozen=True)
class Run:
    """Description of a production training for its workers.

    Args:
        config: the configuration.
        cohort, cohort_hash: folder of the cohort, and its expected content hash.
        folder: folder for checkpoint, progress and sample sheets.
        trainables: registries of the names in the configuration.
        scoring: scoring settings.
        reports: number of reports, at equal fractions of the budget.
        gpus_per_worker: number of GPUs per worker, for computing GPU seconds.
        checkpoint_seconds: interval between checkpoints; 0: only at reports.
    """

    config: TrialConfig
    cohort: str
    cohort_hash: str
    folder: str
    trainables: Trainables
    scoring: ScoringSettings
    reports: int
    gpus_per_worker: float
    checkpoint_seconds: float = 0.0

    def identity(self) -> dict[str, Any]:
        """Returns everything that the result depends on. A run can only be resumed with the same identity."""
        return {
            # Captured steps compute what eager ones do, and runs of before have no such key.
            "config": {key: value for key, value in self.config.as_dict().items() if key != "execution"},
            "cohort_hash": self.cohort_hash,
            "scoring": self.scoring.model_dump(mode="json"),
            "reports": self.reports,
        }


def work(loop_config: dict[str, Any]) -> None:
    """Training function of the TorchTrainer."""
    from ray.train import get_context
    from ray.train.torch import get_device

    run = loop_config["run"]
    watch_this_process(Path(run.folder), get_context().get_world_rank())
    train_run(run, get_device())


def train_run(run: Run, device: torch.device) -> None:
    """Trains alone or with the other workers of an initialised process group.

    Resumes from a checkpoint if there is one.

    Args:
        run: the training.
        device: device of this worker.

    Raises:
        CohortError: this worker has another cohort than the driver.
    """
    from gansweep.cohort.dataset import Cohort
    from gansweep.devices import check_gpu
    from gansweep.training.build import build_gan
    from gansweep.training.loop import train
    from gansweep.training.placement import training_images

    check_gpu(device, run.gpus_per_worker)
    cohort = Cohort.open(run.cohort)
    config = run.config
    if cohort.content_hash != run.cohort_hash:
        raise CohortError("another cohort than the driver's", where=run.cohort, fix="share one folder among the nodes")
    data = training_images(cohort, config.data, device)
    gan = build_gan(config, cohort.spec(config.data), run.trainables)
    keeper = _Keeper(run, cohort, data, device)
    try:
        train(
            config,
            gan,
            data,
            keeper,
            keeper.score,
            reports=run.reports,
            device=device,
            checkpoint_seconds=run.checkpoint_seconds,
        )
    except (Diverged, ConfigError) as error:
        # All workers return normally. Ray Train would treat an exception as a crash and restart the workers.
        if keeper.first:
            ended = {"kind": type(error).__name__, "reason": str(error)}
            write_atomically(Path(run.folder) / ENDED, json.dumps(ended).encode())


class _Row(BaseModel):
    """What is read of a report. It has other keys as well."""

    iteration: int
    images_seen: int
    losses: dict[str, float]
    scores: dict[str, float]
    fid_features: str
    seconds: float
    gpu_seconds: float


def progress_rows(folder: Path) -> list[dict[str, Any]]:
    """Returns the reports so far, oldest first.

    Args:
        folder: folder of a run.

    Raises:
        ExportError: their file is damaged.
    """
    path = folder / PROGRESS
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        for row in rows:
            _Row.model_validate(row)
    except (ValueError, RecursionError):
        raise ExportError("is damaged", where=str(path), fix="train again in a new folder") from None
    return rows


def last_state(folder: Path, config: TrialConfig) -> dict[str, Any] | None:
    """Returns the last checkpoint, or None if there is none yet.

    Args:
        folder: folder of a run.
        config: configuration of the run.

    Raises:
        ExportError: the checkpoint is damaged, or belongs to another configuration.
    """
    from gansweep.store.checkpoints import belongs_to

    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            state = read_tensors(file)
    except ValueError as error:
        raise ExportError(f"damaged checkpoint ({error})", where=str(path), fix="delete it to train anew") from None
    if not isinstance(state, dict) or not isinstance(state.get("config"), dict):
        raise ExportError("no state of a training", where=str(path), fix="delete it to train anew")
    # How steps are executed does not change what they compute (see `Run.identity`).
    executed = {"execution": config.execution}
    if not belongs_to({"config": state["config"] | executed}, config):
        raise ExportError("checkpoint of another configuration", where=str(path), fix="delete it to train anew")
    return state


class _Keeper:
    """`Reporter` and `Score` of a production training: files in one folder, written by the first worker."""

    def __init__(self, run: Run, cohort: Cohort, data: ImageSet, device: torch.device) -> None:
        from gansweep.distributed import World
        from gansweep.scoring.trial import TrialScorer

        self._run = run
        self._cohort = cohort
        self._data = data
        self._folder = Path(run.folder)
        self._world = World.current(device)
        self.first = self._world.rank == 0
        self._scorer = TrialScorer(cohort, run.scoring, run.trainables, self._folder / "cache", device)
        self._rows = progress_rows(self._folder)
        before = self._rows[-1] if self._rows else {"seconds": 0.0, "gpu_seconds": 0.0}
        self._before = float(before["seconds"]), float(before["gpu_seconds"])

    def score(self, sampler: Sampler, iteration: int) -> dict[str, float]:
        """Draws the sample sheet. At the end of the training, also scores the generator on validation patients."""
        if self.first:
            (self._folder / "sheets").mkdir(exist_ok=True)
            write_atomically(self._folder / "sheets" / f"{iteration:08d}.png", self._sheet(sampler))
        # Scoring takes long, and only the final scores are exported.
        if iteration < self._run.config.iterations:
            return {}
        end_of_watch(self._folder, self._world.rank)  # nobody knows how long it takes
        return self._scorer.score(sampler, self._run.config, iteration)

    def restore(self) -> dict[str, Any] | None:
        """Returns the last checkpoint, or None."""
        return last_state(self._folder, self._run.config)

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Replaces the last checkpoint."""
        import torch

        if self.first:
            # Written to a temporary file, then renamed, so that a crash cannot leave a partial checkpoint.
            draft = self._folder / f".{CHECKPOINT}"
            torch.save(state, draft)
            draft.replace(self._folder / CHECKPOINT)

    def reported(self) -> int:
        """Returns the number of reports so far, including those of earlier attempts."""
        return len(self._rows)

    def interim(self, interim: Interim) -> None:
        """Replaces `interim.json`, which the driver logs."""
        write_atomically(self._folder / INTERIM, json.dumps(asdict(interim)).encode())

    def report(self, progress: Progress) -> bool:
        """Adds a line to `progress.jsonl`."""
        seconds = progress.seconds_training + progress.seconds_scoring
        gpu_seconds = seconds * self._world.size * self._run.gpus_per_worker
        row = {
            **asdict(progress),
            "fid_features": self._scorer.fid_features if progress.final else "",
            "seconds": self._before[0] + seconds,
            "gpu_seconds": self._before[1] + gpu_seconds,
        }
        self._rows.append(row)
        if self.first:
            lines = "".join(json.dumps(row) + "\n" for row in self._rows)
            write_atomically(self._folder / PROGRESS, lines.encode())
        return True

    def _sheet(self, sampler: Sampler) -> bytes:
        import torch

        from gansweep.store.sheet import sheet_png

        classes = self._cohort.info.classes
        config = self._run.config
        made = self._run.trainables.classes_made(config, self._cohort.spec(config.data))
        labels = torch.tensor(made).repeat_interleave(_SHEET_IMAGES)
        return sheet_png(self._data, sampler(Condition(labels), config.seed), labels, classes)
