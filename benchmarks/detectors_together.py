"""Compares training several detector seeds as one stacked network with training one after the other.

Together: the weights of S detectors are stacked, `torch.func.vmap` trains them in one pass on their S batches, and one
AdamW updates all. The arithmetic is the same (the predictions are compared), so only the time can differ. On a CPU the
figures are CPU time of one thread, which other processes affect less than wall time; on a GPU they are wall time.

    python benchmarks/detectors_together.py [--seeds 3 6] [--size 64] [--batch 32] [--steps 40] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

import torch

from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.testing.images import shapes
from trainables import DETECTORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    real, spec = shapes(60, options.size)
    recipe = Recipe(lambda: DETECTORS["small_cnn"](spec), len(spec.classes), options.steps, options.batch)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    rows = []
    print(f"{'seeds':>6} {'one by one, s':>14} {'together, s':>12} {'ratio':>6} {'predictions agree to':>21}")
    for seeds in options.seeds:
        ways: tuple[Callable[[], list[nn.Module]], ...] = (
            lambda n=seeds: train_detectors(recipe, real, None, 0.0, range(n), device, together=False),
            lambda n=seeds: train_detectors(recipe, real, None, 0.0, range(n), device, together=True),
        )
        seconds: list[list[float]] = [[], []]
        said: list[Tensor] = []
        for _ in range(options.rounds):
            said = []
            for way, spent in zip(ways, seconds, strict=True):
                start = clock()
                detectors = way()
                said.append(predict(detectors, real.images, device))
                spent.append(clock() - start)
        one, all_at_once = (min(spent) for spent in seconds)
        error = float((said[0] - said[1]).abs().max())
        print(f"{seeds:>6} {one:>14.2f} {all_at_once:>12.2f} {one / all_at_once:>6.2f} {error:>21.1e}", flush=True)
        rows.append({"seeds": seeds, "one_by_one_s": one, "together_s": all_at_once, "ratio": one / all_at_once})
    print(json.dumps({"benchmark": "detectors_together", "device": device.type, **vars(options), "rows": rows}))


if __name__ == "__main__":
    main()
