"""The order of trials, against its definition."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from gansweep.config import Objective, TrialConfig
from gansweep.constraint import Constraint
from gansweep.store.ranking import non_dominated_fronts, rank_trials

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


def repeats(*rows: tuple[str, int, float, str]) -> pd.DataFrame:
    """Trials `(trial_id, seed, accuracy, repeat_of)` of a configuration per letter before the first digit of the id."""
    return pd.DataFrame(
        {
            "trial_id": [row[0] for row in rows],
            "status": "completed",
            "fid": 1.0,
            "accuracy": [row[2] for row in rows],
            "repeat_of": [row[3] for row in rows],
            "config_json": [json.dumps({"family": row[0][0], "seed": row[1]}) for row in rows],
        }
    )


def test_trials_that_differ_in_seed_alone_share_the_place_of_their_mean() -> None:
    frame = repeats(("a0", 0, 0.9, ""), ("a1", 1, 0.5, ""), ("b0", 0, 0.8, ""))
    ranked = rank_trials(frame, (FID, ACCURACY)).set_index("trial_id")
    assert ranked.index.tolist() == ["b0", "a0", "a1"]
    assert ranked["rank"].tolist() == [1, 2, 2]
    assert ranked["configuration"].tolist() == ["b0", "a0", "a0"]
    assert ranked["front"].tolist() == [0, 1, 1]


def test_a_network_may_have_a_setting_named_seed() -> None:
    frame = repeats(("a0", 0, 0.9, ""), ("a1", 1, 0.8, ""), ("a2", 2, 0.7, ""))
    configs = [TrialConfig(seed=row).derive({"architecture": {"seed": own}}) for row, own in ((0, 5), (1, 6), (2, 5))]
    frame["config_json"] = [json.dumps(config.as_dict(), sort_keys=True) for config in configs]
    ranked = rank_trials(frame, (FID, ACCURACY)).set_index("trial_id")
    assert ranked["configuration"].to_dict() == {"a0": "a0", "a1": "a1", "a2": "a0"}
    plain = [TrialConfig(seed=seed) for seed in (0, 1, 0)]
    frame["config_json"] = [json.dumps(config.as_dict(), sort_keys=True) for config in plain]
    ranked = rank_trials(frame, (FID, ACCURACY)).set_index("trial_id")
    assert ranked["configuration"].to_dict() == {"a0": "a0", "a1": "a0", "a2": "a2"}


def test_the_training_that_made_a_leader_does_not_count_beside_fresh_ones() -> None:
    frame = repeats(("a0", 0, 0.95, ""), ("a0-5", 5, 0.6, "a0"), ("a0-6", 6, 0.7, "a0"), ("b0", 0, 0.7, ""))
    ranked = rank_trials(frame, (FID, ACCURACY))
    assert ranked["trial_id"].tolist() == ["b0", "a0", "a0-6", "a0-5"]
    assert ranked["counts"].tolist() == [True, False, True, True]


def test_the_same_seed_again_is_no_repeat() -> None:
    ranked = rank_trials(repeats(("a0", 3, 0.9, ""), ("a1", 3, 0.8, "")), (FID, ACCURACY))
    assert ranked["configuration"].tolist() == ["a0", "a1"]
    assert ranked["rank"].tolist() == [1, 2]


def test_a_repeat_that_diverged_is_behind_and_not_in_the_mean() -> None:
    frame = repeats(("a0", 0, 0.9, ""), ("a1", 1, 0.7, ""), ("a2", 2, 0.0, ""))
    frame.loc[2, ["status", "accuracy", "fid"]] = ["diverged", None, None]
    ranked = rank_trials(frame, (FID, ACCURACY))
    assert ranked["rank"].tolist() == [1, 1, 2]
    assert ranked["front"].tolist() == [0, 0, -1]


def test_a_trial_that_breaks_a_constraint_is_behind_those_that_keep_it_and_on_no_front() -> None:
    frame = trials(
        ("completed", 1, 0.9), ("stopped", 9, 0.5), ("completed", 5, 0.7), ("stopped", 2, 0.8), ("diverged", None, None)
    )
    frame["peak_memory_gib"] = [30.0, 10.0, 20.0, None, None]
    bound = (Constraint(score="peak_memory_gib", at_most=20.0),)
    ranked = rank_trials(frame, (FID, ACCURACY), bound)
    assert ranked["trial_id"].tolist() == ["0002", "0001", "0000", "0003", "0004"]
    assert ranked["front"].tolist() == [0, 0, -1, -1, -1]
    assert ranked["infeasible"].tolist() == ["", "", "peak_memory_gib = 30 > 20", "peak_memory_gib is unknown", ""]
    assert rank_trials(frame, (FID, ACCURACY))["infeasible"].tolist() == [""] * 5


def test_a_configuration_keeps_a_constraint_by_the_mean_of_its_repeats() -> None:
    frame = repeats(("a0", 0, 0.85, ""), ("a0-5", 5, 0.7, "a0"), ("a0-6", 6, 0.8, "a0"), ("b0", 0, 0.78, ""))
    bound = (Constraint(score="accuracy", at_least=0.76),)
    ranked = rank_trials(frame, (FID, ACCURACY), bound).set_index("trial_id")
    assert ranked["rank"].to_dict() == {"b0": 1, "a0": 2, "a0-5": 2, "a0-6": 2}
    # The training that made the leader is not in the mean, though it keeps the bound itself.
    assert ranked.loc["a0", "infeasible"] == "accuracy = 0.75 < 0.76"


def test_the_pace_of_a_row_of_an_earlier_version_is_that_of_its_times() -> None:
    frame = trials(("completed", 1, 0.9), ("completed", 2, 0.8))
    frame["seconds_training"] = [30.0, 60.0]
    frame["iterations"] = [100, 100]
    bound = (Constraint(score="seconds_per_iteration", at_most=0.5),)
    assert rank_trials(frame, (FID, ACCURACY), bound)["infeasible"].tolist() == [
        "",
        "seconds_per_iteration = 0.6 > 0.5",
    ]


def _fronts_by_definition(costs):
    """Peels off, one after the other, the rows that no remaining row dominates."""
    fronts, left, front = np.full(len(costs), -1), np.arange(len(costs)), 0
    while len(left):
        rows = costs[left]
        dominated = [((rows <= row).all(axis=1) & (rows < row).any(axis=1)).any() for row in rows]
        fronts[left[~np.array(dominated)]] = front
        left, front = left[np.array(dominated)], front + 1
    return fronts.tolist()


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("values", [3, 1000])
def test_fronts_are_those_of_the_definition(objectives, values):
    costs = np.random.default_rng(objectives).integers(values, size=(150, objectives)).astype(float)
    assert non_dominated_fronts(costs).tolist() == _fronts_by_definition(costs)


@pytest.mark.parametrize(("objectives", "alike"), [(2, False), (2, True), (3, False)])
def test_fronts_of_many_trials(objectives, alike):
    """20,000 rows, also where all of them are on one front. No pair is held in memory: that would be 3 GB."""
    costs = np.random.default_rng(0).random((20_000, objectives))
    if alike:
        costs[:, 1] = -costs[:, 0]
    fronts = non_dominated_fronts(costs)
    assert (fronts.max() == 0) == alike
