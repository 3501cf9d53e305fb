from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gansweep.cohort.ingest import duplicates
from gansweep.cohort.ingest.duplicates import content_key, join, near_pairs, thumbnail_code
from gansweep.cohort.ingest.split import SPLITS, check_given, draw_split
from gansweep.errors import CohortError

HASH = "0123456789abcdef"


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=8, max_size=40),
    classes=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_nobody_is_in_two_splits_and_every_class_is_in_all(sizes: list[int], classes: int, seed: int) -> None:
    sizes = sizes + [1] * (3 * classes)
    groups = [number for number, size in enumerate(sizes) for _ in range(size)]
    labels = [f"class {group % classes}" for group in groups]
    splits = draw_split(groups, labels, (0.6, 0.2, 0.2), seed)
    assert len({(group, split) for group, split in zip(groups, splits, strict=True)}) == len(sizes)
    assert set(zip(labels, splits, strict=True)) == {(f"class {c}", s) for c in range(classes) for s in SPLITS}
    assert splits == draw_split(groups, labels, (0.6, 0.2, 0.2), seed)


def test_equal_patients_are_dealt_by_the_fractions_and_the_seed() -> None:
    groups, labels = list(range(100)), ["a"] * 50 + ["b"] * 50
    first, second = (draw_split(groups, labels, (0.6, 0.2, 0.2), seed) for seed in (0, 1))
    assert Counter(zip(labels, first, strict=True))[("a", "train")] == 30
    assert Counter(first) == {"train": 60, "val": 20, "test": 20}
    assert first != second


def test_an_empty_fraction_stays_empty() -> None:
    assert set(draw_split(list(range(20)), ["a"] * 20, (0.8, 0.2, 0.0), 0)) == {"train", "val"}


def test_a_given_split_must_not_leak() -> None:
    check_given(["train", "train", "test"], ["p", "p", "q"])
    with pytest.raises(CohortError, match=HASH):
        check_given(["train", "test"], [HASH, HASH])
    with pytest.raises(CohortError, match="is not one of train"):
        check_given(["train", "holdout"], ["p", "q"])


def test_join_follows_chains() -> None:
    assert join(["a", "b", "c", "a", "d"], [(1, 2), (2, 4)]) == [0, 1, 1, 0, 1]


def blurred(seed: int) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(np.random.default_rng(seed).uniform(size=(1, 96, 96)), (0, 6, 6)).astype(np.float32)


def test_recompressed_and_resized_copies_are_near_and_others_are_not() -> None:
    from gansweep.cohort.readers.resample import fit_pixels

    images = [blurred(seed) for seed in range(6)]
    copy = images[2] * 0.8 + 0.1 + np.random.default_rng(9).normal(0, 0.002, images[2].shape)
    codes = np.stack([thumbnail_code(fit_pixels(image, 64, keep_lesions=False)) for image in [*images, copy]])
    assert near_pairs(codes).tolist() == [[2, 6]]


def test_content_keys_tell_equal_pixels() -> None:
    assert content_key(blurred(0)) == content_key(blurred(0)) != content_key(blurred(1))
    assert content_key(np.zeros((1, 4, 4), np.float32)) == ""


@pytest.mark.parametrize("count", [50, 6000])
def test_near_pairs_are_those_of_the_whole_matrix(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    codes = random.normal(size=(count, 20)) @ random.normal(size=(20, 60))
    codes[1::10] = codes[::10] + 0.4 * random.normal(size=codes[::10].shape)
    codes = (codes / np.linalg.norm(codes, axis=1, keepdims=True)).astype(np.float32)
    close = np.argwhere(np.triu(codes @ codes.T > 0.985, 1)).tolist()
    assert len(close) >= count // 10
    assert near_pairs(codes).tolist() == close
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 0)  # as if all pictures were alike
    assert near_pairs(codes).tolist() == close
    owners = np.arange(count) // 10
    assert near_pairs(codes, owners.tolist()).tolist() == [[i, j] for i, j in close if owners[i] != owners[j]]


def test_of_very_many_equal_pictures_some_pairs_connect_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many that they are looked for among candidates first, of which there are too many."""
    monkeypatch.setattr(duplicates, "SMALL", 1000)
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 100_000)
    count = duplicates.BLOCK + 200
    codes = np.tile(np.eye(1, 60, dtype=np.float32), (count, 1))
    pairs = near_pairs(codes)
    assert len(pairs) < 2 * 32 * count
    assert set(join(range(count), pairs.tolist())) == {0}
