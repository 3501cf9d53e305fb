"""Serves Optuna's dashboard for a sweep, with sample sheets and the figures of the report."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from gansweep.errors import ConfigError, one_line
from gansweep.report.figures import figures
from gansweep.report.leaderboard import leaderboard
from gansweep.search.answer import note_answer
from gansweep.store.artifacts import StoreArtifacts, attach_sheets
from gansweep.store.store import Store
from gansweep.store.study import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["prepare_dashboard", "serve_dashboard"]

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 30.0  # figures of a large sweep take seconds to draw


class _Server(ThreadingMixIn, WSGIServer):
    """One thread per connection: browsers keep idle connections open, which would block a single-threaded server."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Logs nothing, because a line per request would hide the messages for the user."""


def serve_dashboard(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    ready: Callable[[str], None],
) -> None:
    """Serves the dashboard until interrupted. For a running sweep, its contents are updated every half minute.

    If this user may not write the store, a copy of the study is served, and its trials are those of the start.

    The dashboard has no authentication, and anyone who can reach it can change the study. Serve it on localhost and use
    a tunnel (`ssh -L 8080:127.0.0.1:8080 HOST`).

    Args:
        store: the sweep's store.
        host: address to listen on.
        port: port to listen on; 0: any free port.
        ready: called once with the URL when the server accepts connections.

    Raises:
        StoreError: the sweep has no study yet.
        ConfigError: the address is in use or invalid.
    """
    from optuna_dashboard import wsgi

    with _listening(host, port) as server, _with_writable_study(store) as served:
        prepare_dashboard(served)
        server.set_app(wsgi(served.study_storage(), artifact_store=StoreArtifacts(served)))
        ready(f"http://{host}:{server.server_port}/")
        over = threading.Event()
        threading.Thread(target=_keep_current, args=(served, over), daemon=True).start()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
        finally:
            over.set()


@contextmanager
def _with_writable_study(store: Store) -> Iterator[Store]:
    """Yields the store, or one of the same files with a copy of the study if the study cannot be written.

    The dashboard's figures and sheets are part of the study.
    """
    place = store.local
    study = store.study_path
    if place is None or not study.is_file() or all(os.access(path, os.W_OK) for path in (place, study)):
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="gansweep-") as folder:
        for entry in place.resolve().iterdir():
            if not entry.name.startswith((study.name, ".")):
                Path(folder, entry.name).symlink_to(entry)
        Path(folder, study.name).write_bytes(snapshot(study))
        log.warning("%s cannot be written: this is a copy of its study, without the trials that follow", store.label)
        yield Store.open(folder)


def prepare_dashboard(store: Store) -> None:
    """Adds sample sheets and figures to the study, where Optuna's dashboard finds them.

    Raises:
        StoreError: the sweep has no study yet.
    """
    from optuna_dashboard import save_plotly_graph_object

    study = store.load_study()
    attach_sheets(store)
    note_answer(store)
    for title, figure in figures(store, leaderboard(store), None).items():
        figure.update_layout(title=title, margin={"t": 90})
        save_plotly_graph_object(study, figure, graph_object_id=title.lower().replace(" ", "-"))


def _keep_current(store: Store, over: threading.Event) -> None:
    failing = False
    while not over.wait(_REFRESH_SECONDS):
        try:
            prepare_dashboard(store)
        except Exception as error:
            # Any error may be temporary: a network failure, or a file that a writer is replacing.
            if not failing:
                reason = one_line(error, 300) or type(error).__name__
                log.warning("the dashboard shows an earlier state until this is over: %s", reason)
            failing = True
        else:
            failing = False


def _listening(host: str, port: int) -> _Server:
    try:
        return _Server((host, port), _Quiet)
    except OverflowError:  # the socket module raises it for ports above 65535
        raise ConfigError(f"port {port} does not exist", where="--port", fix="choose one from 1024 to 65535") from None
    except OSError as error:
        what = f"port {port} of {host} is taken" if error.errno == errno.EADDRINUSE else f"{host}: {error.strerror}"
        raise ConfigError(what, where="dashboard", fix="choose another with --port") from None
