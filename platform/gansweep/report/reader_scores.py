"""Scores the answers of a reader study: accuracy against guessing, and agreement between readers."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BeforeValidator, Field

from gansweep.config import Frozen
from gansweep.errors import ConfigError, one_line
from gansweep.report.reader_study import Key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Agreement", "Answers", "Proportion", "ReaderScore", "StudyScore", "fleiss_kappa", "score_study"]

Model = TypeVar("Model", bound=Frozen)

_LEVEL = 0.95
_DRAWS = 2000  # bootstrap samples of the images


def _image_number(given: Any) -> Any:
    """Refuses a key that is not written as the page writes it: pydantic reads ` 1`, `+1` and `1.0` as 1, too."""
    if isinstance(given, str) and not re.fullmatch(r"[1-9][0-9]*", given):
        raise ValueError("is not the number of an image")
    return given


class Answers(Frozen):
    """The file that the page saves for one reader.

    Args:
        study: identifier of the study.
        reader: name that the reader entered.
        answers: answers by image number, from 1.
    """

    study: str
    reader: str = Field(min_length=1)
    answers: dict[Annotated[int, BeforeValidator(_image_number)], Literal["real", "synthetic"]]


@dataclass(frozen=True)
class Proportion:
    """A proportion of right answers.

    Args:
        right: number of right answers.
        n: number of answers.
        low, high: 95 % interval (Clopper and Pearson 1934) of the proportion.
    """

    right: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The proportion in [0, 1]; NaN if there are no answers."""
        return self.right / self.n if self.n else float("nan")


@dataclass(frozen=True)
class ReaderScore:
    """The result of one reader.

    Args:
        reader: name of the reader.
        accuracy: right answers among all images that the reader answered.
        p: p-value of the two-sided exact binomial test against guessing (50 %).
        real: right answers among the real images.
        synthetic: right answers among the synthetic images.
        classes: right answers within each class.
        unanswered: number of images without an answer.
    """

    reader: str
    accuracy: Proportion
    p: float
    real: Proportion
    synthetic: Proportion
    classes: dict[str, Proportion]
    unanswered: int

    @property
    def verdict(self) -> str:
        """Whether the interval of the accuracy excludes guessing, in words."""
        if self.accuracy.low > 0.5:
            return "tells them apart"
        if self.accuracy.high < 0.5:
            return "worse than guessing"
        return "no evidence against guessing"


@dataclass(frozen=True)
class Agreement:
    """Agreement between readers beyond chance.

    Args:
        kind: `Cohen's kappa` for two readers, `Fleiss' kappa` for more.
        value: 1 for perfect agreement, 0 for agreement by chance; None if it is not defined.
        low, high: 95 % interval, by bootstrap over the images.
        n: number of images that all readers answered.
        reason: why `value` is None.
    """

    kind: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


@dataclass(frozen=True)
class StudyScore:
    """The result of a study.

    Args:
        readers: results in the order of the readers' names.
        agreement: agreement between the readers; None if there is only one.
    """

    readers: tuple[ReaderScore, ...]
    agreement: Agreement | None


def score_study(key_file: Path, answer_files: Sequence[Path]) -> StudyScore:
    """Scores the answers of all readers of a study.

    Half of the images are real, so a reader who guesses, or gives the same answer to all images, scores 50 %. A
    reader's interval covers the choice of images: how this reader would do on similar images. It does not cover other
    readers.

    Args:
        key_file: the study's `key.json`.
        answer_files: files that the page saved, one per reader.

    Raises:
        ConfigError: a file has the wrong format, belongs to another study, or is a second one of the same reader.
    """
    key = _read(Key, key_file, "a reader study's key.json")
    found: dict[str, Answers] = {}
    for path in answer_files:
        answers = _read(Answers, path, "a file of answers that the study's page saved")
        if answers.study != key.study:
            raise ConfigError(f"answers study {answers.study}, the key is of {key.study}", where=str(path))
        beyond = [number for number in sorted(answers.answers) if not 1 <= number <= len(key.items)]
        if beyond:
            raise ConfigError(f"answers image {beyond[0]} of {len(key.items)}", where=str(path))
        name = _plain_name(answers.reader)
        if not name:
            raise ConfigError("its reader has no name", where=str(path), fix="write one into the file, under reader")
        if name in found:
            what = f"a second file of {found[name].reader!r}"
            if answers.reader != found[name].reader:
                what += f", written {answers.reader!r}"
            raise ConfigError(what, where=str(path), fix="give one file for each reader, and each a name of their own")
        found[name] = answers
    readers = sorted(found.values(), key=lambda answers: answers.reader)
    scores = tuple(_score(key, answers) for answers in readers)
    if len(readers) < 2:
        return StudyScore(scores, None)
    return StudyScore(scores, _agreement(readers, len(key.items)))


def fleiss_kappa(counts: NDArray[np.int64]) -> float:
    """Returns Fleiss' kappa, the agreement of several readers beyond chance (Fleiss 1971).

    Args:
        counts: number of readers who gave each answer, `[images, answers]`. Every image has the same number of readers.

    Returns:
        A value of at most 1. NaN if all readers gave the same answer to all images.
    """
    readers = counts[0].sum()
    frequencies = counts.sum(axis=0) / counts.sum()
    by_chance = float((frequencies**2).sum())
    agreeing_pairs = (counts**2).sum(axis=1) - readers
    observed = float(agreeing_pairs.mean() / (readers * (readers - 1)))
    return _beyond_chance(observed, by_chance)


def _beyond_chance(observed: float, by_chance: float) -> float:
    """Returns kappa from the observed agreement and that expected by chance. NaN if chance alone agrees fully."""
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def _score(key: Key, answers: Answers) -> ReaderScore:
    from scipy.stats import binomtest

    right: list[bool] = []
    by_kind: dict[str, list[bool]] = {"real": [], "synthetic": []}
    by_class: dict[str, list[bool]] = {item.label: [] for item in key.items if item.label}
    for number, item in enumerate(key.items, start=1):
        if number not in answers.answers:
            continue
        is_right = answers.answers[number] == item.kind
        right.append(is_right)
        by_kind[item.kind].append(is_right)
        if item.label:
            by_class[item.label].append(is_right)
    if not right:
        raise ConfigError(f"{answers.reader!r} answered no image", fix="leave the file out")
    return ReaderScore(
        reader=answers.reader,
        accuracy=_proportion(right),
        p=float(binomtest(sum(right), len(right), 0.5).pvalue),
        real=_proportion(by_kind["real"]),
        synthetic=_proportion(by_kind["synthetic"]),
        classes={name: _proportion(of_class) for name, of_class in by_class.items()},
        unanswered=len(key.items) - len(right),
    )


def _proportion(right: Sequence[bool]) -> Proportion:
    from scipy.stats import binomtest

    if not right:
        return Proportion(0, 0, 0.0, 1.0)
    interval = binomtest(sum(right), len(right)).proportion_ci(_LEVEL, method="exact")
    return Proportion(sum(right), len(right), float(interval.low), float(interval.high))


def _agreement(readers: Sequence[Answers], images: int) -> Agreement:
    kind = "Cohen's kappa" if len(readers) == 2 else "Fleiss' kappa"
    shared = set(range(1, images + 1)).intersection(*(reader.answers for reader in readers))
    if not shared:
        return Agreement(kind, None, None, None, 0, "no image was answered by all")
    columns = [[reader.answers[number] == "synthetic" for number in sorted(shared)] for reader in readers]
    ratings = np.array(columns, dtype=np.int64).T
    value = _kappa(ratings)
    if np.isnan(value):
        return Agreement(kind, None, None, None, len(ratings), "all readers gave one answer to all images")
    random = np.random.default_rng(0)
    resampled = []
    for _ in range(_DRAWS):
        images_drawn = random.integers(0, len(ratings), len(ratings))
        resampled.append(_kappa(ratings[images_drawn]))
    low, high = np.nanquantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Agreement(kind, value, float(low), float(high), len(ratings))


def _kappa(ratings: NDArray[np.int64]) -> float:
    """Returns Cohen's kappa (Cohen 1960) for two readers and Fleiss' kappa for more.

    Args:
        ratings: answers `[images, readers]`, 1 for synthetic and 0 for real.
    """
    readers = ratings.shape[1]
    if readers > 2:
        synthetic = ratings.sum(axis=1)
        return fleiss_kappa(np.stack([synthetic, readers - synthetic], axis=1))
    first = ratings[:, 0]
    second = ratings[:, 1]
    both_synthetic = first.mean() * second.mean()
    both_real = (1 - first.mean()) * (1 - second.mean())
    observed = float((first == second).mean())
    return _beyond_chance(observed, by_chance=float(both_synthetic + both_real))


def _read(model: type[Model], path: Path, what: str) -> Model:
    try:
        return model.model_validate(json.loads(path.read_bytes(), object_pairs_hook=_once))
    except OSError as error:
        raise ConfigError(f"{error.strerror}", where=str(path), fix=f"name {what}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"is not {what}", where=str(path)) from None


def _plain_name(reader: str) -> str:
    """Returns what two spellings of a name share: not case, spaces around it, or characters that nobody sees."""
    return one_line(unicodedata.normalize("NFKC", reader)).strip().casefold()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object of a JSON text. Raises ValueError if one of its keys is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found
