"""Reading on several cores changes nothing, and says what one core says."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from gansweep.cohort.ingest import parallel
from gansweep.cohort.ingest.parallel import map_in_order
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path


def test_the_cohort_is_the_same_on_any_number_of_cores(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = set()
    for count in (1, 2, 5):
        monkeypatch.setattr(parallel, "cores", lambda count=count: count)
        hashes.add(ingest(phantom, tmp_path / str(count), IngestSettings(size=32)).info.content_hash)
    assert len(hashes) == 1


def test_results_keep_their_order_and_several_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 4)
    together = threading.Barrier(4, timeout=30)  # passes only if four threads are inside
    seen: list[Any] = []
    work = map_in_order(lambda item: (together.wait(), item)[1], range(8), "w", lambda *now: seen.append(now))
    assert list(work) == list(range(8))
    assert seen == [("w", number, 8) for number in range(1, 9)]


def test_an_error_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    started = []

    def work(item: int) -> None:
        started.append(item)
        if item == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        list(map_in_order(work, range(1000), "w", None))
    assert len(started) < 1000


def test_warnings_come_back_after_the_last_thread() -> None:
    before = list(warnings.filters)
    inside = threading.Barrier(2, timeout=30)

    def work() -> None:
        with quiet():
            inside.wait()
            warnings.warn("not shown", stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not caught
        warnings.warn("shown", stacklevel=1)
        assert [str(item.message) for item in caught] == ["shown"]
    assert warnings.filters == before
