"""What a large sweep needs, computed from what a trial, a report, a worker group and a byte cost.

Nothing is measured here: the costs are constants, each with the benchmark that measured it. The workload is assumed,
and each assumption is an option. Prints the tables of docs/scale.md; a test holds the page to this output.

    python benchmarks/scale.py [--trials 10000] [--gpus 512] [--price 1.00] ...
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field, fields
from typing import Any

GB = 1e9
MB = 1e6
KB = 1e3
HOUR = 3600.0
S3_WRITES_PER_S = 3500.0
"""What S3 takes for one prefix, by its documentation."""
_LINE_S = 30.0  # between two lines of progress of a running trial
_LEAST = 50  # trials between two copies of the study and the tables on an object store
_SHARE = 20  # later one copy for each twentieth of all


def _of(value: float, says: str) -> Any:
    return field(default=value, metadata={"says": says})


@dataclass(frozen=True)
class Costs:
    """What was measured; see "What the search itself costs" in docs/results.md."""

    driver_s: float = _of(0.111, "driver, processor seconds for a trial (`search_overhead.py`)")
    proposal_s: float = _of(0.056, "a proposal in `all_families`, processor seconds in an empty study (`proposals.py`)")
    proposal_ms_per_trial: float = _of(0.143, "what each trial in the study adds to that, ms")
    small_proposal_s: float = _of(0.031, "a proposal in `fahr_ct`")
    small_proposal_ms_per_trial: float = _of(0.0267, "what each trial adds to that, ms")
    proposal_trials: int = _of(2000, "trials from which on TPE sees no more (`search/bounded_tpe.py`)")
    driver_mb: float = _of(632.0, "driver without what trials add to it, MB (`search_overhead.py`)")
    driver_kb_per_trial: float = _of(6.1, "what each trial adds to that, kB")
    group_mb: float = _of(687.0, "a waiting group beside workers and head, MB (`group_memory.py`, PSS)")
    group_processes: int = _of(4, "processes of that")
    head_group_mb: float = _of(5.4, "what each group adds to the head's processes, MB (`head_load.py`, PSS)")
    head_group_cores: float = _of(0.006, "cores of the head that each group takes (`head_load.py`)")
    ray_mb: float = _of(492.0, "Ray's own processes on the head, MB (`group_memory.py`, PSS)")
    study_bytes: float = _of(3088.0, "study, bytes a trial (`proposals.py`, `all_families`)")
    row_bytes: float = _of(19356.0, "a trial's row, bytes (`searcher_growth.py`)")
    report_bytes: float = _of(449.0, "a report, bytes (`searcher_growth.py`)")
    compacted_bytes: float = _of(851.0, "a trial and its reports in the compacted tables, bytes (`searcher_growth.py`)")
    trial_requests: float = _of(78.0, "requests for a trial of 5 reports (`searcher_growth.py` on S3)")


@dataclass(frozen=True)
class Workload:
    """What is assumed. Each is an option."""

    trials: int = _of(10_000, "trials of the sweep")
    gpus: int = _of(512, "GPUs of the cluster")
    gpus_per_trial: int = _of(1, "GPUs that a trial occupies")
    minutes: float = _of(30.0, "minutes of a trial that is not stopped early")
    reports: int = _of(5, "reports of such a trial")
    share: float = _of(0.5, "share of them that a trial makes on average, with early stopping")
    checkpoint_mb: float = _of(46.0, "size of a checkpoint, MB: that of the paper's trial in `fahr_ct`")
    checkpoint_minutes: float = _of(5.0, "minutes between two checkpoints (`--checkpoint-minutes`)")
    pictures_kb: float = _of(150.0, "pictures that come with a report, kB")
    head_gb: float = _of(16.0, "memory of the head, GB")
    node_gpus: int = _of(8, "GPUs of a worker node")
    price: float = _of(1.0, "price of a GPU hour on spot machines, in any currency: an example, no market's price")
    losses: float = _of(0.05, "share of the nodes that are lost in an hour")
    restart_minutes: float = _of(5.0, "minutes until a group whose node was lost trains again")


@dataclass(frozen=True)
class Need:
    """A line of a table: what is needed, how much, and what that comes from."""

    what: str
    amount: str
    why: str


class Scale:
    """What a workload needs at these costs.

    Args:
        work: the workload.
        costs: what was measured.
    """

    def __init__(self, work: Workload, costs: Costs) -> None:
        self.work = work
        self.costs = costs
        self.groups = work.gpus // work.gpus_per_trial
        self.nodes = work.gpus / work.node_gpus
        self.trial_s = 60 * work.minutes * work.share
        self.hours = work.trials / self.groups * self.trial_s / HOUR
        self.trials_per_s = self.groups / self.trial_s
        self.reports = work.reports * work.share

    def proposal_s(self, trials: float, *, small: bool = False) -> float:
        """Processor seconds of one proposal after this many trials, in `all_families` or in the small `fahr_ct`."""
        costs = self.costs
        seen = min(trials, costs.proposal_trials)
        if small:
            return costs.small_proposal_s + costs.small_proposal_ms_per_trial / 1e3 * seen
        return costs.proposal_s + costs.proposal_ms_per_trial / 1e3 * seen

    def driver_load(self, *, small: bool = False) -> float:
        """Share of one core that the driver needs at the end. It does one thing at a time: above 1 GPUs wait for it."""
        return self.trials_per_s * (self.costs.driver_s + self.proposal_s(self.work.trials, small=small))

    def driver_hours(self, *, small: bool = False) -> float:
        """Hours of processor of the driver over the sweep."""
        first = min(self.work.trials, self.costs.proposal_trials)
        proposals = first * self.proposal_s(first / 2, small=small)
        proposals += (self.work.trials - first) * self.proposal_s(self.work.trials, small=small)
        return (self.work.trials * self.costs.driver_s + proposals) / HOUR

    def trials_until_full(self, *, small: bool = False) -> float:
        """Number of trials in the study from which on trials end faster than the driver proposes others.

        Infinity if the driver keeps up with any number.
        """
        left = 1 / self.trials_per_s - self.costs.driver_s - self.proposal_s(0, small=small)
        each = self.proposal_s(1, small=small) - self.proposal_s(0, small=small)
        trials = max(0.0, left / each)
        return trials if trials < self.costs.proposal_trials else math.inf

    def groups_until_full(self, *, small: bool = False) -> float:
        """Number of groups at which that happens with the last trial."""
        return self.trial_s / (self.costs.driver_s + self.proposal_s(self.work.trials, small=small))

    def driver_mb(self) -> float:
        """Megabytes of the driver at the end."""
        return self.costs.driver_mb + self.costs.driver_kb_per_trial * self.work.trials / KB

    def groups_of_head(self, mb: float) -> int:
        """Number of groups of so many megabytes each for which the head has room beside Ray and driver."""
        free = self.work.head_gb * KB - self.costs.ray_mb - self.driver_mb()
        return max(0, math.floor(free / mb))

    def requests_per_s(self) -> float:
        """Requests to an object store: rows, reports, two pictures and a checkpoint a report, checkpoints, progress."""
        work = self.work
        kept = self.groups / (60 * work.checkpoint_minutes)
        lines = self.groups / _LINE_S
        return self.trials_per_s * (self.costs.trial_requests + 3 * self.reports) + kept + lines

    def upload_mb_per_s(self) -> float:
        """Megabytes a second from the nodes to the storage, most of them checkpoints."""
        work = self.work
        kept = self.groups * work.checkpoint_mb / (60 * work.checkpoint_minutes)
        return kept + self.trials_per_s * self.reports * (work.checkpoint_mb + work.pictures_kb / KB)

    def rows_gb(self) -> float:
        """Gigabytes at the end of everything but checkpoints."""
        costs = self.costs
        each = costs.row_bytes + costs.compacted_bytes + costs.study_bytes
        pictures = self.reports * (costs.report_bytes + self.work.pictures_kb * KB)
        return self.work.trials * (each + pictures) / GB

    def copies_gb(self) -> float:
        """Gigabytes of copies that the driver uploads over the sweep (`platform/gansweep/store/compaction.py`)."""
        uploaded = 0.0
        ended = 0
        while ended < self.work.trials:
            ended += max(_LEAST, ended // _SHARE)
            uploaded += min(ended, self.work.trials) * (self.costs.study_bytes + self.costs.compacted_bytes)
        return uploaded / GB

    def lost_hours(self) -> float:
        """GPU hours lost with nodes: half the time between two checkpoints, and the restart."""
        minutes = self.work.checkpoint_minutes / 2 + self.work.restart_minutes
        return self.nodes * self.hours * self.work.losses * self.work.node_gpus * minutes / 60

    def needs(self) -> list[Need]:
        """What the sweep needs."""
        work = self.work
        costs = self.costs
        beside = self.groups * costs.group_mb / KB
        on_head = (costs.ray_mb + self.driver_mb() + self.groups * costs.head_group_mb) / KB
        processes = self.groups * costs.group_processes
        return [
            Need("groups at a time", f"{self.groups}", f"{work.gpus} GPUs, {work.gpus_per_trial} for each trial"),
            Need("time", f"{self.hours:.1f} h", f"{work.trials} trials of {self.trial_s / 60:.0f} min on average"),
            Need("trials that end", f"{self.trials_per_s:.2f} /s", "groups over the seconds of a trial"),
            Need("driver: processor", f"{self.driver_hours():.1f} h", "`all_families`"),
            Need("", f"{self.driver_hours(small=True):.1f} h", "`fahr_ct`"),
            Need("driver: load at the end", f"{100 * self.driver_load():.0f} % of a core", "`all_families`"),
            Need("", f"{100 * self.driver_load(small=True):.0f} % of a core", "`fahr_ct`"),
            Need("driver: memory at the end", f"{self.driver_mb() / KB:.1f} GB", "without trials, and what each adds"),
            Need("head: memory", f"{on_head:.0f} GB", "Ray, the driver, and what each group adds to them"),
            Need("head: cores", f"{self.groups * costs.head_group_cores:.1f}", "what each group adds to Ray's"),
            Need("groups beside their workers", f"{beside:.0f} GB", f"{processes} processes"),
            Need("", f"{beside / self.nodes:.1f} GB", "on each worker node, spread evenly"),
            Need("study", f"{work.trials * costs.study_bytes / MB:.0f} MB", "one file"),
            Need("storage: checkpoints", f"{work.trials * work.checkpoint_mb * MB / GB:.0f} GB", "one for each trial"),
            Need("storage: all else", f"{self.rows_gb():.1f} GB", "rows, reports, pictures, compacted tables, study"),
            Need("storage: copies sent", f"{self.copies_gb():.1f} GB", "study and compacted tables, over the sweep"),
            Need(
                "storage: requests", f"{self.requests_per_s():.0f} /s", "rows, reports, pictures, checkpoints, progress"
            ),
            Need("network to the storage", f"{self.upload_mb_per_s():.0f} MB/s", "checkpoints and pictures"),
        ]

    def limits(self) -> list[Need]:
        """What breaks, the first first, by the number of GPUs at which it does."""
        work = self.work
        found = []
        alone = self.groups_of_head(self.costs.group_mb + self.costs.head_group_mb)
        why = f"a head of {work.head_gb:g} GB has room for so many groups, if all of them but the workers is on it"
        found.append((float(alone), Need("memory of the head, with the groups", f"{alone} groups", why)))
        driven = self.groups_of_head(self.costs.head_group_mb)
        why = f"a head of {work.head_gb:g} GB has room for what so many groups on other nodes add to it"
        found.append((float(driven), Need("memory of the head", f"{driven} groups", why)))
        for space, small in (("all_families", False), ("fahr_ct", True)):
            groups = self.groups_until_full(small=small)
            trials = self.trials_until_full(small=small)
            waits = f"wait for it from trial {trials:.0f} on" if math.isfinite(trials) else "do not wait for it"
            why = f"at trial {work.trials}; {self.groups} groups {waits}"
            found.append((groups, Need(f"driver's core, `{space}`", f"{groups:.0f} groups", why)))
        groups = S3_WRITES_PER_S / self.requests_per_s() * self.groups
        why = f"{S3_WRITES_PER_S:.0f} writes a second, S3's limit for a prefix, if every request were one"
        found.append((groups, Need("object store", f"{groups:.0f} groups", why)))
        return [need for _, need in sorted(found, key=lambda item: item[0])]

    def night(self) -> list[Need]:
        """What the sweep costs."""
        work = self.work
        used = work.gpus * self.hours
        lost = self.lost_hours()
        cost = (used + lost) * work.price
        minutes = work.checkpoint_minutes / 2 + work.restart_minutes
        return [
            Need("trained", f"{used:.0f} GPU hours", f"{work.gpus} GPUs for {self.hours:.1f} h"),
            Need(
                "lost with nodes",
                f"{lost:.0f} GPU hours",
                f"{work.losses:g} of the nodes /h, {minutes:g} min each",
            ),
            Need("cost", f"{cost:.0f}", f"at {work.price:.2f} a GPU hour"),
            Need("cost of a trial", f"{cost / work.trials:.2f}", "on average"),
        ]


def tables(work: Workload, costs: Costs) -> dict[str, str]:
    """The tables of docs/scale.md in Markdown, by their headings."""
    scale = Scale(work, costs)
    return {
        "Measured": _values(costs),
        "Assumed": _values(work),
        "Computed: what is needed": _table(("What", "How much", "From"), scale.needs()),
        "Computed: what breaks first": _table(("What", "At", "Why"), scale.limits()),
        "Computed: what the night costs": _table(("What", "How much", "From"), scale.night()),
    }


def _values(numbers: Costs | Workload) -> str:
    needs = [
        Need(f"`{_word(item.name)}`", f"{getattr(numbers, item.name):,.10g}", item.metadata["says"])
        for item in fields(numbers)
    ]
    return _table(("Name", "Value", "Meaning"), needs)


def _word(name: str) -> str:
    return name.replace("_", "-")


def _table(head: tuple[str, str, str], needs: list[Need]) -> str:
    rows = [f"| {need.what} | {need.amount} | {need.why} |" for need in needs]
    return "\n".join([f"| {' | '.join(head)} |", "|---|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for item in fields(Workload):
        kind = type(item.default)
        parser.add_argument(f"--{_word(item.name)}", type=kind, default=item.default, help=item.metadata["says"])
    for heading, table in tables(Workload(**vars(parser.parse_args())), Costs()).items():
        print(f"## {heading}\n\n{table}\n")


if __name__ == "__main__":
    main()
