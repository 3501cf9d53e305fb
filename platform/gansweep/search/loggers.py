"""Loggers that follow a sweep while it runs: TensorBoard, MLflow and Weights & Biases, one run for each trial.

What they show is a copy. The store is the record, and a logger that fails costs a warning, never a trial.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import re
from typing import TYPE_CHECKING, Any, Protocol

from ray.tune import Callback

from gansweep.config import TrialConfig
from gansweep.errors import ConfigError, one_line
from gansweep.store.artifacts import sheet_path
from gansweep.store.schema import flat_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ray.tune.experiment import Trial

    from gansweep.options import SweepOptions
    from gansweep.progress import Progress
    from gansweep.search.trial import TrialResult
    from gansweep.store.store import Store
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["MlflowRuns", "RunLogger", "Runs", "TensorBoardRuns", "WandbRuns", "check_loggers", "loggers_of"]

log = logging.getLogger(__name__)

_PACKAGES = {"mlflow": "mlflow", "wandb": "wandb"}
"""The package that each option needs. TensorBoard's writer is a dependency of Ray."""
_NAME = re.compile(r"[^\w./ -]")  # characters that MLflow rejects in a metric's name


class RunLogger(Protocol):
    """Shows a sweep in another tool, with one run for each trial. Methods may raise any exception."""

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """Starts or continues a trial's run. Called before the trial's first report in this call of the sweep.

        Args:
            trial_id: id of the trial.
            config: the trial's configuration by dotted key.
        """

    def report(self, trial_id: str, step: int, values: Mapping[str, float], sheet: bytes | None) -> None:
        """Logs a report.

        Args:
            trial_id: id of the trial.
            step: number of generator iterations.
            values: scores and losses by name.
            sheet: sample sheet as a PNG; None if there is none.
        """

    def end(self, trial_id: str, status: str) -> None:
        """Ends a trial's run. Not called for a trial without a report, which has no run."""


def check_loggers(options: SweepOptions) -> None:
    """Checks that the loggers can be used, before anything starts.

    Raises:
        ConfigError: a package is not installed, or TensorBoard's files cannot be written to a remote storage.
    """
    for name, package in _PACKAGES.items():
        if getattr(options, name) and importlib.util.find_spec(package) is None:
            raise ConfigError(f"--{name}: {package} is not installed", fix=f"pip install 'gansweep[{name}]'")
    if options.tensorboard and "://" in options.storage and not options.storage.startswith("file://"):
        raise ConfigError("--tensorboard: it writes to a local disk, and the storage is none", fix="leave it out")


def loggers_of(options: SweepOptions, store: Store) -> list[RunLogger]:
    """Returns the loggers that the options select."""
    found: list[RunLogger] = []
    if options.tensorboard and store.local is not None:
        found.append(TensorBoardRuns(store.local / "tensorboard"))
        log.info("TensorBoard: tensorboard --logdir %s", store.local / "tensorboard")
    if options.mlflow:
        found.append(MlflowRuns(store.info))
    if options.wandb:
        found.append(WandbRuns(store.info))
    return found


class Runs(Callback):  # type: ignore[misc]
    """Tune callback that passes reports and ends of trials to the loggers.

    Args:
        store: the sweep's store, from which sample sheets are read.
        loggers: the loggers.
    """

    def __init__(self, store: Store, loggers: Sequence[RunLogger]) -> None:
        self._store = store
        self._loggers = list(loggers)
        self._begun: set[str] = set()

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: Mapping[str, Any],
        **_: Any,
    ) -> None:
        """Logs a report, or the end of a trial."""
        received: TrialResult | None = result.get("result")
        if received is None or not self._loggers:
            return
        trial_id = trial.config["trial_id"]
        if received.report is not None:
            if trial_id not in self._begun:
                self._begun.add(trial_id)
                config = flat_config(TrialConfig.model_validate(trial.config["config"]))
                self._call("begin", trial_id, config)
            progress = received.report.progress
            self._call("report", trial_id, progress.iteration, _values(progress), self._sheet(trial_id))
        if received.status != "running":
            self._end(trial_id, received.status)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Ends the run of a trial that the scheduler stopped. The runs of other trials have ended before."""
        self._end(trial.config["trial_id"], "stopped")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Ends the run of a trial whose actor died too often."""
        self._end(trial.config["trial_id"], "failed")

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:  # noqa: ARG002
        """Ends the runs of interrupted trials."""
        for trial_id in sorted(self._begun):
            self._end(trial_id, "interrupted")

    def _end(self, trial_id: str, status: str) -> None:
        if trial_id in self._begun:
            self._begun.remove(trial_id)
            self._call("end", trial_id, status)

    def _call(self, method: str, *values: Any) -> None:
        """Calls a method of every logger. A logger that raises is removed with a warning."""
        for logger in tuple(self._loggers):
            try:
                getattr(logger, method)(*values)
            except Exception as error:
                # Its server may be unreachable, or its disk full. The search continues.
                self._loggers.remove(logger)
                reason = one_line(error, 200)
                log.warning("%s follows no longer: %s: %s", type(logger).__name__, type(error).__name__, reason)

    def _sheet(self, trial_id: str) -> bytes | None:
        path = sheet_path(trial_id)
        return self._store.read_bytes(path) if self._store.exists(path) else None


def _values(progress: Progress) -> dict[str, float]:
    """Returns the scores and losses of a report under the names that the loggers show."""
    values = {f"scores/{name}": value for name, value in progress.scores.items()}
    values |= {f"losses/{name}": value for name, value in progress.losses.items()}
    return values


class TensorBoardRuns:
    """TensorBoard event files with scalars and sample sheets, in one subfolder for each trial.

    Args:
        folder: log folder, the argument of `tensorboard --logdir`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """Opens the event file, and writes the configuration as a text."""
        from tensorboardX import SummaryWriter

        writer = SummaryWriter(str(self._folder / trial_id))
        writer.add_text("configuration", "\n".join(f"    {key}: {value}" for key, value in config.items()))
        self._writers[trial_id] = writer

    def report(self, trial_id: str, step: int, values: Mapping[str, float], sheet: bytes | None) -> None:
        """Adds one point to each curve."""
        writer = self._writers[trial_id]
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        if sheet is not None:
            import numpy as np
            from PIL import Image

            writer.add_image(
                "samples", np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB")), step, dataformats="HWC"
            )
        writer.flush()

    def end(self, trial_id: str, status: str) -> None:
        """Closes the event file."""
        writer = self._writers.pop(trial_id)
        writer.add_text("status", status)
        writer.close()


class MlflowRuns:
    """Runs of an MLflow experiment with the sweep's name, at MLFLOW_TRACKING_URI.

    A sweep that is resumed goes on with its runs.

    Args:
        info: of the sweep.
    """

    def __init__(self, info: SweepInfo) -> None:
        self._info = info
        self._client: Any = None
        self._experiment = ""
        self._runs: dict[str, str] = {}

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """Finds or creates the trial's run."""
        if self._client is None:
            self._connect()
        begun = f"{self._info.created.isoformat()} {trial_id}"
        found = self._client.search_runs([self._experiment], f"tags.`gansweep.trial` = '{begun}'")
        if found:
            self._runs[trial_id] = found[0].info.run_id
            return
        run = self._client.create_run(self._experiment, run_name=trial_id, tags={"gansweep.trial": begun})
        self._runs[trial_id] = run.info.run_id
        for key, value in config.items():
            self._client.log_param(run.info.run_id, key, value)

    def report(self, trial_id: str, step: int, values: Mapping[str, float], sheet: bytes | None) -> None:
        """Logs metrics, and the sheet as an artifact of its step."""
        run = self._runs[trial_id]
        for name, value in values.items():
            self._client.log_metric(run, _NAME.sub("_", name), value, step=step)
        if sheet is not None:
            from tempfile import TemporaryDirectory

            with TemporaryDirectory() as folder:
                path = f"{folder}/{step:08d}.png"
                with open(path, "wb") as file:  # noqa: PTH123
                    file.write(sheet)
                self._client.log_artifact(run, path, "samples")

    def end(self, trial_id: str, status: str) -> None:
        """Ends the run. Diverged and failed trials are marked as failed."""
        run = self._runs.pop(trial_id)
        self._client.set_tag(run, "gansweep.status", status)
        ends = {"completed": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED"}
        self._client.set_terminated(run, ends.get(status, "FAILED"))

    def _connect(self) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        found = self._client.get_experiment_by_name(self._info.name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(self._info.name)


class WandbRuns:
    """Runs of the Weights & Biases project that WANDB_PROJECT names, grouped by sweep; WANDB_MODE=offline needs no net.

    Args:
        info: of the sweep.
    """

    def __init__(self, info: SweepInfo) -> None:
        self._info = info
        self._runs: dict[str, Any] = {}

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """Opens the trial's run. A resumed trial continues its run."""
        import wandb

        self._runs[trial_id] = wandb.init(
            name=trial_id,
            id=f"{self._info.created:%Y%m%d%H%M%S}-{trial_id}",
            resume="allow",
            group=self._info.name,
            config=dict(config),
            reinit="create_new",  # several trials run at once
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )

    def report(self, trial_id: str, step: int, values: Mapping[str, float], sheet: bytes | None) -> None:
        """Logs scalars and the sheet."""
        import wandb

        shown = dict(values)
        if sheet is not None:
            from PIL import Image

            shown["samples"] = wandb.Image(Image.open(io.BytesIO(sheet)))
        self._runs[trial_id].log(shown, step=step)

    def end(self, trial_id: str, status: str) -> None:
        """Ends the run."""
        run = self._runs.pop(trial_id)
        run.summary["status"] = status
        run.finish(exit_code=0 if status in ("completed", "stopped") else 1)
