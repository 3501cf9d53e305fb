"""A sweep with a real study, real rows and real sheets, as a search would leave it."""

import math
from datetime import UTC, datetime, timedelta

import optuna
import torch

from gansweep.config import Objective, TrialConfig
from gansweep.contracts import ImageSet
from gansweep.store.artifacts import growth_path, sheet_path
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.sheet import growth_png, sheet_png
from gansweep.store.sweep_info import CohortReference, SweepInfo
from tests.values import report_of

FEATURES = "cohort:0123456789ab"
BEGAN = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def make_info(trials=14, **changes):
    values = {
        "name": "fahr <first>",
        "experiment": {"name": "fahr_ct", "sampler": "tpe", "scheduler": {"kind": "asha"}, "reports": 4},
        "space": "fahr_ct",
        "cohort": CohortReference(
            path="/data/cohort",
            content_hash="ab" * 32,
            classes=("control", "fahr"),
            patients={"train": 24, "val": 8, "test": 8},
            images={"train": 96, "val": 32, "test": 32},
        ),
        "objectives": (
            Objective(name="fid", direction="minimize"),
            Objective(name="accuracy", direction="maximize"),
        ),
        "trials": trials,
        "workers_per_trial": 2,
        "concurrent": 2,
        "seeds": {"sampler": 0},
        "code_revision": "0123456",
        "packages": {"torch": "2.13.0"},
        "hardware": {"cpus": 2},
        "created": BEGAN,
    }
    return SweepInfo(**{**values, **changes})


def make_scores(number, progress=1.0):
    fid = 80.0 - 3.0 * number + 60.0 * (1.0 - progress) + 8.0 * math.sin(number)
    accuracy = 0.7 + 0.1 * math.cos(1.7 * number) * progress
    return {
        "fid": fid,
        "fid_matched": fid + 15.0,
        "fid_floor": 12.5,
        "kid": fid / 500,
        "accuracy": accuracy,
        "accuracy_real_only": 0.72,
        "accuracy_difference": accuracy - 0.72,
        "auroc": min(accuracy + 0.05, 1.0),
    }


def write_sheet(store, trial_id, seed):
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(2).repeat_interleave(8)
    real = ImageSet(torch.rand(16, 1, 32, 32, generator=random) * 2 - 1, labels)
    fake = torch.rand(16, 1, 32, 32, generator=random) * 2 - 1
    store.write_bytes(sheet_path(trial_id), sheet_png(real, fake, labels, ("control", "fahr")))
    for report in range(4):
        store.write_bytes(growth_path(trial_id, 100 * (report + 1)), growth_png(fake * (report + 1) / 4, labels))


def run_trial(store, study, number_of_reports=4):
    trial = study.ask()
    config = TrialConfig(
        lr_d=trial.suggest_float("lr_d", 1e-5, 1e-2, log=True),
        n_critic=trial.suggest_int("n_critic", 1, 5),
        attention=trial.suggest_categorical("attention", ["none", "self"]),
        architecture={"width": trial.suggest_categorical("width", [32, 64])},
        iterations=400,
    )
    number, trial_id = trial.number, f"{trial.number:04d}"
    started = BEGAN + timedelta(minutes=number)
    diverged, stopped = number % 7 == 3, number % 5 == 4
    reports = 0 if diverged else 2 if stopped else number_of_reports
    for index in range(reports):
        scores, when = make_scores(number, (index + 1) / 4), started + timedelta(seconds=10 * (index + 1))
        store.write_report(
            ReportRow(
                trial_id, 0, report_of(index, index == 3, 100 * (index + 1), 6400, {"critic": 1.0}, scores), time=when
            )
        )
    status = "diverged" if diverged else "stopped" if stopped else "completed"
    scores = {} if diverged else make_scores(number, reports / 4)
    row = TrialRow(
        trial_id,
        0,
        status,
        config,
        reason="the critic's loss is not finite" if diverged else "",
        stopped_at=200 if stopped else None,
        scores=scores,
        fid_features=FEATURES,
        reports=reports,
        iterations=100 * reports,
        seconds=40.0,
        workers=2,
        started=started,
        ended=started + timedelta(seconds=40),
    )
    store.write_trial(row)
    if diverged:
        study.tell(number, state=optuna.trial.TrialState.FAIL)
    else:
        write_sheet(store, trial_id, number)
        study.tell(number, [scores["fid"], scores["accuracy"]])
