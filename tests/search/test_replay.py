"""Simulated searches, on stores whose landscape is known."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from gansweep.cli.app import main
from gansweep.config import Objective, SchedulerSettings, TrialConfig
from gansweep.constraint import Constraint
from gansweep.errors import ConfigError, StoreError
from gansweep.options import ReplayOptions
from gansweep.progress import Progress, Report
from gansweep.search.parameters import DrawnTrial, parameters_to_json
from gansweep.search.recorded import recorded_sweep
from gansweep.search.replay import RANDOM, median_of, replay_stores
from gansweep.search.simulation import Method, hypervolume, simulate
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo

REPORTS = 9
FID = Objective(name="fid", direction="minimize")
ACCURACY = Objective(name="accuracy", direction="maximize")

Landscape = Callable[[float, float, float], tuple[float, float]]
"""(x, y, fraction of the budget) -> FID and accuracy."""


def bowl(x: float, y: float, part: float) -> tuple[float, float]:
    """Both objectives have their best near (0.3, 0.3), and know it from the first report on."""
    away = math.hypot(x - 0.3, y - 0.3)
    return 100 * away + 10 / part, 0.9 - 0.3 * math.hypot(x - 0.35, y - 0.35)


def rival(x: float, _: float, part: float) -> tuple[float, float]:
    """The better the detector, the worse the FID."""
    return 10 + 100 * x / part, 0.5 + 0.4 * x


def store_of(
    folder: Path,
    landscape: Landscape,
    trials: int = 40,
    objectives: tuple[Objective, ...] = (FID, ACCURACY),
    signals: Callable[[float, int], dict[str, float]] = lambda _x, _index: {},
) -> Store:
    """Trials at random places, each report a second after the one before. Signals are functions of x and the report."""
    info = SweepInfo(
        name=folder.name,
        experiment={"reports": REPORTS},
        space="bowl",
        cohort=CohortReference(path="", content_hash="0" * 64, classes=("a", "b")),
        objectives=objectives,
        created=datetime.now(UTC),
    )
    store = Store.create(str(folder.parent), folder.name, info)
    draws = random.Random(0)
    for number in range(trials):
        drawn = DrawnTrial({}, draws)
        x = drawn.suggest_float("x", 0.0, 1.0)
        y = drawn.suggest_float("y", 0.0, 1.0)
        row = TrialRow(f"{number:04d}", 0, "running", TrialConfig(), parameters=parameters_to_json(drawn))
        report = None
        for index in range(REPORTS):
            fid, accuracy = landscape(x, y, (index + 1) / REPORTS)
            final = index == REPORTS - 1
            scores = {"fid": fid, "accuracy": accuracy}
            progress = Progress(index, final, index + 1, 8, {}, scores, 0.75 * (index + 1), 0.25 * (index + 1))
            report = Report(replace(progress, signals=signals(x, index)))
            store.write_report(ReportRow(row.trial_id, 0, report))
        store.write_trial(row.finished("completed", report=report, reports=REPORTS, seconds=REPORTS))
    return store


@pytest.fixture(scope="module")
def bowl_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("runs") / "bowl", bowl)


@pytest.fixture(scope="module")
def rival_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of(tmp_path_factory.mktemp("runs") / "rival", rival)


KIND = '{"x": {"value": "a", "distribution": {"name": "CategoricalDistribution", "attributes": {"choices": ["a"]}}}}'
DAMAGED = ["x", "[1]", '{"x": 1}', '{"x": {"value": 0.5, "distribution": {"name": "Other", "attributes": {}}}}', KIND]


@pytest.mark.parametrize("text", [*DAMAGED, None])
def test_a_trial_with_damaged_parameters_or_times_is_left_out(tmp_path: Path, text: str | None) -> None:
    store = store_of(tmp_path / "bowl", bowl, trials=24)
    row = next(row for row in store.latest_rows() if row.trial_id == "0003")
    if text is None:
        store.write_trial(replace(row, seconds=math.nan))
        for report in store.latest_reports().query("trial_id == '0003'")["index"]:
            progress = Progress(int(report), False, 1, 8, {}, {"fid": 1.0, "accuracy": 0.5}, math.nan, 0.0)
            store.write_report(ReportRow("0003", 0, Report(progress)))
    else:
        store.write_trial(replace(row, parameters=text))
    (reason,) = recorded_sweep(store).left_out
    assert reason in ("without usable parameters", "with parameters of another kind", "without its duration")


def test_the_table_is_what_the_reports_say(bowl_store: Store) -> None:
    sweep = recorded_sweep(bowl_store)
    assert (len(sweep.trials), sweep.reports, sweep.left_out, sweep.useful) == (40, 9, {}, 1)
    first = sweep.trials[0]
    assert first.seconds.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert first.scores[2].tolist() == pytest.approx(bowl(first.params["x"], first.params["y"], 3 / 9))
    # The fraction of the trials that are worse: 1 for the best, 0 for the worst.
    fids = [trial.scores[-1][0] for trial in sweep.trials]
    assert sweep.quality[int(np.argmin(fids)), 0] == 1.0
    assert sweep.quality[int(np.argmax(fids)), 0] == 0.0
    assert sorted(sweep.quality[:, 1].tolist()) == pytest.approx([place / 39 for place in range(40)])


def test_random_search_without_stopping_costs_what_it_trains(bowl_store: Store) -> None:
    sweep = recorded_sweep(bowl_store)
    run = simulate(sweep, RANDOM, seed=1)
    assert run.spent.tolist() == [9.0 * (number + 1) for number in range(40)]
    assert run.hypervolume[-1] == pytest.approx(hypervolume(sweep.quality))
    assert run.best[-1] == 1.0
    assert run.good_stopped == 0.0
    assert run.at(8.9) == (0.0, 0.0)
    assert run.at(9.0) == (run.hypervolume[0], run.best[0])
    assert run.cost(1.0, run.best) == 9.0 * (1 + int(run.best.argmax()))
    assert simulate(sweep, RANDOM, seed=1).spent.tolist() == run.spent.tolist()
    assert simulate(sweep, RANDOM, seed=2).best.tolist() != run.best.tolist()


def test_trials_at_once_cost_the_same_and_complete_in_turns(bowl_store: Store) -> None:
    sweep = recorded_sweep(bowl_store)
    run = simulate(sweep, RANDOM, seed=1, concurrent=4)
    # Four trials reach each report together, so the first completes when all four are about to.
    assert run.spent[:4].tolist() == [33.0, 34.0, 35.0, 36.0]
    assert run.spent[-1] == 360.0


@pytest.mark.slow
def test_a_model_finds_the_bowl_for_less(bowl_store: Store) -> None:
    options = ReplayOptions(samplers=("random", "tpe"), schedulers=("none", "asha"), budget=0.5)
    (found,) = replay_stores([bowl_store], options)
    assert found.budget_seconds == 180.0
    by_name = {method.method: method for method in found.methods}
    assert list(by_name) == ["random, none", "random, asha", "tpe, none", "tpe, asha"]
    assert by_name["random, none"].best_cost.value <= 1.0
    assert by_name["random, none"].reached[0] >= 10
    assert by_name["tpe, none"].front_cost.value < 0.8 * by_name["random, none"].front_cost.value
    assert by_name["random, asha"].best_cost.value < 0.6 * by_name["random, none"].best_cost.value


def test_the_best_detectors_are_stopped_for_their_fid(rival_store: Store) -> None:
    sweep = recorded_sweep(rival_store)
    stopped = {
        kind: np.mean(
            [
                simulate(sweep, Method(kind, None, SchedulerSettings(kind=kind)), seed).good_stopped  # type: ignore[arg-type]
                for seed in range(10)
            ]
        )
        for kind in ("asha", "mo-asha", "asha-any")
    }
    assert stopped["asha"] > 0.9
    assert stopped["mo-asha"] < 0.7
    assert stopped["asha-any"] == 0.0


def test_a_signal_that_tells_the_bad_trials_saves_their_time(tmp_path: Path) -> None:
    """From the third report on, the right half of the bowl, where no good trial is, has collapsed."""
    store = store_of(
        tmp_path / "collapsing",
        bowl,
        signals=lambda x, index: {"class_spread": 0.01 if x > 0.6 and index >= 2 else 0.8},
    )
    bounds = ("class_spread>=0.1", "class_spread>=0.001")
    options = ReplayOptions(samplers=("random",), schedulers=("none",), prune=bounds)
    found = {result.method: result for result in replay_stores([store], options)[0].methods}
    assert list(found) == ["random, none", "random, none, class_spread>=0.1", "random, none, class_spread>=0.001"]
    alone = found["random, none"]
    pruned = found["random, none, class_spread>=0.1"]
    assert pruned.best_cost.value < 0.9 * alone.best_cost.value
    assert pruned.good_stopped == 0.0
    unused = found["random, none, class_spread>=0.001"]
    assert (unused.best_cost, unused.front_cost) == (alone.best_cost, alone.front_cost)
    run = simulate(recorded_sweep(store), Method("p", None, RANDOM.scheduler, (Constraint.parse(bounds[0]),)), seed=0)
    collapsed = sum(trial.params["x"] > 0.6 for trial in recorded_sweep(store).trials)
    assert len(run.spent) == 40 - collapsed
    assert run.spent[-1] <= 9.0 * (40 - collapsed) + 3.0 * collapsed


def test_a_signal_that_no_report_has_is_refused(bowl_store: Store) -> None:
    with pytest.raises(ConfigError) as refused:
        replay_stores([bowl_store], ReplayOptions(prune=("imbalance<=10",)))
    label = bowl_store.label
    assert str(refused.value) == f"--prune: the reports of {label} have no imbalance; replay a sweep of this version"


def test_what_cannot_be_simulated_is_counted_or_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "few", bowl, trials=22)
    rows = {row.trial_id: row for row in store.rows()}
    store.write_trial(rows["0003"].finished("stopped", reason="stopped early by the scheduler"))
    store.write_trial(rows["0004"].finished("diverged", reason="not finite"))
    assert recorded_sweep(store).left_out == {"stopped early": 1}
    assert recorded_sweep(store).trials[3].diverged
    store.write_trial(rows["0005"].finished("failed", reason="its process died"))
    with pytest.raises(StoreError) as refused:
        recorded_sweep(store)
    assert str(refused.value) == (
        f"{store.label}: 19 trials ran to their end, and a replay needs 20 (others: 1 stopped early, 1 failed); "
        "run a sweep with --scheduler none"
    )


def test_stores_of_other_objectives_and_methods_that_do_not_fit_are_refused(bowl_store: Store, tmp_path: Path) -> None:
    one = store_of(tmp_path / "one", bowl, trials=20, objectives=(FID,))
    with pytest.raises(
        StoreError, match=r"one: its objectives are fid, and those of .*bowl are fid, accuracy; replay them"
    ):
        replay_stores([bowl_store, one], ReplayOptions())
    with pytest.raises(ConfigError, match="mo-asha compares trials by several objectives"):
        replay_stores([one], ReplayOptions())
    with pytest.raises(ConfigError, match="no store to replay; give the store of at least one"):
        replay_stores([], ReplayOptions())
    with pytest.raises(ConfigError, match="cma-es searches for one objective"):
        replay_stores([bowl_store], ReplayOptions(samplers=("cma-es",)))


@pytest.mark.parametrize("kind", ["gp", "nsga-ii", "nsga-iii", "qmc"])
def test_every_sampler_trains_each_configuration_once(bowl_store: Store, kind: str) -> None:
    import optuna

    from gansweep.search.samplers import make_sampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep = recorded_sweep(bowl_store)
    few = type(sweep)(sweep.name, sweep.objectives, sweep.reports, sweep.trials[:14], sweep.distributions, {})
    method = Method(kind, lambda seed: make_sampler(kind, seed, 0, 10), SchedulerSettings(kind="none"))
    assert simulate(few, method, seed=0).spent.tolist() == [9.0 * (number + 1) for number in range(14)]


def test_the_interval_of_a_median_is_of_order_statistics() -> None:
    """Of 20 values the sixth and the fifteenth, which hold the median with 95.9 %."""
    found = median_of([float(value) for value in range(20, 0, -1)])
    assert (found.value, found.low, found.high) == (10.5, 6.0, 15.0)
    found = median_of([1.0] * 12 + [math.inf] * 8)
    assert (found.value, found.low, found.high) == (1.0, 1.0, math.inf)


def test_the_command_prints_a_table_or_a_document(bowl_store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["replay", bowl_store.uri, "--samplers", "random", "--schedulers", "none,asha"]
    assert main([*words, "--json"]) == 0
    (document,) = json.loads(capfd.readouterr().out)
    assert (document["trials"], document["seeds"], document["budget_seconds"]) == (40, 20, 180.0)
    assert [row["method"] for row in document["methods"]] == ["random, none", "random, asha"]
    assert document["methods"][0]["best_cost"]["low"] <= document["methods"][0]["best_cost"]["value"]
    assert main(words) == 0
    assert "40 trials, 20 seeds, budget 180 s" in " ".join(capfd.readouterr().out.split())
    assert main(["replay", bowl_store.uri, "--seeds", "5"]) == 2
