"""Runs a command of gansweep as a Ray job, with its log streamed and its exit status handed back."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gansweep.cluster.package import stage_code
from gansweep.errors import ClusterError
from gansweep.store.provenance import REVISION_VARIABLE, code_revision

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

__all__ = ["JobEnd", "connect", "follow", "submit_sweep", "use_token"]

Log = Callable[[str], object]

_POLL_S = 2.0
_LOST_LOGS = 5  # reconnections to a job's log before only its status is watched
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Args:
        status: Ray's word for it: SUCCEEDED, FAILED or STOPPED.
        exit_code: of the job's command; None where it never ran or was killed.
        message: Ray's explanation.
    """

    status: str
    exit_code: int | None
    message: str


def submit_sweep(space: str, options: Sequence[str], *, address: str | None = None) -> str:
    """Starts `gansweep sweep SPACE OPTIONS...` as a job.

    Args:
        space: a space's name or `file.py:function`.
        options: the sweep's other words, with paths as the cluster's nodes see them.
        address: the cluster's dashboard, `http://127.0.0.1:8265`; None asks Ray (RAY_ADDRESS, or a cluster here).

    Returns:
        The job's id.

    Raises:
        ConfigError: a space file that does not exist.
        ClusterError: no cluster there, a token it does not accept, or a refused submission.
    """
    from ray.exceptions import AuthenticationError

    with TemporaryDirectory(prefix="gansweep-job-") as folder:
        command = ["python", "-m", "gansweep.cli", "sweep", stage_code(space, Path(folder)), *options]
        client = connect(address)
        try:
            environment = {"working_dir": folder, "env_vars": {REVISION_VARIABLE: code_revision()}}
            return str(client.submit_job(entrypoint=shlex.join(command), runtime_env=environment))
        except (RuntimeError, AuthenticationError) as error:
            raise ClusterError(f"the cluster refused the job: {error}") from error


def follow(job: str, log: Log, *, address: str | None = None) -> JobEnd:
    """Hands a job's log to `log`, piece by piece, until the job has ended.

    Raises:
        ClusterError: the cluster went away.
    """
    client = connect(address)
    for _ in range(_LOST_LOGS):
        try:
            asyncio.run(_tail(client, job, log))
            break
        except (RuntimeError, OSError):
            # A connection dropped by a proxy says nothing about the job; its log is read again from the start.
            log("[connection to the job's log lost; reading it again]\n")
            time.sleep(_POLL_S)
    return _end(client, job)


def connect(address: str | None) -> JobSubmissionClient:
    """A client of the cluster's job server.

    Raises:
        ClusterError: no cluster there, or a token it does not accept.
    """
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    # Ray's job client sends the token by itself only if RAY_AUTH_MODE said so before Ray was imported.
    headers = {"Authorization": f"Bearer {token}"} if (token := _token()) else None
    where = address or "the cluster Ray finds"
    try:
        with _address_wins(address):
            return JobSubmissionClient(address, headers=headers)
    except AuthenticationError as error:
        raise ClusterError(
            f"{where} does not accept our token: {str(error).partition('.')[0]}",
            fix="copy the cluster's token to ~/.ray/auth_token or set RAY_AUTH_TOKEN",
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no Ray cluster at {where}: {error}", fix="give --address http://HOST:8265") from error


def use_token() -> None:
    """Switches Ray's token mode on where this machine has a token; Ray reads the variable when it is imported."""
    # Too late once Ray is there: the servers it then starts would want a token that its own client does not send.
    if _token() and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _token() -> str:
    """This machine's token, from the places where Ray looks; empty where there is none."""
    given = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    return given or (path.read_text().strip() if path.is_file() else "")


@contextmanager
def _address_wins(address: str | None) -> Iterator[None]:
    """An address given on purpose counts more than one in the environment; in Ray's client it is the other way."""
    hidden = {} if address is None else {key: os.environ.pop(key) for key in _ADDRESS_VARIABLES if key in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


async def _tail(client: JobSubmissionClient, job: str, log: Log) -> None:
    async for piece in client.tail_job_logs(job):
        log(piece)


def _end(client: JobSubmissionClient, job: str) -> JobEnd:
    try:
        while not (status := client.get_job_status(job)).is_terminal():
            time.sleep(_POLL_S)
        details = client.get_job_info(job)
    except (RuntimeError, OSError) as error:
        raise ClusterError(
            f"lost the cluster while job {job} ran: {error}", fix="ask `ray job status` later"
        ) from error
    return JobEnd(str(status.value), details.driver_exit_code, details.message or "")
