"""Measures seconds and megabytes of the HTML report of a large sweep: at most 10 s and 5 MB for 1,000 trials.

Every trial is a row with reports, scores and a configuration of 19 searched parameters, as in `fahr_ct`. The leaders
have sample sheets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import torch

from gansweep.contracts import ImageSet
from gansweep.progress import Progress, Report
from gansweep.report.html import write_report
from gansweep.search.spaces import load_space
from gansweep.store.artifacts import growth_path, sheet_path
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.sheet import growth_png, sheet_png
from gansweep.store.store import Store
from tests.report.example_sweep import BEGAN, FEATURES, make_info, make_scores

if TYPE_CHECKING:
    from gansweep.store.sweep_info import SweepInfo

REPORTS = 4


def store_of(folder: Path, trials: int) -> Store:
    """Returns a finished sweep with this many trials, recorded in its study as by a search."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    info: SweepInfo = make_info(trials=trials, name="large", space="fahr_ct")
    store = Store.create(str(folder), "large", info)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    space = load_space("fahr_ct").space
    told = []
    for number in range(trials):
        proposal = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number)).ask()
        config = space(proposal)
        scores = make_scores(number % 97)
        scores = {name: value + 1e-6 * number for name, value in scores.items()}
        began = BEGAN + timedelta(minutes=number)
        for index in range(REPORTS):
            progress = Progress(index, index == REPORTS - 1, 100 * (index + 1), 6400, {"critic": 1.0}, scores, 9.0, 1.0)
            store.write_report(ReportRow(f"{number:04d}", 0, Report(progress, FEATURES), began))
        row = TrialRow(
            f"{number:04d}", 0, "completed", config, scores=scores, fid_features=FEATURES, reports=REPORTS,
            iterations=400, seconds=40.0, started=began, ended=began + timedelta(seconds=40),
        )  # fmt: skip
        store.write_trial(row)
        told.append(
            optuna.trial.create_trial(
                params=proposal.params,
                distributions=proposal.distributions,
                values=[scores["fid"], scores["accuracy"]],
            )
        )
    study.add_trials(told)
    store.compact()
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(8)
    images = [torch.rand(16, 1, 64, 64, generator=random) * 2 - 1 for _ in range(2)]
    for number in range(trials):
        if number < 50:
            sheet = sheet_png(ImageSet(images[0], labels), images[1], labels, ("control", "fahr"))
            store.write_bytes(sheet_path(f"{number:04d}"), sheet)
            for index in range(REPORTS):
                store.write_bytes(growth_path(f"{number:04d}", 100 * (index + 1)), growth_png(images[1], labels))
    return store


def main() -> None:
    """Prints one line: trials, seconds, megabytes."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=1000)
    arguments.add_argument("--keep", type=Path, help="Keep the store and the report here.")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        store = store_of(folder, chosen.trials) if not (folder / "large").exists() else Store.open(f"{folder}/large")
        began = time.perf_counter()
        spent = time.process_time()
        page = write_report(store, folder / "report.html")
        seconds = time.perf_counter() - began
        spent = time.process_time() - spent
        print(
            f"{chosen.trials} trials: {seconds:.1f} s ({spent:.1f} s of processor time), "
            f"{page.stat().st_size / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
