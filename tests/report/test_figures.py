import optuna
import pytest

from gansweep.report.figures import figures, history_figure, importance_figure, learning_figure, parallel_figure
from gansweep.report.leaderboard import leaderboard
from gansweep.store.store import Store
from tests.report.example_sweep import make_info, run_trial


@pytest.fixture(scope="module")
def drawn(finished):
    return figures(finished, leaderboard(finished), finished.load_study())


def test_a_finished_sweep_has_every_figure(drawn):
    assert list(drawn) == [
        "Objectives",
        "Learning curves",
        "Gain over real images alone",
        "History",
        "Configurations",
        "What mattered",
        "Slices",
        "Contours",
    ]


def test_the_scatter_shows_each_measured_trial_and_the_front(finished, drawn):
    completed, stopped, front = drawn["Objectives"].data
    rows = leaderboard(finished)
    assert len(completed.x) == sum(row.status == "completed" for row in rows)
    assert len(stopped.x) == sum(row.status == "stopped" for row in rows)
    assert len(front.x) == sum(row.status == "completed" and row.front == 0 for row in rows)
    assert list(front.y) == sorted(front.y), "along a front, a worse FID buys a better accuracy"


def test_the_best_so_far_never_gets_worse(finished):
    rows = [row for row in leaderboard(finished) if row.front >= 0]
    best = [trace for trace in history_figure(rows, finished.info.objectives).data if trace.name == "best so far"]
    assert list(best[0].y) == sorted(best[0].y, reverse=True)
    assert list(best[1].y) == sorted(best[1].y)


def test_learning_curves_have_every_trial_and_three_leaders_in_colour(finished):
    reports = finished.latest_reports()
    rows = leaderboard(finished)
    figure = learning_figure(reports, rows, finished.info.objectives)
    assert len(figure.data) == 2 * 4
    assert [trace.name for trace in figure.data if trace.showlegend] == [
        "other trials",
        *(f"trial {row.trial_id}" for row in rows[:3]),
    ]
    others = figure.data[0]
    assert {name for name in others.text if name} == set(reports["trial_id"]) - {row.trial_id for row in rows[:3]}
    # Gaps separate the curves, or the last report of one would be joined to the first of the next.
    assert list(others.y).count(None) == len({name for name in others.text if name})
    first = reports[reports["trial_id"] == others.text[0]]
    assert list(others.y)[: len(first)] == pytest.approx(list(first["fid"]), rel=1e-4)


def test_proportions_are_in_percent_everywhere(finished, drawn):
    rows = [row for row in leaderboard(finished) if row.front >= 0]
    accuracies = sorted(100 * row.scores["accuracy"] for row in rows)
    completed, stopped, _ = drawn["Objectives"].data
    assert sorted([*completed.y, *stopped.y]) == pytest.approx(accuracies, rel=1e-4)
    assert drawn["Objectives"].layout.yaxis.title.text == "accuracy, % (higher is better)"
    gained = drawn["Gain over real images alone"]
    assert gained.layout.yaxis.title.text == "accuracy gained, points"
    assert max(gained.data[0].y) == pytest.approx(
        100 * max(row.scores["accuracy_difference"] for row in rows), rel=1e-4
    )
    (axis,) = (axis for axis in drawn["Configurations"].data[0].dimensions if axis.label == "accuracy")
    assert sorted(axis.values) == pytest.approx(accuracies, rel=1e-4)


def test_parallel_axes_are_what_was_searched_and_the_objectives(finished):
    rows = [row for row in leaderboard(finished) if row.front >= 0]
    axes = {axis.label: axis for axis in parallel_figure(rows, finished.info.objectives).data[0].dimensions}
    assert list(axes) == ["lr_d", "n_critic", "width", "attention", "fid", "accuracy"]
    assert list(axes["attention"].ticktext) == ["none", "self"]
    assert max(axes["lr_d"].values) < 0, "by magnitude"


def test_importances_are_shares_and_need_trials(finished, drawn):
    for bars in drawn["What mattered"].data:
        assert sum(bars.x) == pytest.approx(1.0)
    study = optuna.create_study(directions=["minimize", "maximize"])
    assert importance_figure(study, finished.info.objectives) is None


def test_few_trials_make_few_figures(empty):
    assert figures(empty, leaderboard(empty), None) == {}
    run_trial(empty, empty.create_study())
    assert "Configurations" not in figures(empty, leaderboard(empty), empty.load_study())


def test_one_objective_has_no_scatter(tmp_path):
    info = make_info()
    store = Store.create(str(tmp_path), "one", info.model_copy(update={"objectives": info.objectives[:1]}))
    study = optuna.create_study(directions=["minimize", "maximize"])
    run_trial(store, study)
    run_trial(store, study)
    assert list(figures(store, leaderboard(store), None)) == ["Learning curves", "History"]


def test_slices_and_contours_show_the_last_objective_in_percent_over_what_matters(finished):
    study = finished.load_study()
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    drawn = figures(finished, leaderboard(finished), study)
    slices = drawn["Slices"]
    accuracies = [100 * trial.values[1] for trial in done]
    assert len(slices.data) == 4  # the parameters of the space
    assert sorted(slices.data[0].y) == pytest.approx(sorted(accuracies))
    contours = drawn["Contours"]
    points = next(trace for trace in contours.data if trace.type == "scatter")
    first = contours.layout.xaxis.title.text
    assert sorted(map(str, points.x)) == sorted(str(trial.params[first]) for trial in done)
    assert contours.layout.yaxis.title.text != first
