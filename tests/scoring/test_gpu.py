"""Scoring on a pretended GPU gives the numbers of the CPU."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.scoring.arms import run_arms
from gansweep.scoring.memorisation.examination import assess
from gansweep.scoring.networks.detection import Recipe
from gansweep.scoring.networks.encoder import extractor_of, train_encoder
from gansweep.scoring.networks.extractors import load_extractor
from gansweep.scoring.panel.score import PanelInputs, score_sets
from gansweep.scoring.trial import TrialScorer
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.testing.workers import run_workers
from gansweep.training.build import build_gan
from gansweep.training.sampling import make_sampler
from trainables import DETECTORS, SEGMENTERS, TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

TRAIN, SPEC = shapes(count=24, size=32)
VAL, _ = shapes(count=12, size=32, seed=1)
FAST = ScoringSettings(
    samples=64, encoder_steps=3, detector_steps=3, detector_batch=8, detector_seeds=2, segmenter_steps=2
)

ROUNDED = 1e-5
"""On a GPU the numbers of the optimisers' steps are float32 tensors, which round otherwise than Python's."""


class ShapeCohort:
    """What scoring needs of a cohort."""

    content_hash = "shapes"
    info = SimpleNamespace(positive_class="square")

    def spec(self, view: object = None) -> Any:
        del view
        return SPEC

    def load(self, split: str, view: object = None) -> ImageSet:
        del view
        return TRAIN if split == "train" else VAL


def on_both(compute: Callable[[torch.device], Any]) -> tuple[Any, Any]:
    """What `compute` returns on the CPU and on the pretended GPU."""
    on_cpu = compute(CPU)
    with PretendedGpu() as gpu:
        on_gpu = compute(GPU)
    assert gpu.kernels.total() > 100, "nothing ran on the GPU"
    return on_cpu, on_gpu


def scores(
    family: str, settings: ScoringSettings, folder: Path, device: torch.device, **changes: Any
) -> dict[str, float]:
    config = TrialConfig(family=family, architecture=dict(TRAINABLES.gans[family].smallest), batch_size=8, **changes)
    gan = build_gan(config.derive({"sample_filter": "detector_agrees"}), SPEC, TRAINABLES)
    for module in (*gan.networks.values(), gan.state):
        module.to(device)
    scorer = TrialScorer(ShapeCohort(), settings, TRAINABLES, folder / device.type, device)
    return scorer.score(make_sampler(gan, None, TRAIN, device), config, 1)


def test_a_cohort_without_room_on_the_gpu_is_scored_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its images may not be there at once, neither for the encoder nor for the detectors."""
    monkeypatch.setattr("gansweep.scoring.networks.arm_batches.has_room", lambda *_: False)
    (large, _), (val, _) = shapes(count=600, size=32), shapes(count=300, size=32, seed=1)
    monkeypatch.setattr(ShapeCohort, "load", lambda _, split, __=None: large if split == "train" else val)
    with PretendedGpu() as gpu:
        assert scores("dcgan", FAST, tmp_path, GPU)["fid"] > 0
    assert 0 < gpu.largest_copy <= 256 * large.images[0].nbytes


# torch.jit.load cannot put the weights of a feature file on a pretended GPU.
@pytest.mark.parametrize(
    ("detector", "tolerance"),
    [
        # It has 120 layers, which take long and amplify rounding.
        pytest.param(name, 0.02, marks=pytest.mark.slow) if name == "densenet" else (name, 1e-3)
        for name, one in DETECTORS.items()
        if not hasattr(one, "on_features")
    ],
)
def test_a_trial_is_scored_alike_with_every_detector(detector: str, tolerance: float, tmp_path: Path) -> None:
    settings = FAST.model_copy(update={"detector": detector})
    on_cpu, on_gpu = on_both(partial(scores, "dcgan", settings, tmp_path))
    # On a GPU the detectors of an arm are trained together, and sums are added in another order.
    assert on_gpu == pytest.approx(on_cpu, rel=tolerance, abs=tolerance)
    assert on_gpu["fid"] == pytest.approx(on_cpu["fid"], rel=1e-9)
    assert {"fid", "kid", "accuracy_difference", "lesion_fidelity"} <= set(on_gpu)


@pytest.mark.parametrize("segmenter", SEGMENTERS)
def test_masks_are_scored_alike_with_every_segmenter(segmenter: str, tmp_path: Path) -> None:
    settings = FAST.model_copy(update={"segmenter": segmenter, "detector_seeds": 1})
    on_cpu, on_gpu = on_both(partial(scores, "joint", settings, tmp_path))
    assert on_gpu == pytest.approx(on_cpu, rel=ROUNDED)
    assert "dice_difference" in on_gpu


def test_updates_run_as_the_trial_says(tmp_path: Path) -> None:
    found = {}
    launches = {}
    for execution in ("eager", "auto"):
        with PretendedGpu() as gpu:
            found[execution] = scores("joint", FAST, tmp_path / execution, GPU, execution=execution)
        launches[execution] = gpu.kernels["graph launch"]
    # Two of each graph compare it: detectors and segmenters of real images alone, and with synthetic ones.
    assert launches == {"eager": 0, "auto": 2 * (FAST.detector_steps + FAST.segmenter_steps) + 4 * 2}
    assert found["auto"] == found["eager"]


def two_workers(folder: Path) -> dict[str, float]:
    with PretendedGpu():
        return scores("joint", FAST, folder, GPU)


def test_two_workers_on_gpus_score_as_one(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = scores("joint", FAST, tmp_path / "one", CPU)
    finally:
        torch.set_num_threads(threads)
    for found in run_workers(two_workers, tmp_path / "two"):
        assert found == pytest.approx(alone, rel=ROUNDED)


def encoder_features(device: torch.device) -> torch.Tensor:
    encoder = train_encoder(TRAIN, 2, 3, device)
    return extractor_of(encoder.state_dict(), device).features(VAL.images)


def test_extractors_give_the_same_features(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten())
    torch.jit.save(torch.jit.script(network), tmp_path / "network.pt")
    # A file is opened before the GPU is there: torch.jit.load cannot put weights on a pretended one.
    extractor = load_extractor(tmp_path / "network.pt", CPU)
    expected = extractor.features(VAL.images)
    on_cpu = encoder_features(CPU)
    with PretendedGpu():
        assert torch.equal(extractor.features(VAL.images), expected)
        assert torch.equal(encoder_features(GPU), on_cpu)


def test_arms_are_alike() -> None:
    fakes = ImageSet(VAL.images.flip(3), VAL.labels)
    recipe = Recipe(partial(DETECTORS["small_cnn"], SPEC), 2, 3, 8)
    on_cpu, on_gpu = on_both(
        lambda device: run_arms(recipe, TRAIN, fakes, VAL.images, ratios=[0.5], seeds=[0, 1], device=device)
    )
    assert on_cpu.keys() == on_gpu.keys()
    for arm in on_cpu:
        torch.testing.assert_close(on_gpu[arm], on_cpu[arm], atol=1e-3, rtol=0, msg=arm)


def test_memorisation_is_judged_alike() -> None:
    def judged(device: torch.device) -> Any:
        extractor = extractor_of(train_encoder(TRAIN, 2, 3, device).state_dict(), device)
        return assess(TRAIN.images[:8], TRAIN, VAL, extractor)

    on_cpu, on_gpu = on_both(judged)
    assert on_cpu.memorised
    assert on_gpu == on_cpu


def test_two_sets_are_compared_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.scoring.panel.score.ENCODER_STEPS", 3)
    fakes = ImageSet(VAL.images.flip(3), VAL.labels, None if VAL.masks is None else VAL.masks.flip(3))

    def compared(device: torch.device) -> dict[str, float]:
        found = score_sets(PanelInputs(TRAIN, fakes, training=TRAIN, held_out=VAL), device=device)
        return {name: metric.value for name, metric in found.items() if metric.value is not None}

    on_cpu, on_gpu = on_both(compared)
    assert on_gpu == pytest.approx(on_cpu, rel=1e-9, nan_ok=True)
    assert {"fid", "kid"} <= set(on_gpu)


def test_drawing_for_a_report_copies_each_chunk_once() -> None:
    config = TrialConfig(architecture=dict(TRAINABLES.gans["dcgan"].smallest), batch_size=8)
    gan = build_gan(config, SPEC, TRAINABLES)
    with PretendedGpu() as gpu:
        for module in (*gan.networks.values(), gan.state):
            module.to(GPU)
        sampler = make_sampler(gan, None, TRAIN, GPU)
        gpu.copies.clear()
        sampler(Condition(torch.arange(64) % 2), 0)
    # Two chunks of 32: labels there, images back.
    assert sum(n for place, n in gpu.copies.items() if place.startswith("copy to cpu")) == 2
    assert sum(n for place, n in gpu.copies.items() if place.startswith("copy to cuda")) == 2
