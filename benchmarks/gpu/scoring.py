"""Sections on scoring: the detectors of an arm together against one by one, and scoring's share of a trial."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from benchmarks.gpu.bench import Bench, Row, one_line
from gansweep.config import ScoringSettings
from gansweep.errors import ConfigError
from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.scoring.trial import TrialScorer
from gansweep.testing.images import as_stored, shapes
from gansweep.training.loop import train
from gansweep.training.placement import training_images
from gansweep.training.reporters import MemoryReporter
from trainables import DETECTORS, TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from gansweep.contracts import ImageSet, ImageSpec

__all__ = ["detectors", "share"]

DETECTOR_STEPS = 300
"""Of the timed detectors, at most."""


def detectors(bench: Bench) -> Iterator[Row]:
    """Detectors of several seeds, trained as one stacked network and one after the other; on a GPU captured as well."""
    sizes = bench.sizes
    steps = min(sizes.detector_steps, DETECTOR_STEPS)
    what = f"small_cnn, {steps} steps of {sizes.detector_batch} images of {sizes.pixels} pixels"
    for count in sizes.detector_seeds:
        seconds: dict[tuple[str, str], float] = {}
        said: list[Tensor] = []
        for way, execution in product(
            ("one by one", "together"), ("eager", "captured") if bench.on_gpu else ("eager",)
        ):
            if bench.late():
                yield Row(f"{count} seeds", "not run", note="the section's time was up")
                return
            try:
                seconds[way, execution], found = _timed(bench, count, way == "together", execution)
            except ConfigError as error:
                yield Row(f"{count} seeds, {way}, {execution}", "not available", note=one_line(error))
                continue
            said.append(found)
            yield Row(f"{count} seeds, {way}, {execution}", seconds[way, execution], "s", what)
        yield from _compared(count, seconds)
        apart = max(float((one - said[0]).abs().max()) for one in said)
        yield Row(f"{count} seeds, predictions", apart, "largest difference")


def _timed(bench: Bench, count: int, together: bool, execution: str) -> tuple[float, Tensor]:
    """Seconds of a training, and what its detectors say.

    Raises:
        ConfigError: it cannot be captured, and should be.
    """
    sizes = bench.sizes
    real, spec = shapes(sizes.images, sizes.pixels)
    synthetic, _ = shapes(sizes.images, sizes.pixels, seed=1)
    steps = min(sizes.detector_steps, DETECTOR_STEPS)
    build = partial(DETECTORS["small_cnn"], spec)
    recipe = Recipe(build, len(spec.classes), steps, sizes.detector_batch, execution=execution)

    def trained(recipe: Recipe) -> list[nn.Module]:
        return train_detectors(recipe, real, synthetic, 0.5, range(count), bench.device, together=together)

    trained(replace(recipe, steps=3))  # lets cuDNN choose
    bench.wait()
    started = time.perf_counter()
    found = trained(recipe)
    bench.wait()
    return time.perf_counter() - started, predict(found, real.images, bench.device)


def _compared(count: int, seconds: Mapping[tuple[str, str], float]) -> Iterator[Row]:
    """How many times as fast together is, and captured."""
    for execution in ("eager", "captured"):
        if ("together", execution) in seconds and ("one by one", execution) in seconds:
            ratio = seconds["one by one", execution] / seconds["together", execution]
            yield Row(f"{count} seeds, together, {execution}", ratio, f"times as fast as one by one, {execution}")
    for way in ("one by one", "together"):
        if (way, "captured") in seconds:
            ratio = seconds[way, "eager"] / seconds[way, "captured"]
            yield Row(f"{count} seeds, {way}, captured", ratio, "times as fast as eager")


class _Shapes:
    """A cohort of shapes, as far as scoring asks."""

    content_hash = "shapes"

    def __init__(self, images: int, pixels: int) -> None:
        self._train, self._spec = shapes(images, pixels)
        self._val, _ = shapes(max(images // 3, 6), pixels, seed=1)
        self.info = SimpleNamespace(positive_class=self._spec.classes[-1])

    def spec(self, view: object = None) -> ImageSpec:
        """The shape of the images."""
        del view
        return self._spec

    def load(self, split: str, view: object = None) -> ImageSet:
        """The images of a split."""
        del view
        return self._train if split == "train" else self._val

    def load_stored(self, split: str, view: object = None) -> ImageSet:
        """The images of a split in their stored form."""
        return as_stored(self.load(split, view))


def share(bench: Bench) -> Iterator[Row]:
    """What part of a trial's seconds its reports take, once its reference has been made."""
    sizes = bench.sizes
    cohort = _Shapes(sizes.images, sizes.pixels)
    settings = ScoringSettings(
        samples=sizes.samples, encoder_steps=sizes.encoder_steps, detector_steps=sizes.detector_steps,
        detector_batch=sizes.detector_batch, detector_seeds=sizes.detector_seeds[0],
    )  # fmt: skip
    config = bench.config(iterations=sizes.trial_iterations, conditioning="concat")
    with tempfile.TemporaryDirectory() as folder:
        scorer = TrialScorer(cohort, settings, TRAINABLES, Path(folder), bench.device)
        reference = bench.seconds(lambda: scorer.reference(config.data))
        yield Row("reference, once per cohort", reference, "s", "encoder and real-only detectors")
        reporter = MemoryReporter(proceed=lambda _progress: not bench.late())
        gan = bench.gan(config, cohort.spec())
        train(
            config, gan, training_images(cohort, config.data, bench.device), reporter,
            lambda sampler, iteration: scorer.score(sampler, config, iteration),
            reports=sizes.reports, device=bench.device,
        )  # fmt: skip
    last = reporter.reports[-1]
    note = f"{last.iteration} iterations, {len(reporter.reports)} reports, {sizes.detector_steps} detector steps"
    yield Row("training", last.seconds_training, "s", note)
    yield Row("scoring", last.seconds_scoring, "s", note)
    yield Row("scoring", last.seconds_scoring / (last.seconds_training + last.seconds_scoring), "of the trial", note)
