"""The datasheet of a cohort: what the training images are, without a picture, a name or a hash of a patient.

Its questions follow "Datasheets for Datasets" (Gebru et al. 2021), as far as a cohort's record can answer them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gansweep.cohort.dataset import Cohort

__all__ = ["DATASHEET", "datasheet"]

DATASHEET = "DATASHEET.md"
_FEW = 5
"""Fewer patients than this in a cell are not counted: who knows the hospital might know them."""

_SHEET = """\
# Datasheet of the training cohort

Content hash {content_hash}. No image, name, date or identifier of a patient is in this file.

## Composition

{modality} images of the classes {classes}; {positive} is the disease. {size} x {size} pixels, {channels}.

| split | {heads} | patients | images |
|---|{rules}---|---|
{rows}

Counts below {few} patients are not given. {known}

## Collection

Who was imaged, where, when, on which scanners, and with whose consent is not recorded here: ask whoever made the
cohort. Age, sex and origin of the patients are not known, so nothing is known of how well other people are represented.

## Preprocessing

Window {window}, split by patient ({split}, seed {seed}), with gansweep {tool_version}. Files left out: {left_out}.

{warnings}

## Uses

The training patients trained the generator, the validation patients chose among generators, and the test patients are
for `gansweep confirm` alone. A generator may show features of its training patients: see the model card.

## Distribution and maintenance

The cohort is not part of this export. What may be done with it is up to whoever keeps it.
"""


def datasheet(cohort: Cohort) -> str:
    """The text of `DATASHEET.md` in GitHub-flavoured Markdown.

    Args:
        cohort: what a generator was trained on.
    """
    info = cohort.info
    manifest = cohort.manifest
    rows = []
    for split in ("train", "val", "test"):
        own = manifest[manifest["split"] == split]
        if own.empty:
            continue
        patients = [own.loc[own["label"] == name, "patient"].nunique() for name in info.classes]
        cells = [*(_count(count) for count in patients), _count(own["patient"].nunique()), str(len(own))]
        rows.append(f"| {split} | {' | '.join(cells)} |")
    return _SHEET.format(
        content_hash=cohort.content_hash,
        modality=info.modality,
        classes=", ".join(info.classes),
        positive=info.positive_class,
        size=info.size,
        channels="grey" if info.channels == 1 else f"{info.channels} channels",
        heads=" | ".join(f"patients with {name}" for name in info.classes),
        rules="---|" * len(info.classes),
        rows="\n".join(rows),
        few=_FEW,
        known=""
        if info.patients_known
        else "Patients of some images are unknown: each of these images counts as a patient.",
        window=info.window,
        split="given" if info.split == "given" else ", ".join(f"{part:g}" for part in info.split),
        seed=info.seed,
        tool_version=info.tool_version,
        left_out="; ".join(f"{count} {reason}" for reason, count in info.left_out.items()) or "none",
        warnings="\n".join(f"- {warning}" for warning in info.warnings) or "No warnings.",
    )


def _count(patients: int) -> str:
    return str(patients) if patients == 0 or patients >= _FEW else f"under {_FEW}"
