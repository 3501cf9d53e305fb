"""Where the running trials of a store are between two reports."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from gansweep.progress import Interim
from gansweep.store import interims
from gansweep.store.interims import interim_of, interim_text, interims_logged, write_interim

INTERIM = Interim(400, 2000, {"critic_loss": -1.234, "generator_loss": 0.5, "penalty": 3.0}, 812.4, 90.2)


def test_an_interim_comes_back_as_it_was(store):
    write_interim(store, "0003", INTERIM)
    assert interim_of(store, "0003") == INTERIM
    assert interim_of(store, "0004") is None


def test_a_damaged_interim_is_none(store):
    store.write_bytes("progress/0003.json", b"{")
    assert interim_of(store, "0003") is None
    store.write_bytes("progress/0003.json", b'{"iteration": 1}')
    assert interim_of(store, "0003") is None


def test_the_line_has_losses_pace_and_time_left():
    assert interim_text(INTERIM) == (
        "iteration 400 of 2000: critic_loss -1.23, generator_loss 0.5, 812 images/s, 1:30 left"
    )


def test_only_what_appears_meanwhile_is_logged(store, caplog, monkeypatch):
    monkeypatch.setattr(interims, "_POLL_SECONDS", 0.02)
    write_interim(store, "0001", INTERIM)
    log = logging.getLogger("gansweep.test")
    with caplog.at_level(logging.INFO), interims_logged(store, log):
        write_interim(store, "0002", replace(INTERIM, iteration=2000))  # its report is the next line
        write_interim(store, "0003", INTERIM)
        until = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < until:
            time.sleep(0.01)
    assert caplog.messages == [f"trial 0003 {interim_text(INTERIM)}"]
