"""Measures the peak memory of a trial's training: our loop against a textbook WGAN-GP loop on the same networks.

Each runs in a new process, which has imported the same modules and created the same networks and data. The figure is
how far the peak of its resident memory rises above that. Ours also keeps averaged weights (EMA) and a checkpoint.

    python benchmarks/trial_memory.py [--size 48] [--width 32] [--batch 32] [--iterations 20]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
from pathlib import Path

import torch

from gansweep.config import TrialConfig
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from trainables import TRAINABLES

sys.path.insert(0, str(Path(__file__).parent))
from step_time import ours, textbook

KIB = 1024


def peak_rise(loop: str, config: TrialConfig, size: int) -> int:
    """Returns by how many bytes training raises the process's peak memory."""
    torch.set_num_threads(1)
    data, spec = shapes(count=512, size=size)
    gan = build_gan(config, spec, TRAINABLES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if loop == "ours":
        ours(config, spec, data)
    else:
        textbook(dict(gan.networks), data, config, config.architecture["latent"])
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * KIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 48), ("width", 32), ("batch", 32), ("iterations", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    config = TrialConfig(
        architecture={"latent": 64, "width": arguments.width},
        conditioning="none",
        batch_size=arguments.batch,
        n_critic=1,
        iterations=arguments.iterations,
    )
    rises = {}
    for loop in ("ours", "textbook"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rises[loop] = pool.apply(peak_rise, (loop, config, arguments.size))
        print(f"{loop:<10}{rises[loop] / 2**20:8.0f} MiB")
    ratio = rises["ours"] / rises["textbook"]
    print(f"ratio {ratio:.2f}")
    print(json.dumps({"benchmark": "trial_memory", **vars(arguments), **rises, "ratio": ratio}))


if __name__ == "__main__":
    main()
