"""Contract tests of GAN families on a GPU. They need no GPU, because they run on a pretended one.

The GPU tests of your own family can be as short as this:

    CONFIGS = on_gpu("mine", SPEC, TRAINABLES)

    @pytest.mark.parametrize("config", CONFIGS, ids=describe)
    def test_gpu(config): check_on_gpu(config, SPEC, DATA, TRAINABLES)

    def test_stored_images(): check_stored_images(CONFIGS[0], SPEC, DATA, TRAINABLES)

    @pytest.mark.parametrize("config", variations("mine", SPEC, TRAINABLES), ids=describe)
    def test_every_setting(config): check_updates_on_gpu(config, SPEC, DATA, TRAINABLES)

    def test_two_gpus(): check_on_two_gpus(CONFIGS, SPEC, DATA, TRAINABLES)
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

from gansweep.cohort.stored import HostImages
from gansweep.contracts import Condition
from gansweep.testing.gan_contract import admissible, all_trainings, assert_equal, assert_same_end, describe, variations
from gansweep.testing.images import as_stored
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.testing.workers import run_workers
from gansweep.training.build import build_gan
from gansweep.training.capture import Execution
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.restore import restore_gan
from gansweep.training.sampling import make_sampler

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from gansweep.config import TrialConfig
    from gansweep.contracts import Gan, ImageSet, ImageSpec, Sampler, Trainables

__all__ = ["check_on_gpu", "check_on_two_gpus", "check_stored_images", "check_updates_on_gpu", "on_gpu"]

_ITERATIONS = 6
_REPORTS = 2


def on_gpu(family: str, spec: ImageSpec, trainables: Trainables) -> list[TrialConfig]:
    """Returns small configurations of `family` that cover every kind of code path: objectives, adaptation, precision.

    They are fewer than `admissible` and `variations`, because each is trained four times. The family's name determines
    which losses and penalties are among them, so that several families together cover all.

    Raises:
        AssertionError: none of its losses and penalties can be trained on such images.
    """
    objectives = admissible(family, spec, trainables)
    assert objectives, f"{family}: no loss and penalty can be trained on {spec}"
    others = variations(family, spec, trainables)
    start = sum(family.encode())
    found = [objectives[(start + turn * len(objectives) // 2) % len(objectives)] for turn in range(2)]
    wanted: tuple[Callable[[TrialConfig], bool], ...] = (
        lambda config: config.penalty.kind == "lecam",
        lambda config: config.penalty.adaptive == "norm",
        lambda config: config.penalty.adaptive == "progress",
        lambda config: config.augmentation.kind == "ada",
        lambda config: config.precision == "bfloat16",
    )
    for fits in wanted:
        found += [config for config in (*others, *objectives) if fits(config)][-1:]
    return list({describe(config): config for config in found}.values())


def check_on_gpu(
    config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables, *, captured: bool = True
) -> None:
    """Checks that training on the pretended GPU equals training on the CPU, and that no iteration waits for the host.

    The training is stopped after its first report, resumed with new networks, and restored from its checkpoint. State
    and samples must be bit for bit equal to those of the CPU, because the pretended GPU computes on the CPU. Between
    two checks for divergence, an iteration must not copy between host and GPU, wait for the GPU, or use CPU tensors as
    numbers.

    Then it is trained with its steps captured, which must end in the same state.

    Args:
        config: what is trained.
        spec: shape of the images.
        data: the images.
        trainables: the registries in which the configuration's names are looked up.
        captured: False leaves out the captured steps, which take most of the time.

    Raises:
        AssertionError: what differs, what an iteration waits for, or why steps cannot be captured.
        DeviceMismatch, NoBackend: what CUDA or NCCL would refuse, and where.
    """
    config = config.derive({"iterations": _ITERATIONS, "execution": "eager"})
    expected, expected_samples = _stopped_and_resumed(config, spec, data, trainables, CPU, None)
    with PretendedGpu() as gpu:
        found, samples = _stopped_and_resumed(config, spec, data, trainables, GPU, gpu)
    assert_equal(expected, found, "state at the end on a GPU")
    for on_cpu, on_device in zip(expected_samples, samples, strict=True):
        assert torch.equal(on_cpu, on_device), "samples on a GPU differ from those on the CPU"
    if captured:
        other = _captured(config.derive({"execution": "auto"}), spec, data, trainables)
        assert_equal(expected | {"config": None}, other | {"config": None}, "state at the end of captured steps")


def check_updates_on_gpu(config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables) -> None:
    """Checks that two iterations and samples on the pretended GPU equal those on the CPU, bit for bit.

    This takes a fifth of the time of `check_on_gpu`, so it suits many configurations.

    Args:
        config: what is trained.
        spec: shape of the images.
        data: the images.
        trainables: the registries in which the configuration's names are looked up.

    Raises:
        AssertionError: what differs.
        DeviceMismatch: what CUDA would refuse, and where.
    """
    config = config.derive({"iterations": 2, "execution": "eager"})
    expected = _short(config, spec, data, trainables, CPU)
    with PretendedGpu():
        found = _short(config, spec, data, trainables, GPU)
    assert_equal(expected, found, "state and samples on a GPU")


def check_stored_images(config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables) -> None:
    """Checks that training from stored images, on the pretended GPU or on the host, equals training from floats.

    A cohort gives a GPU its images as they are stored, as `ResidentImages` or `HostImages`. A family can ask them for
    rows, and for nothing else.

    Args:
        config: what is trained.
        spec: shape of the images.
        data: the images. They are rounded to 16 bits first.
        trainables: the registries in which the configuration's names are looked up.

    Raises:
        AssertionError: what differs.
    """
    config = config.derive({"iterations": 2, "execution": "eager"})
    stored = as_stored(data)
    parts: dict[str, Any] = {name: part[:] for name, part in vars(stored).items() if isinstance(part, HostImages)}
    expected = _short(config, spec, replace(stored, **parts), trainables, CPU)
    for place in ("device", "host"):
        with PretendedGpu():
            found = _short(config.derive({"images_on": place}), spec, stored, trainables, GPU)
        assert_equal(expected | {"config": None}, found | {"config": None}, f"state at the end, images on the {place}")


def check_on_two_gpus(
    configs: Sequence[TrialConfig], spec: ImageSpec, data: ImageSet, trainables: Trainables, tolerance: float = 1e-5
) -> None:
    """Checks that two workers on pretended GPUs in an NCCL group end in the same state as one worker on the CPU.

    See `check_two_trainings` for the tolerance.
    """
    alone = all_trainings(configs, spec, data, trainables)
    for rank, together in enumerate(run_workers(trainings_on_gpu, configs, spec, data, trainables)):
        assert_same_end(configs, alone, together, f"worker {rank} of 2 on a GPU", tolerance)


def trainings_on_gpu(
    configs: Sequence[TrialConfig], spec: ImageSpec, data: ImageSet, trainables: Trainables
) -> list[dict[str, Tensor]]:
    """Runs `all_trainings` on a pretended GPU."""
    with PretendedGpu():
        return all_trainings(configs, spec, data, trainables, GPU)


def _stopped_and_resumed(
    config: TrialConfig,
    spec: ImageSpec,
    data: ImageSet,
    trainables: Trainables,
    device: torch.device,
    gpu: PretendedGpu | None,
) -> tuple[dict[str, Any], list[Tensor]]:
    """Returns the final state, and samples: at each report, and of the restored generator."""
    reporter = MemoryReporter(proceed=lambda progress: progress.index > 0)
    condition = Condition(torch.arange(5) % len(spec.classes))
    samples = []

    def score(sampler: Sampler, _iteration: int) -> dict[str, float]:
        samples.append(sampler(condition, 1))
        return {}

    for _ in range(_REPORTS):
        gan = build_gan(config, spec, trainables)
        with _Iterations(gpu) if gpu else nullcontext() as iterations:
            train(config, gan, data, reporter, score, reports=_REPORTS, device=device)
        _assert_on(device, gan)
        if iterations:
            iterations.assert_steady()
    assert reporter.state is not None
    restored = restore_gan(config, spec, trainables, reporter.state["ema"], reporter.state["gan_state"], device)
    samples.append(make_sampler(restored, None, data, device)(condition, 1))
    assert all(images.device.type == "cpu" for images in samples), "samples are not on the CPU"
    return reporter.state, samples


def _short(
    config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables, device: torch.device
) -> dict[str, Any]:
    """Returns the state and samples at the end of a training with one report."""
    reporter = MemoryReporter()
    gan = build_gan(config, spec, trainables)
    condition = Condition(torch.arange(5) % len(spec.classes))
    samples = []

    def score(sampler: Sampler, _iteration: int) -> dict[str, float]:
        samples.append(sampler(condition, 1))
        return {}

    train(config, gan, data, reporter, score, reports=1, device=device)
    assert reporter.state is not None
    return {**reporter.state, "samples": samples}


def _captured(config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables) -> dict[str, Any]:
    """The state at the end of a training with captured steps."""
    reporter = MemoryReporter()
    gan = build_gan(config, spec, trainables)
    with PretendedGpu() as gpu, _Iterations(gpu) as iterations:
        train(config, gan, data, reporter, lambda _sampler, _iteration: {}, reports=_REPORTS, device=GPU)
    ended = reporter.reports[-1]
    assert ended.execution == "captured", f"steps cannot be captured: {ended.execution_reason}"
    iterations.assert_steady()
    assert reporter.state is not None
    return reporter.state


class _Iterations:
    """Notes what has been counted when each iteration begins, inside its `with` block."""

    def __init__(self, gpu: PretendedGpu) -> None:
        self._gpu = gpu
        self._begun: dict[int, Counter[str]] = {}
        self._capturing: set[int] = set()
        self._patch = mock.patch.object(Execution, "run", self._noted(Execution.run))

    def __enter__(self) -> _Iterations:
        self._patch.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._patch.stop()

    def _noted(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def noted(execution: Execution, phase: Any, batch: Any, step: int) -> Any:
            # The first batch of the iteration has been drawn already; the last one has that of the next.
            if step not in self._begun:
                self._begun[step] = self._gpu.round_trips()
            graphs = execution.graphs
            done = run(execution, phase, batch, step)
            if execution.graphs > graphs:
                self._capturing.add(step)
            return done

        return noted

    def assert_steady(self) -> None:
        """Asserts that iterations have no round trip, except the first, those that capture, and those with a report."""
        first, *steps, last = sorted(self._begun)
        assert last - first == len(steps) + 1, "an iteration has no phase"
        for step, following in zip(steps, [*steps[1:], last], strict=True):
            if step in self._capturing or (step + 1) % (_ITERATIONS // _REPORTS) == 0:
                continue
            found = self._begun[following] - self._begun[step]
            assert not found, f"iteration {step} waits for the host: {dict(found)}"


def _assert_on(device: torch.device, gan: Gan) -> None:
    for name, module in (*gan.networks.items(), ("state", gan.state)):
        for tensor in (*module.parameters(), *module.buffers()):
            assert tensor.device.type == device.type, f"a tensor of {name} is on {tensor.device}"
