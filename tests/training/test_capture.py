"""Captured steps: they end where eager ones end, and what a graph would get wrong is found before it is used."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.devices import set_number
from gansweep.errors import ConfigError
from gansweep.testing.gan_contract import assert_equal
from gansweep.testing.gpu_contract import check_on_gpu
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.training.build import build_gan
from gansweep.training.capture import why_eager
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import GANS, TRAINABLES
from trainables.gans.dcgan import Dcgan

DATA, SPEC = shapes(count=20, size=8)
CONFIG = TrialConfig(
    family="dcgan", architecture=dict(Dcgan.smallest), batch_size=4, n_critic=1, iterations=5, ema_half_life=0.01
)


class Step(Dcgan):
    """A number of the step in the loss."""

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return loss * (1.0 + step), scalars


class Later(Dcgan):
    """Another loss from some step on."""

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return (loss if step < 3 else -loss), scalars


class Counts(Dcgan):
    """A number that the host counts up."""

    calls = 0

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        self.calls += 1
        return loss * (1.0 + 0.1 * self.calls), scalars


class Looks(Dcgan):
    """The host looks at a loss."""

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return (loss if float(loss.detach()) < 1e9 else 2 * loss), scalars


class Own(Dcgan):
    """Random numbers of a generator that no graph knows."""

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        device = batch.images.device
        generator = torch.Generator(device).manual_seed(step)
        return loss * (1.0 + torch.rand((), generator=generator, device=device)), scalars


class Draws(Dcgan):
    """Other random numbers from some step on."""

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return loss * (1.0 + batch.draws.uniform(1 if step < 3 else 2).mean()), scalars


class OnHost(Dcgan):
    """Random numbers that the host draws."""

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return loss * (1.0 + float(torch.rand(()))), scalars


class Replaces(Dcgan):
    """A buffer in whose place there is a new tensor after each step."""

    def __init__(self, config, spec, trainables):
        super().__init__(config, spec, trainables)
        self.state.register_buffer("seen", torch.zeros(()))

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        self.state.seen = self.state.seen + 1
        return loss, scalars


class Passes(Dcgan):
    """A tensor goes from one phase to another, not through a buffer."""

    passed = None

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        if phase == "generator":
            self.passed = loss.detach()
            return loss, scalars
        return loss if self.passed is None else loss * (1.0 + self.passed.abs()), scalars


class Scheduled(Dcgan):
    """The number of the step as it should be."""

    def __init__(self, config, spec, trainables):
        super().__init__(config, spec, trainables)
        self.state.register_buffer("factor", torch.ones(()), persistent=False)

    def schedule(self, step):
        set_number(self.state.get_buffer("factor"), 1.0 + step)
        return super().schedule(step), step >= 3

    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        loss = loss * self.state.get_buffer("factor").clone()
        return (loss if step < 3 else -loss), scalars


def trained(family, config, device):
    reporter = MemoryReporter()
    trainables = replace(TRAINABLES, gans={**GANS, "dcgan": family})
    gan = build_gan(config, SPEC, trainables)
    train(config, gan, DATA, reporter, lambda _sampler, _iteration: {}, reports=1, device=device)
    return reporter


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (Step, "critic at iteration 0: the graph's loss for iteration 4 is off by 8.0e-01"),
        (Later, "critic at iteration 0: the graph's loss for iteration 4 is off by 2.0e+00"),
        (Counts, "critic at iteration 0: the graph's loss for iteration 0 is off by"),
        (Looks, "critic at iteration 0: test_capture.py:"),
        (Draws, "critic at iteration 0: iteration 4 draws other random numbers than iteration 0"),
        (OnHost, "critic at iteration 0: the graph's loss for iteration 4 is off by"),
        (Replaces, "critic at iteration 0: buffer seen is replaced by a new tensor, not filled"),
        (Own, "Attempt to increase offset for a CUDA generator not in capture mode"),
    ],
)
def test_what_a_graph_would_get_wrong_runs_eagerly_and_says_why(family, reason):
    eager = trained(family, CONFIG.derive({"execution": "eager"}), CPU)
    with PretendedGpu() as gpu:
        found = trained(family, CONFIG, GPU)
    progress = found.reports[-1]
    assert progress.execution == "eager"
    assert reason in progress.execution_reason
    assert "\n" not in progress.execution_reason
    assert gpu.kernels["graph launch"] <= 2
    if family is not Counts:  # whose number of calls is another one, by the trial runs
        assert_equal(eager.state | {"config": None}, found.state | {"config": None}, "the state at the end")


def test_the_number_of_a_step_in_a_buffer_is_captured():
    eager = trained(Scheduled, CONFIG, CPU)
    assert eager.reports[-1].execution_reason == "no CUDA device"
    with PretendedGpu() as gpu:
        found = trained(Scheduled, CONFIG.derive({"execution": "captured"}), GPU)
    assert found.reports[-1].execution == "captured"
    assert found.reports[-1].execution_reason == ""
    # Two phases with two graphs each; a graph of one step is replayed once to compare, others twice; five iterations.
    assert gpu.kernels["graph launch"] == 2 * 2 * 2 + 2 * 5
    assert_equal(eager.state | {"config": None}, found.state | {"config": None}, "the state at the end")


def test_the_contract_finds_what_passes_from_phase_to_phase():
    trainables = replace(TRAINABLES, gans={**GANS, "dcgan": Passes})
    with pytest.raises(AssertionError, match="state at the end of captured steps"):
        check_on_gpu(CONFIG, SPEC, DATA, trainables)


def test_the_contract_finds_a_number_that_is_baked_in():
    trainables = replace(TRAINABLES, gans={**GANS, "dcgan": Step})
    with pytest.raises(AssertionError, match="steps cannot be captured: critic at iteration 0: the graph's loss"):
        check_on_gpu(CONFIG, SPEC, DATA, trainables)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_captured_is_refused_where_it_cannot_be(device):
    config = CONFIG.derive({"execution": "captured"})
    with PretendedGpu(), pytest.raises(ConfigError) as error:
        trained(Step, config, device)
    assert "execution = 'captured'" in str(error.value)
    assert ("no CUDA device" if device == CPU else "the graph's loss for iteration 4 is off by") in str(error.value)
    assert "\n" not in str(error.value)


def test_several_workers_are_not_captured():
    class Two:
        size = 2

    with PretendedGpu():
        assert why_eager("auto", GPU, Two()) == "2 workers: collectives are not captured"
        with pytest.raises(ConfigError, match="2 workers"):
            why_eager("captured", GPU, Two())


def test_eager_is_eager():
    with PretendedGpu() as gpu:
        found = trained(Dcgan, CONFIG.derive({"execution": "eager"}), GPU)
    assert (found.reports[-1].execution, found.reports[-1].execution_reason) == ("eager", "execution = eager")
    assert not gpu.kernels["graph launch"]
