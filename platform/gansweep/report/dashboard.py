"""Optuna's dashboard on a sweep's study, with each trial's sample sheet and the leaderboard's figures."""

from __future__ import annotations

import contextlib
import errno
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from gansweep.errors import ConfigError
from gansweep.report.figures import figures
from gansweep.report.leaderboard import leaderboard
from gansweep.store.artifacts import StoreArtifacts, attach_sheets

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.store.store import Store

__all__ = ["prepare_dashboard", "serve_dashboard"]

_REFRESH_SECONDS = 30.0


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per connection: browsers hold idle ones open, and one of those would stop a server with one thread."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: a line for every request would bury what the user should read."""


def serve_dashboard(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    ready: Callable[[str], None],
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves the dashboard until interrupted; what it shows of a live sweep is renewed every half minute.

    The dashboard has no authentication, and whoever reaches it can change the study: keep it on this machine and come
    to it through a tunnel (`ssh -L 8080:127.0.0.1:8080 HOST`).

    Args:
        store: the sweep's.
        host: address to listen on.
        port: likewise; 0 for any free one.
        ready: gets the dashboard's address, once, when it answers.
        say: told in one line why what is shown is not renewed, once until it is again.

    Raises:
        StoreError: the sweep has no study yet.
        ConfigError: the address cannot be used.
    """
    from optuna_dashboard import wsgi

    with _listening(host, port) as server:
        prepare_dashboard(store)
        server.set_app(wsgi(store.study_storage(), artifact_store=StoreArtifacts(store)))
        ready(f"http://{host}:{server.server_port}/")
        over = threading.Event()
        threading.Thread(target=_keep_current, args=(store, over, say), daemon=True).start()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
        finally:
            over.set()


def prepare_dashboard(store: Store) -> None:
    """Puts what the dashboard shows beside Optuna's own into the study: sample sheets and figures.

    Raises:
        StoreError: the sweep has no study yet.
    """
    from optuna_dashboard import save_plotly_graph_object

    study = store.load_study()
    attach_sheets(store)
    for title, figure in figures(store, leaderboard(store), None).items():
        figure.update_layout(title=title, margin={"t": 90})
        save_plotly_graph_object(study, figure, graph_object_id=title.lower().replace(" ", "-"))


def _keep_current(store: Store, over: threading.Event, say: Callable[[str], None]) -> None:
    told = False
    while not over.wait(_REFRESH_SECONDS):
        try:
            prepare_dashboard(store)
        except Exception as error:
            # Whatever it is (a network that is down, a file that a writer holds), the next time it may be over.
            if not told:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                say(f"the dashboard shows an earlier state until this is over: {reason}")
            told = True
        else:
            told = False


def _listening(host: str, port: int) -> _Server:
    try:
        return _Server((host, port), _Quiet)
    except OverflowError:
        raise ConfigError(f"port {port} does not exist", where="--port", fix="choose one from 1024 to 65535") from None
    except OSError as error:
        what = f"port {port} of {host} is taken" if error.errno == errno.EADDRINUSE else f"{host}: {error.strerror}"
        raise ConfigError(what, where="dashboard", fix="choose another with --port") from None
