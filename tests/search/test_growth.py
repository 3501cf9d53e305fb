"""A cluster that grows under a sweep."""

import logging
from typing import Any

import pytest
from ray.tune.search import Searcher

from gansweep.errors import ClusterError
from gansweep.search import room as module
from gansweep.search.cluster import Footprint, ray_cluster
from gansweep.search.growth import GrowingLimiter
from gansweep.search.room import Demand, Room, room_for


class _Endless(Searcher):  # type: ignore[misc]
    def suggest(self, trial_id: str) -> dict[str, str]:
        return {"trial": trial_id}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...


class _Asked:
    def __init__(self) -> None:
        self.groups: list[int] = []

    def want(self, groups: int) -> None:
        self.groups.append(groups)

    def withdraw(self) -> None:
        self.want(0)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """What the cluster has, looked at each time."""
    there = [{"CPU": 2.0}]
    monkeypatch.setattr(module, "node_resources", lambda: there)
    monkeypatch.setattr(module, "_LOOK_S", -1.0)
    return there


@pytest.fixture
def asked(nodes: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> _Asked:
    """What `room_for` asks for on a cluster that has grown already."""
    asked = _Asked()
    monkeypatch.setattr(module, "Demand", lambda _: asked)
    monkeypatch.setattr(module, "grown", lambda *_: nodes)
    return asked


def _begun(limiter: GrowingLimiter, names: str) -> str:
    return "".join(name for name in names if limiter.suggest(name) is not None)


def test_more_trials_begin_as_nodes_join(nodes: list[dict[str, float]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gansweep")
    limiter = GrowingLimiter(_Endless(), Room(Footprint(2), 1))
    assert _begun(limiter, "abcd") == "a"
    nodes.append({"CPU": 4.0})
    assert _begun(limiter, "bcde") == "bc"
    assert caplog.messages == ["the cluster has grown: 3 trials at a time"]
    nodes.clear()  # the others wait for room, and by that ask for it
    limiter.on_trial_complete("a")
    assert _begun(limiter, "fg") == "f"


def test_no_more_than_was_asked_for(nodes: list[dict[str, float]]) -> None:
    asked = _Asked()
    limiter = GrowingLimiter(_Endless(), Room(Footprint(1), 2, 3, asked))  # type: ignore[arg-type]
    assert _begun(limiter, "abcd") == "ab"
    nodes.append({"CPU": 8.0})
    assert _begun(limiter, "cdef") == "c"
    assert set(asked.groups[:4]) == {1}
    assert asked.groups[-1] == 0


def test_room_is_asked_for_what_does_not_fit_yet(nodes: list[dict[str, float]], asked: _Asked) -> None:
    with room_for(3, Footprint(2), wait_s=60.0) as room:
        assert room.groups() == 1
        assert asked.groups == [2]
        nodes.append({"CPU": 8.0})
        assert room.groups() == 3, "no more than there are trainings"
        assert asked.groups == [2, 0]
    with room_for(9, Footprint(2), wait_s=0.0) as room:
        assert room.groups() == 5
    assert asked.groups == [2, 0, 0], "nothing is asked for where nothing is waited for"


def test_room_that_is_asked_for_is_given_back_after_an_error(asked: _Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "node_resources", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), room_for(3, Footprint(2), wait_s=60.0) as room:
        room.groups()
    assert asked.groups == [0]
    with pytest.raises(ClusterError, match="a trial needs 9 workers"), room_for(3, Footprint(9), wait_s=60.0):
        pytest.fail("it does not fit")


@pytest.mark.ray(shared=True)
def test_what_waits_for_room_tells_the_autoscaler_and_is_withdrawn() -> None:
    from ray.util import placement_group_table

    def waiting() -> list[dict[str, Any]]:
        rows = placement_group_table().values()
        return [row for row in rows if row["state"] == "PENDING" and {"CPU": 500.0} in row["bundles"].values()]

    with ray_cluster():
        demand = Demand(Footprint(2, 500.0))
        demand.want(2)
        assert len(waiting()) == 2
        assert [list(row["bundles"].values()) for row in waiting()] == [[{"CPU": 500.0}] * 2] * 2
        demand.want(1)
        assert len(waiting()) == 1
        demand.withdraw()
        assert not waiting()
        # Room that there is must not be kept from trials.
        small = Demand(Footprint(1, 1.0))
        small.want(1)
        small._waiting[0].wait(30)
        small.want(0)
        assert not [row for row in placement_group_table().values() if row["state"] == "CREATED"]
