"""What every section measures with: the device, the sizes, and a clock that waits for the device."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from gansweep.config import TrialConfig
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import Gan, ImageSet, ImageSpec

__all__ = ["CPU_SIZES", "GPU_SIZES", "Bench", "NotAvailableError", "Row", "Sizes", "one_line"]


class NotAvailableError(Exception):
    """Why a section has nothing to measure here."""


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        what: what was measured.
        value: the figure, or a word.
        unit: of the figure.
        note: what it depends on, or why there is none.
    """

    what: str
    value: float | int | str
    unit: str = ""
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Args:
        pixels, width, batch: of the images and the networks that are timed.
        images: training images.
        iterations: in a timed run.
        rounds: timed runs; the best counts.
        trial_iterations: of the trial whose scoring is timed.
        reports: of that trial.
        samples: images drawn by each of its reports.
        encoder_steps, detector_steps, detector_batch: of its scoring.
        detector_seeds: of detectors that are trained together.
        largest_batch: where the search for the largest batch ends.
        generated: images to draw.
        matrix: side of the square matrices of the ceiling.
        family_pixels: of the images in the comparison of gradients.
        configurations: of each family there, at most.
    """

    pixels: int
    width: int
    batch: int
    images: int
    iterations: int
    rounds: int
    trial_iterations: int
    reports: int
    samples: int
    encoder_steps: int
    detector_steps: int
    detector_batch: int
    detector_seeds: tuple[int, ...]
    largest_batch: int
    generated: int
    matrix: int
    family_pixels: int
    configurations: int

    @property
    def architecture(self) -> dict[str, bool | int | float | str]:
        """Of the timed networks, those of the space `fahr_ct`."""
        return {"latent": 64, "width": self.width}


GPU_SIZES = Sizes(
    pixels=64, width=48, batch=64, images=512, iterations=20, rounds=3, trial_iterations=2000, reports=4, samples=512,
    encoder_steps=600, detector_steps=1200, detector_batch=32, detector_seeds=(3, 6), largest_batch=16384,
    generated=16384, matrix=8192, family_pixels=32, configurations=3,
)  # fmt: skip
CPU_SIZES = Sizes(
    pixels=16, width=4, batch=8, images=24, iterations=2, rounds=1, trial_iterations=4, reports=2, samples=16,
    encoder_steps=2, detector_steps=3, detector_batch=8, detector_seeds=(2,), largest_batch=16, generated=64,
    matrix=128, family_pixels=32, configurations=1,
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """The device and the sizes of a run.

    Args:
        device: where everything is measured.
        sizes: how large.
        ends: when the section that runs should have ended, by `time.monotonic`.
    """

    device: torch.device
    sizes: Sizes
    ends: float = field(default=float("inf"))

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def late(self) -> bool:
        """Whether the section's time is up: what is left of it is left out, and said."""
        return time.monotonic() > self.ends

    def wait(self) -> None:
        """Waits until the device has done all that it was told."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Wall seconds of `work`, with what it left to the device."""
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def config(self, **changes: Any) -> TrialConfig:
        """The configuration that is timed, a WGAN-GP, with `changes` by dotted key."""
        config = TrialConfig(
            architecture=self.sizes.architecture, conditioning="none", batch_size=self.sizes.batch, n_critic=1
        )
        return config.derive({key.replace("__", "."): value for key, value in changes.items()})

    def gan(self, config: TrialConfig, spec: ImageSpec) -> Gan:
        """A new GAN of this configuration."""
        return build_gan(config, spec, TRAINABLES)

    def trained(self, config: TrialConfig, spec: ImageSpec, data: ImageSet, iterations: int) -> MemoryReporter:
        """The reporter of a training of so many iterations, without scores."""
        config = config.derive({"iterations": iterations})
        reporter = MemoryReporter()
        train(
            config, self.gan(config, spec), data, reporter, lambda _sampler, _iteration: {}, reports=1,
            device=self.device,
        )  # fmt: skip
        return reporter

    def step_seconds(self, loop: Callable[[int], object]) -> float:
        """Seconds of one iteration of `loop(iterations)`; what start and end of a run cost is taken off.

        The start includes what captured steps cost once: the eager updates, the capture, and the comparison.

        The least of each over the rounds, for the least difference would be that of a long run to a disturbed short
        one. It is infinite where the runs are too short to tell.
        """
        short = 2  # the comparison needs a second iteration
        long = short + self.sizes.iterations
        loop(long)  # warms caches up, and lets cuDNN choose
        times: dict[int, list[float]] = {short: [], long: []}
        for _ in range(self.sizes.rounds):
            for count, found in times.items():
                found.append(self.seconds(lambda count=count: loop(count)))
        return max(min(times[long]) - min(times[short]), 0.0) / self.sizes.iterations or float("inf")


def one_line(error: BaseException) -> str:
    """What an exception says, in its first line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
