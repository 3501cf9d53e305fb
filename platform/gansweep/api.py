"""The library: one function for each command that computes something.

Each takes the options of its command as keyword arguments, under the names of the options model in `gansweep.options`
(`gansweep.cohort.ingest.settings` for `ingest`). Values that the model refuses raise a ConfigError. Progress is logged
to the logger `gansweep`; no handler is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gansweep.files import place_of

if TYPE_CHECKING:
    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.experiment import Experiment
    from gansweep.scoring.values import MetricValue
    from gansweep.search.question import Found
    from gansweep.search.replay import Replay
    from gansweep.store.store import Store

Space: TypeAlias = "str | Path | Experiment | None"
"""A space by name or file, or an experiment; None: the recorded space, or the shipped trainables."""

__all__ = [
    "ablate",
    "answer",
    "confirm",
    "export_best",
    "generate",
    "ingest",
    "repeat",
    "replay",
    "score",
    "sweep",
    "train",
]


def ingest(source: str | Path, out: str | Path, **settings: Any) -> Cohort:
    """Turns a folder of DICOM, NIfTI, BIDS or raster files into a cohort, split by patient.

    Args:
        source: the folder.
        out: the cohort's folder: new, or a cohort to replace.
        **settings: fields of `gansweep.cohort.ingest.settings.IngestSettings`: `size`, `labels`, `window`, `split`...

    Raises:
        CohortError: files that cannot be read, or that make no cohort.
        ConfigError: an unknown setting, or a value out of range.
    """
    from gansweep.cohort.dataset import Cohort
    from gansweep.cohort.ingest.run import ingest as run
    from gansweep.cohort.ingest.settings import IngestSettings
    from gansweep.config import validated

    summary = run(_path(source), _path(out), validated(IngestSettings, settings, where="ingest"))
    return Cohort.open(summary.path)


def sweep(space: str | Path | Experiment, *, cohort: str | Path | Cohort | None = None, **options: Any) -> Store:
    """Searches a space: trains many GANs, scores each on validation patients, and keeps every number.

    Args:
        space: a name of `gansweep trainables`, `path/to/file.py:function`, a sweep's YAML or JSON file, or an
            Experiment. An Experiment's space should be defined in a module that the workers can import, or in the main
            script.
        cohort: what `ingest` returned, or its folder; None: the file's.
        **options: fields of `gansweep.options.SweepOptions`: `storage`, `name`, `trials`, `workers_per_trial`...

    Returns:
        The sweep's store.

    Raises:
        GansweepError: see `gansweep.search.sweep.sweep`.
        KeyboardInterrupt: Ctrl-C; the same call with `resume=True` continues.
    """
    from gansweep.config import validated
    from gansweep.experiment import Experiment
    from gansweep.options import SweepOptions
    from gansweep.search.sweep import sweep as run
    from gansweep.search.sweep_file import sweep_request

    given = options if cohort is None else {"cohort": _folder_of(cohort), **options}
    if isinstance(space, Experiment):
        chosen = validated(SweepOptions, given, where="sweep")
        return run(space.with_settings(chosen.changes()), chosen, space=space.name)
    asked = sweep_request(str(place_of(space)), given, where="sweep")
    with asked.blamed():
        return run(asked.experiment, asked.options, space=asked.space)


def repeat(store: str | Store, *, space: Space = None, **options: Any) -> list[str]:
    """Retrains the leaders with fresh seeds, scored on validation patients.

    Args:
        store: what `sweep` returned, or where it is.
        space: the sweep's space, if its file has moved or it was an Experiment.
        **options: fields of `gansweep.options.RepeatOptions`: `leaders`, `repeats`...

    Returns:
        The ids of the new trainings.

    Raises:
        GansweepError: see `gansweep.search.repeat.repeat`.
    """
    from gansweep.config import validated
    from gansweep.options import RepeatOptions
    from gansweep.search.repeat import repeat as run

    opened = _opened(store)
    return run(opened, _swept(opened, space), validated(RepeatOptions, options, where="repeat"))


def replay(*stores: str | Store, **options: Any) -> list[Replay]:
    """Simulates samplers and early stopping on the trials of finished sweeps, in seconds.

    Args:
        stores: what `sweep` returned, or where they are.
        **options: fields of `gansweep.options.ReplayOptions`: `samplers`, `schedulers`, `seeds`...

    Returns:
        For each store, what each method reaches and how much it needs to reach what random search does.

    Raises:
        GansweepError: see `gansweep.search.replay.replay_stores`.
    """
    from gansweep.config import validated
    from gansweep.options import ReplayOptions
    from gansweep.search.replay import replay_stores

    return replay_stores([_opened(store) for store in stores], validated(ReplayOptions, options, where="replay"))


def ablate(store: str | Store, *, space: Space = None, **options: Any) -> dict[str, Any]:
    """Retrains a leader with each of its choices taken back, and measures what each was worth.

    Args:
        store: what `sweep` returned, or where it is.
        space: the sweep's space, if its file has moved or it was an Experiment.
        **options: fields of `gansweep.options.AblateOptions`: `against`, `repeats`...

    Returns:
        The content of `ablation.json`.

    Raises:
        GansweepError: see `gansweep.search.ablate.ablate`.
    """
    from gansweep.config import validated
    from gansweep.options import AblateOptions
    from gansweep.search.ablate import ablate as run

    opened = _opened(store)
    return run(opened, _swept(opened, space), validated(AblateOptions, options, where="ablate"))


def answer(cohort: str | Path | Cohort, *, report: str | Path | None = None, **options: Any) -> Found:
    """Finds out what a cohort's patients can show, and whether synthetic images help more than their rivals.

    Args:
        cohort: what `ingest` returned, or its folder.
        report: an HTML file to write.
        **options: fields of `gansweep.options.AnswerOptions`: `time_budget`, `space`, `storage`...

    Raises:
        GansweepError: see `gansweep.search.question.answer_question`.
    """
    from gansweep.config import validated
    from gansweep.options import AnswerOptions
    from gansweep.report.html import write_report
    from gansweep.search.question import answer_question

    found = answer_question(_folder_of(cohort), validated(AnswerOptions, options, where="answer"))
    if report is not None and found.store is not None:
        write_report(found.store, _path(report))
    return found


def confirm(store: str | Store, *, space: Space = None, **options: Any) -> dict[str, Any]:
    """Trains the leaders with fresh seeds and scores them, once, on the test patients.

    Args:
        store: what `sweep` returned, or where it is.
        space: the sweep's space, if its file has moved or it was an Experiment.
        **options: fields of `gansweep.options.ConfirmOptions`: `leaders`, `gan_seeds`, `reason`...

    Returns:
        The content of `confirm.json`: each leader's arms, with intervals and verdicts.

    Raises:
        GansweepError: see `gansweep.search.confirm.confirm`.
    """
    from gansweep.config import validated
    from gansweep.options import ConfirmOptions
    from gansweep.search.confirm import confirm as run

    opened = _opened(store)
    return run(opened, _swept(opened, space), validated(ConfirmOptions, options, where="confirm"))


def export_best(
    store: str | Store,
    out: str | Path,
    *,
    trial: str | None = None,
    cohort: str | Path | Cohort | None = None,
    space: Space = None,
    allow_memorised: bool = False,
    **attribution: str,
) -> Path:
    """Writes the best trial's configuration, generator, MONAI bundle, evidence and model card.

    Args:
        store: what `sweep` returned, or where it is.
        out: a new folder.
        trial: id of the trial; None: the first of the leaderboard.
        cohort: the sweep's cohort, if it has moved.
        space: the sweep's space, if its file has moved or it was an Experiment.
        allow_memorised: exports a generator that memorised training patients; the model card then says so.
        **attribution: fields of `gansweep.options.Attribution`: `author`, `licence`, `contact`.

    Returns:
        `out`.

    Raises:
        GansweepError: see `gansweep.export.best.export_best`.
    """
    from gansweep.config import validated
    from gansweep.export.best import export_best as run
    from gansweep.options import Attribution

    opened = _opened(store)
    moved = None if cohort is None else _folder_of(cohort)
    credited = validated(Attribution, attribution, where="export_best")
    trainables = _swept(opened, space)
    return run(opened, _path(out), trainables, trial, moved, allow_memorised=allow_memorised, attribution=credited)


def train(
    config: str | Path | TrialConfig,
    out: str | Path,
    *,
    cohort: str | Path | Cohort,
    space: Space = None,
    **options: Any,
) -> Path:
    """Trains one configuration to its full budget, and exports the result.

    Args:
        config: a TrialConfig, or the `config.yaml` of an export.
        out: a new folder, or an interrupted training's.
        cohort: what `ingest` returned, or its folder.
        space: space with the families that the configuration names, if they are your own.
        **options: fields of `gansweep.options.TrainOptions`: `workers`, `gpus_per_worker`, `reports`...

    Returns:
        `out`.

    Raises:
        GansweepError: see `gansweep.export.production.train_production`.
    """
    from gansweep.config import TrialConfig, validated
    from gansweep.export.config_file import Plan, read_plan
    from gansweep.export.production import train_production
    from gansweep.options import TrainOptions

    plan = Plan(config=config) if isinstance(config, TrialConfig) else read_plan(_path(config))
    return train_production(
        plan.config,
        _folder_of(cohort),
        _path(out),
        _named(space),
        validated(TrainOptions, options, where="train"),
        plan.scoring,
        plan.origin,
    )


def generate(folder: str | Path, n: int, out: str | Path, *, space: Space = None, **options: Any) -> Path:
    """Draws synthetic images from an export, with a labels.csv that `ingest` reads.

    Args:
        folder: what `export_best` or `train` wrote.
        n: number of images.
        out: a new folder.
        space: space with the generator's family, if it is your own.
        **options: `format` (dicom, nifti, png, npy), `label`, `seed`, `cohort`; see
            `gansweep.export.generate.generate`.

    Returns:
        `out`.

    Raises:
        GansweepError: see `gansweep.export.generate.generate`.
    """
    from gansweep.export.generate import generate as run

    return run(_path(folder), n, _path(out), _named(space), **options)


def score(real: str | Path, fake: str | Path, **options: Any) -> dict[str, MetricValue]:
    """Computes every metric between two sets of images, with intervals and the real-against-real floor.

    Args:
        real: a cohort, or a folder that `ingest` could read.
        fake: likewise.
        **options: fields of `gansweep.options.ScoreOptions`: `features`, `paired`, `training`...

    Returns:
        For each metric its value with an interval, or the reason why there is none.

    Raises:
        GansweepError: see `gansweep.scoring.compare.compare`.
    """
    from gansweep.config import validated
    from gansweep.options import ScoreOptions
    from gansweep.scoring.compare import compare

    return compare(_path(real), _path(fake), validated(ScoreOptions, options, where="score"))


def _opened(store: str | Store) -> Store:
    from gansweep.store.store import Store

    return store if isinstance(store, Store) else Store.open(store)


def _swept(store: Store, space: Space) -> Trainables:
    from gansweep.experiment import Experiment
    from gansweep.search.spaces import swept_trainables

    return space.trainables if isinstance(space, Experiment) else swept_trainables(_name_of(space), store.info)


def _named(space: Space) -> Trainables:
    from gansweep.experiment import Experiment
    from gansweep.search.spaces import space_trainables

    return space.trainables if isinstance(space, Experiment) else space_trainables(_name_of(space))


def _name_of(space: str | Path | None) -> str | None:
    return None if space is None else str(place_of(space))


def _folder_of(cohort: str | Path | Cohort) -> Path:
    from gansweep.cohort.dataset import Cohort

    return cohort.path if isinstance(cohort, Cohort) else _path(cohort)


def _path(given: str | Path) -> Path:
    return Path(place_of(given))
