import time

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from gansweep.errors import ClusterError
from gansweep.search.cluster import (
    Footprint,
    check_capacity,
    groups_that_fit,
    grown,
    memory_beside_workers,
    ray_cluster,
    torch_trainer,
)


def test_counts_what_is_scarcest() -> None:
    node = [{"CPU": 32.0, "GPU": 4.0}]
    assert groups_that_fit(Footprint(2, 1, 0), node) == 16
    assert groups_that_fit(Footprint(2, 1, 1), node) == 2
    assert groups_that_fit(Footprint(1, 1, 0.5), node) == 8
    assert groups_that_fit(Footprint(1, 8, 0.5), node) == 4
    assert groups_that_fit(Footprint(1, 0.1), node) == 320


def test_a_worker_lies_on_one_node_and_on_one_gpu() -> None:
    assert groups_that_fit(Footprint(1, 1, 0.6), [{"CPU": 32.0, "GPU": 2.0}]) == 2
    assert groups_that_fit(Footprint(3, 2.0), [{"CPU": 3.0}, {"CPU": 3.0}]) == 0
    assert groups_that_fit(Footprint(3, 1.0), [{"CPU": 3.0}, {"CPU": 4.0}, {"memory": 1.0}]) == 2
    assert groups_that_fit(Footprint(1, 1, 2), [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 1.0}]) == 1
    assert groups_that_fit(Footprint(1, 1, 1), [{"CPU": 64.0}, {"CPU": 1.0, "GPU": 8.0}]) == 1
    with pytest.raises(ClusterError, match="has 6 CPUs and 0 GPUs on 2 nodes"):
        check_capacity(Footprint(3, 2.0), [{"CPU": 3.0}, {"CPU": 3.0}])


def test_uses_the_whole_cluster_unless_told_otherwise() -> None:
    assert check_capacity(Footprint(2), [{"CPU": 9.0}]) == 4
    assert check_capacity(Footprint(2), [{"CPU": 9.0}], concurrent=3) == 3


def test_a_group_reserves_what_it_needs_beside_its_workers_or_all_that_the_largest_node_has() -> None:
    gib = 2**30
    head = {"CPU": 0.0, "memory": 10.5 * gib}
    assert memory_beside_workers([head, {"CPU": 8.0, "memory": 300.0 * gib}]) == gib
    assert int(head["memory"]) // memory_beside_workers([head]) == 10  # of 1.0 GB each, on a head of 16 GB
    assert memory_beside_workers([{"CPU": 2.0, "memory": 0.25 * gib}, {"CPU": 2.0, "memory": 0.75 * gib}]) == 0.75 * gib
    assert memory_beside_workers([{"CPU": 2.0}]) == gib


def test_too_large_a_trial_is_refused_with_what_there_is() -> None:
    with pytest.raises(ClusterError, match=r"4 workers x .* the cluster has 2 CPUs and 0 GPUs"):
        check_capacity(Footprint(4), [{"CPU": 2.0}])
    with pytest.raises(ClusterError, match="0 GPUs"):
        check_capacity(Footprint(1, 1, 1), [{"CPU": 64.0}])


def test_too_many_at_once_are_refused_with_what_fits() -> None:
    with pytest.raises(ClusterError, match="--concurrent 2 fits"):
        check_capacity(Footprint(2), [{"CPU": 4.0}], concurrent=3)


@pytest.mark.parametrize("gpus", [0.5, 0.99])
def test_workers_of_a_trial_do_not_share_a_gpu(gpus: float) -> None:
    with pytest.raises(ClusterError, match=rf"^2 workers with {gpus:g} GPUs each: .*; give each a whole one .*$"):
        Footprint(2, 1, gpus)
    assert Footprint(1, 1, gpus).gpus == gpus


def test_more_than_one_gpu_are_whole_ones() -> None:
    with pytest.raises(ClusterError, match=r"^1\.5 GPUs per worker: .*; --gpus-per-worker 1 or 2$"):
        Footprint(1, 1, 1.5)


@pytest.mark.parametrize(("gpus", "backend"), [(0.0, "gloo"), (0.25, "cpu:gloo,cuda:nccl"), (1, "cpu:gloo,cuda:nccl")])
def test_the_process_group_takes_tensors_on_the_cpu_and_workers_stand_together(gpus: float, backend: str) -> None:
    footprint = Footprint(1 if 0 < gpus < 1 else 2, 1, gpus)
    trainer = torch_trainer(lambda _: None, {}, footprint, name="x", storage="/tmp/x", max_failures=0)
    assert trainer.backend_config.backend == backend
    assert trainer.scaling_config.placement_strategy == "PACK"
    assert trainer.scaling_config.use_gpu == (gpus > 0)


def test_only_nodes_with_the_accelerator_count() -> None:
    nodes = [
        {"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0},
        {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0},
    ]
    assert check_capacity(Footprint(1, 1, 1), nodes) == 6
    assert check_capacity(Footprint(1, 1, 1, accelerator="H100"), nodes) == 2
    with pytest.raises(
        ClusterError, match=r"^no node has accelerator T4, the cluster has A100, H100; --accelerator A100"
    ):
        check_capacity(Footprint(1, 1, 1, accelerator="T4"), nodes)
    with pytest.raises(
        ClusterError, match=r"^no node has accelerator T4, the cluster has none; leave --accelerator out"
    ):
        check_capacity(Footprint(1, 1, 1, accelerator="T4"), [{"CPU": 2.0}])


def test_placement_reaches_the_workers() -> None:
    footprint = Footprint(2, 1, 1, "spread", "H100")
    trainer = torch_trainer(lambda _: None, {}, footprint, name="x", storage="/tmp/x", max_failures=0)
    assert trainer.scaling_config.placement_strategy == "SPREAD"
    asked = trainer.scaling_config._resources_per_worker_not_none
    assert asked == {"CPU": 1, "GPU": 1, "accelerator_type:H100": 0.001} == footprint.bundle


@pytest.mark.ray(shared=True)
def test_waiting_for_nodes_that_never_come_is_bounded() -> None:
    with ray_cluster() as nodes:
        started = time.monotonic()
        assert grown(Footprint(workers=1000), 1, wait_s=1.0) == nodes
        assert 1.0 <= time.monotonic() - started < 20.0


@pytest.mark.parametrize("ends", ["in time", "in the end", "by Ctrl-C"])
def test_what_was_asked_of_the_autoscaler_is_withdrawn(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda *, bundles: asked.append(bundles))

    def nodes() -> list[dict[str, float]]:
        if ends == "by Ctrl-C":
            raise KeyboardInterrupt
        return [{"CPU": 2.0 if ends == "in time" else 1.0}]

    monkeypatch.setattr("gansweep.search.cluster.node_resources", nodes)
    if ends == "by Ctrl-C":
        with pytest.raises(KeyboardInterrupt):
            grown(Footprint(2), 2, wait_s=0.3)
    else:
        started = time.monotonic()
        assert grown(Footprint(2), 2, wait_s=0.3) == nodes()
        waited = time.monotonic() - started >= 0.3
        assert waited == (ends == "in the end"), "one trial is enough to begin"
    assert asked == [[{"CPU": 1.0}] * 4, []]


@pytest.mark.ray(shared=True)
def test_what_a_block_reserved_is_returned_and_nothing_else() -> None:
    with ray_cluster():
        of_another = placement_group([{"CPU": 0.5}])
        with ray_cluster():
            left_behind = placement_group([{"CPU": 0.5}])
            ray.get([of_another.ready(), left_behind.ready()])
        states = {name: group["state"] for name, group in placement_group_table().items()}
        assert states[left_behind.id.hex()] == "REMOVED"
        assert states[of_another.id.hex()] == "CREATED"
        remove_placement_group(of_another)
