"""First place against second: what repeats, patients and floors allow to say, and no more."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from gansweep.cli import main
from gansweep.config import TrialConfig
from gansweep.report.comparison import compare_with_first, folded, verdict_sentences
from gansweep.report.figures import figures
from gansweep.report.html import conclusions, report_html
from gansweep.report.leaderboard import as_document, as_table, leaderboard
from gansweep.report.rows import LeaderboardRow
from gansweep.report.status import sweep_status
from gansweep.scoring.statistics.proportions import difference_interval
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from tests.report.example_sweep import BEGAN, FEATURES, make_info

if TYPE_CHECKING:
    from pathlib import Path


def training(trial: str, lr: float, seed: int, fid: float, accuracy: float, **changes: Any) -> TrialRow:
    scores = {"fid": fid, "accuracy": accuracy, "fid_matched": fid, "fid_floor": 12.5, **changes.pop("scores", {})}
    values = {"scores": scores, "fid_features": FEATURES, "seconds": 10.0, "started": BEGAN, "ended": BEGAN}
    return TrialRow(trial, 0, "completed", TrialConfig(lr_d=lr, seed=seed), **(values | changes))


def store_of(folder: Path, *rows: TrialRow, **changes: Any) -> Store:
    store = Store.create(str(folder), "s", make_info(**changes))
    for row in rows:
        store.write_trial(row)
    return store


FRESH_A, FRESH_B = (30.0, 31.0, 32.5, 30.5), (40.0, 42.0, 41.0, 43.5)
USES_A, USES_B = (0.80, 0.82, 0.79, 0.81), (0.80, 0.79, 0.83, 0.80)


@pytest.fixture
def repeated(tmp_path: Path) -> Store:
    """Two leaders of three, trained four times more; the fids differ clearly, the accuracies do not."""
    rows = [training("0000", 1e-3, 0, 20, 0.95), training("0001", 1e-4, 0, 41, 0.9), training("0002", 1e-5, 0, 60, 0.5)]
    for number, (a, b, use_a, use_b) in enumerate(zip(FRESH_A, FRESH_B, USES_A, USES_B, strict=True)):
        seed = 20_000 + number
        rows.append(training(f"0000-{seed}", 1e-3, seed, a, use_a, repeat_of="0000"))
        rows.append(training(f"0001-{seed}", 1e-4, seed, b, use_b, repeat_of="0001"))
    return store_of(tmp_path, *rows, trials=3)


def test_repeats_are_told_apart_by_welchs_test_over_the_fresh_trainings(repeated: Store) -> None:
    rows = {row.trial_id: row for row in folded(leaderboard(repeated))}
    assert [row.trainings for row in rows.values()] == [4, 4, 1]
    first, second = rows["0000"], rows["0001"]
    assert first.scores["fid"] == pytest.approx(np.mean(FRESH_A))
    assert first.spread["fid"] == pytest.approx(np.std(FRESH_A, ddof=1))
    fid, accuracy = second.against_first
    expected = stats.ttest_ind(FRESH_A, FRESH_B, equal_var=False)
    assert fid.difference == pytest.approx(np.mean(FRESH_A) - np.mean(FRESH_B))
    assert (fid.low, fid.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert fid.p == pytest.approx(2 * expected.pvalue), "Holm over two objectives"
    assert (fid.verdict, accuracy.verdict) == ("differs", "no evidence")
    assert accuracy.p == pytest.approx(stats.ttest_ind(USES_A, USES_B, equal_var=False).pvalue)
    assert rows["0002"].against_first == ()


def test_text_json_and_page_say_it(repeated: Store) -> None:
    rows = leaderboard(repeated)
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(as_table(rows, repeated.info))
    text = " ".join(console.export_text().split())
    assert "11 trials of 3 configurations" in text
    assert "31.0 ± 1.08" in text
    assert (
        "0000 (4 trainings) minus 0001 (4 trainings): fid -10.6 (95 % interval -12.9 to -8.32), p < 0.001: differs"
        in text
    )
    assert "accuracy +0.0 pp" in text
    document = json.loads(json.dumps(as_document(rows), allow_nan=False))
    assert [item["trial_id"] for item in document][:2] == ["0000", "0000-20001"]
    assert {item["rank"] for item in document} == {1, 2, 3}
    assert document[0]["fid"] == 20
    assert document[0]["mean"]["fid"] == pytest.approx(np.mean(FRESH_A))
    assert not document[0]["counts"]
    assert document[1]["repeat_of"] == document[1]["configuration"] == "0000"
    assert conclusions(repeated)["first_place"][0]["against_first"][0]["verdict"] == "differs"
    page = report_html(repeated)
    assert "Is the first place more than luck?" in page
    assert "0000 (4 trainings) minus 0001 (4 trainings)" in page
    points = figures(repeated, rows, None)["Repeated trainings"].data
    assert [len(trace.x) for trace in points] == [8, 2, 2] * 2


@pytest.mark.parametrize(("top", "trainings"), [(1, 5), (2, 10), (3, 11), (9, 11)])
def test_the_first_so_many_are_configurations_with_all_their_trainings(
    repeated: Store, capfd: pytest.CaptureFixture[str], top: int, trainings: int
) -> None:
    assert main(["leaderboard", repeated.uri, "--json"]) == 0
    whole = json.loads(capfd.readouterr().out)
    assert main(["leaderboard", repeated.uri, f"--top={top}", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == whole[:trainings]


def test_repeats_are_no_trials_of_the_sweep(repeated: Store) -> None:
    status = sweep_status(repeated)
    assert (status.ended, status.asked, status.counts, status.repeats) == (3, 3, {"completed": 3}, {"completed": 8})


def test_one_training_each_says_what_patients_explain_and_no_more(tmp_path: Path) -> None:
    near = store_of(tmp_path / "a", training("0000", 1e-3, 0, 20, 0.80), training("0001", 1e-4, 0, 30, 0.75))
    fid, accuracy = leaderboard(near)[1].against_first
    assert (fid.verdict, fid.reason) == ("cannot be told", "one training each: see gansweep repeat")
    assert (accuracy.verdict, accuracy.p) == ("no evidence", None)
    assert accuracy.low == pytest.approx(difference_interval(0.80, 0.75, 8)[0])
    assert "within chance over 8 validation patients" in verdict_sentences(leaderboard(near))[0]
    far = store_of(tmp_path / "b", training("0000", 1e-3, 0, 20, 0.99), training("0001", 1e-4, 0, 30, 0.05))
    accuracy = leaderboard(far)[1].against_first[1]
    assert accuracy.verdict == "cannot be told"
    assert "more than chance over 8 validation patients, but one training" in accuracy.reason


def test_distances_below_the_floor_are_alike(tmp_path: Path) -> None:
    store = store_of(tmp_path, training("0000", 1e-3, 0, 9, 0.8), training("0001", 1e-4, 0, 12, 0.7))
    fid = leaderboard(store)[1].against_first[0]
    assert (fid.verdict, fid.reason) == (
        "no evidence",
        "both are within the real-against-real floor; one training each",
    )


def test_the_whole_front_is_compared_and_nothing_else(tmp_path: Path) -> None:
    rows = [training(f"000{i}", 10.0**-i, 0, 30 - 5 * i, 0.9 - 0.1 * i) for i in range(3)]  # all on the front
    behind = [training(f"001{i}", 0.5 / (i + 1), 0, 50 + i, 0.5) for i in range(3)]
    found = {row.trial_id: bool(row.against_first) for row in leaderboard(store_of(tmp_path, *rows, *behind))}
    assert [name for name, told in found.items() if told] == ["0001", "0002"]


@pytest.mark.parametrize(
    ("one", "other", "n", "low", "high"), [(0.9, 0.3, 10, 0.1705, 0.8090), (6 / 7, 2 / 7, 7, 0.0582, 0.8062)]
)
def test_newcombe_gives_the_papers_intervals(one: float, other: float, n: int, low: float, high: float) -> None:
    """Newcombe 1998, table II, contrasts (b) and (c), method 10."""
    assert difference_interval(one, other, n) == pytest.approx((low, high), abs=6e-5)


def test_equal_configurations_are_seldom_told_apart() -> None:
    """300 null comparisons of two objectives, 4 trainings each: a false alarm in any in at most 1 of 12."""
    rng, info, alarms = np.random.default_rng(0), make_info(), 0
    for _ in range(300):
        rows = [
            _row(rank, f"000{rank}-{seed}", {"fid": rng.normal(30, 3), "accuracy": rng.normal(0.8, 0.03)})
            for rank in (1, 2)
            for seed in range(4)
        ]
        alarms += any(item.verdict == "differs" for item in compare_with_first(rows, info)[-1].against_first)
    assert alarms <= 25


def test_trainings_without_spread_tell_nothing() -> None:
    rows = [
        _row(rank, f"000{rank}-{seed}", {"fid": 30.0, "accuracy": 0.7 + 0.1 * (rank == 1)})
        for rank in (1, 2)
        for seed in (0, 1)
    ]
    fid, accuracy = compare_with_first(rows, make_info())[-1].against_first
    assert (fid.verdict, accuracy.verdict) == ("no evidence", "cannot be told")


def _row(rank: int, trial: str, scores: dict[str, float]) -> LeaderboardRow:
    return LeaderboardRow(
        trial,
        "completed",
        rank,
        0 if rank == 1 else 1,
        scores,
        FEATURES,
        "{}",
        "",
        None,
        9,
        1.0,
        0.0,
        trial[:4],
    )
