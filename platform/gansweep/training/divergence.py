"""Running sums of the phases' logs, checks that stop a diverged trial, and signals of one that begins to fail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.contracts import Condition, Gan, ImageSet, Role, Sampler, Scalars
from gansweep.errors import Diverged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.distributed import World

__all__ = ["CHECK_EVERY", "DivergenceMonitor", "check_samples", "spread_of_classes"]

CHECK_EVERY = 100
"""Number of iterations between two checks. Each waits for the device; nothing else in an iteration does."""
DEAD_AFTER = 200
"""Number of iterations without a gradient at any check after which a phase counts as dead."""
DEAD_SPREAD = 1e-6
"""Relative spread of the critic's scores below which float32 cannot distinguish them."""
COLLAPSED_STD = 1e-3
"""Standard deviation between samples of a class, for images in [-1, 1], below which they count as the same image."""
_NO_GRADIENT = 1e-30  # stands for a norm of 0 in ratios, which must be finite


class DivergenceMonitor:
    """Running means of losses and scalars since the last report, with checks for divergence.

    Every check first averages over all workers, so that all make the same decision.

    Args:
        world: the trial's workers.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, Tensor] = {}  # since the last check; stay on the device
        self._counts: dict[str, int] = {}
        self._totals: dict[str, list[float]] = {}  # since the last report: sum and count
        self._dead_since: dict[str, int] = {}  # phase -> iteration of the first check without a gradient
        self._norms: dict[str, list[Tensor]] = {}  # norms of each update's gradients; an empty list if there were none
        self._gradients: dict[str, list[float]] = {}  # norms since the last report: sum and count
        self._first_gradients: dict[str, float] = {}  # mean norms until the phase's first report

    def add(self, phase: str, loss: Tensor, scalars: Scalars) -> None:
        """Adds the loss and the scalars of one update, without waiting for the device."""
        sums = []
        added = []
        for name, tensor in {f"{phase}_loss": loss, **scalars}.items():
            value = tensor.detach().double()
            if name in self._sums:
                sums.append(self._sums[name])
                added.append(value)
            else:
                # A copy, because a captured update overwrites its results.
                self._sums[name] = value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1
        if sums:
            torch._foreach_add_(sums, added)  # one kernel for all

    def add_gradients(self, phase: str, gradients: Sequence[Tensor | None]) -> None:
        """Adds the gradients of one update. Call it in iterations that end with a check."""
        norms = self._norms.setdefault(phase, [])
        present = [gradient for gradient in gradients if gradient is not None]
        if present:
            norms.append(_total_norm(present))

    def check(self, gan: Gan, iteration: int) -> None:
        """Reads the sums since the last check.

        Args:
            gan: the GAN whose weights are also checked.
            iteration: number of completed generator iterations.

        Raises:
            Diverged: a loss, gradient or weight is not finite, the critic gives every image the same score, or a phase
                has had no gradient for `DEAD_AFTER` iterations.
        """
        values = self._read(gan)
        self._check_finite(values, iteration)
        for name, count in self._counts.items():
            total = self._totals.setdefault(name, [0.0, 0.0])
            total[0] += values[f"sum {name}"]
            total[1] += count
        spread = values.get("sum critic_spread", math.inf) / self._counts.get("critic_spread", 1)
        if spread < DEAD_SPREAD:
            raise Diverged(
                f"dead critic at iteration {iteration}: it gives every image the same score (spread {spread:.1e})"
            )
        self._check_dead_phases(values, iteration)
        for phase in self._norms:
            total = self._gradients.setdefault(phase, [0.0, 0])
            total[0] += values.get(f"gradient {phase}", 0.0)
            total[1] += 1
        self._sums = {}
        self._counts = {}
        self._norms = {}

    def means(self) -> dict[str, float]:
        """Returns the means since the last report. Call `check` first."""
        return {name: total / count for name, (total, count) in self._totals.items()}

    def means_so_far(self) -> dict[str, float]:
        """Returns the means since the last report; what came after the last check is that of this worker alone.

        Waits for the device, but not for other workers.
        """
        means = self.means()
        for name, value in self._sums.items():
            total, count = self._totals.get(name, (0.0, 0))
            means[name] = (total + float(value)) / (count + self._counts[name])
        return means

    def signals(self, roles: Mapping[str, Role]) -> dict[str, float]:
        """Returns `imbalance` and `gradient_drift` since the first report; see `gansweep.progress.SIGNALS`.

        Args:
            roles: the phases' roles.
        """
        now: dict[Role, float] = {}
        first: dict[Role, float] = {}
        factors = []
        for phase, norm in self._mean_gradients().items():
            before = self._first_gradients.get(phase, norm)
            if before > 0.0:
                norm = max(norm, _NO_GRADIENT)
                factors.append(_factor(norm, before))
                now[roles[phase]] = now.get(roles[phase], 0.0) + norm
                first[roles[phase]] = first.get(roles[phase], 0.0) + before
        found = {"gradient_drift": max(factors)} if factors else {}
        if "critic" in now and "generator" in now:
            found["imbalance"] = _factor(now["critic"] / now["generator"], first["critic"] / first["generator"])
        return found

    def is_finite(self, gan: Gan) -> bool:
        """Returns whether weights and this worker's sums since the last check are finite. Waits for the device."""
        return bool(_flat(self._numbers(gan)).isfinite().all())

    def reported(self) -> None:
        """Starts new means after a report."""
        # A phase that starts later has its first gradient later.
        present = {phase: norm for phase, norm in self._mean_gradients().items() if norm > 0.0}
        self._first_gradients = present | self._first_gradients
        self._totals = {}
        self._gradients = {}

    def state(self) -> dict[str, Any]:
        """Returns the state for a checkpoint. Sums since the last check are those of this worker alone."""
        return {
            "totals": self._totals,
            "sums": self._sums,
            "counts": self._counts,
            "silent_since": self._dead_since,
            "gradients": self._gradients,
            "first_gradients": self._first_gradients,
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restores a state from `state()`.

        Args:
            state: the state, with tensors on any device.
            device: device of the training.
        """
        self._totals = {name: list(total) for name, total in state["totals"].items()}
        # Earlier versions kept states only at checks, without these.
        self._sums = {name: value.to(device, copy=True) for name, value in state.get("sums", {}).items()}
        self._counts = dict(state.get("counts", {}))
        self._dead_since = dict(state["silent_since"])
        self._gradients = {name: list(total) for name, total in state.get("gradients", {}).items()}
        self._first_gradients = dict(state.get("first_gradients", {}))

    def _mean_gradients(self) -> dict[str, float]:
        return {phase: total / count for phase, (total, count) in self._gradients.items()}

    def _numbers(self, gan: Gan) -> dict[str, Tensor]:
        """Returns all numbers by name, on the device."""
        numbers = {f"sum {name}": value for name, value in self._sums.items()}
        for phase, norms in self._norms.items():
            if norms:
                numbers[f"gradient {phase}"] = torch.stack(norms).sum()
        for name, network in gan.networks.items():
            parameters = list(network.parameters())
            if parameters:
                numbers[f"weights {name}"] = _total_norm(parameters)
        return numbers

    def _read(self, gan: Gan) -> dict[str, float]:
        """Returns all numbers by name, averaged over workers and copied from the device in one transfer."""
        numbers = self._numbers(gan)
        return dict(zip(numbers, self._world.mean(_flat(numbers)).tolist(), strict=True))

    def _check_finite(self, values: Mapping[str, float], iteration: int) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                kind, owner = name.split(" ", 1)
                what = {"sum": "loss", "gradient": "gradient of", "weights": "weights of"}[kind]
                raise Diverged(f"non-finite {what} {owner} by iteration {iteration}")

    def _check_dead_phases(self, values: Mapping[str, float], iteration: int) -> None:
        for phase in self._norms:
            if values.get(f"gradient {phase}", 0.0) > 0.0:
                self._dead_since.pop(phase, None)
                continue
            since = self._dead_since.setdefault(phase, iteration)
            if iteration - since >= DEAD_AFTER:
                raise Diverged(f"dead {phase}: no gradient from iteration {since} to {iteration}")


def spread_of_classes(data: ImageSet, most: int = 64) -> Tensor:
    """Returns the standard deviation between a class's images, averaged over the pixels, `[classes]` on the CPU.

    Args:
        data: training images.
        most: number of images of a class that are compared: its first ones.
    """
    labels = data.labels.cpu()
    spreads = []
    for label in range(int(labels.max()) + 1):
        rows = torch.nonzero(labels == label).flatten()[:most].to(data.labels.device)
        spreads.append(_spread(data.images[rows].float().cpu()) if len(rows) > 1 else torch.zeros(()))
    return torch.stack(spreads)


def check_samples(sampler: Sampler, real: Tensor, world: World, iteration: int, each: int = 16) -> float:
    """Checks a few samples for divergence and collapse.

    Args:
        sampler: draws the samples.
        real: spread of the real images of each class, from `spread_of_classes`.
        world: the trial's workers.
        iteration: number of completed generator iterations, used as the seed of the samples.
        each: number of samples per class.

    Returns:
        The signal `class_spread`; 1 if no class has real images that differ.

    Raises:
        Diverged: samples are not finite, or within each class all samples are the same image.
    """
    images = sampler(Condition(torch.arange(len(real)).repeat_interleave(each)), iteration)
    own = torch.stack([_spread(samples) for samples in images.unflatten(0, (len(real), each))])
    spread = world.mean(own.double()).cpu()
    mean_spread = float(spread.mean())
    if not math.isfinite(mean_spread):
        raise Diverged(f"non-finite samples at iteration {iteration}")
    # A single collapsed class stops nothing here. The signal and the scores show it.
    if mean_spread < COLLAPSED_STD:
        raise Diverged(f"collapsed samples at iteration {iteration}: standard deviation {mean_spread:.1e} in a class")
    varied = real > 0.0
    return float((spread[varied] / real[varied]).min()) if varied.any() else 1.0


def _spread(images: Tensor) -> Tensor:
    return images.std(dim=0).mean()


def _factor(value: float, other: float) -> float:
    return max(value / other, other / value)


def _flat(numbers: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([value.detach().double() for value in numbers.values()])


def _total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the 2-norm of all elements together, which is not finite if any element is not."""
    return torch.nn.utils.get_total_norm([tensor.detach() for tensor in tensors])
