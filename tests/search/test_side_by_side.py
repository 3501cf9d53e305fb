"""Trainings in threads, without Ray."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from gansweep.search import side_by_side
from gansweep.search.side_by_side import train_side_by_side


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_HEAD_START_S", 0.2)
    monkeypatch.setattr(side_by_side, "_POLL_S", 0.1)


class _Cluster:
    """Notes what is on it."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.closed = 0
        self.lock = threading.Lock()

    def start(self) -> Any:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        return SimpleNamespace(close=self.close)

    def close(self) -> None:
        with self.lock:
            self.now -= 1
            self.closed += 1


def _room(*groups: int) -> Any:
    """A cluster's room, each time that it is looked at; the last for ever."""
    left = list(groups)
    return SimpleNamespace(groups=lambda: left.pop(0) if len(left) > 1 else left[0])


def test_each_is_trained_once_on_no_more_groups_than_fit() -> None:
    cluster = _Cluster()
    begun: list[int] = []

    def train(_: Any, number: int) -> None:
        begun.append(number)
        time.sleep(0.1)

    train_side_by_side(range(9), _room(3), cluster.start, train)
    assert sorted(begun) == list(range(9))
    assert begun[:2] == [0, 1]
    assert (cluster.most, cluster.now, cluster.closed) == (3, 0, 3)


def test_more_groups_begin_as_the_cluster_grows() -> None:
    cluster = _Cluster()
    begun: list[int] = []

    def train(_: Any, number: int) -> None:
        begun.append(number)
        time.sleep(0.4)

    train_side_by_side(range(12), _room(1, 1, 4, 4), cluster.start, train)
    assert sorted(begun) == list(range(12))
    assert (cluster.most, cluster.now, cluster.closed) == (4, 0, 4)


def test_no_group_is_started_for_nothing() -> None:
    cluster = _Cluster()
    train_side_by_side([], _room(3), cluster.start, lambda *_: pytest.fail("nothing to train"))
    train_side_by_side([1], _room(3), cluster.start, lambda *_: None)
    assert (cluster.most, cluster.closed) == (1, 1)


@pytest.mark.parametrize("interrupted", [False, True])
def test_one_that_cannot_be_done_ends_the_others(interrupted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a training raises, or the main thread is interrupted, each group is told, ends, and is closed."""
    cluster = _Cluster()
    ended: list[int] = []

    def train(group: Any, number: int) -> None:
        if number == 1 and not interrupted:
            time.sleep(0.3)
            raise ValueError("one")
        assert group.stop.wait(20), "nobody told"
        ended.append(number)
        raise KeyboardInterrupt

    if interrupted:
        monkeypatch.setattr("gansweep.search.side_by_side._failed", _interrupt_after(3))
    with pytest.raises(KeyboardInterrupt if interrupted else ValueError):
        train_side_by_side([0, 1, 2, 3], _room(3), cluster.start, train)
    assert len(ended) == (3 if interrupted else 2)
    assert (cluster.now, cluster.closed) == (0, 3)


def _interrupt_after(calls: int) -> Any:
    left = [calls]

    def failed(_: Any) -> bool:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return False

    return failed
