"""CUDA graphs on the pretended GPU: what a capture bakes in stays baked in, and what CUDA refuses in one is refused."""

from __future__ import annotations

import pytest
import torch

from gansweep.testing.pretended_gpu.device import GPU, PretendedGpu


@pytest.fixture(autouse=True)
def gpu():
    with PretendedGpu() as device:
        yield device


def captured(code):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = code()
    return graph, result


def test_a_capture_computes_nothing_and_a_replay_reads_its_tensors():
    x = torch.ones(3, device="cuda")
    total = torch.zeros((), device="cuda")

    def double_and_add():
        twice = 2 * x
        total.add_(twice.sum())
        return twice

    graph, doubled = captured(double_and_add)
    assert total.tolist() == 0.0
    assert doubled.isnan().all()
    for value in (1.0, 5.0):
        x.fill_(value)
        graph.replay()
        assert doubled.tolist() == [2 * value] * 3
    assert total.tolist() == 3 * 2.0 + 3 * 10.0


def test_numbers_of_python_stay_those_of_the_capture():
    x = torch.ones((), device="cuda")
    factor = 3.0
    graph, product = captured(lambda: x * factor)
    factor = 7.0
    graph.replay()
    assert product.tolist() == 3.0


def test_so_do_numbers_on_the_cpu():
    x = torch.ones((), device="cuda")
    factor = torch.tensor(3.0)
    graph, product = captured(lambda: x * factor)
    factor.fill_(7.0)
    graph.replay()
    assert product.tolist() == 3.0


def test_a_tensor_that_is_given_other_memory_does_not_take_the_graph_along():
    x = torch.ones(2, device="cuda")
    graph, product = captured(lambda: 2 * x)
    x.data = torch.full((2,), 9.0, device="cuda")
    graph.replay()
    assert product.tolist() == [2.0, 2.0]


def test_gradients_and_adam_are_captured():
    weights = [torch.ones(3, device="cuda", requires_grad=True) for _ in range(2)]
    optimisers = [torch.optim.Adam([weight], lr=0.1, fused=True) for weight in weights]
    factor = torch.ones((), device="cuda")

    def step(turn):
        loss = (weights[turn].pow(3) * factor).sum()
        (weights[turn].grad,) = torch.autograd.grad(loss, [weights[turn]])
        optimisers[turn].step()

    for turn in (0, 1):
        step(turn)
    graph, _ = captured(lambda: step(1))
    for value in (2.0, -1.0):
        factor.fill_(value)
        step(0)
        graph.replay()
    assert torch.equal(*weights)
    assert weights[0].tolist() != [1.0] * 3


def test_a_replay_draws_new_numbers_from_a_registered_generator():
    generator = torch.Generator(GPU).manual_seed(3)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        drawn = torch.rand(4, generator=generator, device=GPU)
    found = []
    for _ in range(2):
        graph.replay()
        found += drawn.tolist()
    expected = torch.Generator(GPU).manual_seed(3)
    assert found == [number for _ in range(2) for number in torch.rand(4, generator=expected, device=GPU).tolist()]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (lambda x: x.sum().item(), "aten::_local_scalar_dense: CUDA error: operation not permitted"),
        (lambda x: x[x > 0], "operation not permitted when stream is capturing"),
        (lambda x: x.cpu(), "copy to cpu: CUDA error: operation not permitted"),
        (lambda x: x + torch.ones(3).to(x.device), "copy to cuda: CUDA error: operation not permitted"),
        (lambda x: torch.tensor([1.0], device=x.device), "copy to cuda: CUDA error: operation not permitted"),
        (lambda x: torch.rand(3, generator=torch.Generator(x.device), device=x.device), "not in capture mode"),
    ],
)
def test_what_cuda_refuses_in_a_capture_is_refused(code, told):
    x = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="failed due to a previous error during capture") as error:
        captured(lambda: code(x))
    assert told in str(error.value.__context__)
    assert x.tolist() == [1.0] * 3


def test_a_replay_is_one_launch(gpu):
    x = torch.ones(3, device="cuda")

    def double_and_sum():
        return (2 * x).sum()

    graph, _ = captured(double_and_sum)
    gpu.kernels.clear()
    graph.replay()
    assert gpu.kernels == {"graph launch": 1}
    assert gpu.replayed == {"aten::mul": 1, "aten::sum": 1}
