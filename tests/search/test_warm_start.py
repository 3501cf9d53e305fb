"""A sweep that begins with what earlier sweeps found."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gansweep.config import Objective
from gansweep.contracts import Progress, Report
from gansweep.errors import StoreError
from gansweep.experiment import Experiment
from gansweep.search.parameters import DrawnTrial, parameters_to_json
from gansweep.search.spaces import load_space
from gansweep.search.warm_start import MOST_PROPOSED, warm_proposals
from gansweep.store.schema import ReportRow, TrialRow, flat_config
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo

FID = Objective(name="fid", direction="minimize")
SMOKE = {"n_critic": 2, "lr_d": 1e-3, "lr_g": 5e-4, "lambda": 7.0, "width": 16}


def earlier(folder: Path, space: Experiment, tried: Sequence[tuple[Mapping[str, Any], float | None]]) -> Store:
    """A finished sweep: the parameters of each trial and its FID, None for one that diverged."""
    info = SweepInfo(
        name=folder.name,
        experiment={"reports": 1},
        space=space.name,
        cohort=CohortReference(path="", content_hash="0" * 64, classes=("a", "b")),
        objectives=(FID,),
        created=datetime.now(UTC),
    )
    store = Store.create(str(folder.parent), folder.name, info)
    for number, (parameters, fid) in enumerate(tried):
        drawn = DrawnTrial(parameters, random.Random(number))
        config = space.config(drawn)  # type: ignore[arg-type]
        row = TrialRow(f"{number:05d}", 0, "running", config, parameters=parameters_to_json(drawn))
        if fid is None:
            store.write_trial(row.finished("diverged", reason="losses"))
            continue
        report = Report(Progress(0, True, 1, 8, {}, {"fid": fid}, 1.0, 1.0))
        store.write_report(ReportRow(row.trial_id, 0, report))
        store.write_trial(row.finished("completed", report=report, reports=1))
    return store


def test_the_leaders_are_proposed_best_first_and_each_once(tmp_path: Path) -> None:
    smoke = load_space("smoke")
    scores = [50.0, 10.0, None, 30.0, 20.0, 60.0, 40.0, 70.0]
    tried = [({**SMOKE, "lambda": 2.0 + number}, fid) for number, fid in enumerate(scores)]
    store = earlier(tmp_path / "first", smoke, tried)
    again = earlier(tmp_path / "second", smoke, [({**SMOKE, "lambda": 3.0}, 5.0), ({**SMOKE, "width": 8}, 6.0)])
    found = warm_proposals(smoke, [store.uri, again.uri])
    assert [proposal["lambda"] for proposal in found] == [3.0, 6.0, 5.0, 8.0, 2.0, 7.0]
    assert len(found) == MOST_PROPOSED + 1
    assert found[0] == {**SMOKE, "lambda": 3.0}
    assert found[-1] == {**SMOKE, "width": 8}


def test_what_the_new_space_fixes_or_does_not_allow_stays_open(tmp_path: Path) -> None:
    smoke = load_space("smoke")
    store = earlier(tmp_path / "first", smoke, [(SMOKE, 1.0)])
    fixed = smoke.with_settings({"lr_g": 1e-4})
    assert warm_proposals(fixed, [store.uri]) == [{key: SMOKE[key] for key in SMOKE if key != "lr_g"}]
    # Another space: it shares the learning rates and the critic's steps, and searches them in ranges of its own.
    other = load_space("seeds/fahr_wgan_gp")
    (proposal,) = warm_proposals(other, [store.uri])
    assert proposal["lr_d"] == SMOKE["lr_d"]
    assert proposal["lambda"] == SMOKE["lambda"]
    config = other.config(DrawnTrial(proposal, random.Random(0)))  # type: ignore[arg-type]
    assert flat_config(config)["penalty.lambda"] == SMOKE["lambda"]


def test_an_earlier_sweep_that_gives_nothing_is_told(tmp_path: Path) -> None:
    smoke = load_space("smoke")
    failed = earlier(tmp_path / "failed", smoke, [(SMOKE, None)])
    with pytest.raises(StoreError, match="no completed trial to start from"):
        warm_proposals(smoke, [failed.uri])
    with pytest.raises(StoreError, match="nowhere"):
        warm_proposals(smoke, [str(tmp_path / "nowhere")])
    store = earlier(tmp_path / "first", smoke, [(SMOKE, 1.0)])
    fixed = smoke.with_settings(
        {"lr_d": 1e-4, "lr_g": 1e-4, "n_critic": 1, "penalty.lambda": 5.0, "architecture.width": 8}
    )
    with pytest.raises(StoreError, match="share no parameter with the space smoke; leave --warm-start out"):
        warm_proposals(fixed, [store.uri])
