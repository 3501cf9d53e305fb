"""Commands that show a sweep's results: status, leaderboard, report, dashboard."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gansweep.cli.console import above, clear, emit, note
from gansweep.cli.options import Json, StoreArgument, joined, parse_names
from gansweep.cli.stores import opened

__all__ = ["dashboard", "leaderboard", "report", "status"]

_SHOWN = 100
"""Configurations in a leaderboard, unless the user asks for more."""


def status(
    store: StoreArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew until the sweep ends or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="S", min=0.1, help="Seconds between, with --watch.")] = 5.0,
    as_json: Json = False,
) -> None:
    """Say how far a sweep is: trials by status, what runs, what went wrong, when it may end.

    With --watch and --json, one document after another.
    """
    from gansweep.report.status import as_document, as_text, sweep_status

    while True:
        with opened(store) as found:
            shown = sweep_status(found)
            if watch:
                clear()
            emit(as_document(shown), as_text(shown), as_json=as_json)
        if not watch or shown.finished or shown.dead:
            break
        time.sleep(every)


def leaderboard(
    store: StoreArgument,
    top: Annotated[
        int | None,
        typer.Option(min=1, help=f"Show only the first so many configurations. Default: {_SHOWN}; all with --json."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="A,B", help="Show these columns: headings, scores, configuration keys.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the trials, best first. Searched parameters are shown as far as they fit; --columns chooses."""
    from gansweep.report.leaderboard import as_document, as_table
    from gansweep.report.leaderboard import leaderboard as rows_of
    from gansweep.search.answer import answer

    named = parse_names(joined(columns)) if columns else None
    with opened(store) as found:
        attempts = found.trials(settings=False)
        ranked = found.ranked_trials(attempts)
        rows = rows_of(found, attempts, ranked)
        table = as_table(rows, found.info, top or _SHOWN, named)
        document = as_document(rows, top) if as_json else []
        emit(document, above(answer(found, lambda: ranked).text, table), as_json=as_json)


def report(
    store: StoreArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file.")] = Path("report.html"),
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Also a PNG: the answer over the best samples of each family."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page that needs no network: leaderboard, figures, images, and where every number comes from.

    Its JSON also has what the page concludes: whether the first place differs from others, and which realism score
    went with the detector's gain.
    """
    from gansweep.report.html import conclusions, write_report
    from gansweep.report.picture import write_picture

    with opened(store) as found:
        written = {"report": write_report(found, out)}
        if picture is not None:
            written["picture"] = write_picture(found, picture)
        text = "\n".join(f"{what} in {path}" for what, path in written.items())
        # With many trials, what only the JSON shows takes as long as half the page.
        emit({**written, **conclusions(found)} if as_json else written, text, as_json=as_json)


def dashboard(
    store: StoreArgument,
    port: Annotated[int, typer.Option(min=0, help="On this machine's loopback address; 0: any free one.")] = 8080,
    as_json: Json = False,
) -> None:
    """Serve Optuna's dashboard on this machine, with each trial's sample sheet, until Ctrl-C."""
    from gansweep.report.dashboard import serve_dashboard

    with opened(store) as found:

        def ready(url: str) -> None:
            note(f"dashboard of {found.info.name}: {url} (no authentication; Ctrl-C ends it)")
            if as_json:
                emit({"url": url}, "", as_json=True)

        serve_dashboard(found, port=port, ready=ready)
        note("dashboard ended")
