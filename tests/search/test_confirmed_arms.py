"""What `confirm` draws from a fresh generator is what the search would have scored."""

from __future__ import annotations

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
from gansweep.search.confirmed_arms import arms_of, samples_of
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
    assert list(arms) == ["real + MixUp"]
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
    assert list(arms) == [*synthetic, "synthetic only"]
    alone = [samples_of(states[name], cohort.load("train"), cohort.spec(), TRAINABLES, 4, CPU) for name in states]
    assert torch.equal(used[0].images, torch.cat([part.images for part in alone]))
    assert not torch.equal(alone[0].images, alone[1].images)
    assert used[0].labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


def test_another_cohort_at_the_path_is_refused(cohort_path: Path) -> None:
    store = sweep_of("0" * 64, None)
    with pytest.raises(CohortError, match="not the cohort of this sweep"):
        arms_of(store, TRAINABLES, cohort_path, ["x"], ConfirmSettings(), 0)


def sweep_of(content_hash: str, state: Any) -> Any:
    """What `arms_of` asks a store for."""
    info = SimpleNamespace(cohort=SimpleNamespace(content_hash=content_hash))
    checkpoint = SimpleNamespace(read=lambda: state)
    return SimpleNamespace(
        info=info,
        storage="/nowhere",
        checkpoint=lambda _: checkpoint,
        scoring=ScoringSettings(detector_steps=2, encoder_steps=2),
    )
