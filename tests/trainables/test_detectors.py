"""What every detector of the registry must do: learn, repeat itself, come back from its state, refuse in one line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.config import ScoringSettings
from gansweep.contracts import ImageSet, ImageSpec, Trainables
from gansweep.errors import ConfigError
from gansweep.scoring.networks.detection import Recipe, predict, train_detector
from gansweep.scoring.networks.detectors import check_detector, detector_builder
from trainables import DETECTORS, TRAINABLES
from trainables.downstream.detectors import HybridDetector, SmallCnn
from trainables.downstream.heads import ForestHead

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
SPEC = ImageSpec(32, 1, ("negative", "positive"))


class Features(torch.nn.Module):
    """Mean and brightest value of the image and of a smoothed copy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        smooth = torch.nn.functional.avg_pool2d(x[:, :1], 3, 1)
        both = [x[:, :1].flatten(1), smooth.flatten(1)]
        return torch.cat([one.mean(1, keepdim=True) for one in both] + [one.amax(1, keepdim=True) for one in both], 1)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("features") / "brightness.pt"
    torch.jit.save(torch.jit.script(Features()), path)
    return str(path)


def settings(detector: str, features: str) -> ScoringSettings:
    on_features = hasattr(DETECTORS[detector], "on_features")
    return ScoringSettings(detector=detector, detector_features=features if on_features else None)


def marked(n: int, seed: int) -> ImageSet:
    """Noise; every second image has a bright spot at a random place."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.randn(n, 1, 32, 32, generator=generator) - 0.5
    for number in range(1, n, 2):
        row, column = torch.randint(4, 22, (2,), generator=generator).tolist()
        images[number, 0, row : row + 6, column : column + 6] += 1.2
    return ImageSet(images, torch.arange(n) % 2)


def recipe_of(detector: str, features: str, steps: int) -> Recipe:
    return Recipe(detector_builder(settings(detector, features), TRAINABLES, SPEC), 2, steps, 8)


@pytest.mark.parametrize("detector", DETECTORS)
def test_it_learns_what_every_detector_must(detector: str, features: str) -> None:
    large = detector == "densenet"
    trained = train_detector(recipe_of(detector, features, 10 if large else 60), marked(40, 0), None, 0.0, 0, CPU)
    test = marked(40, 1)
    if large:
        # Its running statistics take longer than its weights.
        trained.train()
    right = predict([trained], test.images, CPU)[0].argmax(1) == test.labels
    assert right.double().mean() >= 0.9


@pytest.mark.parametrize("detector", DETECTORS)
def test_it_repeats_itself_and_comes_back_from_its_state(detector: str, features: str) -> None:
    recipe, test = recipe_of(detector, features, 2), marked(6, 1)
    one, again, other = (train_detector(recipe, marked(20, 0), None, 0.0, seed, CPU) for seed in (3, 3, 4))
    said = predict([one], test.images, CPU)
    assert torch.equal(said, predict([again], test.images, CPU))
    weights = one.state_dict()
    assert any(not torch.equal(weights[name], value) for name, value in other.state_dict().items())
    restored = recipe.build()
    restored.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})
    assert torch.equal(said, predict([restored.eval()], test.images, CPU))
    alone = torch.cat([predict([one], image[None], CPU) for image in test.images], 1)
    assert torch.allclose(alone, said, atol=1e-5), "an image's prediction depends on the others in its batch"


@pytest.mark.parametrize("detector", DETECTORS)
def test_it_gives_one_logit_per_class(detector: str, features: str) -> None:
    spec = ImageSpec(48, 3, ("a", "b", "c"))
    check_detector(settings(detector, features), TRAINABLES, spec)
    found = detector_builder(settings(detector, features), TRAINABLES, spec)().eval()
    assert found(torch.zeros(2, 3, 48, 48)).shape == (2, 3)


def test_a_forest_says_what_scikit_learns_says(features: str) -> None:
    """Kept as a tensor it gives the probabilities of the forest that grew, also of images that are mixed."""
    from sklearn.ensemble import RandomForestClassifier

    data, test = marked(60, 0), marked(30, 1)
    head = ForestHead(SPEC, features)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head.fit_batches([(data.images, data.labels)])
        torch.manual_seed(5)
        seed = int(torch.randint(2**31, ()))
    forest = RandomForestClassifier(100, min_samples_leaf=2, random_state=seed)
    forest.fit(head.vectors(data.images).numpy(), data.labels.numpy())
    expected = torch.as_tensor(forest.predict_proba(head.vectors(test.images).numpy()))
    assert torch.allclose(head(test.images).exp().double(), expected.clamp(min=1e-3), atol=1e-5)


class Single(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))


class Scores(torch.nn.Module):
    """No detector: one number per image."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        del spec

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))


def test_what_cannot_be_used_is_refused_in_one_line(features: str, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Single()), tmp_path / "single.pt")
    (tmp_path / "text.pt").write_text("no network")
    own = Trainables(detectors={**DETECTORS, "scores": Scores})

    def said(detector: str, file: str | None, spec: ImageSpec = SPEC) -> str:
        with pytest.raises(ConfigError) as told:
            check_detector(ScoringSettings(detector=detector, detector_features=file), own, spec)
        assert "\n" not in str(told.value)
        return str(told.value)

    assert "it must return one feature vector per image" in said("linear_head", str(tmp_path / "single.pt"))
    assert "not a TorchScript file" in said("forest_head", str(tmp_path / "text.pt"))
    assert "no such file" in said("linear_head", str(tmp_path / "none.pt"))
    assert "no file gives them; --set scoring.detector_features=FILE.pt" in said("linear_head", None)
    assert "set scoring.detector to linear_head or forest_head" in said("small_cnn", features)
    assert "unknown detector 'resnet'" in said("resnet", None)
    assert "gives shape (2,) for 2 images; it must return logits [b, 2]" in said("scores", None)
    assert "cannot take images 2x1x8x8" in said("densenet", None, ImageSpec(8, 1, ("a", "b")))


def test_a_linear_head_trains_nothing_of_the_file(features: str) -> None:
    head = partial(DETECTORS["linear_head"], SPEC)(features)
    assert {name for name, _ in head.named_parameters()} == {"head.weight", "head.bias"}
    assert "brightness:" in repr(head)


@pytest.mark.parametrize("detector", [SmallCnn, HybridDetector])
def test_the_number_of_parameters_is_the_one_described(detector: type[torch.nn.Module]) -> None:
    count = sum(parameter.numel() for parameter in detector(SPEC).parameters())
    assert f"{round(count, -3):,} parameters" in str(detector.__doc__)
