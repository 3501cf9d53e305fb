"""A reader study: a blinded page of real and synthetic images, and the key that is kept apart from it."""

from __future__ import annotations

import hashlib
import io
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gansweep.config import Frozen
from gansweep.errors import CohortError
from gansweep.files import new_folder
from gansweep.report.fragments import data_uri, rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.contracts import ImageSet
    from gansweep.files import ProgressCallback
    from gansweep.options import ReaderStudyOptions

__all__ = ["KEY", "PAGE", "Item", "Key", "Study", "make_study"]

PAGE = "for-readers/study.html"
KEY = "key.json"

Kind = Literal["real", "synthetic"]


class Item(Frozen):
    """What an image of a study is.

    Args:
        kind: where it comes from.
        label: name of its class; empty where the images have none.
    """

    kind: Kind
    label: str


class Key(Frozen):
    """What the images of a study are, in the order of the page.

    Args:
        study: names the study; the page and every file of answers have it, too.
        items: image 1 first.
        seed: of choice and order.
    """

    study: str
    items: tuple[Item, ...]
    seed: int


@dataclass(frozen=True)
class Study:
    """A study that was written.

    Args:
        page: for the readers.
        key: for whoever scores their answers.
        images: how many.
        classes: of which.
    """

    page: Path
    key: Path
    images: int
    classes: tuple[str, ...]


def make_study(
    real: Path, fake: Path, out: Path, options: ReaderStudyOptions, progress: ProgressCallback | None = None
) -> Study:
    """Writes `for-readers/study.html` and `key.json` into a new folder.

    The page is one file that needs no network. It holds the images as PNGs of equal size and encoding, and nothing
    that tells which is real. Half of the images are real, and so of each class that both sets have; of real patients
    as many as possible are shown, because two slices of one head would be recognised.

    Args:
        real: a cohort, or a folder that `ingest` could read.
        fake: likewise; read as `real` was.
        out: a folder that does not exist or is empty.
        options: how many, of which patients.
        progress: told of each step.

    Raises:
        CohortError: a folder that cannot be read, too few images of a class, or `out` is in use.
    """
    from gansweep.scoring.compare import load_images
    from gansweep.scoring.unlabelled import is_unlabelled

    labelled = not (is_unlabelled(real) or is_unlabelled(fake))
    real_images, info = load_images(real, options.size, progress, splits=(options.split,))
    fake_images, _ = load_images(fake, info.size, progress, like=info, labelled=labelled)
    if real_images.images.shape[1:] != fake_images.images.shape[1:]:
        raise CohortError("images of another size or number of channels than REAL's", where=str(fake))

    seed = secrets.randbits(32) if options.seed is None else options.seed
    random = np.random.default_rng(seed)
    sets: dict[Kind, ImageSet] = {"real": real_images, "synthetic": fake_images}
    classes = info.classes if labelled else ("",)
    chosen = _chosen(sets, len(classes) if labelled else 0, options.images, random)
    order = random.permutation(len(chosen))
    rows = [chosen[place] for place in order]
    pictures = [_png(sets[kind], row) for kind, row, _ in rows]
    study = hashlib.sha256(b"".join(pictures)).hexdigest()[:12]
    key = Key(study=study, items=tuple(Item(kind=kind, label=classes[label]) for kind, _, label in rows), seed=seed)
    shown = tuple(name for name in classes if any(item.label == name for item in key.items))
    with new_folder(out, "reader-study") as folder:
        (folder / PAGE).parent.mkdir()
        (folder / PAGE).write_text(_page(study, pictures), encoding="utf-8")
        (folder / KEY).write_text(key.model_dump_json(indent=2), encoding="utf-8")
    return Study(out / PAGE, out / KEY, len(pictures), shown)


def _chosen(
    sets: dict[Kind, ImageSet], classes: int, wanted: int, random: np.random.Generator
) -> list[tuple[Kind, int, int]]:
    """(kind, row, class) of the images to show: equally many of each kind within each class.

    Args:
        sets: to choose from.
        classes: number of classes; 0: labels mean nothing.
        wanted: how many in all.
        random: source of randomness.
    """
    found: list[dict[Kind, list[int]]] = []
    for label in range(max(classes, 1)):
        rows = {kind: _spread(images, label if classes else None, random) for kind, images in sets.items()}
        found.append(rows)
    shared = [label for label, rows in enumerate(found) if all(rows.values())]
    if not shared:
        raise CohortError("no class has both real and synthetic images", fix="name sets of the same classes")
    chosen: list[tuple[Kind, int, int]] = []
    for place, label in enumerate(shared):
        # What does not divide evenly goes to the first classes.
        share = wanted // 2 // len(shared) + (place < wanted // 2 % len(shared))
        count = min(share, *(len(rows) for rows in found[label].values()))
        chosen += [(kind, row, label) for kind, rows in found[label].items() for row in rows[:count]]
    return chosen


def _spread(images: ImageSet, label: int | None, random: np.random.Generator) -> list[int]:
    """Rows in random order, the first image of every patient before the second of any."""
    labels = images.labels.numpy()
    rows = random.permutation(np.flatnonzero(labels == label) if label is not None else len(labels))
    seen: dict[str, int] = {}
    turns = []
    for row in rows.tolist():
        patient = images.patients[row] if images.patients else str(row)
        turns.append((seen.setdefault(patient, 0), row))
        seen[patient] += 1
    return [row for _, row in sorted(turns, key=lambda turn: turn[0])]


def _png(images: ImageSet, row: int) -> bytes:
    from PIL import Image

    grey = ((images.images[row].float().clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    picture = grey.transpose(1, 2, 0) if len(grey) == 3 else np.concatenate(list(grey), axis=1)
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG")
    return data.getvalue()


def _page(study: str, pictures: Sequence[bytes]) -> str:
    script = Path(__file__).with_name("reader_study.js").read_text(encoding="utf-8")
    values = {"study": study, "images": [data_uri(picture) for picture in pictures], "js": script}
    return rendered("reader_study.html.j2", values)
