"""What a large sweep needs: the page says what the script computes, and that follows from its costs."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.scale import Costs, Scale, Workload, tables

DOCS = Path(__file__).parents[2] / "docs"
COSTS = Costs(
    driver_s=0.1,
    proposal_s=0.2,
    proposal_ms_per_trial=0.1,
    driver_mb=500.0,
    driver_kb_per_trial=50.0,
    group_mb=1000.0,
    head_group_mb=100.0,
    head_group_cores=0.02,
    ray_mb=500.0,
    study_bytes=3000.0,
    compacted_bytes=1000.0,
    trial_requests=30.0,
)
WORK = Workload(trials=1000, gpus=64, gpus_per_trial=2, minutes=20.0, reports=4, share=0.5, checkpoint_mb=30.0)


def test_the_page_has_every_table_as_the_script_prints_it() -> None:
    page = (DOCS / "scale.md").read_text()
    for heading, table in tables(Workload(), Costs()).items():
        part = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        shown = [line for line in part.splitlines() if line.startswith("|")]
        assert shown == table.splitlines(), heading


def test_every_cost_is_a_measured_figure_of_the_results() -> None:
    section = (
        (DOCS / "results.md").read_text().partition("\n## What the search itself costs\n")[2].partition("\n## ")[0]
    )
    missing = [
        item.name
        for item in fields(Costs)
        if not re.search(rf"(?<![\d.,]){re.escape(f'{item.default:,.10g}')}(?!\d)", section)
    ]
    assert missing == []


def test_time_rate_and_price_follow_from_the_workload() -> None:
    scale = Scale(WORK, COSTS)
    assert scale.groups == 32
    assert scale.hours == pytest.approx(1000 * 10 / 32 / 60)
    assert scale.trials_per_s == pytest.approx(32 / 600)
    trained, lost, cost, each = [need.amount for need in scale.night()]
    assert trained == "333 GPU hours"  # 64 GPUs for 5.2 h
    assert lost == "2 GPU hours"  # 8 nodes, 5.2 h, 0.05 an hour: 2.08 losses of 8 GPUs for 7.5 min
    assert cost == "335"
    assert each == "0.34"
    twice = Scale(Workload(**{**vars(WORK), "price": 2.0}), COSTS)
    assert twice.night()[2].amount == "671"


def test_the_driver_is_full_when_trials_end_as_fast_as_it_serves_them() -> None:
    scale = Scale(WORK, COSTS)
    assert scale.proposal_s(1000) == pytest.approx(0.3)
    assert scale.driver_load() == pytest.approx(32 / 600 * 0.4)
    assert scale.groups_until_full() == pytest.approx(1500.0)
    assert scale.trials_until_full() == math.inf
    assert scale.driver_hours() == pytest.approx(1000 * (0.1 + 0.25) / 3600)
    crowded = Scale(Workload(**{**vars(WORK), "gpus": 12_000}), COSTS)  # 6,000 groups: a trial ends every 0.1 s
    assert crowded.driver_load() == pytest.approx(4.0)
    assert crowded.trials_until_full() == 0.0
    busy = Scale(Workload(**{**vars(WORK), "gpus": 3000}), COSTS)  # a trial ends every 0.4 s
    assert busy.trials_until_full() == pytest.approx((0.4 - 0.3) / 1e-4)


def test_a_proposal_takes_no_longer_after_as_many_trials_as_tpe_sees() -> None:
    many = Scale(Workload(**{**vars(WORK), "trials": 10_000}), COSTS)
    assert many.proposal_s(2000) == many.proposal_s(10_000) == pytest.approx(0.4)
    # Of the first 2,000 proposals each takes 0.3 s on average, of the others 0.4 s.
    assert many.driver_hours() == pytest.approx((10_000 * 0.1 + 2000 * 0.3 + 8000 * 0.4) / 3600)


def test_memory_traffic_and_copies_add_up() -> None:
    scale = Scale(WORK, COSTS)
    assert scale.driver_mb() == pytest.approx(550.0)
    assert scale.groups_of_head(1000.0) == 14  # 16,000 MB less 500 and 550
    assert scale.groups_of_head(100.0) == 149
    assert Scale(Workload(head_gb=0.5), COSTS).groups_of_head(100.0) == 0
    needs = {need.what: need.amount for need in scale.needs()}
    assert needs["head: memory"] == "4 GB"  # 500 and 550 MB, and 100 for each of 32 groups
    assert needs["head: cores"] == "0.6"
    # Every 5 minutes from each of 32 groups, and at 2 reports of each trial with the pictures.
    assert scale.upload_mb_per_s() == pytest.approx(32 * 30 / 300 + 32 / 600 * 2 * 30.15)
    assert scale.requests_per_s() == pytest.approx(32 / 600 * (30 + 6) + 32 / 300 + 32 / 30)
    small = Scale(Workload(trials=120), COSTS)
    assert small.copies_gb() == pytest.approx((50 + 100 + 120) * 4000 / 1e9)


def test_what_breaks_first_comes_first() -> None:
    needs = Scale(WORK, COSTS).limits()
    groups = [int(need.amount.split()[0]) for need in needs]
    assert groups == sorted(groups)
    assert [need.amount for need in needs[:2]] == ["13 groups", "149 groups"]
    assert needs[0].what == "memory of the head, with the groups"
    assert Scale(Workload(head_gb=4000.0), COSTS).limits()[0].what == "driver's core, `all_families`"
