import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gansweep.cli import main
from gansweep.errors import StoreError
from gansweep.report.caveats import caveats
from gansweep.report.html import report_html, write_report
from gansweep.report.leaderboard import leaderboard
from gansweep.report.status import sweep_status
from gansweep.store.artifacts import growth_paths, sheet_path
from gansweep.store.store import Store
from gansweep.store.sweep_info import TestOpening
from tests.report.example_sweep import make_info


@pytest.fixture(scope="module")
def page(finished):
    return report_html(finished)


def test_a_large_floor_has_plain_digits(finished):
    rows = [replace(row, scores={**row.scores, "fid_floor": 3131.4}) for row in leaderboard(finished)]
    said = " ".join(caveats(finished.info, rows, sweep_status(finished)))
    assert "Real validation images score 3131 (the floor)" in said


def test_the_page_has_everything_and_needs_nothing(page):
    visible = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert len(page) < 3_000_000, "the library alone has 5 MB unpacked"
    for expected in ("Leaderboard", "Objectives", "Learning curves", "Configurations", "What mattered", "Provenance"):
        assert f"<h2>{expected}</h2>" in visible
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", visible), "a file or an address outside the page"
    assert "default-src 'none'" in page
    assert page.count("Plotly.newPlot(") - page.count("await Plotly.newPlot(") == 8
    assert visible.count("data:image/png;base64,") == 3 + 3 * 4, "sheets, and samples at each report"


def test_charts_cannot_be_sent_to_a_server(page):
    drawn = page.count('class="plotly-graph-div"')
    assert drawn == 8
    assert len(re.findall(r'"showSendToCloud":\s*false', page)) == drawn


def test_names_are_escaped(page):
    assert "fahr &lt;first&gt;" in page
    assert "fahr <first>" not in page


def test_a_sweep_without_trials_has_a_page_too(empty):
    page = report_html(empty)
    assert "No trial has started." in page
    assert "Plotly" not in page


@pytest.mark.parametrize("damage", ["cut", "folder"])
def test_damaged_pictures_are_left_out_and_named(finished, tmp_path, caplog, damage):
    folder = tmp_path / "fahr"
    shutil.copytree(finished.local, folder)
    store = Store.open(str(folder))
    best = next(row for row in leaderboard(store) if row.front >= 0).trial_id
    damaged = [folder / sheet_path(best), folder / growth_paths(store)[best][0][1]]
    for path in damaged:
        content = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
        else:
            path.write_bytes(content[:-100])
    page = re.sub(r"<script.*?</script>", "", report_html(store), flags=re.DOTALL)
    pictures = [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    for picture in pictures:
        Image.open(io.BytesIO(picture)).load()
    # A folder is not listed among the pictures of a trial's growth.
    assert [message for message in caplog.messages if "damaged" in message] == [
        f"{path} is damaged and left out" for path in damaged[: 1 if damage == "folder" else 2]
    ]


def test_writing_replaces_and_refuses_in_one_line(finished, tmp_path):
    out = tmp_path / "new" / "report.html"
    assert write_report(finished, out) == write_report(finished, out) == out
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    with pytest.raises(StoreError, match="is a folder; give a file name"):
        write_report(finished, tmp_path)
    with pytest.raises(StoreError, match="cannot write"):
        write_report(finished, out / "below.html")


def _caveats(store, **changes):
    info = make_info(**changes)
    return " ".join(caveats(info, leaderboard(store), sweep_status(store)))


def test_caveats_say_what_a_number_is_worth(finished):
    text = _caveats(finished)
    assert "test patients are unopened" in text
    assert "With 8 validation patients, an accuracy near 80 % is known to about ±28 points" in text
    assert "best of 12 trials on the same validation patients" in text
    assert "FID is on the features of cohort:0123456789ab" in text
    assert "score 12.5 (the floor): compare it with fid_matched" in text
    assert "not finished" not in text


def test_caveats_count_the_openings_of_the_test_set(finished):
    first = TestOpening(opened=datetime(2026, 2, 3, 4, 5, tzinfo=UTC))
    again = TestOpening(opened=datetime(2026, 3, 3, 4, 5, tzinfo=UTC), reason="a reviewer asked")
    assert "opened once: 2026-02-03 04:05 UTC" in _caveats(finished, test_openings=(first,))
    text = _caveats(finished, test_openings=(first, again))
    assert "opened 2 times" in text
    assert "(a reviewer asked)" in text


def _chromium(*arguments):
    return subprocess.run(
        [
            shutil.which("chromium"),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--virtual-time-budget=8000",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_draws_the_page(finished, tmp_path):
    page, picture = write_report(finished, tmp_path / "report.html"), tmp_path / "page.png"
    _chromium(
        f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", "--window-size=1250,4600", page.as_uri()
    )
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    # Figures are in colours of their own, far down the page: a script that failed would leave it white there.
    blue = (abs(pixels[600:] - (0x1F, 0x5F, 0xA8)).sum(axis=2) < 12).sum()
    assert blue > 500
    assert Path(picture).stat().st_size > 50_000


def test_a_damaged_study_costs_the_importances_alone(finished, tmp_path, caplog):
    store = Store.open(str(shutil.copytree(finished.local, tmp_path / "fahr")))
    (store.local / "studies.db").write_bytes(b"not a database" * 300)
    page = write_report(store, tmp_path / "report.html").read_text()
    assert "0000" in page
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"the report lacks importances: {store.local}/studies.db: damaged (file is not a database)")
    assert line.endswith("; the sweep's --resume builds it again from trials/")


def test_a_report_replaces_nothing_that_it_is_made_from(finished, tmp_path, capfd):
    folder = tmp_path / "fahr"
    shutil.copytree(finished.local, folder)
    row = next(folder.glob("trials/trial-*.parquet"))
    before = {path: path.read_bytes() for path in (folder / "sweep.json", row)}
    for path in before:
        for words in (["--out", str(path)], ["--out", str(tmp_path / "r.html"), "--picture", str(path)]):
            assert main(["report", str(folder), *words]) == 2
            assert f"error: {path}: lies in {folder}, which is read and stays as it is" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    other = tmp_path / "cohort.json"
    other.write_text("{}")
    assert main(["report", str(folder), "--out", str(other)]) == 2
    assert f"error: {other}: exists and is no HTML page, so it is not replaced" in capfd.readouterr().err
    assert other.read_text() == "{}"
