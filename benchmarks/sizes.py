"""Every family at large sizes: what it refuses, how many parameters it has, and whether each phase takes a step.

    python benchmarks/sizes.py [--sizes 128 256 512] [--families NAME ...]

Parameters are those of the default architecture, built on torch's meta device, which allocates nothing. A step of each
phase is taken with the smallest architecture and two images on this machine's CPU; its seconds are no figure of a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from gansweep.errors import ConfigError
from gansweep.testing.gpu_contract import on_gpu
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import GANS, TRAINABLES

if TYPE_CHECKING:
    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec

BIG = (128, 256, 512)
CPU = torch.device("cpu")
# The diffusion model's attention is at its smallest resolution, which the smallest architecture only halves once.
FIT_FOR_BIG = {"diffusion": {"architecture.levels": 5}}


def default_parameters(family: str, size: int) -> dict[str, Any]:
    """How many parameters the default architecture has at `size` pixels, or why it is refused."""
    _, spec = _data(size)
    config = _config(family, spec).derive({"architecture": {}})
    try:
        with torch.device("meta"):
            gan = build_gan(config, spec, TRAINABLES)
    except ConfigError as error:
        return {"parameters": None, "reason": str(error)}
    return {"parameters": _count(gan), "reason": ""}


def built_and_stepped(family: str, size: int) -> dict[str, Any]:
    """A real training of one iteration of the smallest architecture: each phase takes its step."""
    data, spec = _data(size)
    config = _config(family, spec).derive({"batch_size": 2, "n_critic": 1, "iterations": 1})
    stepped: set[str] = set()
    try:
        gan = build_gan(config, spec, TRAINABLES)
        loss = gan.loss

        def noted(phase: str, batch: Any, step: int) -> Any:
            stepped.add(phase)
            return loss(phase, batch, step)

        gan.loss = noted  # type: ignore[method-assign]
        started = time.process_time()
        train(config, gan, data, MemoryReporter(), lambda _sampler, _iteration: {}, reports=1, device=CPU)
        seconds = time.process_time() - started
    except ConfigError as error:
        return {"outcome": "refused", "reason": str(error), "phases": 0, "seconds": 0.0}
    wanted = {phase.name for phase in gan.phases if phase.start == 0.0}
    missing = wanted - stepped
    reason = f"no step of {', '.join(sorted(missing))}" if missing else ""
    return {"outcome": "failed" if missing else "ok", "reason": reason, "phases": len(stepped), "seconds": seconds}


def _data(size: int) -> tuple[Any, ImageSpec]:
    data, spec = shapes(4, size)
    return data, replace(spec, paired_channels=spec.channels)


def _config(family: str, spec: ImageSpec) -> TrialConfig:
    small = replace(spec, size=64)  # where every family's smallest architecture can be trained
    config = next(config for config in on_gpu(family, small, TRAINABLES) if config.precision == "float32")
    return config.derive(FIT_FOR_BIG.get(family, {}))


def _count(gan: Any) -> int:
    return sum(parameter.numel() for network in gan.networks.values() for parameter in network.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(BIG))
    parser.add_argument("--families", nargs="+", default=list(GANS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"{'family':<15} {'pixels':>6} {'parameters':>12} {'phases':>7} {'step, s':>8}  refused, or why it failed")
    for family in arguments.families:
        for size in arguments.sizes:
            row = {"family": family, "size": size, **built_and_stepped(family, size), "default": {}}
            row["default"] = default_parameters(family, size)
            rows.append(row)
            parameters = row["default"]["parameters"]
            shown = "refused" if parameters is None else f"{parameters:,}"
            reason = row["reason"] or row["default"]["reason"]
            print(f"{family:<15} {size:>6} {shown:>12} {row['phases']:>7} {row['seconds']:>8.2f}  {reason}", flush=True)
    print(json.dumps({"benchmark": "sizes", "rows": rows}))


if __name__ == "__main__":
    main()
