"""Caveats that readers must know before they quote a number from a sweep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gansweep.report.formatting import openings_text
from gansweep.scoring.metrics.formatting import of_asked, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gansweep.report.rows import LeaderboardRow
    from gansweep.report.status import SweepStatus
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["caveats"]

_FEW_PATIENTS = 100  # with fewer, the 95 % interval of an accuracy of 80 % is wider than ±8 points
_MANY_FAILURES = 0.3  # fraction of trials


def caveats(info: SweepInfo, rows: Sequence[LeaderboardRow], status: SweepStatus) -> list[str]:
    """Returns the caveats that apply to a sweep, one or two sentences each, the most serious first.

    Args:
        info: record of the sweep.
        rows: leaderboard of the sweep.
        status: status of the sweep.
    """
    return [*_test_set(info), *_sample_size(info, rows), *_selection(rows), *_features(rows), *_progress(status)]


def _test_set(info: SweepInfo) -> Iterator[str]:
    if not info.test_openings:
        yield "The test patients are unopened: all scores are on validation patients, which the search also used."
        return
    times = len(info.test_openings)
    often = "once" if times == 1 else f"{times} times, so test scores are no longer untouched"
    when = openings_text(info.test_openings)
    yield f"The test patients were opened {often}: {when}. All scores here are on validation patients."


def _sample_size(info: SweepInfo, rows: Sequence[LeaderboardRow]) -> Iterator[str]:
    patients = info.cohort.patients.get("val", 0)
    if not patients or patients >= _FEW_PATIENTS or not any("accuracy" in row.scores for row in rows):
        return
    # Normal approximation 1.96 sqrt(p (1 - p) / n) at an accuracy typical of small cohorts. Images of one patient are
    # not independent, so n is the number of patients.
    half = 100 * 1.96 * math.sqrt(0.8 * 0.2 / patients)
    yield (
        f"With {patients} validation patients, an accuracy near 80 % is known to about ±{half:.0f} points (95 %). "
        "Smaller differences between trials, or to real images alone, are not evidence."
    )


def _selection(rows: Sequence[LeaderboardRow]) -> Iterator[str]:
    measured = len({row.rank for row in rows if row.front >= 0})
    if measured > 1:
        yield (
            f"The first place is the best of {measured} trials on the same validation patients, so its scores are too "
            "optimistic. Only new patients give an unbiased estimate."
        )


def _features(rows: Sequence[LeaderboardRow]) -> Iterator[str]:
    kinds = sorted({row.fid_features for row in rows if row.fid_features})
    if len(kinds) > 1:
        yield f"FIDs are on different features ({', '.join(kinds)}): compare only trials with the same features."
    elif kinds:
        floors = [row.scores["fid_floor"] for row in rows if "fid_floor" in row.scores]
        floor = ""
        if floors:
            floor = (
                f" Real validation images score {short(min(floors))} (the floor): compare it with fid_matched, which "
                "uses as many images, and not with fid, because FID falls with the number of images."
            )
        yield f"FID is on the features of {kinds[0]}, so it is not comparable with FIDs on other features.{floor}"


def _progress(status: SweepStatus) -> Iterator[str]:
    if not status.finished:
        yield f"The sweep is not finished: {of_asked(status.ended, status.asked)} have ended."
    broken = status.counts.get("diverged", 0) + status.counts.get("failed", 0)
    if status.ended and broken / status.ended > _MANY_FAILURES:
        yield f"{broken} of {status.ended} trials diverged or failed; the others may not represent the search space."
