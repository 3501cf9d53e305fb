"""The training loop of all GANs. It knows the phases, but not what happens inside them."""

from __future__ import annotations

import math
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.devices import (
    Arithmetic,
    check_precision,
    energy_joules,
    exact_float32,
    peak_memory_gib,
    reset_peak_memory,
)
from gansweep.distributed import World
from gansweep.graphs import Update
from gansweep.progress import Progress
from gansweep.seeds import seed_from
from gansweep.training.batches import Batches
from gansweep.training.build import check_budget
from gansweep.training.capture import Execution
from gansweep.training.checkpoints import Checkpoints, copied
from gansweep.training.divergence import CHECK_EVERY, DivergenceMonitor, check_samples, spread_of_classes
from gansweep.training.ema import Ema
from gansweep.training.pace import Pace
from gansweep.training.placement import placed
from gansweep.training.sampling import make_sampler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Gan, ImageSet, Phase, Role, Score
    from gansweep.progress import Reporter

__all__ = ["train"]


def train(  # noqa: C901 (one loop, read top to bottom)
    config: TrialConfig,
    gan: Gan,
    data: ImageSet,
    reporter: Reporter,
    score: Score,
    *,
    reports: int,
    device: torch.device,
    checkpoint_seconds: float = 0.0,
) -> None:
    """Trains `gan` for `config.iterations` generator iterations, or until the reporter stops it.

    The workers of an initialised process group train together: W workers end with the same weights as a single one.
    Training resumes from `reporter.restore()`, on a CPU bit for bit as if it had never stopped. Only losses can differ:
    where several workers resume between two checks for divergence, those since the last one are the first worker's.

    Args:
        config: the trial's configuration.
        gan: GAN built from `config` with the same seed on every worker; trained in place.
        data: all training images (every worker has all of them, and uses its part of each batch).
        reporter: receives progress and stores checkpoints.
        score: function called at every report, on every worker.
        reports: number of reports, at equal fractions of the budget; the last is at its end.
        device: device for training.
        checkpoint_seconds: interval between checkpoints, each written after the next iteration; 0: only at reports.

    Raises:
        Diverged: a non-finite loss or weight, a dead critic, or collapsed samples; on every worker alike.
        ConfigError: the batch size is not divisible by the workers, there are fewer iterations than reports, the
            device does not support the configuration's precision, it has no room for the images (`images_on`), or the
            update cannot be captured (`execution`).
    """
    # Networks, data, optimisers.
    world = World.current(device)
    check_budget(config, workers=world.size, reports=reports)
    world.checked(lambda: check_precision(config.precision, device))
    arithmetic = Arithmetic(config.precision, device)
    reset_peak_memory(device)
    energy_before = energy_joules(device)
    data, images_on = world.checked(lambda: placed(data, device, config.images_on))
    modules = [*gan.networks.values(), gan.state]
    for module in modules:
        module.to(device).train()
    for network in gan.networks.values():
        # In this layout, convolutions are a fifth faster on a CPU, and on a GPU with bfloat16.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    world.broadcast_tensors(chain.from_iterable((*module.parameters(), *module.buffers()) for module in modules))
    ema = Ema({name: gan.networks[name] for name in gan.averaged}, config.ema_half_life, config.batch_size)
    optimisers = _optimisers(config, gan)
    batches = Batches(data, config.batch_size, config.seed, world, device)
    sampler = make_sampler(gan, ema, data, device)
    monitor = DivergenceMonitor(world)
    roles = {phase.name: phase.role for phase in gan.phases}
    real_spread = spread_of_classes(data)

    def update(phase: Phase, batch: Batch, step: int) -> Update:
        """Updates the phase's networks once. It must not read values from a GPU, where it may be captured."""
        parameters: list[Tensor] = []
        for name in phase.updates:
            parameters += gan.networks[name].parameters()
        with arithmetic.forward():
            loss, scalars = gan.loss(phase.name, batch, step)
        with arithmetic.backward():
            own = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients = world.average_gradients(own)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = _laid_out_like(parameter, gradient)
        for name in phase.updates:
            optimisers[name].step()
        if phase.role == "critic":
            _clip_weights(parameters, config.loss.clip)
        # Sums are in float64. The conversion is here so that it is part of a captured graph.
        logged = {name: value.detach().double() for name, value in scalars.items()}
        return Update(loss.detach().double(), logged, gradients)

    execution = Execution(update, gan, optimisers, config, device, world)

    # Where the last run stopped.
    iteration = images_seen = 0
    if state := reporter.restore():
        iteration = state["iteration"]
        images_seen = state["images_seen"]
        _load(state, config, gan, ema, optimisers)
        monitor.restore(state["watch"], device)
        if reporter.reported() > state["index"]:
            monitor.reported()

    seconds_training = seconds_scoring = 0.0
    pace = Pace(config.iterations, reports, iteration, images_seen)
    kept = time.monotonic()
    with Checkpoints(reporter, first=world.rank == 0, device=device) as checkpoints:
        for index in range(reporter.reported(), reports):
            # Train up to this report. A resumed trial whose last segment was not reported yet has nothing to do here.
            started = time.perf_counter()
            segment_end = _end_of_segment(config.iterations, index, reports)
            trained = iteration < segment_end
            while iteration < segment_end:
                checking = (iteration + 1) % CHECK_EVERY == 0 or iteration + 1 == segment_end
                # Seeds draws outside Batch.draws, such as dropout; in every iteration, so that a resumed run agrees.
                torch.manual_seed(seed_from(config.seed, "layers", iteration, world.rank))

                for phase in gan.phases:
                    if not phase.start <= iteration / config.iterations < phase.stop:
                        continue
                    _only_trainable(gan, phase)
                    for turn in range(phase.repeats):
                        if (iteration * phase.repeats + turn) % phase.interval:
                            continue
                        batch = batches.draw(phase, iteration, turn)
                        done = execution.run(phase, batch, iteration)
                        if phase.role == "critic":
                            images_seen += config.batch_size
                        monitor.add(phase.name, done.loss, done.scalars)
                        # Not for lazy phases: a regulariser whose constraint holds rightly has no gradient.
                        if checking and phase.interval == 1:
                            monitor.add_gradients(phase.name, done.gradients)

                iteration += 1
                ema.update(iteration)
                if checking:
                    monitor.check(gan, iteration)
                # Only the first worker acts here, by its own clock: nothing waits for the others.
                if world.rank == 0:
                    if pace.due():
                        interim = pace.interim(
                            iteration,
                            images_seen,
                            monitor.means_so_far(),
                            index=index,
                            trained=seconds_training + time.perf_counter() - started,
                            scored=seconds_scoring,
                        )
                        reporter.interim(interim)
                    due = 0.0 < checkpoint_seconds <= time.monotonic() - kept
                    # The last good checkpoint is not given up for one of a training that will be found diverged.
                    if due and iteration < segment_end and monitor.is_finite(gan):
                        progress_made = {"index": index, "iteration": iteration, "images_seen": images_seen}
                        checkpoints.keep(_state(config, gan, ema, optimisers, monitor) | progress_made)
                        kept = time.monotonic()
            seconds_training += time.perf_counter() - started

            # Store a checkpoint, then score, then report.
            if trained:
                progress_made = {"index": index, "iteration": iteration, "images_seen": images_seen}
                checkpoints.keep(_state(config, gan, ema, optimisers, monitor) | progress_made)
                kept = time.monotonic()
            started = time.perf_counter()
            class_spread = check_samples(sampler, real_spread, world, iteration)
            with exact_float32(device):
                scores = score(sampler, iteration)
            seconds_scoring += time.perf_counter() - started
            peak_memory, energy = _gpu_use(world, device, energy_before)
            progress = Progress(
                index=index,
                final=index + 1 == reports,
                iteration=iteration,
                images_seen=images_seen,
                losses=monitor.means(),
                scores=scores,
                seconds_training=seconds_training,
                seconds_scoring=seconds_scoring,
                execution=execution.name,
                execution_reason=execution.reason,
                images_on=images_on,
                seconds_per_iteration=pace.seconds_per_iteration(iteration, seconds_training),
                peak_memory_gib=peak_memory,
                energy_joules=energy,
                signals={"class_spread": class_spread, **monitor.signals(roles)},
            )
            monitor.reported()
            checkpoints.wait()  # the search must not get a report before its checkpoint is stored
            if not reporter.report(progress):
                return


def _end_of_segment(iterations: int, index: int, reports: int) -> int:
    """Returns the iteration of report `index`, from 0: the fraction (index + 1) / reports of the budget, rounded up."""
    return -(-iterations * (index + 1) // reports)


def _gpu_use(world: World, device: torch.device, before: float | None) -> tuple[float | None, float | None]:
    """Returns what the workers' GPUs were used for; None: not known, as on a CPU.

    Args:
        world: the workers.
        device: this worker's device.
        before: what `energy_joules` returned on this worker when the trial began or resumed.

    Returns:
        (peak memory of the worker that needed most, in GiB; energy of all GPUs since then, in joules).
    """
    peak = peak_memory_gib(device)
    if peak is None:
        return None, None
    now = energy_joules(device)
    used = math.nan if before is None or now is None else now - before
    peaks, energies = zip(*world.merged({world.rank: (peak, used)}).values(), strict=True)
    energy = sum(energies)
    return max(peaks), energy if math.isfinite(energy) else None


def _optimisers(config: TrialConfig, gan: Gan) -> dict[str, torch.optim.Adam]:
    """Creates one Adam optimiser for each network that a phase updates. The first such phase determines its role."""
    roles: dict[str, Role] = {}
    for phase in gan.phases:
        for name in phase.updates:
            roles.setdefault(name, phase.role)
    return {
        name: torch.optim.Adam(gan.networks[name].parameters(), fused=True, **_rates(config, role))
        for name, role in roles.items()
    }


def _rates(config: TrialConfig, role: Role) -> dict[str, Any]:
    rate = config.lr_d if role == "critic" else config.lr_g
    return {"lr": rate, "betas": (float(config.beta1), float(config.beta2))}


def _only_trainable(gan: Gan, phase: Phase) -> None:
    """Makes the parameters of the phase's networks require gradients, and no others."""
    for network in gan.networks.values():
        network.requires_grad_(requires_grad=False)
    for name in phase.updates:
        gan.networks[name].requires_grad_()


def _laid_out_like(parameter: Tensor, tensor: Tensor | None) -> Tensor | None:
    """Returns a gradient or a moment with the strides of its `parameter`.

    `backward` does this itself, but `autograd.grad` does not: the gradient of a linear layer is transposed. Fused Adam
    iterates over memory, so it would silently pair weights with the gradients of other weights (torch 2.13, CPU).
    """
    # Adam's count of steps is a scalar and has no layout.
    if tensor is None or tensor.shape != parameter.shape:
        return tensor
    if tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter).copy_(tensor)


@torch.no_grad()
def _clip_weights(parameters: Sequence[Tensor], bound: float | None) -> None:
    """Clips weights: the original WGAN's Lipschitz constraint (Arjovsky et al. 2017, algorithm 1)."""
    if bound is not None:
        torch._foreach_clamp_min_(list(parameters), -bound)
        torch._foreach_clamp_max_(list(parameters), bound)


def _state(
    config: TrialConfig,
    gan: Gan,
    ema: Ema,
    optimisers: Mapping[str, torch.optim.Optimizer],
    monitor: DivergenceMonitor,
) -> dict[str, Any]:
    """Returns the content of a checkpoint without copying it. `ema` has the weights that are exported."""
    return {
        "config": config.as_dict(),
        "networks": {name: network.state_dict() for name, network in gan.networks.items()},
        "ema": {name: network.state_dict() for name, network in ema.networks.items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
        "gan_state": gan.state.state_dict(),
        "watch": monitor.state(),
    }


def _load(
    state: Mapping[str, Any],
    config: TrialConfig,
    gan: Gan,
    ema: Ema,
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Loads a checkpoint into the networks and optimisers."""
    for name, network in gan.networks.items():
        network.load_state_dict(state["networks"][name])
    for name, network in ema.networks.items():
        network.load_state_dict(state["ema"][name])
    gan.state.load_state_dict(state["gan_state"])
    wanted = _optimisers(config, gan)
    for name, optimiser in optimisers.items():
        # load_state_dict keeps references to CPU tensors, and the reporter may still own these.
        optimiser.load_state_dict(copied(state["optimisers"][name]))
        # The configuration's rates, not the checkpoint's: a population-based search changes them in mid-trial.
        for group, fresh in zip(optimiser.param_groups, wanted[name].param_groups, strict=True):
            group.update({key: fresh[key] for key in ("lr", "betas")})
        for parameter, moments in optimiser.state.items():
            moments.update({key: _laid_out_like(parameter, moment) for key, moment in moments.items()})
