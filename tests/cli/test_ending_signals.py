"""A signal of a scheduler or a closing terminal ends a command as Ctrl-C does, from its first to its last moment."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import ray

from gansweep.cli.app import main
from gansweep.search import cluster
from gansweep.search.cluster import ray_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
GOES_ON = "the same command goes on from here"
COMMANDS = {
    "sweep": (
        ["sweep", "smoke", "--cohort=c", "--storage=s", "--name=s", "--trials=1"],
        "gansweep.search.sweep_file.sweep_request",
        "the same command with --resume goes on from here",
    ),
    "repeat": (["repeat", "s"], "gansweep.store.store.Store.open", "the same command trains what is missing"),
    "confirm": (["confirm", "s"], "gansweep.store.store.Store.open", GOES_ON),
    "ablate": (["ablate", "s"], "gansweep.store.store.Store.open", GOES_ON),
    "train": (["train", "c.yaml", "--cohort=c", "--out=o"], "gansweep.export.config_file.read_plan", GOES_ON),
    "answer": (["answer", "c", "--storage=s"], "gansweep.search.question.sweep_name", GOES_ON),
}


@pytest.fixture(autouse=True)
def unheard() -> Iterator[list[int]]:
    """Signals that reach the handlers of before. Without these, they would end the tests."""
    heard: list[int] = []
    before = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in ENDINGS}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


def _told_to_end(number: signal.Signals, *_: Any, **__: Any) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)
    pytest.fail("it went on")


@pytest.mark.parametrize("number", ENDINGS)
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_that_still_prepares(
    command: str,
    number: signal.Signals,
    unheard: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words, first, goes_on = COMMANDS[command]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(first, partial(_told_to_end, number))
    assert main(words) == 130
    assert capfd.readouterr().err.splitlines() == [f"stopped; {goes_on}", "interrupted"]
    assert not unheard
    os.kill(os.getpid(), number)
    assert unheard == [number], "afterwards, the handler of before is back"


@pytest.mark.parametrize("moment", ["connect", "forgotten", "shutdown", "afterwards"])
def test_before_and_after_a_cluster(moment: str, unheard: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray installs a handler of its own when it connects, which would end the process without a line."""

    def rays(*_: object) -> None:
        pytest.fail("Ray's handler heard it")

    def reached(name: str) -> None:
        if name == moment:
            _told_to_end(signal.SIGTERM)

    def connect() -> None:
        reached("connect")
        signal.signal(signal.SIGTERM, rays)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: reached("shutdown"))
    monkeypatch.setattr(cluster, "connect", connect)
    monkeypatch.setattr(cluster, "cluster_is_up", lambda: True)
    monkeypatch.setattr(cluster, "node_resources", list)
    monkeypatch.setattr(cluster.placement_groups, "forgotten", lambda: reached("forgotten"))
    monkeypatch.setattr(cluster.placement_groups, "of_this_job", set)
    monkeypatch.setattr(cluster.placement_groups, "remove", lambda _: None)
    if moment == "afterwards":
        with ray_cluster():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert unheard == [signal.SIGTERM]
        return
    with pytest.raises(KeyboardInterrupt), ray_cluster():
        pass
    assert not unheard
