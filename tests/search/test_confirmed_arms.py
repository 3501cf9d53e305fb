"""What `confirm` draws from a fresh generator is what the search would have scored."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet, ImageSpec
from gansweep.errors import CohortError
from gansweep.options import ConfirmSettings
from gansweep.search import confirmed_arms
from gansweep.search.confirmed_arms import TrainedArms, arms_of, kept_arms, samples_of
from gansweep.search.retraining import arms_path
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.contracts import Sampler

CPU = torch.device("cpu")
SIZE = 16
SPEC = ImageSpec(SIZE, 1, ("control", "fahr"), mask_channels=1, positive=1)
CONFIG = TrialConfig().derive({"iterations": 4, "batch_size": 8, "n_critic": 1, "ema_half_life": 0.05})
CONFIGS = {
    "dcgan": CONFIG.derive({"family": "dcgan", "architecture": {"width": 8, "latent": 8, "generator_norm": "batch"}}),
    "lesion_painter": CONFIG.derive(
        {
            "family": "lesion_painter",
            "conditioning": "none",
            "architecture": {"width": 8, "depth": 2, "critic_width": 8},
            "loss.kind": "hinge",
            "penalty.kind": "none",
        }
    ),
}


def heads() -> ImageSet:
    """32 grey heads; every second one has a bright lesion."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    labels = torch.arange(32) % 2
    masks = (labels[:, None, None] * ((x + 0.3) ** 2 + y**2 < 0.1))[:, None].float()
    head = torch.where(x**2 + y**2 < 0.8, -0.2, -1.0) + 0.05 * torch.randn(32, 1, SIZE, SIZE, generator=generator)
    images = torch.where(masks > 0, 0.75 + 0.05 * torch.randn(32, 1, 1, 1, generator=generator), head)
    return ImageSet(images.clamp(-1, 1), labels, masks, tuple(map(str, range(32))))


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_samples_are_those_of_the_training_loop(family: str) -> None:
    config, data, n = CONFIGS[family], heads(), 40
    made = torch.tensor(TRAINABLES.classes_made(config, SPEC))
    labels = made[torch.arange(n) % len(made)]
    scored: list[torch.Tensor] = []

    def score(sampler: Sampler, _: int) -> dict[str, float]:
        scored.append(sampler(Condition(labels), config.seed)[:, : SPEC.channels])
        return {}

    reporter = MemoryReporter()
    train(config, build_gan(config, SPEC, TRAINABLES), data, reporter, score, reports=1, device=CPU)
    state: dict[str, Any] = reporter.state or {}
    samples = samples_of(state, data, SPEC, TRAINABLES, n, CPU)
    assert (samples.masks is not None) == (family == "lesion_painter")
    assert torch.equal(samples.labels, labels)
    assert torch.equal(samples.images, scored[0])


@pytest.mark.parametrize(
    ("its_own", "ratios", "classes"),
    [
        ({"synthetic_ratio": 2.0, "sample_filter": "detector_agrees"}, [0.5, 1.0, 2.0], {1}),
        ({"synthetic_ratio": 0.5}, [0.5, 1.0], {0, 1}),
        ({"synthetic_ratio": 0.5, "sample_filter": "dense"}, [0.5, 1.0], {0, 1}),
        ({"synthetic_ratio": 0.0}, [0.5, 1.0], {0, 1}),
    ],
)
def test_samples_are_used_as_the_search_used_them(
    its_own: dict[str, Any],
    ratios: list[float],
    classes: set[int],
    cohort_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Filtered as the leader's configuration says, and at its ratio besides those asked for."""
    cohort, reporter = Cohort.open(cohort_path), MemoryReporter()
    config, spec = CONFIGS["dcgan"].derive(its_own), cohort.spec()
    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, cohort.load("train"), reporter, lambda *_: {}, reports=1, device=CPU)
    store = sweep_of(cohort.content_hash, reporter.state)
    given: dict[str, Any] = {}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        confirmed_arms, "predict", lambda _, images, __: torch.tensor([0.0, 1.0]).expand(1, len(images), 2)
    )
    monkeypatch.setattr(
        confirmed_arms, "run_arms", lambda *sets, ratios, **_: given.update(samples=sets[2], ratios=list(ratios)) or {}
    )
    settings = ConfirmSettings(detector_seeds=1, ratios=(0.5, 1.0), rivals=("mixup",), samples=8)
    arms = arms_of(store, TRAINABLES, cohort_path, ["x"], settings, 0)
    assert list(arms.detectors) == ["real + MixUp"]
    assert not arms.segmenters
    assert given["ratios"] == ratios
    assert set(given["samples"].labels.tolist()) == classes
    assert len(given["samples"]) == (4 if config.sample_filter != "none" else 8)


def test_pooled_generators_give_equal_parts_and_train_the_arms_that_use_them(
    cohort_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Cohort.open(cohort_path)
    states = {}
    for name, ratio in (("one", 0.5), ("two", 2.0)):
        config = CONFIGS["dcgan"].derive({"synthetic_ratio": ratio, "seed": len(states)})
        reporter = MemoryReporter()
        gan = build_gan(config, cohort.spec(), TRAINABLES)
        train(config, gan, cohort.load("train"), reporter, lambda *_: {}, reports=1, device=CPU)
        states[name] = reporter.state or {}
    store = sweep_of(cohort.content_hash, None)
    store.checkpoint = lambda name: SimpleNamespace(read=lambda: states[name])
    used: list[ImageSet] = []
    whole = confirmed_arms.synthetic_arms
    monkeypatch.setattr(
        confirmed_arms, "synthetic_arms", lambda *sets, **options: used.append(sets[2]) or whole(*sets, **options)
    )
    settings = ConfirmSettings(detector_seeds=1, ratios=(1.0,), rivals=("mixup",), samples=8, pool=True)
    arms = arms_of(store, TRAINABLES, cohort_path, ["one", "two"], settings, 0)
    synthetic = [f"real + {ratio} synthetic" for ratio in ("0.5", "1", "2")]
    assert list(arms.detectors) == [*synthetic, "synthetic only"]
    alone = [samples_of(states[name], cohort.load("train"), cohort.spec(), TRAINABLES, 4, CPU) for name in states]
    assert torch.equal(used[0].images, torch.cat([part.images for part in alone]))
    assert not torch.equal(alone[0].images, alone[1].images)
    assert used[0].labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.fixture(scope="module")
def painted(cohort_path: Path) -> dict[str, Any]:
    """The checkpoint of a generator that draws masks."""
    cohort, reporter = Cohort.open(cohort_path), MemoryReporter()
    config = CONFIGS["lesion_painter"]
    gan = build_gan(config, cohort.spec(), TRAINABLES)
    train(config, gan, cohort.load("train"), reporter, lambda *_: {}, reports=1, device=CPU)
    assert reporter.state is not None
    return reporter.state


SETTINGS = ConfirmSettings(detector_seeds=2, ratios=(1.0,), rivals=("mixup", "elastic"), samples=8)


def test_a_generator_that_draws_masks_trains_segmenters_too(cohort_path: Path, painted: dict[str, Any]) -> None:
    cohort = Cohort.open(cohort_path)
    store = sweep_of(cohort.content_hash, painted, segmenter_steps=2)
    arms = arms_of(store, TRAINABLES, cohort_path, ["x"], SETTINGS, 0)
    synthetic = [f"real + {ratio:g} synthetic" for ratio in sorted({1.0, CONFIG.synthetic_ratio})]
    assert list(arms.segmenters) == [
        "real",
        "real, not augmented",
        *synthetic,
        "synthetic only",
        "real + elastic augmentation",
    ]
    test = cohort.load_test()
    assert test.masks is not None
    images = int(test.masks.flatten(1).any(1).sum())
    assert {tuple(values.shape) for values in arms.segmenters.values()} == {(2, 1, images)}
    assert arms.no_segmenters == ""
    # Pooled, only the arms that use samples are trained; the others are those of the first leader.
    pooled = arms_of(store, TRAINABLES, cohort_path, ["x", "x"], SETTINGS, 0)
    assert list(pooled.segmenters) == [*synthetic, "synthetic only"]
    joined = pooled.beside(arms)
    assert set(joined.segmenters) == set(arms.segmenters)
    assert torch.equal(joined.segmenters["real"], arms.segmenters["real"])
    assert torch.equal(joined.segmenters["synthetic only"], pooled.segmenters["synthetic only"])


@pytest.mark.parametrize(
    ("scoring", "lesions", "reason"),
    [
        ({"segmenter_steps": 0}, 8, "scoring.segmenter_steps is 0"),
        ({"segmenter_steps": 2}, 1, "1 test patient(s) with a lesion mask, and a verdict needs 2"),
        ({"segmenter_steps": 2, "segmenter": "mine"}, 8, "scoring.segmenter: unknown segmenter 'mine'"),
    ],
)
def test_why_segmenters_are_not_judged(
    scoring: dict[str, Any],
    lesions: int,
    reason: str,
    cohort_path: Path,
    painted: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test patients are open by then, so the detectors are judged all the same."""
    whole = Cohort.load_test

    def fewer(cohort: Cohort, view: Any = None) -> ImageSet:
        found = whole(cohort, view)
        assert found.masks is not None
        marked = sorted({p for p, mask in zip(found.patients, found.masks, strict=True) if mask.any()})
        keep = torch.tensor([patient in marked[:lesions] for patient in found.patients])
        return replace(found, masks=found.masks * keep[:, None, None, None])

    monkeypatch.setattr(Cohort, "load_test", fewer)
    store = sweep_of(Cohort.open(cohort_path).content_hash, painted, **scoring)
    arms = arms_of(store, TRAINABLES, cohort_path, ["x"], SETTINGS, 0)
    assert "synthetic only" in arms.detectors
    assert arms.segmenters == {}
    assert arms.no_segmenters.startswith(reason)
    assert "\n" not in arms.no_segmenters


def test_kept_arms_are_read_again_unless_an_earlier_version_kept_them(
    cohort_path: Path, painted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, bytes] = {}
    store = sweep_of(Cohort.open(cohort_path).content_hash, painted, segmenter_steps=2)
    checkpoint = SimpleNamespace(read=lambda: painted, read_bytes=lambda: b"state")
    store.checkpoint = lambda _: checkpoint
    store.exists, store.read_bytes, store.write_bytes = files.__contains__, files.__getitem__, files.__setitem__
    settings = SETTINGS.model_copy(update={"rivals": (), "detector_seeds": 1})
    arguments = (store, TRAINABLES, cohort_path, ["x"], settings, 0, None)
    trained = kept_arms(*arguments)
    place = arms_path(["x"])
    kept = torch.load(io.BytesIO(files[place]), weights_only=True)
    with monkeypatch.context() as again:
        again.setattr(confirmed_arms, "arms_of", lambda *_: pytest.fail("trained again"))
        found = kept_arms(*arguments)
    for one, other in zip(trained, found, strict=True):
        assert list(one) == list(other)
    assert all(torch.equal(trained.segmenters[name], found.segmenters[name]) for name in trained.segmenters)
    # An earlier version kept the same, but for its version, without segmenters.
    buffer = io.BytesIO()
    torch.save({"key": json.dumps(json.loads(kept["key"])[1:]), "arms": kept["detectors"]}, buffer)
    files[place] = buffer.getvalue()
    monkeypatch.setattr(confirmed_arms, "arms_of", lambda *_: TrainedArms({}, {}, "made anew"))
    assert kept_arms(*arguments).no_segmenters == "made anew"


def test_another_cohort_at_the_path_is_refused(cohort_path: Path) -> None:
    store = sweep_of("0" * 64, None)
    with pytest.raises(CohortError, match="not the cohort of this sweep"):
        arms_of(store, TRAINABLES, cohort_path, ["x"], ConfirmSettings(), 0)


def sweep_of(content_hash: str, state: Any, **scoring: Any) -> Any:
    """What `arms_of` asks a store for."""
    info = SimpleNamespace(cohort=SimpleNamespace(content_hash=content_hash))
    checkpoint = SimpleNamespace(read=lambda: state)
    return SimpleNamespace(
        info=info,
        storage="/nowhere",
        checkpoint=lambda _: checkpoint,
        scoring=ScoringSettings(**{"detector_steps": 2, "encoder_steps": 2, **scoring}),
    )
