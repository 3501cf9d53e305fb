"""Checkpoints: a copy that the next step does not change, kept while the training goes on, and no failure lost."""

from __future__ import annotations

import threading

import pytest
import torch

from gansweep.errors import StoreError
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.training.checkpoints import Checkpoints


class Keeps:
    """A reporter that waits to be let go on, and may fail."""

    def __init__(self, *errors):
        self.states = []
        self.errors = list(errors)
        self.go = threading.Event()

    def checkpoint(self, state):
        assert self.go.wait(20)
        if self.errors and (error := self.errors.pop(0)):
            raise error
        self.states.append((threading.current_thread().name, state))


def test_on_a_gpu_the_training_goes_on_while_a_state_is_written():
    reporter = Keeps()
    with PretendedGpu() as gpu:
        weights = torch.ones(2, 3, 4, 4, device="cuda").to(memory_format=torch.channels_last)
        with Checkpoints(reporter, first=True, device=GPU) as checkpoints:
            checkpoints.keep({"networks": {"net": {"w": weights}}, "iteration": 7})
            assert not gpu.waits
            assert not reporter.states
            weights.fill_(2.0)
            reporter.go.set()
    (name, state), *more = reporter.states
    assert not more
    assert name == "checkpoint"
    kept = state["networks"]["net"]["w"]
    assert state["iteration"] == 7
    assert kept.is_contiguous()
    assert torch.equal(kept, torch.ones(2, 3, 4, 4))


def test_on_a_cpu_it_is_kept_at_once():
    reporter = Keeps()
    reporter.go.set()
    Checkpoints(reporter, first=True, device=CPU).keep({"iteration": 7})
    assert reporter.states == [("MainThread", {"iteration": 7})]


def test_a_failure_is_told_at_the_next_checkpoint():
    reporter = Keeps(StoreError("no room", where="store"))
    reporter.go.set()
    with PretendedGpu(), Checkpoints(reporter, first=True, device=GPU) as checkpoints:
        checkpoints.keep({"iteration": 1})
        with pytest.raises(StoreError, match="no room"):
            checkpoints.keep({"iteration": 2})
        checkpoints.keep({"iteration": 3})
    assert [state["iteration"] for _, state in reporter.states] == [3]


def kept_once(reporter, raised=None):
    with PretendedGpu(), Checkpoints(reporter, first=True, device=GPU) as checkpoints:
        checkpoints.keep({"iteration": 1})
        if raised:
            raise raised


def test_a_failure_of_the_last_one_is_told_at_the_end():
    reporter = Keeps(StoreError("no room", where="store"))
    reporter.go.set()
    with pytest.raises(StoreError, match="no room"):
        kept_once(reporter)


def test_a_failure_of_the_training_itself_comes_first(caplog):
    reporter = Keeps(StoreError("no room", where="store"))
    reporter.go.set()
    with pytest.raises(ZeroDivisionError):
        kept_once(reporter, ZeroDivisionError())
    assert "the last checkpoint was not kept: store: no room" in caplog.text


def test_other_workers_copy_nothing():
    class Untouched:
        def items(self):
            raise AssertionError

    Checkpoints(Keeps(), first=False, device=CPU).keep({"networks": Untouched()})


def test_unless_each_is_wanted():
    reporter = Keeps()
    reporter.every_worker = True
    reporter.go.set()
    Checkpoints(reporter, first=False, device=CPU).keep({"iteration": 7})
    assert len(reporter.states) == 1
