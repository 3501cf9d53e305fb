"""Runs a whole sweep from Python, on phantom scans: `python examples/whole_sweep.py OUT`.

It takes minutes on two cores. It shows every step, but trainings this short make no good GAN.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from gansweep import export_best, generate, ingest, sweep
from gansweep.cohort.phantom.scans import write_phantom

__all__ = ["whole_sweep"]


def whole_sweep(out: Path, space: str = "smoke", **options: object) -> Path:
    """Makes phantom scans, a cohort, a sweep, an export and synthetic images. Returns the folder of the images."""
    write_phantom(out / "scans", patients=20, slices=2, size=64)
    cohort = ingest(out / "scans", out / "cohort", size=32)
    given = {"storage": str(out / "runs"), "name": "example", "trials": 2, **options}
    store = sweep(space, cohort=cohort, **given)
    columns = ["trial_id", "status", "fid", "accuracy"]
    print(store.trials().sort_values("fid")[columns].to_string(index=False))
    # Phantoms are not patients, so a generator that memorised some may be exported.
    export_best(store, out / "best", allow_memorised=True)
    return generate(out / "best", 8, out / "synthetic", space=space, format="png")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    whole_sweep(Path(sys.argv[1] if len(sys.argv) > 1 else "example"))
