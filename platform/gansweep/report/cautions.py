"""What a reader of a sweep's numbers has to know before quoting one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gansweep.report.wording import openings_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gansweep.report.leaderboard import LeaderboardRow
    from gansweep.report.status import SweepStatus
    from gansweep.store.schema import SweepInfo

__all__ = ["cautions"]

_FEW_PATIENTS = 100
_MANY_FAILURES = 0.3


def cautions(info: SweepInfo, rows: Sequence[LeaderboardRow], status: SweepStatus) -> list[str]:
    """One sentence per caution that applies, the gravest first."""
    return [*_test_set(info), *_sample_size(info, rows), *_selection(rows), *_features(rows), *_course(status)]


def _test_set(info: SweepInfo) -> Iterator[str]:
    if not info.test_openings:
        yield "The test patients are unopened: every score here is of validation patients, which the search also saw."
        return
    times = len(info.test_openings)
    often = "once" if times == 1 else f"{times} times, so test scores are no longer untouched"
    when = openings_text(info.test_openings)
    yield f"The test patients were opened {often}: {when}. The scores here are still those of validation patients."


def _sample_size(info: SweepInfo, rows: Sequence[LeaderboardRow]) -> Iterator[str]:
    patients = info.cohort.patients.get("val", 0)
    if not patients or patients >= _FEW_PATIENTS or not any("accuracy" in row.scores for row in rows):
        return
    # Normal approximation at the accuracy detectors of small cohorts have; images of one patient are not independent,
    # so patients are what counts.
    half = 100 * 1.96 * math.sqrt(0.8 * 0.2 / patients)
    yield (
        f"With {patients} validation patients, an accuracy near 80 % is known to about ±{half:.0f} points (95 %). "
        "Smaller differences between trials, or to real images alone, are no evidence."
    )


def _selection(rows: Sequence[LeaderboardRow]) -> Iterator[str]:
    measured = len({row.rank for row in rows if row.front >= 0})
    if measured > 1:
        yield (
            f"The first place is the best of {measured} trials on the same validation patients, so its scores flatter "
            "it; only fresh patients tell."
        )


def _features(rows: Sequence[LeaderboardRow]) -> Iterator[str]:
    kinds = sorted({row.fid_features for row in rows if row.fid_features})
    if len(kinds) > 1:
        yield f"Trials have FIDs on different features ({', '.join(kinds)}): compare only those on the same."
    elif kinds:
        floors = [row.scores["fid_floor"] for row in rows if "fid_floor" in row.scores]
        floor = ""
        if floors:
            floor = (
                f" Real validation images score {min(floors):.3g} (the floor): compare it with fid_matched, which is "
                "of as many images, and not with fid, because FID falls with the number of images."
            )
        yield f"FID is on the features of {kinds[0]}: not comparable with an FID on any other features.{floor}"


def _course(status: SweepStatus) -> Iterator[str]:
    if not status.finished:
        yield f"The sweep is not over: {status.ended} of {status.asked} trials have ended."
    broken = status.counts.get("diverged", 0) + status.counts.get("failed", 0)
    if status.ended and broken / status.ended > _MANY_FAILURES:
        yield f"{broken} of {status.ended} trials diverged or failed; what is left may not represent the space."
