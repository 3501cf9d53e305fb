"""What the host does for an iteration and for a report of `fahr_ct` on a GPU: launches, copies and waits.

    python benchmarks/launches.py [--size 64] [--width 4] [--batch 4]

Counted on the pretended GPU (`gansweep.testing.pretended_gpu`), so on any machine. The trial is the first that the
space proposes, with narrow networks and small batches: the number of kernels depends on neither. An iteration is one
in steady state, between two checks for divergence. A report is its checkpoint, the check for divergence and the check
of samples, without scores. An update is one of three stacked detectors, the default `small_cnn`, in steady state.
A draw is 512 samples, as a report scores, in chunks of `sampling.CHUNK` images and all at once. Prints a table and one
JSON line.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import optuna
import torch

from gansweep.contracts import Condition
from gansweep.scoring.networks.detection import Recipe, train_detectors
from gansweep.seeds import seed_from
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import GPU, PretendedGpu
from gansweep.training import loop, sampling
from gansweep.training.build import build_gan
from gansweep.training.reporters import MemoryReporter
from search_spaces.fahr_ct import fahr_ct
from trainables import DETECTORS, TRAINABLES

if TYPE_CHECKING:
    from gansweep.config import TrialConfig

ITERATIONS = 4
UPDATES = 4
SAMPLES = 512


def proposed(width: int, batch: int) -> TrialConfig:
    """The first trial of `fahr_ct`, small."""
    experiment = fahr_ct()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=[objective.direction for objective in experiment.objectives])
    study.enqueue_trial(dict(experiment.first_trials[0]))
    config = experiment.space(study.ask())
    return config.derive({"architecture.width": width, "batch_size": batch, "iterations": ITERATIONS})


def counts(gpu: PretendedGpu) -> dict[str, int]:
    """What has been counted so far."""
    return {
        "launches": gpu.kernels.total(),
        "kernels": gpu.kernels.total() - gpu.kernels["graph launch"] + gpu.replayed.total(),
        "copies": gpu.copies.total(),
        "waits": gpu.waits.total(),
    }


def measured(config: TrialConfig, size: int) -> tuple[dict[str, int], dict[str, int]]:
    """Counts of one iteration, and of one report."""
    data, spec = shapes(count=32, size=size)
    begun: list[dict[str, int]] = []
    reporter = MemoryReporter()
    gan = build_gan(config, spec, TRAINABLES)
    with PretendedGpu() as gpu:

        def noted(*parts: Any) -> int:
            if "layers" in parts:
                begun.append(counts(gpu))
            return seed_from(*parts)

        with mock.patch.object(loop, "seed_from", noted):
            loop.train(config, gan, data, reporter, lambda _sampler, _iteration: {}, reports=1, device=GPU)
        ended = counts(gpu)
    iteration = {name: begun[2][name] - begun[1][name] for name in ended}
    # The last iteration ends in the report.
    return iteration, {name: ended[name] - begun[-1][name] - iteration[name] for name in ended}


def of_an_update(execution: str, size: int) -> dict[str, int]:
    """Counts of one update of stacked detectors: those of a longer training less those of a shorter one."""
    real, spec = shapes(count=32, size=size)
    build = partial(DETECTORS["small_cnn"], spec)
    found = []
    for steps in (UPDATES, 2 * UPDATES):
        with PretendedGpu() as gpu:
            recipe = Recipe(build, len(spec.classes), steps, 8, execution=execution)
            train_detectors(recipe, real, None, 0.0, range(3), GPU)
            found.append(counts(gpu))
    short, long = found
    return {name: (long[name] - short[name]) // UPDATES for name in short}


def of_a_draw(config: TrialConfig, size: int, chunk: int) -> dict[str, int]:
    """Counts of one draw of `SAMPLES` images, so many at a time."""
    data, spec = shapes(count=32, size=size)
    gan = build_gan(config, spec, TRAINABLES)
    labels = torch.arange(SAMPLES) % len(spec.classes)
    with PretendedGpu() as gpu, mock.patch.object(sampling, "CHUNK", chunk):
        for module in (*gan.networks.values(), gan.state):
            module.to(GPU)
        sampler = sampling.make_sampler(gan, None, data, GPU)
        before = counts(gpu)
        sampler(Condition(labels), 0)
        after = counts(gpu)
    return {name: after[name] - before[name] for name in after}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    config = proposed(options.width, options.batch)
    # Earlier versions have no such setting; their steps are eager.
    modes = ("eager", "captured") if "execution" in type(config).model_fields else ("as it is",)
    found = {}
    print("| steps | of | launches | kernels | copies | waits |\n|---|---|---|---|---|---|")
    for mode in modes:
        chosen = config if mode == "as it is" else config.derive({"execution": mode})
        for what, numbers in zip(("iteration", "report"), measured(chosen, options.size), strict=True):
            found[f"{mode} {what}"] = numbers
            print(_row(mode, what, numbers))
        if mode != "as it is":
            found[f"{mode} update"] = of_an_update(mode, options.size)
            print(_row(mode, "update", found[f"{mode} update"]))
    for chunk in (sampling.CHUNK, SAMPLES):
        found[f"draw by {chunk}"] = of_a_draw(config, options.size, chunk)
        print(_row(f"{chunk} at once", "draw", found[f"draw by {chunk}"]))
    print(json.dumps({"size": options.size, **found}))


def _row(mode: str, what: str, numbers: dict[str, int]) -> str:
    return f"| {mode} | {what} | {' | '.join(str(number) for number in numbers.values())} |"


if __name__ == "__main__":
    main()
