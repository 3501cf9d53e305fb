from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private.ray_constants import DASHBOARD_ADDRESS, KV_NAMESPACE_DASHBOARD
from ray.experimental.internal_kv import _internal_kv_del
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.state.exception import RayStateApiException

from gansweep.search.cluster import ray_cluster
from gansweep.search.placement_groups import _lists_jobs, forgotten


class Controller:
    """Reserves as Ray Train's controller does."""

    def __init__(self) -> None:
        self._group = placement_group([{"CPU": 0.2}])

    def reserved(self) -> str:
        ray.get(self._group.ready())
        return str(self._group.id.hex())


def _states() -> dict[str, str]:
    return {name: group["state"] for name, group in placement_group_table().items()}


@pytest.mark.ray(shared=True)
def test_what_an_actor_reserved_ends_with_it() -> None:
    with ray_cluster():
        controllers: list[Any] = [ray.remote(num_cpus=0)(Controller).remote() for _ in range(2)]
        of_the_killed, of_the_living = [ray.get(controller.reserved.remote()) for controller in controllers]
        of_the_driver = placement_group([{"CPU": 0.2}])
        ray.get(of_the_driver.ready())
        ray.kill(controllers[0])
        deadline = time.monotonic() + 30
        while _states()[of_the_killed] != "REMOVED":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert _states()[of_the_living] == "CREATED"
        assert _states()[of_the_driver.id.hex()] == "CREATED"
        remove_placement_group(of_the_driver)


def test_reservations_of_ended_drivers_are_forgotten_ones(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ray leaves one if the actor that made it is killed in the same moment, which no test can bring about."""

    def group(name: str, job: str, *, state: str = "CREATED", detached: bool = False) -> SimpleNamespace:
        return SimpleNamespace(placement_group_id=name, creator_job_id=job, state=state, is_detached=detached)

    groups = [
        group("a", "01"),
        group("b", "01", state="REMOVED"),
        group("c", "01", detached=True),
        group("d", "02"),
        group("e", "01", state="PENDING"),
    ]
    jobs = [SimpleNamespace(job_id="01", end_time=5), SimpleNamespace(job_id="02", end_time=0)]
    jobs.append(SimpleNamespace(job_id=None, end_time=5))  # submitted, and its driver has not begun
    monkeypatch.setattr("gansweep.search.placement_groups._lists_jobs", lambda: True)
    monkeypatch.setattr("ray.util.state.list_placement_groups", lambda **_: groups)
    monkeypatch.setattr("ray.util.state.list_jobs", lambda **_: jobs)
    assert forgotten() == ["a", "e"]
    assert "2 reservations on the cluster are of drivers that have ended, and are removed" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        RayStateApiException("no dashboard"),
        ConnectionError("no API server"),
        RuntimeError("Ray Client is already connected"),
    ],
)
def test_a_cluster_without_a_list_of_reservations_is_used_as_it_is(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(**_: object) -> None:
        raise error

    monkeypatch.setattr("gansweep.search.placement_groups._lists_jobs", lambda: True)
    monkeypatch.setattr("ray.util.state.list_placement_groups", unavailable)
    assert forgotten() == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_without_a_dashboard_is_not_asked_for_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would wait for the dashboard for 40 s, twice. It has none if it was installed without its extra."""
    asked: list[object] = []
    monkeypatch.setattr("ray.util.state.list_placement_groups", lambda **words: asked.append(words))
    ray.init(num_cpus=1, include_dashboard=False)
    try:
        assert _lists_jobs(), "Ray lists them even if nobody is shown a dashboard"
        _internal_kv_del(DASHBOARD_ADDRESS, namespace=KV_NAMESPACE_DASHBOARD)
        assert not _lists_jobs()
        assert forgotten() == []
    finally:
        ray.shutdown()
    assert not asked
