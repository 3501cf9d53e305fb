"""Scores the answers of a reader study: accuracy against guessing, and agreement between readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from gansweep.config import Frozen
from gansweep.errors import ConfigError
from gansweep.report.reader_study import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Agreement", "Answers", "Proportion", "ReaderScore", "StudyScore", "fleiss_kappa", "score_study"]

Model = TypeVar("Model", bound=Frozen)

_LEVEL = 0.95
_DRAWS = 2000  # bootstrap samples of the images


class Answers(Frozen):
    """The file that the page saves for one reader.

    Args:
        study: the study that was read.
        reader: the name that the reader gave.
        answers: by the number of the image, from 1.
    """

    study: str
    reader: str = Field(min_length=1)
    answers: dict[int, Literal["real", "synthetic"]]


@dataclass(frozen=True)
class Proportion:
    """A number of right answers.

    Args:
        right: how many were right.
        n: of how many.
        low, high: 95 % interval (Clopper and Pearson 1934) of the proportion.
    """

    right: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The proportion; NaN of none."""
        return self.right / self.n if self.n else float("nan")


@dataclass(frozen=True)
class ReaderScore:
    """How one reader did.

    Args:
        reader: the name.
        accuracy: over all images that the reader answered.
        p: two-sided exact binomial test against guessing, 50 %.
        real, synthetic: of the real images those called real, and of the synthetic ones those called synthetic.
        classes: accuracy within each class.
        unanswered: images without an answer.
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
        """What the interval says of guessing."""
        if self.accuracy.low > 0.5:
            return "tells them apart"
        return "worse than guessing" if self.accuracy.high < 0.5 else "no evidence against guessing"


@dataclass(frozen=True)
class Agreement:
    """How far readers agree beyond chance.

    Args:
        kind: `Cohen's kappa` of two readers, `Fleiss' kappa` of more.
        value: 1 for perfect agreement, 0 for that of chance; None where `reason` says why it is not defined.
        low, high: 95 % interval, by bootstrap over the images.
        n: images that all of them answered.
        reason: why there is no value.
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
        readers: in the order of their names.
        agreement: None with one reader.
    """

    readers: tuple[ReaderScore, ...]
    agreement: Agreement | None


def score_study(key_file: Path, answer_files: Sequence[Path]) -> StudyScore:
    """Scores the answers of all readers of a study.

    Half of the images are real, so guessing, and giving one answer to all, score 50 %. The interval of a reader is
    over images: it says how this reader would do on other images like these, and nothing of other readers.

    Args:
        key_file: the study's `key.json`.
        answer_files: what the page saved, a file for each reader.

    Raises:
        ConfigError: a file that is none of these, answers of another study, or two files of one reader.
    """
    key = _read(Key, key_file, "a reader study's key.json")
    found: dict[str, Answers] = {}
    for path in answer_files:
        answers = _read(Answers, path, "a file of answers that the study's page saved")
        if answers.study != key.study:
            raise ConfigError(f"answers study {answers.study}, the key is of {key.study}", where=str(path))
        if beyond := sorted(set(answers.answers) - set(range(1, len(key.items) + 1))):
            raise ConfigError(f"answers image {beyond[0]} of {len(key.items)}", where=str(path))
        if answers.reader in found:
            raise ConfigError(
                f"a second file of {answers.reader!r}", where=str(path), fix="give one file for each reader"
            )
        found[answers.reader] = answers
    readers = [found[name] for name in sorted(found)]
    return StudyScore(
        tuple(_score(key, answers) for answers in readers), _agreement(readers, len(key.items)) if readers[1:] else None
    )


def fleiss_kappa(counts: NDArray[np.int64]) -> float:
    """Agreement of several readers beyond chance (Fleiss 1971).

    Args:
        counts: `[images, answers]`, how many readers gave each answer; equally many readers for each image.

    Returns:
        at most 1; NaN where all readers gave one answer to all images, so that chance alone agrees fully.
    """
    readers = counts[0].sum()
    given = counts.sum(axis=0) / counts.sum()
    by_chance = float((given**2).sum())
    agreed = float(((counts**2).sum(axis=1) - readers).mean() / (readers * (readers - 1)))
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def _score(key: Key, answers: Answers) -> ReaderScore:
    from scipy.stats import binomtest

    items = {number: item for number, item in enumerate(key.items, start=1) if number in answers.answers}
    right = {number: answers.answers[number] == item.kind for number, item in items.items()}

    def among(chosen: Iterable[int]) -> Proportion:
        return _proportion([right[number] for number in chosen])

    everything = among(items)
    if not everything.n:
        raise ConfigError(f"{answers.reader!r} answered no image", fix="leave the file out")
    names = dict.fromkeys(item.label for item in key.items if item.label)
    return ReaderScore(
        reader=answers.reader,
        accuracy=everything,
        p=float(binomtest(everything.right, everything.n, 0.5).pvalue),
        real=among(number for number, item in items.items() if item.kind == "real"),
        synthetic=among(number for number, item in items.items() if item.kind == "synthetic"),
        classes={name: among(number for number, item in items.items() if item.label == name) for name in names},
        unanswered=len(key.items) - len(items),
    )


def _proportion(right: Sequence[bool]) -> Proportion:
    from scipy.stats import binomtest

    if not right:
        return Proportion(0, 0, 0.0, 1.0)
    interval = binomtest(sum(right), len(right)).proportion_ci(_LEVEL, method="exact")
    return Proportion(sum(right), len(right), float(interval.low), float(interval.high))


def _agreement(readers: Sequence[Answers], images: int) -> Agreement:
    kind = "Cohen's kappa" if len(readers) == 2 else "Fleiss' kappa"
    shared = [number for number in range(1, images + 1) if all(number in each.answers for each in readers)]
    said = np.array([[each.answers[number] == "synthetic" for each in readers] for number in shared], dtype=np.int64)
    if not shared:
        return Agreement(kind, None, None, None, 0, "no image was answered by all")
    value = _kappa(said)
    if np.isnan(value):
        return Agreement(kind, None, None, None, len(shared), "all readers gave one answer to all images")
    random = np.random.default_rng(0)
    drawn = np.array([_kappa(said[random.integers(0, len(said), len(said))]) for _ in range(_DRAWS)])
    low, high = np.nanquantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Agreement(kind, value, float(low), float(high), len(shared))


def _kappa(said: NDArray[np.int64]) -> float:
    """Cohen's (1960) for two readers, Fleiss' for more; `said` is `[images, readers]`, 1 for synthetic."""
    if said.shape[1] > 2:
        synthetic = said.sum(axis=1)
        return fleiss_kappa(np.stack([synthetic, said.shape[1] - synthetic], axis=1))
    first = said[:, 0].mean()
    second = said[:, 1].mean()
    by_chance = float(first * second + (1 - first) * (1 - second))
    agreed = float((said[:, 0] == said[:, 1]).mean())
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def _read(model: type[Model], path: Path, what: str) -> Model:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{error.strerror}", where=str(path), fix=f"name {what}") from None
    except ValidationError:
        raise ConfigError(f"is not {what}", where=str(path)) from None
