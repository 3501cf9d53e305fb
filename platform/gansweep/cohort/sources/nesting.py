"""Recognises labels in other folders than those of the classes: one folder too many above them, or labels below.

Archives often hold one folder with everything in it: Data/glioma, Data/meningioma. Read as one folder per class, that
is one class whose patients are the diagnoses.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.readers.dicom_header import read_header
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.cohort.sources.hiding import letters_of, shown_name, words_of
from gansweep.cohort.sources.masks import is_image_folder
from gansweep.cohort.sources.people import look_like_people, numbered_alike
from gansweep.cohort.sources.source import format_of, is_split, subject_in
from gansweep.cohort.sources.words import known_patient
from gansweep.errors import CohortError, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gansweep.cohort.sources.source import Source

__all__ = ["CLASS_WORDS", "folder_warnings", "refuse_classes_in_each", "refuse_one_folder_too_many"]

_CLASSES = """
yes no none normal abnormal healthy control controls negative positive sick disease diseased benign malignant
tumor tumour tumors tumours notumor notumour cancer noncancer nontumor carcinoma adenocarcinoma squamous sarcoma
glioma glioblastoma astrocytoma meningioma pituitary schwannoma medulloblastoma ependymoma hgg lgg metastasis
metastases lymphoma leukemia leukaemia adenoma melanoma nevus naevus nevi keratosis dermatofibroma polyp polyps cyst
covid noncovid pneumonia tuberculosis opacity effusion cardiomegaly fibrosis edema oedema nodule infected uninfected
parasitized stroke ischemic ischaemic hemorrhagic haemorrhagic hemorrhage haemorrhage aneurysm calcification fahr
demented nondemented dementia alzheimer alzheimers parkinson sclerosis hydrocephalus
fracture fractured glaucoma cataract retinopathy drusen
"""
CLASS_WORDS = frozenset(_CLASSES.split())
_VERDICTS = frozenset(("positive", "negative", "pos", "neg", "normal", "abnormal", "benign", "malignant"))
MOST_CLASSES = 20  # public sets have up to 14
MOST_NUMBERED = 9  # stages and grades
IMAGES = 10  # a class has more images; so may a patient, but few sets name their patients by words
MOST_LOOSE = 0.5  # fraction of images that may lie beside the folders
MOST_LOOSE_UNNAMED = 0.05  # likewise, if the folders' names are not those of classes
SAMPLED = 5  # headers read of a folder


@dataclass(frozen=True)
class _Inner:
    """The folders in which the images of a source part, if one folder is around them all.

    Args:
        outer: the path of that folder, without the folders of a split in it.
        images: the images of each folder, by its name.
        splits: the splits in which each folder occurs, by its name.
        loose: the fraction of images that lie beside these folders.
    """

    outer: tuple[str, ...]
    images: dict[str, list[Path]]
    splits: dict[str, set[str]]
    loose: float

    @property
    def fewest(self) -> int:
        """The number of images in the folder with the fewest."""
        return min(map(len, self.images.values()))


def refuse_one_folder_too_many(images: Sequence[Path], root: Path, *, masked: bool) -> None:
    """Refuses classes that lie in one folder, with or without folders of splits between: Data/train/glioma.

    Folders of patients in one class are good, so at least half of the folders must have names of classes, or every
    folder must have many images and be in several splits, as no patient may be.

    Args:
        images: the images below `root`.
        root: the user's folder.
        masked: whether masks lie beside the images, perhaps in a folder beside `images`.

    Raises:
        CohortError: the classes are further inside.
    """
    inner = _inner_of(images, root, masked=masked)
    if inner is None or len(inner.images) > MOST_CLASSES or _numbered(inner.images) or look_like_people(inner.images):
        return
    # Patients of a class may have its name in theirs: glioma/glioma_01.
    words = CLASS_WORDS - words_of(" ".join(inner.outer))
    named = [words_of(name) & words for name in inner.images if words_of(name) & words]
    classes = sorted(set().union(*named))
    are_classes = len(classes) >= 2 and 2 * len(named) >= len(inner.images)
    in_all_splits = (
        inner.loose <= MOST_LOOSE_UNNAMED
        and inner.fewest >= IMAGES
        and all(len(splits) > 1 for splits in inner.splits.values())
    )
    if not (are_classes or in_all_splits) or _one_patient_each(inner):
        return
    # Folders without a word of a class may be patients after all.
    # Only the words of classes are shown, because the rest of a name may be a patient's.
    what = f" ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})" if are_classes else ""
    outer = PurePath(*inner.outer)
    raise CohortError(
        f"there is one folder too many: the classes{what} lie in {outer}, which would be the only class",
        where=str(root),
        fix=f"ingest {root / outer}, or add labels.csv with the columns path,label",
    )


def refuse_classes_in_each(parts: Sequence[tuple[str, ...]], root: Path) -> None:
    """Refuses folders that each hold the classes, as sites, folds and magnifications do: siteA/benign, siteB/benign.

    The sites would be the classes, and the diagnoses their patients.

    Args:
        parts: path of each image relative to the folder of the classes.
        root: the user's folder.

    Raises:
        CohortError: all folders, whose names are not those of classes, hold the same two classes or more.
    """
    below: dict[str, set[str]] = defaultdict(set)
    for outer, *inner in parts:
        below[outer] |= set(inner[:-1][:1])
    if len(below) < 2 or any(words_of(outer) & CLASS_WORDS for outer in below):
        return
    shared = set.intersection(*below.values())
    words = {word for name in shared for word in words_of(name) & CLASS_WORDS}
    if len(words) < 2 or any(2 * len(shared) < len(names) for names in below.values()):
        return
    raise CohortError(
        f"each of the {len(below)} folders holds the classes ({', '.join(sorted(words)[:5])}), and would be a class",
        where=str(root),
        fix="put the images in one folder per class, or add labels.csv with the columns path,label",
    )


def folder_warnings(sources: Sequence[Source]) -> list[str]:
    """Returns warnings about folders that may hold labels and are not used for them.

    Args:
        sources: images, with labels from their folders unless they have lines of a CSV.
    """
    if any(source.line for source in sources):
        return []
    return _numbered_classes(sources) + _doubtful_nesting(sources) + _verdicts_below(sources)


def _numbered_classes(sources: Sequence[Source]) -> list[str]:
    """Returns a warning if more classes than there are stages of a disease are numbered: s1 to s12."""
    labels = {source.label for source in sources}
    if len(labels) <= MOST_NUMBERED or not numbered_alike(labels):
        return []
    return [f"the {len(labels)} classes are numbered; if these folders are patients, add labels.csv with path,label"]


def _doubtful_nesting(sources: Sequence[Source]) -> list[str]:
    """Returns a warning if the folders in the only class may be classes, although their names do not tell."""
    labels = {source.label for source in sources}
    if len(labels) > 1:
        return []
    files = {Path(source.name): source.path for source in sources}
    inner = _inner_of(list(files), Path(), masked=any(source.mask_beside for source in sources))
    if inner is None or look_like_people(inner.images) or any(map(subject_in, map(str, files))):
        return []
    numbered = _numbered(inner.images)
    most = MOST_NUMBERED if numbered else MOST_CLASSES
    least = 2 * IMAGES if numbered else IMAGES
    if len(inner.images) > most or inner.fewest < least:
        return []
    if _one_patient_each(
        replace(inner, images={name: [files[path] for path in found] for name, found in inner.images.items()})
    ):
        return []
    outer = shown_name(str(PurePath(*inner.outer)), None, labels)
    return [
        f"all images are one class; if the {len(inner.images)} folders in {outer} are the classes, ingest that folder"
    ]


def _verdicts_below(sources: Sequence[Source]) -> list[str]:
    """Returns a warning if all innermost folders end in a verdict that is not their label: study1_positive (MURA)."""
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for source in sources:
        folder = PurePath(source.name).parent.name
        verdict = re.split(r"[\W_]+", folder.casefold())[-1]
        if verdict not in _VERDICTS:
            return []
        verdicts[source.label][verdict] += 1
    if all(len(counts) < 2 for counts in verdicts.values()):
        return []
    total = sum(verdicts.values(), Counter[str]())
    shown = " and ".join(f"{verdict} ({counted(count, 'image')})" for verdict, count in sorted(total.items()))
    fix = "if they are labels, add labels.csv with the columns path,label,patient_id"
    return [f"the innermost folders end in {shown}, which is not used; {fix}"]


def _inner_of(images: Sequence[Path], root: Path, *, masked: bool) -> _Inner | None:
    """Returns the folders in which images part, or None if they do not lie in two or more folders of one outer folder.

    Up to half of the images may lie beside these folders.
    """
    folders = [path.relative_to(root).parts[:-1] for path in images]
    shared = _shared_start(folders)
    outer = folders[0][:shared] if folders else ()
    while outer and is_split(outer[-1]):
        outer = outer[:-1]
    inside = [folder[shared:] for folder in folders]
    if masked and outer and is_image_folder(outer[-1]) and all(inside):
        outer = outer[:-1]  # its masks lie in a folder beside it
    has_splits = all(is_split(part[0]) for part in inside if part)
    depth = 1 if has_splits else 0
    placed = [(path, part) for path, part in zip(images, inside, strict=True) if len(part) > depth]
    if not outer or len(placed) < (1 - MOST_LOOSE) * len(images):
        return None
    found: dict[str, list[Path]] = defaultdict(list)
    splits: dict[str, set[str]] = defaultdict(set)
    for path, part in placed:
        found[part[depth]].append(path)
        splits[part[depth]].add(part[0] if has_splits else "")
    if len(found) < 2 or any(is_split(name) for name in found):
        return None
    return _Inner(outer, dict(found), dict(splits), loose=1 - len(placed) / len(images))


def _shared_start(folders: Sequence[tuple[str, ...]]) -> int:
    """Returns the number of folders with which all paths begin."""
    length = 0
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        length += 1
    return length


def _numbered(names: Iterable[str]) -> bool:
    """Returns whether names are numbers or codes, or differ only in numbers, as those of patients do: P001, P002."""
    stems = [re.sub(r"\d", "", letters_of(name)) for name in names]
    return len(set(stems)) < len(stems) or min(map(len, stems)) < 2


def _one_patient_each(inner: _Inner) -> bool:
    """Returns whether each folder holds one patient, by the headers of a few of its DICOM files."""
    owners: list[str] = []
    for members in inner.images.values():
        step = max(len(members) // SAMPLED, 1)
        found = {_patient_of(path) for path in members[::step][:SAMPLED]}
        if len(found) > 1:
            return False
        owners += found
    return "" not in owners and len(set(owners)) == len(owners)


def _patient_of(path: Path) -> str:
    if format_of(path) != "dicom":
        return ""
    try:
        return known_patient(read_header(path).patient)
    except (ScanError, UnneededError):
        return ""
