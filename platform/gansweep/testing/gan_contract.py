"""Contract tests of GAN families. Each check raises an AssertionError that names what is wrong.

The tests of your own family can be as short as this:

    SPEC, DATA = ...                      # or gansweep.testing.images.shapes()

    @pytest.mark.parametrize("config", admissible("mine", SPEC, TRAINABLES), ids=describe)
    def test_contract(config): check_gan(config, SPEC, DATA, TRAINABLES)

    def test_two_workers(): check_two_workers(admissible("mine", SPEC, TRAINABLES), SPEC, DATA, TRAINABLES)

    def test_two_trainings(): check_two_trainings(admissible("mine", SPEC, TRAINABLES), SPEC, DATA, TRAINABLES)

`gansweep.testing.gpu_contract` has the checks for a GPU, which run without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.config import TrialConfig
from gansweep.contracts import ChoosesConditions, Condition, Gan, ImageSet, ImageSpec, Sampler, Trainables
from gansweep.distributed import World
from gansweep.errors import ConfigError
from gansweep.testing.workers import run_workers
from gansweep.training.batches import Batches
from gansweep.training.build import build_gan, check_config
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.restore import restore_gan
from gansweep.training.sampling import condition_for, make_sampler

if TYPE_CHECKING:
    from gansweep.progress import Progress

__all__ = [
    "admissible",
    "all_trainings",
    "assert_equal",
    "assert_same_end",
    "check_gan",
    "check_resume",
    "check_two_trainings",
    "check_two_workers",
    "describe",
    "variations",
]

CPU = torch.device("cpu")


def admissible(family: str, spec: ImageSpec, trainables: Trainables) -> list[TrialConfig]:
    """Returns small configurations of `family` with every loss and penalty that it accepts, eager and lazy."""
    configs: list[TrialConfig] = []
    for loss, penalty, interval in product(trainables.losses, trainables.penalties, (1, 2)):
        # Without a penalty the interval has no effect.
        if penalty == "none" and interval > 1:
            continue
        changes = {"loss.kind": loss, "penalty.kind": penalty, "penalty.interval": interval}
        configs += _accepted(_small(family, trainables).derive(changes), spec, trainables)
    return configs


def variations(family: str, spec: ImageSpec, trainables: Trainables) -> list[TrialConfig]:
    """Returns small configurations of `family` with one change each.

    Together they cover every other name and setting.
    """
    changes: list[Mapping[str, Any]] = [
        *({"penalty.interpolation": kind} for kind in ("uniform", "convex", "real_real", "local")),
        *({"penalty.norm": norm} for norm in ("l1", "linf")),
        *({"penalty.adaptive": kind} for kind in ("norm", "progress")),
        {"penalty.one_sided": True, "penalty.target": 0.5},
        {"loss.kind": "hinge", "penalty.layer": 1},
        *({"conditioning": kind} for kind in trainables.conditionings),
        *({"attention": kind} for kind in trainables.attentions),
        *(
            {"augmentation.kind": kind, "augmentation.policy": policy}
            for kind in trainables.augmentations
            for policy in (MOVES, POLICY)
        ),
        {"loss.kind": "non_saturating", "loss.label_smoothing": 0.1, "loss.feature_matching": 1.0},
        {"penalty.kind": "none", "loss.clip": 0.05},
        {"n_critic": 1},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "augmentation.kind": "diffaugment", "augmentation.policy": MOVES},
        *(
            {"conditioning": kind, "augmentation.kind": "diffaugment", "augmentation.policy": POLICY}
            for kind, conditioning in trainables.conditionings.items()
            if getattr(conditioning, "uses_masks", False)
        ),
    ]
    small = _small(family, trainables)
    found = {
        describe(accepted): accepted
        for change in changes
        for accepted in _accepted(small.derive(change), spec, trainables)
    }
    return list(found.values())


def describe(config: TrialConfig) -> str:
    """Returns a test id for a configuration: its differences from a small default."""
    return "-".join(f"{key}={value}" for key, value in _differences(TrialConfig(**SMALL).as_dict(), config.as_dict()))


def check_gan(config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables) -> None:
    """Checks construction, every phase and the samples of one configuration."""
    gan, twin = (build_gan(config, spec, trainables) for _ in range(2))
    assert_equal(_weights(gan), _weights(twin), "networks built twice from one seed")
    _check_phases(gan)
    for phase, gradients in phase_gradients(gan, config, data).items():
        present = [gradient for gradient in gradients if gradient is not None]
        assert present, f"phase {phase} reaches no parameter it updates"
        assert all(gradient.isfinite().all() for gradient in present), f"phase {phase}: a gradient is not finite"
        assert any(gradient.any() for gradient in present), f"phase {phase}: all gradients are zero"
    _check_samples(gan, spec, data)


def check_resume(config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables) -> None:
    """Checks that an interrupted training ends in the same state as an uninterrupted one, bit for bit.

    The training is stopped after its first report and continued with newly built networks. At each report, the check
    also verifies that the scored samples can be restored from the checkpoint.
    """
    whole = MemoryReporter()
    stopped = MemoryReporter(proceed=lambda progress: progress.index > 0)

    def restored(sampler: Sampler, iteration: int) -> dict[str, float]:
        assert whole.state is not None
        again = restore_gan(config, spec, trainables, whole.state["ema"], whole.state["gan_state"], CPU)
        condition = Condition(torch.arange(4) % len(spec.classes))
        scored, kept = (draw(condition, 0) for draw in (sampler, make_sampler(again, None, data, CPU)))
        assert torch.equal(scored, kept), f"samples at iteration {iteration} are not those of the checkpoint"
        return {}

    for reporter, runs, score in ((whole, 1, restored), (stopped, 2, lambda _sampler, _iteration: {})):
        for _ in range(runs):
            gan = build_gan(config, spec, trainables)
            train(config, gan, data, reporter, score, reports=2, device=CPU)
    assert_equal(whole.state, stopped.state, "state at the end")
    assert [_timeless(progress) for progress in whole.reports] == [_timeless(progress) for progress in stopped.reports]


def check_two_workers(
    configs: Sequence[TrialConfig], spec: ImageSpec, data: ImageSet, trainables: Trainables, tolerance: float = 1e-5
) -> None:
    """Checks that two gloo workers compute the same gradients as one worker, for each phase of each configuration.

    Computed in float64; `tolerance` is relative to the phase's largest gradient.
    """
    alone = all_gradients(configs, spec, data, trainables)
    for rank, together in enumerate(run_workers(all_gradients, configs, spec, data, trainables)):
        for config, one, two in zip(configs, alone, together, strict=True):
            for phase, gradients in one.items():
                error = _relative_error(gradients, two[phase])
                assert error <= tolerance, f"{describe(config)}, {phase}: worker {rank} of 2 is off by {error:.1e}"


def check_two_trainings(
    configs: Sequence[TrialConfig], spec: ImageSpec, data: ImageSet, trainables: Trainables, tolerance: float = 1e-5
) -> None:
    """Checks that two gloo workers end a short training of each configuration in the same state as one worker.

    The state consists of networks, averages and `Gan.state`, in float64. The tolerance is absolute, and a fraction of
    one Adam step. It cannot be smaller, and the training not longer than two iterations: Adam amplifies the rounding
    error of vanishing gradients, such as that of a bias before a normalisation (errors of 2e-7 have been seen). Two
    iterations are enough for the second to use what the first one stored.
    """
    alone = all_trainings(configs, spec, data, trainables)
    for rank, together in enumerate(run_workers(all_trainings, configs, spec, data, trainables)):
        assert_same_end(configs, alone, together, f"worker {rank} of 2", tolerance)


def assert_same_end(
    configs: Sequence[TrialConfig],
    expected: Sequence[Mapping[str, Tensor]],
    found: Sequence[Mapping[str, Tensor]],
    who: str,
    tolerance: float,
) -> None:
    """Asserts that results of `all_trainings` agree within an absolute `tolerance`.

    `who` names the source of `found`.
    """
    for config, one, two in zip(configs, expected, found, strict=True):
        what = f"{config.family} {describe(config)}"
        assert one.keys() == two.keys(), f"{what}: {who} ends with other tensors"
        for name, tensor in one.items():
            error = (tensor.double() - two[name].double()).abs()
            assert (error <= tolerance).all(), f"{what}, {name}: {who} is off by {float(error.max()):.1e}"


def all_gradients(
    configs: Sequence[TrialConfig], spec: ImageSpec, data: ImageSet, trainables: Trainables
) -> list[dict[str, list[Tensor | None]]]:
    """Returns the averaged gradients of each phase of each configuration, in float64."""
    with _in_float64(data) as exact:
        return [phase_gradients(build_gan(config, spec, trainables), config, exact) for config in configs]


def all_trainings(
    configs: Sequence[TrialConfig],
    spec: ImageSpec,
    data: ImageSet,
    trainables: Trainables,
    device: torch.device = CPU,
) -> list[dict[str, Tensor]]:
    """Trains each configuration for two iterations and returns its final tensors by name, in float64."""
    with _in_float64(data) as exact:
        return [_trained(config.derive({"iterations": 2}), spec, exact, trainables, device) for config in configs]


def phase_gradients(gan: Gan, config: TrialConfig, data: ImageSet) -> dict[str, list[Tensor | None]]:
    """Returns the gradients of each phase at the current weights, averaged over the workers."""
    world = World.current()
    batches = Batches(data, config.batch_size, config.seed, world, CPU)
    found = {}
    for phase in gan.phases:
        for name, network in gan.networks.items():
            network.requires_grad_(name in phase.updates)
        parameters = [parameter for name in phase.updates for parameter in gan.networks[name].parameters()]
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss, scalars = gan.loss(phase.name, batches.draw(phase, 0, 0), 0)
        assert loss.shape == (), f"phase {phase.name}: the loss has shape {tuple(loss.shape)}"
        assert loss.isfinite(), f"phase {phase.name}: the loss is {loss.item()}"
        assert not any(value.requires_grad for value in scalars.values()), f"phase {phase.name}: scalars not detached"
        found[phase.name] = world.average_gradients(torch.autograd.grad(loss, parameters, allow_unused=True))
    return found


# Operations that are allowed with masks as channels; the full policy adds one that is not.
MOVES = ("flip", "translation", "cutout", "rotation")
POLICY = (*MOVES, "intensity")
SMALL: Mapping[str, Any] = {"batch_size": 8, "n_critic": 2, "iterations": 4}


def _small(family: str, trainables: Trainables) -> TrialConfig:
    architecture = dict(getattr(trainables.gans[family], "smallest", {}))
    return TrialConfig(family=family, architecture=architecture, **SMALL)


def _accepted(config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> Iterator[TrialConfig]:
    """Yields the configuration, or a variant with a conditioning that its loss or family needs, if one is valid."""
    for conditioning in (config.conditioning, "projection", "none"):
        candidate = config.derive({"conditioning": conditioning})
        try:
            check_config(candidate, spec, trainables)
        except ConfigError:
            continue
        yield candidate
        return


def _check_phases(gan: Gan) -> None:
    names = [phase.name for phase in gan.phases]
    assert names, "the family has no phases"
    assert len(set(names)) == len(names), f"phases share a name: {names}"
    assert not list(gan.state.parameters()), "`state` has parameters; it must have only buffers"
    for phase in gan.phases:
        assert phase.updates, f"phase {phase.name} updates nothing"
        assert set(phase.updates) <= set(gan.networks), f"phase {phase.name} updates unknown networks {phase.updates}"
        assert phase.repeats >= 1
        assert phase.interval >= 1
    assert gan.averaged, "no network is averaged for sampling"
    assert set(gan.averaged) <= set(gan.networks), f"unknown networks are averaged: {gan.averaged}"


def _check_samples(gan: Gan, spec: ImageSpec, data: ImageSet) -> None:
    sampler = make_sampler(gan, None, data, CPU)
    condition = Condition(torch.arange(40) % len(spec.classes))
    images = sampler(condition, 1)
    shapes = [(40, spec.channels + masks, spec.size, spec.size) for masks in {0, spec.mask_channels}]
    assert tuple(images.shape) in shapes, f"samples of shape {tuple(images.shape)}, expected one of {shapes}"
    assert images.dtype == torch.float32
    assert images.isfinite().all()
    assert images.abs().max() <= 1.0, f"samples reach {images.abs().max():.3f}, beyond [-1, 1]"
    assert torch.equal(images, sampler(condition, 1)), "the same seed gives other samples"
    assert not torch.equal(images, sampler(condition, 2)), "another seed gives the same samples"
    # 40 images are more than one chunk of the sampler, and 7 are less.
    first = Condition(condition.labels[:7])
    assert torch.equal(images[:7], sampler(first, 1)), "samples depend on how many are asked for"
    generator = torch.Generator().manual_seed(0)
    choose = gan.condition if isinstance(gan, ChoosesConditions) else condition_for
    full = choose(condition.labels, data, generator)
    assert sampler(full, 1).shape == images.shape


@contextmanager
def _in_float64(data: ImageSet) -> Iterator[ImageSet]:
    """Yields the images in float64, and makes it the default for networks built inside the block."""
    torch.set_default_dtype(torch.float64)
    try:
        yield ImageSet(
            data.images.double(),
            data.labels,
            None if data.masks is None else data.masks.double(),
            paired=None if data.paired is None else data.paired.double(),
        )
    finally:
        torch.set_default_dtype(torch.float32)


def _trained(
    config: TrialConfig, spec: ImageSpec, data: ImageSet, trainables: Trainables, device: torch.device
) -> dict[str, Tensor]:
    reporter = MemoryReporter()
    gan = build_gan(config, spec, trainables)
    train(config, gan, data, reporter, lambda _sampler, _iteration: {}, reports=1, device=device)
    assert reporter.state is not None
    owners = {
        **reporter.state["networks"],
        **{f"averaged {key}": value for key, value in reporter.state["ema"].items()},
    }
    return {
        f"{owner}.{name}": tensor
        for owner, tensors in {**owners, "state": reporter.state["gan_state"]}.items()
        for name, tensor in tensors.items()
    }


def _weights(gan: Gan) -> dict[str, Any]:
    return {name: network.state_dict() for name, network in gan.networks.items()}


def assert_equal(one: Any, other: Any, where: str) -> None:
    """Asserts that two states of a training are equal, bit for bit. `where` is the prefix of a difference's name."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other), f"{where} differs"
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), f"{where}: the keys differ"
        for key in one:
            assert_equal(one[key], other[key], f"{where}, {key}")
    elif isinstance(one, list | tuple):
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_equal(mine, theirs, f"{where}, {index}")
    else:
        assert one == other, f"{where}: {one} is not {other}"


def _timeless(progress: Progress) -> tuple[Any, ...]:
    counts = progress.index, progress.final, progress.iteration, progress.images_seen
    return *counts, dict(progress.losses), dict(progress.signals)


def _relative_error(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> float:
    pairs = [(mine, theirs) for mine, theirs in zip(one, other, strict=True) if mine is not None]
    scale = max(float(mine.abs().max()) for mine, _ in pairs)
    assert all(theirs is not None for _, theirs in pairs), "a parameter has a gradient in one world only"
    return max(float((mine - theirs).abs().max()) for mine, theirs in pairs if theirs is not None) / scale


def _differences(base: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key != "architecture":
            yield from _differences(base[key], value, f"{prefix}{key}.")
        elif value != base.get(key) and key != "architecture":
            yield f"{prefix}{key}", value
