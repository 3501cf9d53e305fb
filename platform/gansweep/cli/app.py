"""Table of all commands, and handling of errors."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from gansweep._version import __version__
from gansweep.cli import (
    ablation,
    cohorts,
    confirmation,
    demo,
    exports,
    question,
    reader_study,
    repeats,
    replays,
    results,
    score,
    spaces,
    submissions,
    sweeps,
    system,
)
from gansweep.cli.command import Command, SubmitCommand
from gansweep.cli.console import note, open_missing_streams
from gansweep.cli.help import example_lines
from gansweep.errors import GansweepError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["app", "main"]

# Errors of the file system are for the user to fix, wherever they occurred.
_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EISDIR}
_REFUSALS |= {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOMEM}


app = typer.Typer(
    help="Distributed hyperparameter search for medical-image GANs, scored on held-out patients.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("Start here", demo.demo, "gansweep demo --out demo"),
    ("Start here", system.doctor, "gansweep doctor --workers-per-trial 2"),
    ("Start here", spaces.trainables, "gansweep trainables fahr_ct"),
    ("Start here", spaces.settings, "gansweep settings --family dcgan"),
    ("Start here", question.answer, "gansweep answer cohort --time-budget 7h --out answer.html"),
    ("Cohorts", cohorts.phantom, "gansweep phantom scans --patients 40 --seed 1"),
    ("Cohorts", cohorts.ingest, "gansweep ingest scans cohort --labels scans/labels.csv --size 64 --window lesion"),
    ("Cohorts", cohorts.cohort, "gansweep cohort cohort --out cohort.html"),
    ("Cohorts", score.score, "gansweep score cohort synthetic --json"),
    (
        "Search",
        sweeps.sweep,
        "gansweep sweep fahr_ct --cohort cohort --storage runs --name fahr --trials 50 --workers-per-trial 2",
    ),
    (
        "Search",
        submissions.submit,
        "gansweep submit fahr_ct --cohort /data/cohort --storage s3://bucket/runs --name fahr --trials 200",
    ),
    ("Results", results.status, "gansweep status runs/fahr"),
    ("Results", results.leaderboard, "gansweep leaderboard runs/fahr --top 5"),
    ("Results", results.report, "gansweep report runs/fahr --out fahr.html"),
    ("Results", results.dashboard, "gansweep dashboard runs/fahr --port 8080"),
    ("Results", repeats.repeat, "gansweep repeat runs/fahr --leaders 2 --repeats 3"),
    ("Results", replays.replay, "gansweep replay runs/fahr runs/brain --samplers random,tpe"),
    ("Results", ablation.ablate, "gansweep ablate runs/fahr --repeats 5 --out ablation.html"),
    ("Results", confirmation.confirm, "gansweep confirm runs/fahr --leaders 2 --gan-seeds 5"),
    ("Use", exports.export, "gansweep export runs/fahr --out best"),
    ("Use", exports.train, "gansweep train best/config.yaml --cohort cohort --out production --workers 2"),
    ("Use", exports.generate, "gansweep generate best --n 100 --out synthetic --format dicom"),
)
for panel, function, example in _COMMANDS:
    kind = SubmitCommand if function is submissions.submit else Command
    app.command(cls=kind, rich_help_panel=panel, epilog=example_lines(example))(function)

_reading = typer.Typer(
    cls=reader_study.MakesByDefault,
    no_args_is_help=True,
    help="Ask human readers which images are synthetic: make a blinded page, and score their answers.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (reader_study.make, reader_study.score):
    _reading.command(cls=Command, epilog=example_lines(reader_study.EXAMPLES[function.__name__]))(function)
app.add_typer(_reading, name="reader-study", rich_help_panel="Use")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gansweep {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also: GANSWEEP_DEBUG=1).")] = False,
    version: Annotated[  # noqa: ARG001  (its callback does the work)
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    if debug:
        os.environ["GANSWEEP_DEBUG"] = "1"


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        args: words after `gansweep`; by default those of the process.

    Returns:
        The exit status: 0, 1 for a bug, 2 for a mistake of the user, 130 after Ctrl-C.
    """
    open_missing_streams()
    status = _run(list(sys.argv[1:] if args is None else args))
    if args is None and (waiting := sys.modules.get("gansweep.store.waiting")) is not None:
        waiting.end_if_given_up(status)
    return status


def _run(words: Sequence[str]) -> int:
    try:
        status = app(words or ["--help"], prog_name="gansweep", standalone_mode=False)
    except GansweepError as error:
        return _refused(str(error), error)
    except typer.TyperException as error:
        return _refused(f"{' '.join(error.format_message().split())} (see gansweep {_command(words)}--help)", error)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            return 0  # the reader of a pipe (`| head`) has seen enough; rich and typer end with 1 then
        raise
    except OSError as error:
        return _refused(_file_line(error), error) if _refusal(error) else _fault(error)
    except Exception as error:
        return _refused(one_line(error) or "out of memory", error) if _memory_full(error) else _fault(error)
    return status if isinstance(status, int) else 0


def _command(words: Sequence[str]) -> str:
    return next((f"{word} " for word in words if not word.startswith("-")), "")


def _refusal(error: OSError) -> bool:
    return error.errno in _REFUSALS


def _file_line(error: OSError) -> str:
    return one_line(f"{error.filename or 'file'}: {error.strerror}")


def _memory_full(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from gansweep.devices import out_of_memory

    return out_of_memory(error)


def _refused(line: str, error: Exception) -> int:
    if os.environ.get("GANSWEEP_DEBUG") == "1":
        traceback.print_exception(error)
    note(f"error: {line}")
    return 2


def _fault(error: Exception) -> int:
    """Prints one line for the user. The traceback goes to stderr or to a file, for developers."""
    summary = f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if os.environ.get("GANSWEEP_DEBUG") == "1":
        traceback.print_exception(error)
        note(summary)
        return 1
    with tempfile.NamedTemporaryFile("w", prefix="gansweep-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    note(f"{summary} (traceback in {log.name}; --debug shows it here)")
    return 1
