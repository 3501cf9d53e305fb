"""ROC curves and confusion matrices of arms, against worked examples."""

import numpy as np
import pytest
import torch

from gansweep.contracts import ImageSet
from gansweep.scoring.statistics.curves import arm_curves


def images(labels: list[int]) -> ImageSet:
    n = len(labels)
    return ImageSet(torch.zeros(n, 1, 8, 8), torch.tensor(labels), None, tuple(map(str, range(n))))


def probabilities(positive: list[float]) -> torch.Tensor:
    said = torch.tensor(positive)
    return torch.stack([1 - said, said], dim=1)[None]


def test_the_matrix_counts_images_by_true_and_predicted_class() -> None:
    test = images([0, 0, 0, 1, 1])
    one = {"real": probabilities([0.1, 0.2, 0.9, 0.8, 0.4])}
    other = {"real": probabilities([0.1, 0.2, 0.3, 0.8, 0.4])}
    assert arm_curves([one], test, 1)["real"]["confusion"] == [[2.0, 1.0], [1.0, 1.0]]
    assert arm_curves([one, other], test, 1)["real"]["confusion"] == [[2.5, 0.5], [1.0, 1.0]]


def test_detectors_of_one_training_are_averaged_first() -> None:
    both = torch.cat([probabilities([0.9, 0.9]), probabilities([0.0, 0.6])])
    assert arm_curves([{"real": both}], images([0, 1]), 1)["real"]["confusion"] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("seed", range(4))
def test_the_area_below_the_curve_is_the_auroc(seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 200)
    said = np.clip(0.3 * labels + rng.normal(0.4, 0.2, 200), 0.001, 0.999)
    found = arm_curves([{"real": probabilities(said.tolist())}], images(labels.tolist()), 1)["real"]
    assert np.trapezoid(found["tpr"], found["fpr"]) == pytest.approx(roc_auc_score(labels, said), abs=0.01)
    assert (found["fpr"][0], found["tpr"][0]) == (0.0, 0.0)
    assert (found["fpr"][-1], found["tpr"][-1]) == (1.0, 1.0)
    assert np.all(np.diff(found["tpr"]) >= -1e-12)


def test_a_perfect_detector_and_one_that_guesses() -> None:
    test = images([0, 0, 1, 1])
    perfect = arm_curves([{"real": probabilities([0.1, 0.2, 0.8, 0.9])}], test, 1)["real"]
    assert perfect["tpr"][1:] == [1.0] * 51
    alike = arm_curves([{"real": probabilities([0.5] * 4)}], test, 1)["real"]
    assert alike["tpr"] == pytest.approx(alike["fpr"])


def test_what_is_not_finite_and_one_kind_of_image_have_no_curve() -> None:
    nothing = probabilities([float("nan"), 0.5])
    assert arm_curves([{"real": nothing}], images([0, 1]), 1) == {}
    assert set(arm_curves([{"real": probabilities([0.2, 0.4])}], images([0, 0]), 1)["real"]) == {"confusion"}
