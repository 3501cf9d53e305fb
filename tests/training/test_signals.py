"""Signals of a training that begins to fail: a collapsed class, and gradients that change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gansweep.contracts import ImageSet
from gansweep.distributed import World
from gansweep.progress import SIGNALS
from gansweep.training.divergence import DivergenceMonitor, check_samples, spread_of_classes
from tests.training.test_loop import CONFIG, run

ROLES = {"critic": "critic", "generator": "generator"}
REAL = torch.tensor([0.5, 0.25])


class NoNetworks:
    def __init__(self) -> None:
        self.networks: dict[str, nn.Module] = {}


def monitored(*reports: dict[str, list[float]]) -> list[dict[str, float]]:
    """The signals at each report, after checks with gradients of these norms by phase."""
    monitor = DivergenceMonitor(World())
    found = []
    for report in reports:
        for check in range(max(map(len, report.values()))):
            for phase, norms in report.items():
                monitor.add_gradients(phase, [torch.tensor([norms[check], 0.0]), None])
            monitor.check(NoNetworks(), iteration=1)
        found.append(monitor.signals(ROLES))
        # As after a crash between a checkpoint and its report.
        again = DivergenceMonitor(World())
        again.restore(monitor.state(), torch.device("cpu"))
        assert again.signals(ROLES) == found[-1]
        again.reported()
        monitor = again
    return found


def test_the_first_report_has_nothing_to_compare_with() -> None:
    assert monitored({"critic": [3.0], "generator": [0.1]}) == [{"gradient_drift": 1.0, "imbalance": 1.0}]


def test_gradients_that_grow_together_drift_and_keep_their_balance() -> None:
    found = monitored({"critic": [1.0, 3.0], "generator": [1.0, 1.0]}, {"critic": [20.0], "generator": [10.0]})
    assert found[1] == {"gradient_drift": pytest.approx(10.0), "imbalance": pytest.approx(1.0)}


def test_a_generator_whose_gradient_vanishes_is_out_of_balance() -> None:
    found = monitored({"critic": [2.0], "generator": [1.0]}, {"critic": [4.0], "generator": [0.01]})
    assert found[1] == {"gradient_drift": pytest.approx(100.0), "imbalance": pytest.approx(200.0)}


def test_every_report_is_compared_with_the_first() -> None:
    found = monitored(*({"critic": [norm], "generator": [norm]} for norm in (1.0, 8.0, 2.0)))
    assert [signals["gradient_drift"] for signals in found] == pytest.approx([1.0, 8.0, 2.0])


def test_a_training_without_a_critic_has_no_balance() -> None:
    assert monitored({"generator": [1.0]}, {"generator": [4.0]})[1] == {"gradient_drift": 4.0}


def test_a_phase_that_begins_later_is_compared_with_its_own_first_report() -> None:
    found = monitored(
        {"critic": [1.0]},
        {"critic": [1.0], "generator": [5.0]},
        {"critic": [1.0], "generator": [15.0]},
    )
    assert [signals.get("imbalance") for signals in found] == [None, pytest.approx(1.0), pytest.approx(3.0)]


def samples(stretch: dict[int, float]):  # type: ignore[no-untyped-def]
    """A sampler whose images of a class vary by the class's real spread times `stretch`."""

    def sample(condition, _seed):  # type: ignore[no-untyped-def]
        factor = torch.tensor([REAL[int(label)] * stretch[int(label)] for label in condition.labels])
        return torch.randn(len(condition.labels), 1, 16, 16) * factor.view(-1, 1, 1, 1)

    return sample


def test_a_class_that_collapses_is_seen_beside_one_that_does_not() -> None:
    torch.manual_seed(0)
    varied = check_samples(samples({0: 1.0, 1: 1.0}), REAL, World(), 1)
    one_collapsed = check_samples(samples({0: 1.0, 1: 0.02}), REAL, World(), 1)
    assert varied == pytest.approx(1.0, abs=0.05)
    assert one_collapsed == pytest.approx(0.02, abs=0.005)


def test_a_class_whose_real_images_do_not_vary_is_not_compared() -> None:
    torch.manual_seed(0)
    assert check_samples(samples({0: 1.0, 1: 1.0}), torch.tensor([0.5, 0.0]), World(), 1) == pytest.approx(1.0, abs=0.1)
    assert check_samples(samples({0: 1.0, 1: 1.0}), torch.zeros(2), World(), 1) == 1.0


def test_the_spread_of_real_images_is_that_of_each_class() -> None:
    torch.manual_seed(0)
    images = torch.randn(400, 1, 8, 8)
    labels = torch.arange(400) % 2
    images[labels == 1] *= 0.25
    assert spread_of_classes(ImageSet(images, labels)).tolist() == pytest.approx([1.0, 0.25], rel=0.02)
    # A single image of a class does not vary.
    assert spread_of_classes(ImageSet(images[:3], labels[:3]))[1] == 0.0


def test_a_gradient_that_vanishes_has_drifted_far() -> None:
    found = monitored({"critic": [1.0], "generator": [1.0]}, {"critic": [1.0], "generator": [0.0]})
    assert found[1]["gradient_drift"] == found[1]["imbalance"] == pytest.approx(1e30)


def test_a_phase_that_starts_later_is_compared_with_its_start() -> None:
    found = monitored({"generator": [0.0]}, {"generator": [2.0]}, {"generator": [6.0]})
    assert [signals.get("gradient_drift") for signals in found] == [None, 1.0, pytest.approx(3.0)]


def test_every_report_of_a_training_has_all_signals() -> None:
    reports = run(CONFIG, reports=2).reports
    assert [sorted(report.signals) for report in reports] == [sorted(SIGNALS)] * 2
    assert reports[0].signals["imbalance"] == reports[0].signals["gradient_drift"] == 1.0
    assert reports[1].signals["gradient_drift"] > 1.0
    assert all(0.0 < report.signals["class_spread"] < 10.0 for report in reports)
