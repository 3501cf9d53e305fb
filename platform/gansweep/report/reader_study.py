"""A reader study: a blinded page of real and synthetic images, and the key that is kept apart from it."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

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
    """The truth about one image of a study.

    Args:
        kind: whether the image is real or synthetic.
        label: name of its class; empty if the images have no classes.
    """

    kind: Kind
    label: str


class Key(Frozen):
    """The solution of a study: the truth about its images, in the order of the page.

    Args:
        study: identifier of the study, as in the page and in every file of answers.
        items: the images, image 1 first.
        seed: seed of the choice and order of the images.
    """

    study: str
    items: tuple[Item, ...]
    seed: int


@dataclass(frozen=True)
class Study:
    """The files and the size of a study.

    Args:
        page: HTML page for the readers.
        key: the key, which readers must not see.
        images: number of images.
        classes: names of the classes shown.
    """

    page: Path
    key: Path
    images: int
    classes: tuple[str, ...]


def make_study(
    real: Path, fake: Path, out: Path, options: ReaderStudyOptions, progress: ProgressCallback | None = None
) -> Study:
    """Writes `for-readers/study.html` and `key.json` into a new folder.

    The page is one file that needs no network. It contains the images as PNGs of equal size and encoding, and nothing
    that reveals which are real. In each class that both sets have, half of the images are real. They are from as many
    patients as possible, because readers could recognise two slices of one head.

    Args:
        real: cohort, or folder that `ingest` can read.
        fake: cohort or folder, read with the settings of `real`.
        out: folder that does not exist or is empty.
        options: number of images and the patients to take them from.
        progress: called with each step.

    Raises:
        CohortError: a folder cannot be read, the sets do not fit each other, or `out` is not empty.
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
    chosen = _choose(sets, len(classes) if labelled else 0, options.images, random)
    shuffled = [chosen[place] for place in random.permutation(len(chosen))]
    pictures = [_png(sets[image.kind], image.row) for image in shuffled]
    items = tuple(Item(kind=image.kind, label=classes[image.label]) for image in shuffled)
    study = hashlib.sha256(b"".join(pictures)).hexdigest()[:12]
    key = Key(study=study, items=items, seed=seed)
    labels = {item.label for item in items}
    shown = tuple(name for name in classes if name in labels)
    with new_folder(out, "reader-study") as folder:
        (folder / PAGE).parent.mkdir()
        (folder / PAGE).write_text(_page(study, pictures), encoding="utf-8")
        (folder / KEY).write_text(key.model_dump_json(indent=2), encoding="utf-8")
    return Study(out / PAGE, out / KEY, len(pictures), shown)


class _Chosen(NamedTuple):
    """An image of the study: a row of the real or synthetic images, and its class index."""

    kind: Kind
    row: int
    label: int


def _choose(sets: dict[Kind, ImageSet], classes: int, wanted: int, random: np.random.Generator) -> list[_Chosen]:
    """Chooses equally many real and synthetic images of each class.

    Args:
        sets: the images to choose from.
        classes: number of classes; 0: labels are ignored.
        wanted: total number of images.
        random: source of randomness.

    Raises:
        CohortError: no class has both real and synthetic images.
    """
    by_class: dict[int, dict[Kind, list[int]]] = {}
    for label in range(max(classes, 1)):
        rows = {kind: _patients_in_turn(images, label if classes else None, random) for kind, images in sets.items()}
        if rows["real"] and rows["synthetic"]:
            by_class[label] = rows
    if not by_class:
        raise CohortError("no class has both real and synthetic images", fix="name sets of the same classes")
    per_class, remainder = divmod(wanted // 2, len(by_class))
    chosen: list[_Chosen] = []
    for place, (label, rows) in enumerate(by_class.items()):
        share = per_class + 1 if place < remainder else per_class
        count = min(share, len(rows["real"]), len(rows["synthetic"]))
        for kind in sets:
            chosen += [_Chosen(kind, row, label) for row in rows[kind][:count]]
    return chosen


def _patients_in_turn(images: ImageSet, label: int | None, random: np.random.Generator) -> list[int]:
    """Returns the rows of a class in random order, the first image of every patient before the second of any."""
    labels = images.labels.numpy()
    rows = random.permutation(np.flatnonzero(labels == label) if label is not None else len(labels)).tolist()
    earlier: Counter[str] = Counter()
    turns: dict[int, int] = {}
    for row in rows:
        patient = images.patients[row] if images.patients else str(row)
        turns[row] = earlier[patient]
        earlier[patient] += 1
    return sorted(rows, key=lambda row: turns[row])


def _png(images: ImageSet, row: int) -> bytes:
    from PIL import Image

    image = images.images[row].float().clamp(-1, 1)
    pixels = ((image + 1) * 127.5).round().byte().numpy()
    # Colour as it is; other numbers of channels side by side.
    picture = pixels.transpose(1, 2, 0) if len(pixels) == 3 else np.concatenate(list(pixels), axis=1)
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG")
    return data.getvalue()


def _page(study: str, pictures: Sequence[bytes]) -> str:
    script = Path(__file__).with_name("reader_study.js").read_text(encoding="utf-8")
    values = {"study": study, "images": [data_uri(picture) for picture in pictures], "js": script}
    return rendered("reader_study.html.j2", values)
