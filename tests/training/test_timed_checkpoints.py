"""Checkpoints between two reports, and how a training goes on from them."""

from __future__ import annotations

import pytest
import torch

from gansweep.distributed import World
from gansweep.errors import Diverged
from gansweep.testing.gan_contract import assert_equal
from gansweep.testing.workers import run_workers
from gansweep.training.build import build_gan
from gansweep.training.reporters import MemoryReporter
from tests.training.test_loop import CONFIG, SPEC, TRAINABLES, run


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Divergence is looked for every 10 iterations."""
    monkeypatch.setattr("gansweep.training.loop.CHECK_EVERY", 10)


@pytest.mark.parametrize("iteration", [1, 7, 10, 12])
def test_a_training_goes_on_bit_for_bit_from_a_checkpoint_between_reports(iteration):
    """Kept after every iteration here. Divergence is looked for at the tenth and the last."""
    states = []

    class Killed(MemoryReporter):
        def checkpoint(self, state):
            super().checkpoint(state)
            states.append(state["iteration"])
            if states == list(range(1, iteration + 1)):
                raise KeyboardInterrupt

    config = CONFIG.derive({"iterations": 13})
    whole = run(config, reports=1)
    reporter = Killed()
    with pytest.raises(KeyboardInterrupt):
        run(config, reporter=reporter, reports=1, checkpoint_seconds=1e-9)
    again = run(config, reporter=reporter, reports=1, checkpoint_seconds=1e-9)
    assert states == list(range(1, 14))
    assert again.reports[-1].losses == whole.reports[-1].losses
    for name, weights in whole.state["networks"]["generator"].items():
        assert torch.equal(again.state["networks"]["generator"][name], weights)


def resumed_by_two():
    """A training of 13 iterations, and the same one resumed from the checkpoint of the seventh. Returns both."""
    found = []

    class Keeps(MemoryReporter):
        def checkpoint(self, state):
            super().checkpoint(state)
            if state["iteration"] == 7:
                found.append(state)

    config = CONFIG.derive({"iterations": 13})
    whole = run(config, reporter=Keeps(), reports=1, checkpoint_seconds=1e-9)
    again = MemoryReporter()
    again.state = World.current().broadcast(found[0] if found else None)
    run(config, reporter=again, reports=1)
    return [(reporter.state, dict(reporter.reports[-1].losses)) for reporter in (whole, again)]


def test_two_workers_go_on_from_a_checkpoint_between_reports():
    """The weights are the same. The losses before it are those of the first worker, which alone keeps it."""
    ((whole, losses), (again, losses_again)), _ = run_workers(resumed_by_two)
    assert_equal(whole["networks"], again["networks"], "networks")
    assert_equal(whole["ema"], again["ema"], "ema")
    assert losses_again.keys() == losses.keys()
    assert losses_again == pytest.approx(losses, abs=0.1)


def test_a_training_that_diverged_since_the_last_check_keeps_its_last_good_checkpoint():
    gan = build_gan(CONFIG, SPEC, TRAINABLES)
    honest = gan.loss

    def broken(phase, batch, step):
        loss, scalars = honest(phase, batch, step)
        return (loss * float("nan") if step == 4 else loss), scalars

    gan.loss = broken
    kept = []

    class Kept(MemoryReporter):
        def checkpoint(self, state):
            super().checkpoint(state)
            kept.append(state["iteration"])

    reporter = Kept()
    with pytest.raises(Diverged, match="by iteration 10"):
        run(CONFIG.derive({"iterations": 13}), reporter=reporter, reports=1, checkpoint_seconds=1e-9, gan=gan)
    assert kept == [1, 2, 3, 4]
    assert all(weights.isfinite().all() for weights in reporter.state["networks"]["generator"].values())


def test_a_checkpoint_of_an_earlier_version_is_continued():
    """It was kept at a check, so there were no sums since the last one."""
    reporter = MemoryReporter(proceed=lambda _: False)
    run(reporter=reporter)
    del reporter.state["watch"]["sums"], reporter.state["watch"]["counts"]
    reporter._proceed = None
    assert [dict(p.losses) for p in run(reporter=reporter).reports] == [dict(p.losses) for p in run().reports]


def test_without_an_interval_checkpoints_are_kept_at_reports_alone():
    class Counted(MemoryReporter):
        kept = 0

        def checkpoint(self, state):
            super().checkpoint(state)
            self.kept += 1

    reporter = Counted()
    run(CONFIG.derive({"iterations": 13}), reporter=reporter, reports=1)
    assert reporter.kept == len(reporter.reports) == 1
