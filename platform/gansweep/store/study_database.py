"""A sweep's Optuna study in PostgreSQL, for teams that look at many sweeps in one place.

As with a study in a file, the rows in `trials/` are the record. `sweep.json` says where the study is, without user and
password: whoever opens it gives its URL.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gansweep.errors import ConfigError, StoreError
from gansweep.store.filesystem import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import optuna
    from optuna.trial import FrozenTrial

    from gansweep.config import Objective
    from gansweep.store.schema import SweepInfo

__all__ = ["SCHEME", "STUDY_VARIABLE", "StudyDatabase", "database_errors_told", "place_of"]

SCHEME = "postgresql"

STUDY_VARIABLE = "GANSWEEP_STUDY"
"""Holds the URL of a study, for commands that have no option for it."""

_DRIVERS = ("psycopg", "psycopg2", "pg8000")
_CONNECT = "see that the server runs, and that user, password and database are right"


def place_of(url: str) -> str:
    """Where a study is, as `sweep.json` keeps it.

    Raises:
        ConfigError: not the URL of a PostgreSQL database.
    """
    place = without_credentials(url)
    if not place.startswith((f"{SCHEME}://", f"{SCHEME}+")) or not place.rpartition("/")[2]:
        shown = place if "://" in place and not place.startswith(SCHEME) else "the URL"
        fix = "give postgresql://USER:PASSWORD@HOST/DATABASE, or @FILE with that in it"
        raise ConfigError(f"{shown} is no PostgreSQL database", where="--study", fix=fix)
    return place


class StudyDatabase:
    """The study of one sweep among others in a database.

    Args:
        info: the sweep's record.
        url: of the database; empty: that of the environment variable GANSWEEP_STUDY.
        label: of the store, for messages.
    """

    def __init__(self, info: SweepInfo, url: str, label: str) -> None:
        self._place = info.study
        self._url = url or os.environ.get(STUDY_VARIABLE, "")
        self._label = label
        begun = f"{info.created.isoformat()} {info.cohort.content_hash}"
        # Sweeps of one name in several storages share a database.
        self.name = f"{info.name}-{hashlib.sha256(begun.encode()).hexdigest()[:8]}"

    @property
    def path(self) -> Path:
        """No file has it.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"its study is no file, it is in {self._place}", where=self._label)

    def fetch(self) -> None:
        """Nothing to fetch."""

    def forget(self) -> None:
        """Nothing is kept here."""

    def sync(self) -> None:
        """Nothing to mirror."""

    def storage(self) -> optuna.storages.RDBStorage:
        """Optuna's storage on the database, its tables made if missing.

        Raises:
            StoreError: the URL was not given, or the database cannot be used.
        """
        import optuna

        if not self._url or place_of(self._url) != self._place:
            where = "another place" if self._url else "a place that nobody told"
            what = f"its study is in {self._place}, and was looked for in {where}"
            raise StoreError(what, where=self._label, fix=f"give its URL with --study, or in {STUDY_VARIABLE}")
        with self._told():
            # A server that was restarted has closed the connections of the pool.
            return optuna.storages.RDBStorage(_with_driver(self._url), engine_kwargs={"pool_pre_ping": True})

    def load(self, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        """The study, to read or to go on with.

        Raises:
            StoreError: there is none, or the database cannot be used.
        """
        import optuna

        with self._told():
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
        """The study, made if missing, with the objectives' directions and names.

        Raises:
            StoreError: the database cannot be used.
        """
        from gansweep.store.study import made_study

        with self._told():
            return made_study(self.name, self.storage(), objectives, sampler)

    def damage(self) -> str:
        """Nothing: a database looks after itself."""
        return ""

    def replace(self, objectives: Sequence[Objective], trials: Iterable[FrozenTrial]) -> optuna.Study:
        """A new study of `trials`, numbered in their order; what was there is kept under its name and `.before`."""
        import optuna

        with self._told():
            storage = self.storage()
            before = f"{self.name}.before"
            there = {study.study_name for study in storage.get_all_studies()}
            if self.name in there:
                if before in there:
                    optuna.delete_study(study_name=before, storage=storage)
                optuna.copy_study(
                    from_study_name=self.name, from_storage=storage, to_storage=storage, to_study_name=before
                )
                optuna.delete_study(study_name=self.name, storage=storage)
            study = self.create(objectives)
            study.add_trials(trials)
            return study

    @contextmanager
    def _told(self) -> Iterator[None]:
        with database_errors_told(self._place):
            yield


@contextmanager
def database_errors_told(place: str) -> Iterator[None]:
    """While it lasts, an error of the study's database is one line, without its statements and values.

    Args:
        place: of the study.

    Raises:
        StoreError: the database cannot be reached, or refuses.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StoreError(f"the study cannot be used: {_reason(error)}", where=place, fix=_CONNECT) from None


def _reason(error: BaseException) -> str:
    """The server's own words."""
    while error.__cause__ is not None:
        error = error.__cause__
    told: Any = getattr(error, "orig", None) or error
    first = told.args[0] if getattr(told, "args", ()) else str(told)
    text = first.get("M", "") if isinstance(first, dict) else str(first)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__


def _with_driver(url: str) -> str:
    """The URL with one of the drivers that are installed, unless it names one.

    Raises:
        ConfigError: none is.
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
