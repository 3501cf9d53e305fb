"""The fraction of copies that a trial reports: that of the examination, and of the weights alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.config import ScoringSettings, TrialConfig
from gansweep.constraint import Constraint
from gansweep.scoring.memorisation.copied_fraction import CopiedFraction
from gansweep.scoring.memorisation.examination import assess
from tests.scoring.discs import DiscCohort, oracle
from tests.scoring.test_memorisation import HELD_OUT, TRAINING, heads, noise, replay
from tests.scoring.test_trial import FAST, scorer

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from gansweep.contracts import Condition, ImageSet
    from gansweep.scoring.trial import TrialScorer

COUNTED = FAST.model_copy(update={"copies": True})


@pytest.mark.parametrize(
    "samples",
    [
        replay(64),
        torch.cat([replay(16), heads(48, 9, slices=1).images]),
        replay(64).flip(-1).roll((1, -2), (2, 3)),
        noise(64),
        heads(64, 8, slices=1).images,
    ],
)
def test_it_is_that_of_the_examination(samples: Tensor) -> None:
    copied = CopiedFraction.of(TRAINING, HELD_OUT)
    assert copied is not None
    examined = assess(samples, TRAINING, HELD_OUT, None).figures
    assert copied(samples) == examined["copies_pixels"].value
    assert copied.expected == examined["copies_pixels_floor"].value


def test_copies_are_counted_and_other_patients_are_none() -> None:
    copied = CopiedFraction.of(TRAINING, HELD_OUT)
    assert copied is not None
    assert copied(replay(64)) == 1.0
    assert copied(heads(64, 8, slices=1).images) <= 1 / 64
    few = replace(TRAINING, images=TRAINING.images[:4], labels=TRAINING.labels[:4], patients=TRAINING.patients[:4])
    assert CopiedFraction.of(few, HELD_OUT) is None  # two patients


@dataclass(frozen=True)
class Painter:
    """A sampler that shows the images that it starts from, with `learned` training images in place of the first."""

    data: ImageSet
    learned: Tensor

    def __call__(self, condition: Condition, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(self.data), (len(condition.labels),), generator=generator)
        images = self.data.images[rows].clone()
        images[: len(self.learned)] = self.learned[: len(images)]
        return images

    def starting_from(self, data: ImageSet) -> Painter:
        return Painter(data, self.learned)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> TrialScorer:
    return scorer(tmp_path_factory.mktemp("cache"), settings=COUNTED)


def test_a_trial_reports_it_only_if_asked(judge: TrialScorer, tmp_path: Path) -> None:
    train = DiscCohort().load("train")
    counted = judge.score(oracle, TrialConfig())
    assert counted["copies_pixels"] <= 0.1
    assert judge.score(lambda condition, _: train.images[condition.labels], TrialConfig())["copies_pixels"] == 1.0
    # No other score depends on it.
    plain = scorer(tmp_path).score(oracle, TrialConfig())
    assert counted.keys() - plain.keys() == {"copies_pixels", "copies_pixels_floor"}
    assert plain == {name: counted[name] for name in plain}


def test_what_is_painted_into_real_images_is_judged_on_those_it_never_saw(judge: TrialScorer) -> None:
    train = DiscCohort().load("train")
    clean = judge.score(Painter(train, train.images[:0]), TrialConfig())
    assert clean["copies_pixels"] <= 0.1  # though every sample equals a training image
    leaking = judge.score(Painter(train, train.images[:16]), TrialConfig())
    assert leaking["copies_pixels"] >= 0.25  # 16 of the 64 samples


def test_a_constraint_asks_for_it() -> None:
    bound = Constraint(score="copies_pixels", at_most=0.01)
    other = Constraint(score="fid", at_most=1.0)
    assert ScoringSettings().with_scores([other.score, bound.score]).copies
    assert not ScoringSettings().with_scores([other.score]).copies
    assert COUNTED.with_scores([]) == COUNTED
