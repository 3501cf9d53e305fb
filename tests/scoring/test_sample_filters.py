"""Filters let those samples pass that they should, and keep the classes."""

from __future__ import annotations

import torch

from gansweep.contracts import ImageSet
from gansweep.scoring.sample_filters import filtered

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
SAMPLES = ImageSet(torch.arange(8.0)[:, None, None, None].expand(8, 1, 2, 2), LABELS)


def passed(samples: ImageSet) -> list[int]:
    return samples.images[:, 0, 0, 0].long().tolist()


def test_without_a_filter_all_pass() -> None:
    assert filtered(SAMPLES, "none") is SAMPLES


def test_those_that_the_judges_agree_with() -> None:
    positive = torch.tensor([0.1, 0.9, 0.4, 0.6, 0.7, 0.2, 0.9, 0.5 + 1e-6])
    seen = torch.stack([1 - positive, positive], 1)
    assert passed(filtered(SAMPLES, "detector_agrees", seen=seen)) == [0, 2, 4, 6, 7]


def test_half_of_each_class_that_the_judges_are_least_sure_of() -> None:
    positive = torch.tensor([0.01, 0.45, 0.9, 0.3, 0.99, 0.7, 0.95, 0.98])
    seen = torch.stack([1 - positive, positive], 1)
    assert passed(filtered(SAMPLES, "uncertain", seen=seen)) == [1, 3, 5, 6]


def test_half_of_each_class_in_the_densest_places_of_its_own_class() -> None:
    """Real images of class 0 lie around 0, of class 1 around 100; a sample in the wrong place counts for nothing."""
    real = torch.cat([torch.linspace(-1, 1, 12), torch.linspace(99, 101, 12)])[:, None].double()
    real_labels = torch.arange(24) // 12
    fake = torch.tensor([0.0, 100.0, 5.0, 0.9, 100.0, 0.0, 102.5, 120.0])[:, None].double()
    kept = filtered(SAMPLES, "dense", features=lambda: (fake, real, real_labels))
    assert passed(kept) == [0, 3, 4, 6]  # 102.5 is in no ball, and nearer than 120 and 0
    assert kept.labels.tolist() == [0, 0, 1, 1]


def test_an_only_sample_of_a_class_is_kept() -> None:
    one = ImageSet(SAMPLES.images[3:5], SAMPLES.labels[3:5])
    seen = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    assert passed(filtered(one, "uncertain", seen=seen)) == [3, 4]
