"""Runs a gansweep command as a Ray job: streams its log and returns its exit status."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from gansweep.cluster.package import LAUNCHER, stage_code
from gansweep.cohort.dataset import Cohort
from gansweep.command_line import as_words
from gansweep.errors import ClusterError, ConfigError
from gansweep.search.cohorts import put_cohort
from gansweep.store.filesystem import Files
from gansweep.store.provenance import REVISION_VARIABLE, code_revision
from gansweep.store.uris import without_credentials

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from gansweep.options import ConfirmOptions, RepeatOptions, SweepOptions

__all__ = ["JobEnd", "connect", "follow", "submit_retraining", "submit_sweep", "submit_training", "use_token"]

Log = Callable[[str], object]

_STORAGE = "storage.uri"  # in the job's working directory
_STUDY = "study.uri"  # likewise
_CONFIG = "config.yaml"  # likewise
_POLL_S = 2.0
_LOST_LOGS = 5  # after this many lost connections to the log, only the status of the job is polled
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Args:
        status: Ray's status: SUCCEEDED, FAILED or STOPPED.
        exit_code: exit code of the command; None if it never ran or was killed.
        message: Ray's explanation.
    """

    status: str
    exit_code: int | None
    message: str


def submit_sweep(space: str, options: SweepOptions, *, address: str | None = None, copy_cohort: bool = True) -> str:
    """Starts `gansweep sweep SPACE OPTIONS...` as a job.

    Args:
        space: a space's name or `file.py:function`.
        options: options of the sweep. Relative paths are resolved here and must be valid on every node.
        address: URL of the cluster's dashboard, `http://127.0.0.1:8265`; None: Ray's default (RAY_ADDRESS, or a local
            cluster).
        copy_cohort: whether a cohort that is here is put into the storage, where every node finds it.

    Returns:
        The job's id.

    Raises:
        ConfigError: the space file does not exist.
        CohortError: what is here is no cohort.
        StoreError: the storage cannot be written.
        ClusterError: there is no cluster, or it does not accept the token or the submission.
    """
    client = connect(address)
    storage = options.storage_from_anywhere
    changes: dict[str, str] = {}
    if copy_cohort and options.cohort.is_dir():
        changes["cohort"] = put_cohort(Cohort.open(options.cohort), storage)
    with _job_folder() as job:
        changes["storage"] = job.reference(storage)
        changes["study"] = job.reference(options.study, _STUDY)
        words = as_words(options.model_copy(update=changes))
        return job.submit(client, ["sweep", stage_code(space, job.folder), *words])


def submit_retraining(
    command: Literal["repeat", "confirm"],
    store: str,
    options: RepeatOptions | ConfirmOptions,
    *,
    space: str | None = None,
    address: str | None = None,
) -> str:
    """Starts `gansweep repeat STORE OPTIONS...` or `confirm` as a job; returns its id.

    Args:
        command: which.
        store: `<storage>/<sweep>`, readable on every node.
        options: of the command. A cohort that is here is put into the storage, if it is named.
        space: the sweep's space, where it is a file: it travels with the code.
        address: see `submit_sweep`.

    Raises:
        GansweepError: see `submit_sweep`; or the store cannot be read from here.
    """
    client = connect(address)
    store = store if "://" in store else str(Path(store).absolute())
    changes: dict[str, str] = {}
    if options.cohort is not None and options.cohort.is_dir():
        changes["cohort"] = put_cohort(Cohort.open(options.cohort), Files(store).parent().uri)
    with _job_folder() as job:
        words = as_words(options.model_copy(update=changes))
        reference = stage_code(space, job.folder)
        named = [f"--space={reference}"] if reference else []
        return job.submit(client, [command, job.reference(store), *words, *named])


def submit_training(config: Path, words: Sequence[str], *, space: str | None = None, address: str | None = None) -> str:
    """Starts `gansweep train CONFIG OPTIONS...` as a job; returns its id.

    Args:
        config: a configuration's file, which travels with the code.
        words: the options; their paths must be valid on every node.
        space: whose families it names: its file travels too.
        address: see `submit_sweep`.

    Raises:
        GansweepError: see `submit_sweep`; or there is no such file.
    """
    if not config.is_file():
        raise ConfigError("no such file", where=str(config), fix="`gansweep export` writes one")
    client = connect(address)
    with _job_folder() as job:
        shutil.copy2(config, job.folder / _CONFIG)
        reference = stage_code(space, job.folder)
        named = [f"--space={reference}"] if reference else []
        return job.submit(client, ["train", _CONFIG, *words, *named])


@dataclass(frozen=True)
class _JobFolder:
    """What becomes a job's working directory."""

    folder: Path

    def reference(self, uri: str, file: str = _STORAGE) -> str:
        """Returns a URI for the job's command line. Credentials go into a file, because other users see the command."""
        if without_credentials(uri) == uri:
            return uri
        (self.folder / file).write_text(uri, encoding="utf-8")
        return f"@{file}"

    def submit(self, client: JobSubmissionClient, words: Sequence[str]) -> str:
        """Submits the folder with a gansweep command; returns the job's id."""
        from ray.exceptions import AuthenticationError

        command = ["sh", LAUNCHER, *words]
        try:
            environment = {"working_dir": str(self.folder), "env_vars": {REVISION_VARIABLE: code_revision()}}
            return str(client.submit_job(entrypoint=shlex.join(command), runtime_env=environment))
        except (RuntimeError, AuthenticationError) as error:
            raise ClusterError(f"the cluster refused the job: {error}") from error


@contextmanager
def _job_folder() -> Iterator[_JobFolder]:
    with TemporaryDirectory(prefix="gansweep-job-") as folder:
        yield _JobFolder(Path(folder))


def follow(job: str, log: Log, *, address: str | None = None) -> JobEnd:
    """Passes the log of a job to `log`, piece by piece, until the job has ended.

    Args:
        job: the job's id.
        log: called with each piece of the log.
        address: see `submit_sweep`.

    Raises:
        ClusterError: the cluster became unreachable.
    """
    client = connect(address)
    for _ in range(_LOST_LOGS):
        try:
            asyncio.run(_tail(client, job, log))
            break
        except (RuntimeError, OSError):
            # Proxies drop connections while the job runs on. Ray streams the log from its start again.
            log("[connection to the job's log lost; reading it again]\n")
            time.sleep(_POLL_S)
    return _end(client, job)


def connect(address: str | None) -> JobSubmissionClient:
    """Connects to the job server of a cluster.

    Args:
        address: see `submit_sweep`.

    Raises:
        ClusterError: there is no cluster, or it does not accept the token.
    """
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    # Ray's job client sends the token itself only if RAY_AUTH_MODE was set before Ray was imported.
    headers = {"Authorization": f"Bearer {token}"} if (token := _token()) else None
    where = without_credentials(address) if address else "the cluster Ray finds"
    try:
        with _address_wins(address):
            return JobSubmissionClient(address, headers=headers)
    except AuthenticationError as error:
        raise ClusterError(
            f"{where} does not accept our token: {str(error).partition('.')[0]}",
            fix="copy the cluster's token to ~/.ray/auth_token or set RAY_AUTH_TOKEN",
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).replace(address, where) if address else error
        raise ClusterError(f"no Ray cluster at {where}: {why}", fix="give --address http://HOST:8265") from error


def use_token() -> None:
    """Enables Ray's token authentication if this machine has a token. Call it before Ray is imported."""
    # Once Ray is imported it is too late: servers that it starts would require a token that its client does not send.
    if _token() and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _token() -> str:
    """Returns the token of this machine, from the variables and the file that Ray reads, or ""."""
    given = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    return given or (path.read_text().strip() if path.is_file() else "")


@contextmanager
def _address_wins(address: str | None) -> Iterator[None]:
    """Gives an explicit address precedence over the environment; Ray's client does the opposite."""
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
