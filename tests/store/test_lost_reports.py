"""Reports that a trial sent and that are no longer there are told."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gansweep.errors import StoreError
from gansweep.store.store import Store
from tests.store.damages import warnings_of


@pytest.mark.parametrize(
    ("index", "iteration", "says"),
    [
        ([1, 1], [100, 200], "index 1 after 1"),
        ([1, 0], [100, 200], "index 0 after 1"),
        ([0, 1], [200, 100], "iteration 100 after 200"),
    ],
)
def test_reports_that_do_not_follow_each_other_are_damage(rows, caplog, index, iteration, says):
    path = rows.local / "reports" / "trial-0002.0.parquet"
    content = pq.ParquetFile(path).read()
    for name, values in (("index", index), ("iteration", iteration)):
        content = content.set_column(content.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    pq.write_table(content, path)
    assert len(Store.open(rows.uri).reports()) == 9
    assert f"reports/trial-0002.0.parquet is damaged and left out ({says})" in warnings_of(caplog)[0]


def test_a_trial_that_lost_its_reports_is_named(rows, trial, report):
    for number, status in enumerate(("completed", "stopped", "completed", "interrupted", "failed")):
        rows.write_trial(trial(number, status=status, reports=2))
        if number != 2:
            (rows.local / "reports" / f"trial-000{number}.0.parquet").unlink()
    again = Store.open(rows.uri)
    again.check_whole()  # nothing was read that tells of them
    again.trials()
    with pytest.raises(StoreError, match=r"reports/ has no file of 0000, 0001, which sent reports; put back a copy$"):
        again.check_whole()
    for number in (0, 1):  # the reports may be those of any attempt, and what was set aside is known to be lost
        rows.write_report(report(number, 1, attempt=1))
    path = rows.local / "reports" / "trial-0002.0.parquet"
    path.rename(path.with_name("_trial-0002.0.parquet.damaged"))
    again.check_whole()


def without_reports(path, lost):
    """Rewrites a file of reports as pandas does, without those of some indices."""
    rows = pd.read_parquet(path)
    rows[~rows["index"].isin(lost)].to_parquet(path)


def told_of(store):
    """Returns what `check_whole` tells after trials and reports were read; empty if nothing."""
    again = Store.open(store.uri)
    again.trials()
    again.report_times()
    try:
        again.check_whole()
    except StoreError as error:
        return str(error).removeprefix(f"{store.label}: ")
    return ""


@pytest.mark.parametrize(
    ("status", "lost", "says"),
    [
        ("completed", [1], "0002 (3 of 4)"),
        ("completed", [0], "0002 (3 of 4)"),
        ("completed", [2, 3], "0002 (2 of 4)"),
        ("stopped", [3], "0002 (3 of 4)"),
        ("running", [1, 2], "0002 (2 of 4)"),
        ("interrupted", [0], "0002 (3 of 4)"),
        ("running", [3], ""),  # it may not have sent it yet
        ("completed", [], ""),
    ],
)
def test_a_file_that_lost_some_of_its_reports_is_named(rows, trial, report, status, lost, says):
    rows.write_trial(trial(2, status=status, reports=0 if status in ("running", "interrupted") else 4))
    for index in range(4):
        rows.write_report(report(2, index))
    if lost:
        without_reports(rows.local / "reports" / "trial-0002.0.parquet", lost)
    assert told_of(rows) == (f"reports/ lacks reports of {says}; put back a copy" if says else "")
    again = Store.open(rows.uri)
    again.trials()
    again.check_whole()  # a command that reads no reports shows none that are incomplete


def test_reports_of_several_attempts_count_together(rows, trial, report):
    """The second attempt went on from a checkpoint and sent one report again."""
    rows.write_trial(trial(2, 0, "interrupted", reports=0))
    rows.write_trial(trial(2, 1, reports=4))
    for attempt, indices in ((0, (0, 1)), (1, (1, 2, 3))):
        for index in indices:
            rows.write_report(report(2, index, attempt))
    assert told_of(rows) == ""
    path = rows.local / "reports" / "trial-0002.0.parquet"
    without_reports(path, [1])
    assert told_of(rows) == ""
    without_reports(rows.local / "reports" / "trial-0002.1.parquet", [2])
    rows.compact()
    assert told_of(rows) == "reports/ lacks reports of 0002 (3 of 4); put back a copy"
    path.rename(path.with_name("_trial-0002.0.parquet.damaged"))
    assert told_of(rows) == ""  # that one was told when it was set aside


def test_a_trial_that_ends_while_it_is_read_has_lost_nothing(rows, trial, report):
    again = Store.open(rows.uri)
    again.reports()
    for index in (2, 3):
        rows.write_report(report(2, index))
    rows.write_trial(trial(2, reports=4))
    again.trials()
    again.check_whole()
    without_reports(rows.local / "reports" / "trial-0002.0.parquet", [3])
    again.reports()
    with pytest.raises(StoreError, match=r"lacks reports of 0002 \(3 of 4\); put back a copy$"):
        again.check_whole()
