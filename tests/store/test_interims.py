"""Where the running trials of a store are between two reports."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, replace

import pytest

from gansweep.progress import Interim
from gansweep.store import interims
from gansweep.store.interims import interim_of, interim_text, interims_logged, write_interim

INTERIM = Interim(400, 2000, {"critic_loss": -1.234, "generator_loss": 0.5, "penalty": 3.0}, 812.4, 90.2)


def test_an_interim_comes_back_as_it_was(store):
    write_interim(store, "0003", INTERIM)
    assert interim_of(store, "0003") == INTERIM
    assert interim_of(store, "0004") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"iteration": 1}',
        *(
            json.dumps(asdict(INTERIM) | changed).encode()
            for changed in (
                {"losses": None},
                {"losses": {"critic_loss": "x"}},
                {"iteration": None},
                {"seconds_left": math.inf},
            )
        ),
    ],
    ids=lambda content: content[:60],
)
def test_a_damaged_interim_is_none(store, content):
    store.write_bytes("progress/0003.json", content)
    assert interim_of(store, "0003") is None


def test_losses_of_a_training_that_diverged_are_shown(store):
    write_interim(store, "0003", replace(INTERIM, losses={"critic_loss": math.nan}))
    assert "critic_loss nan, 812 images/s" in interim_text(interim_of(store, "0003"))


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
