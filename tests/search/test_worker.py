"""What a worker group's worker does with each kind of error, without a worker group."""

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.errors import CohortError, ConfigError, Diverged, StoreError
from gansweep.search.mailbox import OUT_OF_MEMORY, Job
from gansweep.search.worker import _Worker


class _Asking(_Worker):
    """Notes what it would ask the mailbox."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def ask(self, method: str, *args: Any) -> None:
        self.asked.append((method, *args))


def _run(error: Exception) -> list[tuple[Any, ...]]:
    class Failing(_Asking):
        cohort = None  # type: ignore[assignment]

        def _train(self, _: Job) -> None:
            raise error

    return _asked(Failing(), type(error))


def _asked(worker: _Asking, error: type[Exception]) -> list[tuple[Any, ...]]:
    try:
        worker.run(Job(7, "0000", {}))
    except error:
        worker.asked.append(("raised",))
    return [call for call in worker.asked if call[0] != "memory"]


@pytest.mark.parametrize(
    ("error", "ending"),
    [(Diverged("the critic is dead"), "diverged"), (ConfigError("lr_d = -1"), "failed")],
)
def test_what_every_rank_meets_alike_ends_the_trial_and_keeps_the_group(error: Exception, ending: str) -> None:
    assert _run(error) == [("end", 7, ending, str(error))]


def test_a_store_that_cannot_be_written_for_a_moment_costs_a_restart() -> None:
    """Rank 0's alone: kept, its group would leave the other ranks in a collective, and the next trial with them."""
    error = StoreError("cannot write: disk is full")
    assert _run(error) == [("fault", 7, str(error)), ("raised",)]


def _error_of(act: Callable[[int], object]) -> Exception:
    with pytest.raises((RuntimeError, MemoryError)) as found:
        act(2**50)
    return found.value


def _raised_from(cause: Exception) -> Exception:
    error = RuntimeError("a family's own error")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("std::bad_alloc"),
        _error_of(torch.empty),
        _error_of(np.empty),
        _error_of(bytearray),
        _error_of(pa.allocate_buffer),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        _raised_from(_error_of(np.empty)),
    ],
    ids=repr,
)
def test_a_device_without_memory_ends_the_trial_and_its_group(error: Exception) -> None:
    assert _run(error) == [("end", 7, "failed", OUT_OF_MEMORY), ("raised",)]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("out of memory"),
    ],
)
def test_any_other_error_costs_a_restart(error: Exception) -> None:
    assert _run(error) == [("fault", 7, f"{type(error).__name__}: {error}"), ("raised",)]


def test_a_cohort_that_is_bad_on_one_node_ends_the_trial_and_its_group() -> None:
    error = CohortError("images.npy is damaged")
    assert _run(error) == [("end", 7, "failed", str(error)), ("raised",)]


@pytest.mark.parametrize("there", ["another cohort", "nothing"])
def test_a_node_without_the_sweeps_cohort_refuses_the_trial(there: str, cohort_path: Path, tmp_path: Path) -> None:
    """An old copy at the same path would train and score on other images, or on test patients."""
    worker = _Asking()
    worker.settings = SimpleNamespace(cohort=str(cohort_path if there == "another cohort" else tmp_path / "nowhere"))
    worker.store = SimpleNamespace(info=SimpleNamespace(cohort=SimpleNamespace(content_hash="ab" * 32)))
    (method, ticket, mistake), raised = _asked(worker, CohortError)
    assert (method, ticket, raised) == ("refuse", 7, ("raised",))
    held = (
        f"is cohort {Cohort.open(cohort_path).content_hash[:12]} on one of the nodes, and the sweep's is abababababab"
    )
    assert (held if there == "another cohort" else "no such folder") in str(mistake)
