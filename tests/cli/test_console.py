# ruff: noqa: T201  (printing is what is tested)
"""stdout holds results alone, whoever else writes to it."""

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from gansweep.cli.console import Ticker, emit, log_as_notes, note, results_only, to_json


def test_prints_and_raw_writes_and_children_land_on_stderr(capfd):
    with results_only():
        print("from Python")
        os.write(1, b"from below Python\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        emit({"a": 1}, "shown", as_json=True)
    print("after")
    out, err = capfd.readouterr()
    json_part, _, rest = out.partition("after")
    assert json.loads(json_part) == {"a": 1}
    assert rest == "\n"
    assert {"from Python", "from below Python", "from a child"} <= set(err.splitlines())


def test_stdout_comes_back_after_an_error(capfd):
    with pytest.raises(RuntimeError), results_only():
        raise RuntimeError
    print("back")
    assert capfd.readouterr().out == "back\n"


def test_json_has_no_words_for_nan_and_knows_our_types():
    data = {"nan": math.nan, "inf": -math.inf, "np": np.float32(0.5), "array": np.arange(2), "path": Path("/a")}
    assert json.loads(to_json(data)) == {"nan": None, "inf": None, "np": 0.5, "array": [0, 1], "path": "/a"}


def test_json_refuses_what_it_cannot_write():
    with pytest.raises(ValueError, match="cannot write"):
        to_json({"what": object()})


def test_a_log_gets_the_last_progress_line(capfd):
    tick = Ticker(every_s=3600)
    for done in range(4):
        tick("reading", done, 3)
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "reading: 3/3"
    assert len(lines) <= 2  # the first may be due; the two between are not


def test_a_users_words_are_shown_as_they_are(capfd):
    words = "[red]runs[/] [/] :smile: " + "x" * 200
    table = Table(title="[/red] of title")
    table.add_row("[bold]cell :smile:")
    emit(None, words, as_json=False)
    emit(None, table, as_json=False)
    out = capfd.readouterr().out
    assert out.startswith(f"{words}\n")
    assert "[/red] of title" in out
    assert "[bold]cell :smile:" in out


def test_control_characters_in_a_users_words_are_left_out(capfd):
    words = "a\x1b[31mb\u202ec\x07d\ude00"
    table = Table(title=words)
    table.add_column(words)
    table.add_row(words)
    emit(None, table, as_json=False)
    emit(None, f"{words}\nnext", as_json=False)
    note(words)
    Ticker()(words, 1, 1)
    out, err = capfd.readouterr()
    assert out.count("a[31mbcd") == 4
    assert not set(out) & set("\x1b\u202e\x07\ude00")
    assert out.endswith("a[31mbcd\nnext\n")
    assert err == "a[31mbcd\na[31mbcd: 1/1\n"


def test_json_escapes_what_could_steer_a_terminal():
    assert to_json({"a": "\x1b\x9b\u202e\U000e0001é"}) == '{\n  "a": "\\u001b\\u009b\\u202e\\udb40\\udc01é"\n}'


def test_progress_tells_the_time_left(capfd, monkeypatch):
    clock = iter([0.0, 10.0, 70.0, 100.0])
    monkeypatch.setattr("gansweep.cli.console.time.monotonic", lambda: next(clock))
    tick = Ticker(every_s=5)
    for done in (0, 10, 70, 100):
        tick("reading", done, 100)
    assert capfd.readouterr().err.splitlines() == [
        "reading: 10/100, 1:30 left",
        "reading: 70/100, 0:30 left",
        "reading: 100/100",
    ]


def test_a_terminal_shows_a_bar(capfd, monkeypatch):
    clock = iter([0.0, 40.0, 80.0])
    monkeypatch.setattr("gansweep.cli.console.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    tick = Ticker()
    for done in (1, 2, 4):
        tick("reading", done, 4)
    shown = capfd.readouterr().err.split("\r")
    assert "reading: [##########..........] 2/4, 0:40 left" in shown
    assert shown[-1].startswith("reading: [####################] 4/4")


def test_a_command_that_runs_commands_shows_each_line_once(capfd):
    with log_as_notes():
        with log_as_notes():
            logging.getLogger("gansweep.search").info("inner")
        logging.getLogger("gansweep.search").info("outer")
    logging.getLogger("gansweep.search").info("later")
    assert capfd.readouterr().err.splitlines() == ["inner", "outer"]
