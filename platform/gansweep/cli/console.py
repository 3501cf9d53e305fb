"""Output of the command line: a command's result goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gansweep.errors import GansweepError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

__all__ = [
    "Ticker",
    "above",
    "below",
    "clear",
    "emit",
    "log_as_notes",
    "note",
    "noted_if_stopped",
    "open_missing_streams",
    "results_only",
    "stacked",
    "to_json",
]

_MARKS = {logging.ERROR: "error: ", logging.WARNING: "warning: "}
_UNFOLDED = 10_000
"""Number of columns of a pipe: wider than any line."""

_reserved: TextIO | None = None


@contextmanager
def results_only() -> Iterator[None]:
    """Reserves stdout for `emit`.

    Inside the block, whatever a library or a child process prints to stdout goes to stderr. Ray and Tune print freely,
    some of it below Python, so file descriptor 1 itself is redirected.
    """
    global _reserved
    python_stdout = sys.stdout
    outer = _reserved
    python_stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream:
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        _reserved = stream
        try:
            yield
        finally:
            sys.stdout = python_stdout
            _reserved = outer
            sys.stderr.flush()
            os.dup2(stream.fileno(), 1)


def emit(data: Any, shown: RenderableType, *, as_json: bool) -> None:
    """Prints a command's result on stdout.

    Args:
        data: value that `--json` prints, as one document.
        shown: output for people.
        as_json: whether to print JSON.
    """
    stream = _reserved or sys.stdout
    try:
        if as_json:
            stream.write(to_json(data) + "\n")
        else:
            # A line may contain a path or a command to copy, so it must not be wrapped.
            _console(stream).print(_Printable(shown), soft_wrap=isinstance(shown, str))
        stream.flush()
    except BrokenPipeError:
        _discard_rest(stream)  # the reader of a pipe (`| head`) has seen enough
    except OSError as error:
        _discard_rest(stream)
        raise GansweepError(f"cannot write the result: {error.strerror}", where="stdout") from None


def _discard_rest(stream: TextIO) -> None:
    """Sends what is left in a stream's buffer nowhere. At the end of the process, it would raise the error again."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def open_missing_streams() -> None:
    """Opens stdout and stderr on nothing if the process was started without (`>&-`): Python then has None there."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (it stays open with the process)
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


class _Printable:
    """Something to show without the control characters in users' names, which could change what a terminal shows."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields what rich prints."""
        from rich.segment import Segment
        from rich.text import Text

        shown = Text(self._shown) if isinstance(self._shown, str) else self._shown
        for segment in console.render(shown, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def above(sentence: str, shown: RenderableType) -> RenderableType:
    """Returns `sentence` and an empty line, then `shown`."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(f"{sentence}\n"), shown)


def below(shown: RenderableType, sentence: str) -> RenderableType:
    """Returns `shown`, then an empty line and `sentence`."""
    from rich.console import Group
    from rich.text import Text

    return Group(shown, Text(f"\n{sentence}"))


def stacked(*shown: RenderableType) -> RenderableType:
    """Returns one thing above the other, with an empty line between them."""
    from rich.console import Group

    lines: list[RenderableType] = []
    for one in shown:
        lines += ["", one] if lines else [one]
    return Group(*lines)


def clear() -> None:
    """Clears the terminal for results. Has no effect if stdout is not a terminal."""
    _console(_reserved or sys.stdout).clear()


def note(line: str) -> None:
    """Prints one line for people on stderr."""
    print(printable(line), file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def noted_if_stopped(what_continues: str) -> Iterator[None]:
    """Notes, after Ctrl-C, how to continue the work of the block. The KeyboardInterrupt is raised again.

    The signals of a scheduler and of a closing terminal count as Ctrl-C.
    """
    from gansweep.search.interrupts import ending_like_interrupts

    try:
        with ending_like_interrupts():
            yield
    except KeyboardInterrupt:
        note(f"stopped; {what_continues}")
        raise


class _Notes(logging.Handler):
    """Prints the platform's log as notes: one line each, with warnings and errors marked."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record without its traceback, which `--debug` shows."""
        mark = next((mark for level, mark in _MARKS.items() if record.levelno >= level), "")
        note(f"{mark}{record.getMessage()}")


@contextmanager
def log_as_notes() -> Iterator[None]:
    """Shows the platform's log on stderr while the block runs. The library itself installs no handler."""
    logger = logging.getLogger("gansweep")
    if any(isinstance(handler, _Notes) for handler in logger.handlers):  # a command that runs commands, as `demo` does
        yield
        return
    handler = _Notes()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def to_json(data: Any) -> str:
    """Returns `data` as JSON. Numbers that JSON cannot represent (NaN, infinities) become null.

    Control characters are escaped: programs read the same text, and a terminal shows it as text.
    """
    from pydantic_core import to_json

    text = to_json(data, inf_nan_mode="null", indent=2, by_alias=True, fallback=_plain).decode()
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)


class Ticker:
    """Shows progress on stderr with the time left: a bar on a terminal, a line from time to time in a log.

    Called like every `progress` callback: `(what, done, total)`.
    """

    def __init__(self, every_s: float = 5.0) -> None:
        self._every_s = every_s
        self._terminal = sys.stderr.isatty()
        self._last = 0.0
        self._width = 0
        self._what = ""
        self._began = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Shows that `done` of `total` items of `what` are done."""
        now = time.monotonic()
        if what != self._what:
            self._what = what
            self._began = now
        if done < total and now - self._last < (0.1 if self._terminal else self._every_s):
            return
        self._last = now
        finished = done >= total
        line = f"{printable(what)}: {_bar(done, total) if self._terminal else ''}{done}/{total}"
        if not finished:
            line += _time_left(now - self._began, done, total)
        if not self._terminal:
            note(line)
            return
        end = "\n" if finished else ""
        print(f"\r{line:<{self._width}}", end=end, file=sys.stderr, flush=True)  # noqa: T201
        self._width = 0 if finished else len(line)


def _bar(done: int, total: int, width: int = 20) -> str:
    filled = width * done // max(total, 1)
    return f"[{'#' * filled}{'.' * (width - filled)}] "


def _time_left(elapsed_s: float, done: int, total: int) -> str:
    """Estimates the time left from the pace so far; "" in the first two seconds, when the estimate is unreliable."""
    if done <= 0 or elapsed_s < 2.0:
        return ""
    minutes, seconds = divmod(round(elapsed_s / done * (total - done)), 60)
    return f", {minutes}:{seconds:02d} left"


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """Raises the error, instead of ending the process with 1."""
            raise BrokenPipeError

    # What reads a pipe is a program or a log: nothing is folded there, unless COLUMNS asks for it. Names, reasons and
    # paths are the user's: a [red] or a :smile: in them is what they are called.
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) else None if stream.isatty() else _UNFOLDED
    return Plain(file=stream, width=width, soft_wrap=False, highlight=False, markup=False, emoji=False)


def _plain(value: Any) -> Any:
    """Converts NumPy scalars and arrays, which pydantic does not support."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
