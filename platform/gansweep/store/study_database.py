"""A sweep's Optuna study in PostgreSQL, for teams that look at many sweeps in one place.

As with a study in a file, the rows in `trials/` are the record. `sweep.json` says where the study is, without user and
password. Each user who opens it provides the full URL.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gansweep.errors import ConfigError, StoreError, one_line
from gansweep.store.uris import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import optuna
    from optuna.trial import FrozenTrial

    from gansweep.config import Objective
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["SCHEME", "STUDY_VARIABLE", "StudyDatabase", "database_errors_explained", "place_of"]

SCHEME = "postgresql"

STUDY_VARIABLE = "GANSWEEP_STUDY"
"""Holds the URL of a study, for commands that have no option for it."""

_DRIVERS = ("psycopg", "psycopg2", "pg8000")
_CONNECT = "see that the server runs, and that user, password and database are right"


def place_of(url: str) -> str:
    """Returns the URL of a study without user and password, as recorded in `sweep.json`.

    Raises:
        ConfigError: the URL does not name a PostgreSQL database.
    """
    place = without_credentials(url)
    is_postgresql = place.startswith((f"{SCHEME}://", f"{SCHEME}+"))
    database = place.rpartition("/")[2]
    if not is_postgresql or not database or not _has_valid_port(place):
        # A malformed URL may still contain the password.
        shown = place if "://" in place and not place.startswith(SCHEME) else "the URL"
        fix = "give postgresql://USER:PASSWORD@HOST/DATABASE, or @FILE with that in it"
        raise ConfigError(f"{shown} is not a PostgreSQL database", where="--study", fix=fix)
    return place


def _has_valid_port(place: str) -> bool:
    """Returns whether the port, if there is one, is a number. SQLAlchemy raises its own error for another."""
    try:
        address = urlsplit(place).netloc
    except ValueError:  # brackets that do not match
        return False
    port = address.rpartition("]")[2].partition(":")[2]
    return not port or port.isdecimal()


class StudyDatabase:
    """The study of one sweep, in a database that may hold the studies of others. The interface is that of `StudyFile`.

    Args:
        info: the sweep's record.
        url: URL of the database. Empty: the value of the environment variable GANSWEEP_STUDY.
        label: location of the store, for messages.
    """

    def __init__(self, info: SweepInfo, url: str, label: str) -> None:
        self._place = info.study
        self._url = url or os.environ.get(STUDY_VARIABLE, "")
        self._label = label
        begun = f"{info.created.isoformat()} {info.cohort.content_hash}"
        # Sweeps in different storages may have the same name and share this database.
        self.name = f"{info.name}-{hashlib.sha256(begun.encode()).hexdigest()[:8]}"

    @property
    def path(self) -> Path:
        """Raises StoreError, because the study is not in a file.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"its study is not a file: it is in {self._place}", where=self._label)

    def fetch(self) -> None:
        """Has no effect: a database is not downloaded."""

    def forget(self) -> None:
        """Has no effect: there is no working copy to delete."""

    def sync(self) -> None:
        """Has no effect: a database is not mirrored."""

    def storage(self) -> optuna.storages.RDBStorage:
        """Returns Optuna's storage for the database. Creates its tables if they are missing.

        Raises:
            StoreError: no URL was given, it names another database, or the database cannot be used.
        """
        import optuna

        if not self._url or place_of(self._url) != self._place:
            reason = "the given URL names another database" if self._url else "no URL was given"
            what = f"its study is in {self._place}, but {reason}"
            raise StoreError(what, where=self._label, fix=f"give its URL with --study, or in {STUDY_VARIABLE}")
        with self._errors_explained():
            # A restarted server has closed the connections of the pool. The ping replaces them.
            return optuna.storages.RDBStorage(_with_driver(self._url), engine_kwargs={"pool_pre_ping": True})

    def load(self, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        """Loads the study, to read or to continue.

        Raises:
            StoreError: the database has no such study, or cannot be used.
        """
        import optuna

        with self._errors_explained():
            try:
                return optuna.load_study(study_name=self.name, storage=self.storage(), sampler=sampler)
            except KeyError:
                what = f"{self._place} has no study named {self.name!r}"
                raise StoreError(
                    what, where=self._label, fix="the sweep's --resume builds it again from trials/"
                ) from None

    def create(
        self, objectives: Sequence[Objective], sampler: optuna.samplers.BaseSampler | None = None
    ) -> optuna.Study:
        """Returns the study with the objectives' directions and names. Creates it if it is missing.

        Raises:
            StoreError: the database cannot be used.
        """
        from gansweep.store.study import made_study

        with self._errors_explained():
            return made_study(self.name, self.storage(), objectives, sampler)

    def damage(self) -> str:
        """Returns an empty string: a database server checks its own files."""
        return ""

    def replace(self, objectives: Sequence[Objective], trials: Iterable[FrozenTrial]) -> optuna.Study:
        """Creates a new study of `trials`, numbered in their order. Keeps the previous one as `<name>.before`."""
        import optuna

        with self._errors_explained():
            storage = self.storage()
            before = f"{self.name}.before"
            existing = {study.study_name for study in storage.get_all_studies()}
            if self.name in existing:
                if before in existing:
                    optuna.delete_study(study_name=before, storage=storage)
                optuna.copy_study(
                    from_study_name=self.name, from_storage=storage, to_storage=storage, to_study_name=before
                )
                optuna.delete_study(study_name=self.name, storage=storage)
            study = self.create(objectives)
            study.add_trials(trials)
            return study

    def _errors_explained(self) -> AbstractContextManager[None]:
        return database_errors_explained(self._place)


@contextmanager
def database_errors_explained(place: str, fix: str = _CONNECT) -> Iterator[None]:
    """Converts errors of the study's database to one line, without SQL statements and values.

    Args:
        place: URL of the study without credentials, or its file.
        fix: what the user can do.

    Raises:
        StoreError: the database cannot be reached, or refuses.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StoreError(f"the study cannot be used: {_reason(error)}", where=place, fix=fix) from None


def _reason(error: BaseException) -> str:
    """Returns the server's message."""
    while error.__cause__ is not None:
        error = error.__cause__
    driver_error: Any = getattr(error, "orig", None) or error
    first = driver_error.args[0] if getattr(driver_error, "args", ()) else str(driver_error)
    # pg8000 raises errors with a dict of PostgreSQL's error fields, in which M is the message.
    text = first.get("M", "") if isinstance(first, dict) else str(first)
    return one_line(text, 200).rstrip(".") or type(error).__name__


def _with_driver(url: str) -> str:
    """Returns the URL with an installed driver, unless it already names one.

    Raises:
        ConfigError: no driver is installed.
    """
    scheme, _, rest = url.partition("://")
    if "+" in scheme:
        return url
    found = next((name for name in _DRIVERS if importlib.util.find_spec(name) is not None), None)
    if found is None:
        raise ConfigError(
            "no driver for PostgreSQL is installed", where="--study", fix="pip install 'gansweep[postgresql]'"
        )
    return f"{SCHEME}+{found}://{rest}"
