"""The picture of a sweep: the answer over the best samples of each family."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from gansweep.cli import main
from gansweep.errors import StoreError
from gansweep.report.leaderboard import leaderboard
from gansweep.report.picture import _wrapped, picture_png
from gansweep.store.artifacts import sheet_path
from gansweep.store.store import Store


def test_it_holds_the_sheet_of_the_best_trial_pixel_for_pixel(finished, tmp_path, capfd):
    assert main(["report", finished.uri, f"--out={tmp_path / 'r.html'}", f"--picture={tmp_path / 'p.png'}"]) == 0
    assert f"picture in {tmp_path / 'p.png'}" in capfd.readouterr().out
    picture = np.asarray(Image.open(tmp_path / "p.png"))
    best = leaderboard(finished)[0]
    sheet = np.asarray(Image.open(io.BytesIO(finished.read_bytes(sheet_path(best.trial_id)))).convert("RGB"))
    rows, columns, _ = sheet.shape
    top = picture.shape[0] - 4 - 16 - rows
    assert (picture[top : top + rows, 16 : 16 + columns] == sheet).all()
    assert picture.shape[1] == columns + 32  # one family, one sheet


def test_without_a_report_there_is_nothing_to_draw(empty):
    with pytest.raises(StoreError, match="no trial has a sample sheet yet, so there is nothing to draw"):
        picture_png(empty)


def test_a_damaged_sheet_is_left_out(finished, tmp_path, caplog):
    folder = tmp_path / "fahr"
    shutil.copytree(finished.local, folder)
    store = Store.open(str(folder))
    best, second = (row.trial_id for row in leaderboard(store)[:2])
    sheet = folder / sheet_path(best)
    sheet.write_bytes(sheet.read_bytes()[:-200])
    expected = np.asarray(Image.open(folder / sheet_path(second)).convert("RGB"))
    picture = np.asarray(Image.open(io.BytesIO(picture_png(store))))
    top = picture.shape[0] - 4 - 16 - len(expected)
    assert (picture[top : top + len(expected), 16 : 16 + expected.shape[1]] == expected).all()
    assert caplog.messages == [f"{sheet} is damaged and left out"]


def test_long_sentences_are_wrapped_and_no_word_is_lost():
    class Font:
        def getlength(self, text):
            return 10 * len(text)

    lines = _wrapped("No evidence that synthetic images help", Font(), 150)
    assert lines == ["No evidence", "that synthetic", "images help"]
