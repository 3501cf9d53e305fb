"""Sections on what a GPU computes: the gradients of every family, and captured against eager steps."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.gpu.bench import Bench, NotAvailableError, Row, one_line
from gansweep.contracts import Batch, ImageSet
from gansweep.devices import exact_float32
from gansweep.distributed import World
from gansweep.errors import GansweepError
from gansweep.testing.gpu_contract import on_gpu
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.random import SeededStepRandom
from trainables import GANS, TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec

__all__ = ["captured_against_eager", "gradients"]

CPU = torch.device("cpu")


def gradients(bench: Bench) -> Iterator[Row]:
    """Each family's gradients on the device against those on the CPU, from equal weights, images and noise.

    In float64, where rounding is far below any fault, and in float32. The figure is the largest difference, relative to
    the phase's largest gradient, over all phases.
    """
    for family in GANS:
        for dtype in (torch.float64, torch.float32):
            name = f"{family}, {str(dtype).removeprefix('torch.')}"
            if bench.late():
                yield Row(name, "not run", note="the section's time was up")
                continue
            try:
                data, spec, configs = _configs(bench, family)
                worst = max(_difference(config, spec, data, dtype, bench.device) for config in configs)
            except ModuleNotFoundError as missing:
                yield Row(name, "not run", note=f"the family needs {missing.name}")
            except Exception as error:
                # Whatever fails in one family, the others are worth having.
                yield Row(name, "failed", note=one_line(error))
            else:
                against = "the CPU" if bench.on_gpu else "the CPU itself"
                yield Row(name, worst, "relative", f"{len(configs)} configurations, against {against}")


def _configs(bench: Bench, family: str) -> tuple[ImageSet, ImageSpec, list[TrialConfig]]:
    """Images, their shape, and configurations in float32 that train on them."""
    data, spec = shapes(16, bench.sizes.family_pixels)
    spec = replace(spec, paired_channels=spec.channels)  # some families train on pairs alone
    configs = [one for one in on_gpu(family, spec, TRAINABLES) if one.precision == "float32"]
    return data, spec, configs[: bench.sizes.configurations]


def _difference(
    config: TrialConfig, spec: ImageSpec, data: ImageSet, dtype: torch.dtype, device: torch.device
) -> float:
    expected = _phase_gradients(config, spec, data, dtype, CPU)
    found = _phase_gradients(config, spec, data, dtype, device)
    worst = 0.0
    for phase, tensors in expected.items():
        largest = max(float(one.abs().max()) for one in tensors if one is not None)
        for one, other in zip(tensors, found[phase], strict=True):
            if (one is None) != (other is None):
                raise RuntimeError(f"phase {phase}: a gradient is there on one device only")
            if one is not None and other is not None:
                worst = max(worst, float((one - other).abs().max()) / largest)
    return worst


def _phase_gradients(
    config: TrialConfig, spec: ImageSpec, data: ImageSet, dtype: torch.dtype, device: torch.device
) -> dict[str, list[Tensor | None]]:
    """The gradients of every phase, on the CPU."""
    with _default(dtype):
        gan = build_gan(config, spec, TRAINABLES)
        data = _as(data, dtype).to(device)
        for module in (*gan.networks.values(), gan.state):
            module.to(device).train()
        found = {}
        for phase in gan.phases:
            for name, network in gan.networks.items():
                network.requires_grad_(name in phase.updates)
            parameters = [parameter for name in phase.updates for parameter in gan.networks[name].parameters()]
            # The numbers of the CPU on both devices.
            draws = _Moved(SeededStepRandom((config.seed, phase.name, 0, 0), config.batch_size, World(), CPU), device)
            rows = torch.arange(config.batch_size, device=device) % len(data)
            masks = None if data.masks is None else data.masks[rows]
            paired = None if data.paired is None else data.paired[rows]
            batch = Batch(data.images[rows], data.labels[rows], masks, draws, config.batch_size, paired)
            with exact_float32(device):
                loss, _ = gan.loss(phase.name, batch, 0)
                made = torch.autograd.grad(loss, parameters, allow_unused=True)
            found[phase.name] = [None if one is None else one.cpu() for one in made]
    return found


class _Moved:
    """A step's random numbers, drawn on the CPU and moved."""

    def __init__(self, draws: SeededStepRandom, device: torch.device) -> None:
        self._draws = draws
        self._device = device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return self._draws.normal(*shape).to(self._device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers."""
        return self._draws.uniform(*shape).to(self._device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform integers."""
        return self._draws.integers(high, *shape).to(self._device)


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Networks that are built inside the block have this type."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def _as(data: ImageSet, dtype: torch.dtype) -> ImageSet:
    masks = None if data.masks is None else data.masks.to(dtype)
    paired = None if data.paired is None else data.paired.to(dtype)
    return replace(data, images=data.images.to(dtype), masks=masks, paired=paired)


def captured_against_eager(bench: Bench) -> Iterator[Row]:
    """The same trainings, captured and eager: how far apart they end, and what a step takes."""
    if not bench.on_gpu:
        raise NotAvailableError("steps are captured on a GPU only")
    data, spec = shapes(bench.sizes.images, bench.sizes.pixels)
    for family in ("dcgan", "r3gan", "stylegan2", "cyclegan"):
        if bench.late():
            yield Row(family, "not run", note="the section's time was up")
            continue
        try:
            yield from _captured(bench, _small(bench, family, spec), data, spec)
        except (RuntimeError, GansweepError) as error:
            yield Row(family, "failed", note=one_line(error))


def _small(bench: Bench, family: str, spec: ImageSpec) -> TrialConfig:
    found = next(one for one in on_gpu(family, spec, TRAINABLES) if one.precision == "float32")
    return found.derive({"batch_size": bench.sizes.batch})


def _captured(bench: Bench, config: TrialConfig, data: ImageSet, spec: ImageSpec) -> Iterator[Row]:
    ends: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    for execution in ("eager", "captured"):
        changed = config.derive({"execution": execution})
        reporter = bench.trained(changed, spec, data, 2)
        assert reporter.state is not None
        ends[execution] = reporter.state["networks"]
        seconds[execution] = bench.step_seconds(lambda count, one=changed: bench.trained(one, spec, data, count))
    worst = max(
        float((tensor - ends["captured"][network][name]).abs().max())
        for network, tensors in ends["eager"].items()
        for name, tensor in tensors.items()
    )
    yield Row(f"{config.family}, weights after 2 iterations", worst, "largest difference")
    for execution, value in seconds.items():
        yield Row(f"{config.family}, {execution}", value * 1e3, "ms an iteration")
    yield Row(f"{config.family}, captured", seconds["eager"] / seconds["captured"], "times as fast as eager")
