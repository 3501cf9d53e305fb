"""What are attention, lesion conditioning, the lesion view and each penalty variant worth? With a spread.

The founding configuration is the WGAN-GP of `search_spaces/seeds/fahr_wgan_gp.py` at the size of a benchmark: uniform
interpolation, L2 norm, lambda 10, five critic steps, self-attention, the class and the lesion's burden as condition,
and images of the lesion view. Each variant changes one choice. On each phantom, with a generator seed of its own, every
variant is trained with the same number of updates, and is compared with the founding configuration of that phantom:

  FID    of its samples, in the features of the phantom's cohort (not for a variant that shows other images);
  AUROC  and log loss on 300 test patients of a detector that trains with its samples.

For the brain window, the detector's images change as well as the generator's. A generator that diverges gives no
samples, so its detector trains on real images alone.

With `--images`, the cohort is a folder of real pictures in place of the phantoms, split anew with each seed: half of
the patients train, a tenth validate and the others test. Pictures have neither masks nor Hounsfield units, so the
founding configuration is told the class alone, and the lesion's burden, its mask and the window are left out.

Every training is kept in `--cache`, so a run can be stopped and goes on. After `--minutes` no phantom's training begins
anew, and the table has the phantoms of which every variant is done.

    python benchmarks/founding_ablation.py --cache ablation-cache --count 5 --minutes 60
    python benchmarks/founding_ablation.py --cache ablation-cache --count 5 --images DATA/head_ct_hemorrhage200
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gansweep import cache
from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.errors import Diverged
from gansweep.scoring.networks.detection import Recipe, fraction_of_ratio, predict, train_detector
from gansweep.scoring.statistics.paired_seeds import corrected, worth
from gansweep.scoring.trial import TrialScorer
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.oracle_share import SAMPLES, scored  # noqa: E402
from benchmarks.planted_truths import SCANNED, SIZE, TEST, VAL  # noqa: E402

CPU = torch.device("cpu")
FOUNDING = "founding configuration"
MEASURES = ("fid", "auroc", "log_loss")
VIEW = "brain window instead of the lesion view"
REAL_SPLIT = (0.5, 0.1, 0.4)
_BASE = TrialConfig(batch_size=16, n_critic=5, lr_g=1e-3, lr_d=2e-4).derive(
    {
        "attention": "self_attention",
        "conditioning": "lesion_burden",
        "architecture": {"width": 16, "latent": 64, "attention_size": 16},
        "penalty.kind": "gradient_penalty",
        "penalty.lambda": 10.0,
    }
)
VARIANTS: dict[str, dict[str, Any]] = {
    FOUNDING: {},
    "no attention": {"attention": "none", "architecture": {"width": 16, "latent": 64}},
    "the class alone as condition": {"conditioning": "concat"},
    "the lesion's mask as condition": {"conditioning": "lesion_mask"},
    VIEW: {},
    "penalty: convex interpolation": {"penalty.interpolation": "convex"},
    "penalty: real to real": {"penalty.interpolation": "real_real"},
    "penalty: around real images": {"penalty.interpolation": "local"},
    "penalty: L1 norm": {"penalty.norm": "l1"},
    "penalty: one-sided": {"penalty.one_sided": True},
    "penalty: adaptive lambda": {"penalty.adaptive": "norm"},
}
_OF_CT_WITH_MASKS = {"the class alone as condition", "the lesion's mask as condition", VIEW}


@dataclass(frozen=True)
class Plan:
    """What all trainings have in common.

    Args:
        train: training patients of a phantom.
        iterations: of the generators.
        steps: of the detectors.
        images: a folder of real pictures; None: phantoms.
    """

    train: int
    iterations: int
    steps: int
    images: str | None = None

    @property
    def variants(self) -> list[str]:
        """The variants that the images allow."""
        return [name for name in VARIANTS if self.images is None or name not in _OF_CT_WITH_MASKS]

    def config(self, variant: str, phantom: int) -> TrialConfig:
        """The configuration of a variant."""
        condition = {} if self.images is None else {"conditioning": "concat"}
        return _BASE.derive({**condition, **VARIANTS[variant], "iterations": self.iterations, "seed": phantom})

    def named(self, variant: str, phantom: int) -> str:
        """A key of everything that a result depends on."""
        config = self.config(variant, phantom).as_dict()
        return cache.key(phantom=phantom, window=window_of(variant), config=config, plan=vars(self), samples=SAMPLES)

    @property
    def scoring(self) -> ScoringSettings:
        """Settings for the FID. The search's own detectors are not needed here."""
        return ScoringSettings(
            samples=SAMPLES, encoder_steps=300, detector_steps=1, detector_batch=16, detector_seeds=1, segmenter_steps=0
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=None, help="a folder that keeps every training")
    parser.add_argument("--images", default=None, help="a folder of real pictures in place of the phantoms")
    parser.add_argument("--first", type=int, default=0, help="phantom, or seed of the split")
    parser.add_argument("--count", type=int, default=5, help="phantoms, each with a seed of its own")
    parser.add_argument("--minutes", type=float, default=600.0, help="after which no training begins")
    parser.add_argument("--train", type=int, default=12, help="training patients")
    parser.add_argument("--iterations", type=int, default=300, help="of the generators")
    parser.add_argument("--steps", type=int, default=600, help="of the detectors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(options.train, options.iterations, options.steps, options.images)
    last = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as temporary:
        rows = finished(
            options.cache or Path(temporary), plan, range(options.first, options.first + options.count), last
        )
    if not rows:
        sys.exit("no phantom is complete; run again with the same --cache")
    found = tabulated(rows, plan)
    print(json.dumps({"benchmark": "founding_ablation", **vars(plan), "phantoms": len(rows), "worth": found}))


def finished(folder: Path, plan: Plan, phantoms: range, last: float) -> list[dict[str, dict[str, float]]]:
    """Scores by variant of every phantom of which all variants are done before the time `last`."""
    rows = []
    for phantom in phantoms:
        row: dict[str, dict[str, float]] = {}
        for variant in plan.variants:
            path = folder / f"{plan.named(variant, phantom)}.pt"
            with cache.locked(path):
                if cache.read(path) is None and time.monotonic() < last:
                    began = time.process_time()
                    cache.write(path, scores_of(folder, plan, variant, phantom))
                    spent = time.process_time() - began
                    print(f"phantom {phantom}: {variant}: {spent:.0f} s of CPU", file=sys.stderr, flush=True)
            known = cache.read(path)
            if known is not None:
                row[variant] = known
        if len(row) == len(plan.variants):
            rows.append(row)
    return rows


def scores_of(folder: Path, plan: Plan, variant: str, phantom: int) -> dict[str, float]:
    """FID of one training, and AUROC and log loss of a detector that uses its samples."""
    window = window_of(variant)
    cohort = cohort_of(folder, plan, phantom, window)
    config = plan.config(variant, phantom)
    real = cohort.load("train")
    spec = cohort.spec()
    scorer = TrialScorer(cohort, plan.scoring, TRAINABLES, folder / "features", CPU)
    fid, samples = float("nan"), None
    drawn: list[tuple[float, Tensor]] = []
    labels = torch.arange(SAMPLES) % len(spec.classes)

    def keep(sampler: Any, iteration: int) -> dict[str, float]:
        found = scorer.score(sampler, config.derive({"synthetic_ratio": 0.0}), iteration)["fid"]
        drawn.append((found, sampler(Condition(labels), config.seed)[:, : spec.channels]))
        return {}

    try:
        train(config, build_gan(config, spec, TRAINABLES), real, MemoryReporter(), keep, reports=1, device=CPU)
        fid, images = drawn[-1]
        samples = ImageSet(images, labels)
    except Diverged:
        print(f"phantom {phantom}: {variant} diverged", file=sys.stderr, flush=True)
    build = partial(TRAINABLES.detectors["small_cnn"], spec)
    recipe = Recipe(build, len(spec.classes), plan.steps, 16)
    detector = train_detector(recipe, real, samples, fraction_of_ratio(1.0), phantom, CPU)
    test = cohort.load_test()
    said = predict([detector], test.images, CPU)
    return {"fid": fid, "auroc": scored(said, test, "auroc"), "log_loss": scored(said, test, "log_loss")}


def window_of(variant: str) -> str:
    """The window of the variant's images."""
    return "brain" if variant == VIEW else "lesion"


def cohort_of(folder: Path, plan: Plan, seed: int, window: str) -> Cohort:
    """The cohort of a phantom or of a split. Both windows show the same scans, split alike."""
    if plan.images is not None:
        place = folder / f"split-{cache.key(images=plan.images)}-{seed}"
        if not (place / "cohort.json").exists():
            ingest(plan.images, place, IngestSettings(size=SIZE, split=REAL_SPLIT, seed=seed))
        return Cohort.open(place)
    phantom = folder / f"phantom-{seed}-{plan.train}"
    place = phantom / window
    if not (place / "cohort.json").exists():
        total = plan.train + VAL + TEST
        scans = phantom / "scans"
        if not scans.exists():
            write_phantom(scans, patients=total, slices=1, size=SCANNED, seed=seed)
        split = (plan.train / total, VAL / total, TEST / total)
        ingest(scans, place, IngestSettings(size=SIZE, split=split, seed=seed, window=window))
    return Cohort.open(place)


def tabulated(rows: list[dict[str, dict[str, float]]], plan: Plan) -> dict[str, Any]:
    """Prints each variant's scores, and its difference to the founding configuration, paired by phantom or split."""
    worths: dict[str, dict[str, Any]] = {}
    for measure in MEASURES:
        by_variant = {}
        for variant in plan.variants:
            if variant == FOUNDING or (measure == "fid" and variant == VIEW):
                continue
            mine = [row[variant][measure] for row in rows]
            found = worth(mine, [row[FOUNDING][measure] for row in rows])
            if found is not None:
                by_variant[variant] = found
        worths[measure] = corrected(by_variant) if by_variant else {}
    drawn = "phantoms" if plan.images is None else "splits"
    print(f"| {len(rows)} {drawn} | " + " | ".join(f"{name} | difference (p)" for name in MEASURES) + " |")
    print("|---|" + "---|---|" * len(MEASURES))
    for variant in plan.variants:
        cells = []
        for measure in MEASURES:
            scores = np.array([row[variant][measure] for row in rows])
            scores = scores[np.isfinite(scores)]
            cells.append(f"{scores.mean():.3g} (n = {len(scores)})" if len(scores) else "diverged")
            one = worths[measure].get(variant)
            shown = f"{one.difference:+.3g} ({one.low:+.3g} to {one.high:+.3g}; {one.p:.2g})" if one else "-"
            cells.append(shown)
        print(f"| {variant} | " + " | ".join(cells) + " |")
    return {measure: {name: asdict(one) for name, one in found.items()} for measure, found in worths.items()}


if __name__ == "__main__":
    main()
