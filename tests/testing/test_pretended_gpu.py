"""The pretended GPU: it refuses what CUDA and NCCL refuse, counts what costs time, and computes what the CPU does."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from gansweep.distributed import World, gathered, mean_over_workers
from gansweep.testing.pretended_gpu.device import CPU, GPU, DeviceMismatch, NoBackend, PretendedGpu
from gansweep.training.divergence import DivergenceMonitor


@pytest.fixture(autouse=True)
def gpu(request):
    """Not where a test has its own."""
    if "group" in request.fixturenames:
        yield None
        return
    with PretendedGpu() as device:
        yield device


@pytest.fixture
def group():
    """A process group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_tensors_stay_where_they_were_made():
    made = torch.ones(2, 3, device="cuda")
    results = [made, made.sum(), made[:1], made.T, torch.zeros_like(made), made.new_zeros(4), made.cpu().to(GPU)]
    results += [torch.tensor([1.0], device="cuda:0"), made.double(), nn.Linear(3, 1).to(GPU)(made), made > 0]
    assert all(tensor.device == GPU and tensor.is_cuda for tensor in results)
    assert [tensor.device for tensor in (made.cpu(), torch.ones(1), made.to("cpu"))] == [CPU] * 3
    assert made.get_device() == 0
    assert torch.randperm(5, generator=torch.Generator(GPU).manual_seed(0), device=GPU).device == GPU


def test_gradients_are_on_the_gpu():
    x = torch.ones(3, device="cuda", requires_grad=True)
    unused = torch.ones(3, device="cuda", requires_grad=True)
    loss = (x.square() + torch.stack([unused.detach()])[0]).sum()
    (gradient,) = torch.autograd.grad(loss, [x], create_graph=True)
    assert gradient.device == GPU
    assert gradient.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "refused",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.cat([x, torch.ones(3)]),
        lambda x: torch.stack([x.sum(), torch.zeros(())]),
        lambda x: torch.where(torch.ones(3) > 0, x, x),
        nn.Linear(3, 1),
        lambda x: torch.rand(3, generator=torch.Generator(), device=x.device),
        lambda x: torch.rand(3, generator=torch.Generator(x.device)),
        lambda x: torch.ones(3)[x.long()],
    ],
)
def test_operands_on_two_devices_are_refused(refused):
    with pytest.raises(DeviceMismatch, match=r"^test_pretended_gpu\.py:\d+: aten::\w+: Expected a"):
        refused(torch.ones(3, device="cuda"))


def test_numpy_of_a_tensor_on_the_gpu_is_refused():
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        torch.ones(3, device="cuda").numpy()
    assert torch.ones(3, device="cuda").cpu().numpy().tolist() == [1.0, 1.0, 1.0]


def test_kernels_are_counted_and_views_are_not(gpu):
    x = torch.ones(4, device="cuda")
    gpu.kernels.clear()
    (x.view(2, 2).T * 2.0).sum()
    torch.ones(4) * 2.0
    assert gpu.kernels == {"aten::mul": 1, "aten::sum": 1}


@pytest.mark.parametrize(
    ("code", "copies", "waits", "strays"),
    [
        (lambda x: x.sum().item(), 0, 1, 0),
        (lambda x: float(x.sum()), 0, 1, 0),
        (lambda x: x.tolist(), 1, 1, 0),
        (lambda x: x.cpu(), 1, 1, 0),
        (lambda x: torch.zeros(3).copy_(x), 1, 1, 0),
        (lambda x: x[x > 0], 0, 1, 0),
        (lambda x: x.nonzero(), 0, 1, 0),
        (lambda x: torch.equal(x, x), 0, 1, 0),
        (lambda x: x[torch.tensor([0, 1])], 1, 1, 0),
        (lambda x: torch.ones(3).to(x.device), 1, 0, 0),
        (lambda x: torch.tensor([1.0, 2.0], device=x.device), 1, 0, 0),
        (lambda x: x.new_tensor([1.0]), 1, 0, 0),
        (lambda x: x + torch.tensor(1.0), 0, 0, 1),
        (lambda x: x * 2.0 + x.mean(), 0, 0, 0),
        (lambda x: x.fill_(2.0), 0, 0, 0),
        (lambda x: torch.where(x > 0, x, 0.0).clamp(0, 1), 0, 0, 0),
        (lambda x: x.__setitem__(1, 3.0), 0, 0, 0),
        (lambda x: functional.one_hot(x.long(), 2), 0, 0, 0),
        (lambda x: functional.one_hot(x.long()), 0, 1, 0),
    ],
)
def test_round_trips_are_counted(gpu, code, copies, waits, strays):
    x = torch.ones(3, device="cuda")
    code(x)
    assert (gpu.copies.total(), gpu.waits.total(), gpu.strays.total()) == (copies, waits, strays)
    assert all("test_pretended_gpu.py:" in place for place in gpu.round_trips())


@pytest.mark.usefixtures("group")
def test_nccl_refuses_tensors_on_the_cpu_and_with_gaps():
    with PretendedGpu() as gpu:
        dist.all_reduce(torch.ones(2, device="cuda"))
        with pytest.raises(
            NoBackend, match=r"all_reduce of a tensor \(2,\): No backend type associated with device type cpu"
        ):
            dist.all_reduce(torch.ones(2))
        with pytest.raises(NoBackend, match="Tensors must be contiguous"):
            dist.broadcast(torch.ones(4, 4, device="cuda")[:, 0], src=0)
        assert gpu.collectives == {"all_reduce": 1}
    with PretendedGpu("cpu:gloo,cuda:nccl"):
        dist.all_reduce(torch.ones(2))


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("collective", "arguments"),
    [
        ("all_gather", lambda x: ([x.clone()], x)),
        ("all_gather_into_tensor", lambda x: (x.clone(), x)),
        ("all_reduce", lambda x: (x,)),
        ("all_to_all", lambda x: ([x.clone()], [x])),
        ("all_to_all_single", lambda x: (x.clone(), x)),
        ("broadcast", lambda x: (x, 0)),
        ("gather", lambda x: (x, [x.clone()])),
        ("irecv", lambda x: (x, 0)),
        ("isend", lambda x: (x, 0)),
        ("recv", lambda x: (x, 0)),
        ("reduce", lambda x: (x, 0)),
        ("reduce_scatter", lambda x: (x.clone(), [x])),
        ("reduce_scatter_tensor", lambda x: (x.clone(), x)),
        ("scatter", lambda x: (x, [x.clone()])),
        ("send", lambda x: (x, 0)),
    ],
)
def test_every_collective_of_torch_is_refused_on_the_cpu(collective, arguments, monkeypatch):
    # A worker cannot send to itself, and gloo has not all of them.
    monkeypatch.setattr(dist, collective, lambda *_: None)
    with PretendedGpu() as gpu:
        with pytest.raises(NoBackend, match=f"{collective} of a tensor .* device type cpu"):
            getattr(dist, collective)(*arguments(torch.ones(2)))
        getattr(dist, collective)(*arguments(torch.ones(2, device="cuda")))
        assert gpu.collectives == {collective: 1}


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(("backend", "device"), [("nccl", GPU), ("cpu:gloo,cuda:nccl", CPU)])
def test_every_collective_of_a_world_takes_tensors_from_both_devices(backend, device):
    with PretendedGpu(backend) as gpu:
        world = World.current(GPU)
        assert world.device == device
        world = World(0, 2, world.device)  # with one worker there is nothing to communicate
        for place in (CPU, GPU):
            found = [
                world.sum(torch.ones(2, device=place)),
                2 * world.mean(torch.ones(2, device=place)),
                world.assembled([(0, torch.ones(2, device=place))], torch.zeros(2, device=place)),
            ]
            world.broadcast_tensors(found)
            assert [(tensor.device, tensor.tolist()) for tensor in found] == [(place, [1.0, 1.0])] * 3
        assert world.broadcast({"a": 1}) == {"a": 1}
        assert gpu.collectives["all_reduce"] == 6


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("collective", [mean_over_workers, gathered])
def test_what_a_loss_communicates_must_be_on_the_gpu(collective, monkeypatch):
    monkeypatch.setattr(dist, "get_world_size", lambda *_: 2)
    with PretendedGpu(), pytest.raises(NoBackend):
        collective(torch.ones(2))


def test_a_phase_without_gradients_is_judged_as_on_the_cpu():
    class Dead:
        networks = {"critic": nn.Linear(2, 1).to(GPU), "without_weights": nn.Identity()}  # noqa: RUF012

    monitor = DivergenceMonitor(World())
    for gradients in ([None, None], [torch.zeros(2, device="cuda"), None]):
        monitor.add("critic", torch.zeros((), device="cuda"), {})
        monitor.add_gradients("critic", gradients)
        monitor.check(Dead, 100)
    assert monitor.state()["silent_since"] == {"critic": 100}
    assert monitor.means() == {"critic_loss": 0.0}
