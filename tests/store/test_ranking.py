"""The order of trials, against its definition."""

import itertools

import numpy as np
import pandas as pd

from gansweep.experiment import Objective
from gansweep.store.ranking import rank_trials

FID, ACCURACY = Objective(name="fid", direction="minimize"), Objective(name="accuracy", direction="maximize")


def trials(*rows: tuple[str, float | None, float | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial_id": [f"{number:04d}" for number in range(len(rows))],
            "status": [row[0] for row in rows],
            "fid": [row[1] for row in rows],
            "accuracy": [row[2] for row in rows],
        }
    )


def order(frame: pd.DataFrame) -> list[str]:
    return rank_trials(frame, (FID, ACCURACY))["trial_id"].tolist()


def test_a_front_goes_by_use_and_a_dominated_trial_goes_behind_it() -> None:
    frame = trials(("completed", 10, 0.70), ("completed", 20, 0.90), ("completed", 21, 0.89), ("completed", 5, 0.60))
    ranked = rank_trials(frame, (FID, ACCURACY))
    assert ranked["trial_id"].tolist() == ["0001", "0000", "0003", "0002"]
    assert ranked["front"].tolist() == [0, 0, 0, 1]
    assert ranked["rank"].tolist() == [1, 2, 3, 4]


def test_ties_in_use_go_by_the_first_objective_and_then_by_trial() -> None:
    frame = trials(("completed", 9, 0.8), ("completed", 9, 0.8), ("completed", 8, 0.8))
    assert order(frame) == ["0002", "0000", "0001"]


def test_how_a_trial_ended_goes_before_its_scores() -> None:
    frame = trials(
        ("failed", None, None),
        ("diverged", 1, 0.99),
        ("stopped", 2, 0.98),
        ("completed", 50, 0.5),
        ("completed", None, 0.99),
    )
    assert order(frame) == ["0003", "0004", "0002", "0001", "0000"]


def test_fronts_are_those_of_peeling() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, (80, 2)).astype(float)
    frame = trials(*(("completed", fid, accuracy) for fid, accuracy in values))
    ranked = rank_trials(frame, (FID, ACCURACY)).set_index("trial_id")["front"]
    left, front = set(range(80)), 0
    while left:
        dominated = {
            a
            for a, b in itertools.product(left, left)
            if values[b, 0] <= values[a, 0] and values[b, 1] >= values[a, 1] and (values[a] != values[b]).any()
        }
        for index in left - dominated:
            assert ranked[f"{index:04d}"] == front
        left, front = dominated, front + 1


def test_an_objective_never_measured_leaves_the_rest_in_order() -> None:
    frame = trials(("completed", 2, None), ("completed", 1, None)).drop(columns="accuracy")
    assert order(frame) == ["0001", "0000"]
    assert len(rank_trials(frame.iloc[:0], (FID, ACCURACY))) == 0
