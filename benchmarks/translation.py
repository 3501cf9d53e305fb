"""Tests whether image-to-image families beat the identity map on new patients, on real CT/MR pairs.

Run: `GANSWEEP_REAL_DATA=... python benchmarks/translation.py [--seeds 0,1] [--effort 1] [--size 64] [--only kgan]`.

It needs the set `harvard_ct_mr_pairs` (registered CT and MR slices; its `patient_split` keeps patients apart). Each
family is trained for about a minute on one thread, from MR to CT, and evaluated on the test patients. Nothing is
selected on them, and diverged trainings are shown as such. SRGAN restores CT from a quarter of its resolution; it is
compared with bicubic interpolation. Three families also fuse CT and MR; they are compared with the brighter of the two
pixels. KGAN's student is trained with its teacher (which takes half of the iterations), alone for as many iterations as
the student has with its teacher, and alone for all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.config import TrialConfig
from gansweep.errors import Diverged
from gansweep.scoring.trial import paired_scores
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import GANS, TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.contracts import ImageSet, Sampler

_RESNET = {"width": 8, "blocks": 3, "critic_width": 16, "upsampling": "nearest"}
_KGAN = {"teacher_width": 16, "teacher_blocks": 4, "student_width": 4, "student_blocks": 2, "critic_width": 16}


SHOWN = ("psnr", "ssim", "ms_gmsd", "scd", "spatial_frequency")


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Args:
        name: name to show.
        family: a key of `GANS`.
        iterations: number of iterations at effort 1.
        loss: adversarial loss; the published one.
        architecture: architecture of the family, small enough for one thread.
    """

    name: str
    family: str
    iterations: int
    loss: str
    architecture: dict[str, Any] = field(default_factory=dict)


ARMS = (
    Arm("cyclegan", "cyclegan", 300, "least_squares", {**_RESNET, "pool": 48}),
    Arm("discogan", "discogan", 600, "non_saturating", {"width": 16, "critic_width": 16}),
    # With the paper's weight of 30, both generators return a single grey level within such budgets (docs/log.md).
    Arm("csgan", "csgan", 250, "least_squares", {**_RESNET, "synthesized": 10.0}),
    Arm("dc2anet", "dc2anet", 150, "least_squares", _RESNET),
    Arm("auto_context", "auto_context", 300, "non_saturating", {"width": 8, "critic_width": 16, "adversarial": 0.05}),
    Arm("srgan", "srgan", 400, "non_saturating", {"width": 16, "blocks": 4, "critic_width": 8}),
    Arm("kgan, with teacher", "kgan", 600, "non_saturating", {**_KGAN, "teacher_until": 0.5}),
    Arm(
        "kgan, student alone", "kgan", 300, "non_saturating", {**_KGAN, "teacher_until": 0.0, "soft": 0.0, "hard": 1.0}
    ),
    Arm(
        "kgan, alone, twice as long",
        "kgan",
        600,
        "non_saturating",
        {**_KGAN, "teacher_until": 0.0, "soft": 0.0, "hard": 1.0},
    ),
    Arm("fusion: kgan", "kgan", 400, "non_saturating", {**_KGAN, "domains": "fusion"}),
    Arm("fusion: cyclegan", "cyclegan", 150, "least_squares", {**_RESNET, "pool": 48, "domains": "fusion"}),
    Arm("fusion: csgan", "csgan", 150, "least_squares", {**_RESNET, "synthesized": 10.0, "domains": "fusion"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--effort", type=float, default=1.0, help="times the iterations")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--only", nargs="*", default=None, help="families, or rows by name")
    parser.add_argument("--split", choices=["val", "test"], default="test")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if "GANSWEEP_REAL_DATA" not in os.environ:
        print("nothing to do: GANSWEEP_REAL_DATA names no folder of real images")
        return
    with tempfile.TemporaryDirectory() as folder:
        cohort = paired_cohort(Path(folder) / "cohort", arguments.size)
        held_out = cohort.load("val") if arguments.split == "val" else cohort.load_test()
        rows, seeds = [], [int(seed) for seed in arguments.seeds.split(",")]
        print(f"{len(held_out)} pairs of {len(set(held_out.patients))} {arguments.split} patients", flush=True)
        for arm in ARMS:
            if arguments.only is None or {arm.family, arm.name} & set(arguments.only):
                runs, lost = [], {}
                for seed in seeds:
                    try:
                        runs.append(answered(arm, cohort, held_out, seed, arguments.effort))
                    except Diverged as end:
                        lost[seed] = str(end)
                rows.append({"arm": arm.name, **(_summary(runs) if runs else {}), "runs": runs, "diverged": lost})
                print(
                    _line(rows[-1]) if runs else arm.name,
                    *(f"; seed {s} diverged: {lost[s]}" for s in lost),
                    flush=True,
                )
    print(json.dumps({"n": len(held_out), "split": arguments.split, "seeds": seeds, "rows": rows}))


def paired_cohort(folder: Path, size: int) -> Cohort:
    """Ingests the set, with the split that keeps patients apart."""
    source = Path(os.environ["GANSWEEP_REAL_DATA"]) / "harvard_ct_mr_pairs"
    ingest(source, folder, IngestSettings(size=size, split_column="patient_split"))
    return Cohort.open(folder)


def answered(arm: Arm, cohort: Cohort, held_out: ImageSet, seed: int, effort: float) -> dict[str, float]:
    """Trains an arm and scores its outputs for the held-out images."""
    config = TrialConfig(
        family=arm.family,
        architecture=arm.architecture,
        conditioning="none",
        lr_d=2e-4,
        lr_g=1e-3,
        beta1=0.5,
        beta2=0.999,
        n_critic=1,
        batch_size=4,
        ema_half_life=0.1,
        iterations=max(round(arm.iterations * effort), 2),
        seed=seed,
    ).derive({"loss.kind": arm.loss, "penalty.kind": "none"})
    task = GANS[arm.family].paired_task(config, held_out)
    assert task is not None
    found: dict[str, float] = {}

    def score(sampler: Sampler, _iteration: int) -> dict[str, float]:
        found.update(paired_scores(sampler, task, held_out.labels))
        return found

    data, spec = cohort.load("train"), cohort.spec()
    began = time.perf_counter()
    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, data, MemoryReporter(), score, reports=1, device=torch.device("cpu"))
    sampled = sum(parameter.numel() for name in gan.averaged for parameter in gan.networks[name].parameters())
    return {**found, "seconds": time.perf_counter() - began, "iterations": config.iterations, "parameters": sampled}


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns means over seeds and, for the scores, their standard deviations if there are several seeds."""
    summary = {name: statistics.mean(run[name] for run in runs) for name in runs[0]}
    if len(runs) > 1:
        for name in SHOWN:
            if name in runs[0]:
                summary[f"{name}_sd"] = statistics.stdev(run[name] for run in runs)
    return summary


def _line(row: dict[str, Any]) -> str:
    parts = [
        f"{name} {row[name]:.3f}{_deviation(row, name)} (baseline {row[f'{name}_baseline']:.3f})"
        for name in SHOWN
        if name in row
    ]
    cost = f"{row['parameters']:,.0f} parameters, {row['iterations']:.0f} iterations, {row['seconds']:.0f} s"
    return f"{row['arm']:<26} {', '.join(parts)}; {cost}"


def _deviation(row: dict[str, Any], name: str) -> str:
    return f" ± {row[f'{name}_sd']:.3f}" if f"{name}_sd" in row else ""


if __name__ == "__main__":
    main()
