import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from gansweep.config import TrialConfig
from gansweep.progress import Interim
from gansweep.report.status import as_document, as_text, sweep_status
from gansweep.store.interims import write_interim
from gansweep.store.schema import ReportRow, TrialRow
from tests.report.example_sweep import BEGAN
from tests.values import report_of


def _shown(status):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(as_text(status))
    return console.export_text()


@pytest.fixture
def live(empty):
    """Two trials of 40 s ended, one is at its second report, one was interrupted."""
    for number in range(2):
        status, reason = ("completed", "") if number == 0 else ("diverged", "collapsed samples")
        empty.write_trial(
            TrialRow(
                f"{number:04d}", 0, status, TrialConfig(), reason=reason, seconds=40.0, gpu_seconds=80.0, started=BEGAN
            )
        )
    empty.write_trial(TrialRow("0002", 0, "interrupted", TrialConfig(), reason="Ctrl-C", seconds=5.0, started=BEGAN))
    empty.write_trial(TrialRow("0002", 1, "running", TrialConfig(), started=BEGAN + timedelta(seconds=60)))
    for index in range(2):
        scores, when = {"fid": 50.0 - index, "kid": 0.1}, BEGAN + timedelta(seconds=70 + 10 * index)
        empty.write_report(ReportRow("0002", 1, report_of(index, False, 100 * (index + 1), 0, {}, scores), time=when))
    return empty


def test_a_live_sweep(live):
    status = sweep_status(live, now=BEGAN + timedelta(seconds=80))
    assert status.counts == {"completed": 1, "diverged": 1, "running": 1}
    assert (status.ended, status.asked, status.finished, status.quiet) == (2, 14, False, False)
    (running,) = status.running
    assert (running.trial_id, running.attempt, running.reports, running.iteration) == ("0002", 1, 2, 200)
    assert running.scores == {"fid": 49.0}
    assert running.seconds == 20.0
    assert status.failures == {"diverged: collapsed samples": ("0001",)}
    assert status.gpu_seconds == 160.0
    # 12 trials of 40 s are left, 20 s of them done, two run at once.
    assert status.eta_seconds == (12 * 40 - 20) / 2
    text = _shown(status)
    assert "2 of 14 trials ended (1 completed, 1 diverged, 1 running)" in text
    assert "about 4 min to go" in text
    assert "2 of 4" in text


def test_a_running_trial_shows_its_losses_its_pace_and_the_time_left(live):
    told = Interim(250, 400, {"critic_loss": -1.234, "penalty": 2.0}, 812.4, 90.2)
    write_interim(live, "0002", told)
    status = sweep_status(live, now=BEGAN + timedelta(seconds=80))
    assert (status.running[0].iteration, status.running[0].interim) == (250, told)
    assert "iteration 250 of 400: critic_loss -1.23, 812 images/s, 1:30 left" in " ".join(_shown(status).split())
    assert json.loads(json.dumps(as_document(status)))["running"][0]["interim"]["images_per_second"] == 812.4
    # A report has come since: what was told before it is old.
    write_interim(live, "0002", replace(told, iteration=150))
    assert sweep_status(live).running[0].interim is None


def test_a_trial_that_starts_in_the_future_has_run_for_no_time(live):
    """The clock of the machine that started it was ahead. It had -97460754 s behind it, and 13536 h to go."""
    status = sweep_status(live, now=BEGAN - timedelta(days=1000))
    assert [trial.seconds for trial in status.running] == [0.0]
    assert status.eta_seconds == 12 * 40 / 2
    assert status.last_activity == BEGAN - timedelta(days=1000)


def test_a_sweep_that_fell_silent_is_said_to_have_died(live):
    status = sweep_status(live, now=BEGAN + timedelta(hours=1))
    assert status.quiet
    assert "continue it with --resume" in _shown(status)


def test_a_trial_that_tells_its_progress_is_not_silent(live):
    write_interim(live, "0002", Interim(250, 400, {}, 812.4, 90.2))
    written = datetime.now(UTC)
    status = sweep_status(live, now=written + timedelta(minutes=5))
    assert not status.quiet
    assert abs(status.last_activity - written) < timedelta(minutes=1)
    assert sweep_status(live, now=written + timedelta(hours=1)).quiet


def test_long_pauses_between_reports_are_no_silence(live):
    later = BEGAN + timedelta(hours=2)
    live.write_report(ReportRow("0002", 1, report_of(2, False, 300, 0, {}, {}), time=later))
    assert not sweep_status(live, now=later + timedelta(hours=3)).quiet


def test_a_finished_sweep(finished):
    status = sweep_status(finished)
    assert status.finished
    assert not status.quiet
    assert status.eta_seconds is None
    assert status.failures == {"diverged: the critic's loss is not finite": ("0003", "0010")}
    json.dumps(as_document(status), allow_nan=False)


def test_a_sweep_that_has_not_begun(empty):
    status = sweep_status(empty, now=BEGAN)
    assert (status.ended, status.running, status.eta_seconds) == (0, (), None)
    assert "no trial yet" in _shown(status)
