"""Runs the whole workflow on phantom scans, with the commands that a user of real scans would type."""

import shlex
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from gansweep.cli.console import emit, note
from gansweep.cli.options import Json, SeedOption, WorkersOption
from gansweep.errors import CohortError

__all__ = ["demo"]

_MARKER = "commands.txt"
"""File with the demo's commands, by which the folder of an earlier demo is recognised."""

_MAKES = ("scans", "cohort", "runs/demo", "best", "synthetic", "report.html", "picture.png", _MARKER)
"""Files that the commands and the demo write. The marker is last, so that an interrupted removal can be continued."""


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, or an earlier demo's.")] = Path(
        "demo"
    ),
    trials: Annotated[int, typer.Option("--trials", min=1, help="Configurations to try.")] = 4,
    workers_per_trial: WorkersOption = 1,
    seed: SeedOption = 0,
    as_json: Json = False,
) -> None:
    """Run the whole story on phantom scans: scans, cohort, sweep, report, confirmation, export, synthetic scans.

    Minutes on two cores. It ends with the answer in one sentence; trainings this short make no good GAN.
    """
    from gansweep.search.cluster import ray_cluster

    _make_room(out)
    began = time.monotonic()
    commands = _commands(out, trials, workers_per_trial, seed)
    (out / _MARKER).write_text("".join(f"gansweep {shlex.join(words)}\n" for words in commands))
    with ray_cluster():  # which all commands join, instead of starting one each
        for number, words in enumerate(commands, start=1):
            note(f"\n[{number}/{len(commands)}, {time.monotonic() - began:.0f} s] $ gansweep {shlex.join(words)}")
            # The application runs itself: importing it here would close a circle.
            if status := context.find_root().command.main(words, prog_name="gansweep", standalone_mode=False):
                raise typer.Exit(status)
    places = _places(out)
    said = _answer(out)
    seconds = time.monotonic() - began
    shown = "\n".join(f"  {what:<26}{where}" for what, where in places.items())
    text = f"\nThe demo took {seconds:.0f} s. Where to look:\n{shown}\n\n{said}"
    emit({"seconds": seconds, "answer": said, **places}, text, as_json=as_json)


def _answer(out: Path) -> str:
    from gansweep.search.answer import answer
    from gansweep.store.store import Store

    return answer(Store.open(str(out / "runs" / "demo"))).text


def _make_room(out: Path) -> None:
    """Makes a folder without an earlier demo's results. Other content stays.

    Raises:
        CohortError: the folder has other content.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not _is_demo(out)):
        raise CohortError("is no demo's folder", where=str(out), fix="choose another with --out")
    for entry in (out / name for name in _MAKES):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _is_demo(out: Path) -> bool:
    """Returns whether the marker was written by a demo, because users may have files with this name too."""
    if not (out / _MARKER).is_file():
        return False
    lines = (out / _MARKER).read_text(errors="replace").splitlines()
    return " ".join(lines[:1]).startswith("gansweep phantom ") and all(line.startswith("gansweep ") for line in lines)


def _commands(out: Path, trials: int, workers: int, seed: int) -> list[list[str]]:
    scans = str(out / "scans")
    cohort = str(out / "cohort")
    runs = str(out / "runs")
    best = str(out / "best")
    store = f"{runs}/demo"
    sweep = ["sweep", "demo", f"--cohort={cohort}", f"--storage={runs}", "--name=demo", f"--trials={trials}"]
    # Few training patients, so that more images could help, and many others, so that a difference could be seen.
    return [
        ["phantom", scans, "--patients=80", "--slices=2", "--size=64", f"--seed={seed}"],
        ["ingest", scans, cohort, "--size=32", "--split=0.4,0.3,0.3", f"--seed={seed}"],
        [*sweep, f"--workers-per-trial={workers}", f"--seed={seed}"],
        ["leaderboard", store],
        # The test patients are opened once, at the end.
        [
            *("confirm", store, "--ratios=0.5", "--rivals=none", "--detector-seeds=2", "--samples=128"),
            f"--workers-per-trial={workers}",
        ],
        ["report", store, f"--out={out / 'report.html'}", f"--picture={out / 'picture.png'}"],
        # Phantoms have no privacy to protect, so the demo continues even if a GAN memorised some of these few.
        ["export", store, f"--out={best}", "--allow-memorised"],
        [
            *("generate", best, "--n=16", "--format=dicom", f"--out={out / 'synthetic'}", f"--seed={seed}"),
            f"--cohort={cohort}",
        ],
    ]


def _places(out: Path) -> dict[str, str]:
    return {
        "commands run": str(out / _MARKER),
        "picture": str(out / "picture.png"),
        "report (a browser)": str(out / "report.html"),
        "every number": f"{out}/runs/demo/trials, {out}/runs/demo/reports (Parquet)",
        "best configuration": str(out / "best" / "config.yaml"),
        "model card": str(out / "best" / "MODEL_CARD.md"),
        "synthetic scans": str(out / "synthetic"),
        "every trial (a browser)": f"gansweep dashboard {shlex.quote(f'{out}/runs/demo')}",
    }
