"""The sections, in the order in which they run: what is short and matters most comes first."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import correctness, scoring, speed, workers
from benchmarks.gpu.bench import NotAvailableError, Row, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.gpu.bench import Bench

__all__ = ["SECTIONS", "run_sections"]

SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "gradients, CPU against the device": correctness.gradients,
    "captured against eager": correctness.captured_against_eager,
    "our step against the textbook's": speed.textbook_loop,
    "precision": speed.precisions,
    "ceiling": speed.ceiling,
    "detectors together against one by one": scoring.detectors,
    "images generated": speed.generated,
    "largest batch": speed.largest_batch,
    "two processes under NCCL": workers.two_workers,
    "scoring's share of a trial": scoring.share,
}


def run_sections(bench: Bench, names: Sequence[str], file: Path, seconds: float) -> None:
    """Runs sections one after the other, and appends what they find to `file`, a line of JSON each.

    A section that fails is told there, and the next one runs, unless CUDA itself has failed: the process is then of no
    use, and ends.

    Args:
        bench: device and sizes.
        names: keys of `SECTIONS`.
        file: JSON lines; `{"section": name}` begins a section, `{"row": ...}` is a figure, `{"status": ...}` ends it.
        seconds: for all of them. Each may take an equal part of what is left; what one does not need is for the others.
    """
    ends = time.monotonic() + seconds
    with file.open("a", encoding="utf-8") as out:

        def tell(**value: Any) -> None:
            out.write(json.dumps(value) + "\n")
            out.flush()

        for place, name in enumerate(names):
            tell(section=name)
            started = time.monotonic()
            part = (ends - started) / (len(names) - place)
            lost = False
            try:
                for row in SECTIONS[name](replace(bench, ends=started + part)):
                    tell(row=row.as_dict())
                status = {"status": "measured", "reason": ""}
            except NotAvailableError as reason:
                status = {"status": "not available", "reason": str(reason)}
            except Exception as error:
                # Whatever it is, the other sections are worth having.
                status = {"status": "failed", "reason": one_line(error)}
                lost = "CUDA error" in str(error)
            tell(**status, seconds=time.monotonic() - started)
            if lost:
                return
