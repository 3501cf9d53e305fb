"""What a gang's worker does with each kind of error, without a gang."""

from typing import Any

import pytest

from gansweep.errors import CohortError, ConfigError, Diverged, StoreError
from gansweep.search.desk import Job
from gansweep.search.worker import _Worker


def _run(error: Exception) -> list[tuple[Any, ...]]:
    asked: list[tuple[Any, ...]] = []

    class Failing(_Worker):
        def __init__(self) -> None: ...

        def _train(self, _: Job) -> None:
            raise error

        def ask(self, method: str, *args: Any) -> None:
            asked.append((method, *args))

    try:
        Failing().run(Job(7, "0000", {}))
    except type(error):
        asked.append(("raised",))
    return [call for call in asked if call[0] != "memory"]


@pytest.mark.parametrize(
    ("error", "ending"),
    [(Diverged("the critic is dead"), "diverged"), (ConfigError("lr_d = -1"), "failed")],
)
def test_what_every_rank_meets_alike_ends_the_trial_and_keeps_the_gang(error: Exception, ending: str) -> None:
    assert _run(error) == [("end", 7, ending, str(error))]


def test_a_store_that_cannot_be_written_for_a_moment_costs_a_restart() -> None:
    """Rank 0's alone: kept, its gang would leave the other ranks in a collective, and the next trial with them."""
    error = StoreError("cannot write: disk is full")
    assert _run(error) == [("fault", 7, str(error)), ("raised",)]


def test_a_cohort_that_is_bad_on_one_node_ends_the_trial_and_its_gang() -> None:
    error = CohortError("images.npy is damaged")
    assert _run(error) == [("end", 7, "failed", str(error)), ("raised",)]
