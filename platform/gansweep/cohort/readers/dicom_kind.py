"""Distinguishes DICOM images of a patient's anatomy from screen saves, reformats, localizers and reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gansweep.cohort.readers.attributes import values_of
from gansweep.cohort.readers.series_words import names_derived, names_localizer, names_screen, names_wait
from gansweep.cohort.readers.slices import UnneededError

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = [
    "UNKNOWN",
    "check_kind",
    "check_mask_kind",
    "frame_reason",
    "frame_type",
    "image_type",
    "is_displayed",
    "is_secondary_capture",
    "modality_of",
    "no_signal",
    "sop_class",
]

# Modalities of objects that are not images of a patient: segmentations, radiotherapy, presentation states, reports.
NO_ANATOMY = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "REG", "AU", "DOC"}
# The defined terms of Modality (PS3.3 C.7.3.1.1.1), those of earlier editions included.
_MODALITY_TERMS = """
ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER
KO LEN LS M3D MG MR NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE
RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL
XC AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS ST TE VF
"""
_MODALITIES = frozenset(_MODALITY_TERMS.split())
UNKNOWN = "UNKNOWN"
# Ultrasound, endoscopy, photographs, slides and other images, which are grey or in colour as they are displayed.
_DISPLAYED_TERMS = "US IVUS BDUS EC DD ES CP CS LP XC GM SM CD OP DMS BI OT"
_DISPLAYED = frozenset([*_DISPLAYED_TERMS.split(), UNKNOWN])
PIXELS = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Words of Image Type (PS3.3 C.7.6.1.1.2) in images computed from others.
_SCREEN = re.compile(r"SCREEN ?SAVE|SCREEN ?SHOT|SCREEN|DOSE.*|PROTOCOL|REPORT|POSDISP|NORMALIZED SCREEN")
_REFORMAT = re.compile(
    r"REFORMATTED|(CT_SOM\w* )?(MPR|MPR ?THICK|MPR ?RANGE)|CSA (MPR|MIP|RESAMPLED|3D \w+)|CPR|MIP|MINIP|MIN ?IP|"
    r"AVERAGE|AVG|MAXIMUM|MINIMUM|PROJECTION IMAGE|VRT?|VOLUME ?RENDER\w*|3D.*|SSD|SUBTRACTION|SUBTRACT|FUSION|"
    r"RESAMPLED|MNIP"
)
# A projection or a thick overview slice for planning (Image Type value 3; PS3.3 C.8.2.1.1.1).
_LOCALIZER = re.compile(r"LOCALI[SZ]ER|SCOUT|TOPO|TOPOGRAM|SURVEY|SCANOGRAM|SURVIEW")
LOCALIZER = "a localizer image"
BOLUS = "an image that waits for a bolus of contrast agent"
# Images that accompany a slide (Image Type value 3; PS3.3 C.8.12.4.1.1), and what they are.
_SLIDE_PARTS = {
    "LABEL": "the label of a slide, which may name the patient",
    "OVERVIEW": "an overview of a slide, which may show its label",
}
_SLIDE_WITH_LABEL = "a slide with its label, which may name the patient"
DERIVED = "a derived image, such as a reformat; --derived takes them"
# Words of Image Type of MR images that show no magnitude (PS3.3 C.8.3.1.1.1 and C.8.13.3.1.1, and those of vendors).
_MR_PHASES = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}
_MR_MAPS = {
    "ADC",
    "EADC",
    "FA",
    "CBV",
    "RCBV",
    "CBF",
    "RCBF",
    "MTT",
    "TTP",
    "T1 MAP",
    "T2 MAP",
    "T2_STAR MAP",
    "B0 MAP",
}
_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence")


def check_kind(dataset: Dataset, path: Path, *, derived: bool) -> None:
    """Checks that a DICOM object is an image of a patient.

    Args:
        dataset: the object.
        path: its file.
        derived: accept CT and MR images that were computed from others, and secondary captures.

    Raises:
        UnneededError: it has no pixels, is a localizer, a screen save, a secondary capture, a derived image or the
            label of a slide, or text is burned into it.
    """
    if "Rows" not in dataset or not (PIXELS & set(dataset.dir())):
        raise UnneededError(f"a DICOM object without pixels ({sop_class(dataset)})", where=path.name)
    kinds = image_type(dataset)
    modality = modality_of(dataset)
    tomography = modality in {"CT", "MR"}
    series = str(dataset.get("SeriesDescription") or "").replace("_", " ")
    # The description of a series is free text, which is specific enough only for CT and MR.
    if _any_match(_LOCALIZER, kinds) or (tomography and names_localizer(series, axial="AXIAL" in kinds)):
        raise UnneededError(LOCALIZER, where=path.name)
    if modality == "CT" and names_wait(series):
        raise UnneededError(BOLUS, where=path.name)
    if modality in NO_ANATOMY:
        raise UnneededError(f"not an image of a patient ({sop_class(dataset)})", where=path.name)
    if _any_match(_SCREEN, kinds) or (tomography and names_screen(series)):
        raise UnneededError("a screen save", where=path.name)
    if _says_yes(dataset, "BurnedInAnnotation"):
        raise UnneededError("text burned into the image may name the patient", where=path.name)
    if modality == "SM" or "Slide" in sop_class(dataset):
        _check_slide(dataset, kinds, path, derived=derived)
    # Our own synthetic images are also derived, and `gansweep score` has to read them.
    if derived or not tomography or "SYNTHETIC" in kinds:
        return
    if is_secondary_capture(str(dataset.get("SOPClassUID") or "")):
        raise UnneededError(f"a secondary capture of {modality}", where=path.name)
    if _is_derived(dataset, kinds, modality) or names_derived(series, modality):
        raise UnneededError(DERIVED, where=path.name)


def check_mask_kind(dataset: Dataset, path: Path) -> None:
    """Checks that a DICOM object that is named like a mask can be one.

    Raises:
        UnneededError: it has no pixels, or is a segmentation object: its frames belong to images by references, and it
            has none for slices without a lesion.
    """
    if modality_of(dataset) == "SEG" or "Segmentation" in sop_class(dataset):
        hint = "save the mask of each slice as PNG, or as DICOM in the slice's own grid, named like its image"
        raise UnneededError(f"a DICOM segmentation object (SEG), which is not read; {hint}", where=path.name)
    if "Rows" not in dataset or not (PIXELS & set(dataset.dir())):
        raise UnneededError(f"a DICOM object without pixels ({sop_class(dataset)})", where=path.name)


def _check_slide(dataset: Dataset, kinds: list[str], path: Path, *, derived: bool) -> None:
    """Checks that an image of a slide shows tissue, and no label of the slide.

    Raises:
        UnneededError: it may show the label, or is a thumbnail of the slide's image, which `derived` accepts.
    """
    for part in kinds[2:]:
        if part in _SLIDE_PARTS:
            raise UnneededError(_SLIDE_PARTS[part], where=path.name)
    if _says_yes(dataset, "SpecimenLabelInImage"):
        raise UnneededError(_SLIDE_WITH_LABEL, where=path.name)
    if "THUMBNAIL" in kinds[2:] and not derived:
        raise UnneededError("a thumbnail of a slide; --derived takes them", where=path.name)


def _says_yes(dataset: Dataset, keyword: str) -> bool:
    return str(dataset.get(keyword) or "").strip().upper() == "YES"


def frame_reason(dataset: Dataset, number: int, *, derived: bool) -> str:
    """Returns why one frame of an enhanced object is left out, by its own frame type (PS3.3 C.8.15.3.1), or "".

    Args:
        dataset: an object that `check_kind` accepts as a whole.
        number: of the frame.
        derived: accept frames that were computed from others.
    """
    modality = modality_of(dataset)
    if modality not in {"CT", "MR"}:
        return ""
    kinds = frame_type(dataset, number)
    if _any_match(_LOCALIZER, kinds):
        return LOCALIZER
    if derived or "SYNTHETIC" in image_type(dataset):
        return ""
    # MIXED says that the frames differ. Where no frame says what it is, any of them may be derived.
    mixed = modality == "CT" and not kinds and image_type(dataset)[:1] == ["MIXED"]
    return DERIVED if mixed or _is_derived(dataset, kinds, modality) else ""


def frame_type(dataset: Dataset, number: int) -> list[str]:
    """Returns the values of Frame Type of one frame in capitals: its own, or else those that all frames share."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*frames[number : number + 1], *(dataset.get("SharedFunctionalGroupsSequence") or [])]
    for group in groups:
        for name in _FRAME_TYPES:
            kinds = [part for item in group.get(name) or [] for part in _capitals(item.get("FrameType"))]
            if kinds:
                return kinds
    return []


def no_signal(dataset: Dataset, number: int) -> str:
    """Returns what a frame of MR shows in place of the magnitude of the signal, or ""."""
    if modality_of(dataset) != "MR":
        return ""
    kinds = set(frame_type(dataset, number) or image_type(dataset))
    if kinds & _MR_PHASES:
        return "an MR image of the phase, or of a part of the complex signal, in place of its magnitude"
    return "a map that was computed from MR images, in place of one of them" if kinds & _MR_MAPS else ""


def _is_derived(dataset: Dataset, kinds: list[str], modality: str) -> bool:
    if _any_match(_REFORMAT, kinds[2:]):
        return True
    # MR has no units that a derivation could change.
    if modality != "CT" or kinds[:1] != ["DERIVED"]:
        return False
    # Lossy compression makes an image derived, but changes no units.
    return str(dataset.get("LossyImageCompression", "")) != "01"


def _any_match(pattern: re.Pattern[str], kinds: list[str]) -> bool:
    return any(pattern.fullmatch(kind) for kind in kinds)


def image_type(dataset: Dataset) -> list[str]:
    """Returns the values of Image Type in capitals, and those that all frames of an enhanced object share."""
    kinds = _capitals(dataset.get("ImageType"))
    for shared in dataset.get("SharedFunctionalGroupsSequence") or []:
        for name in _FRAME_TYPES:
            for item in shared.get(name) or []:
                kinds += _capitals(item.get("FrameType"))[2:]
    return kinds


def _capitals(value: Any) -> list[str]:
    return [str(part).strip().upper() for part in values_of(value)]


def modality_of(dataset: Dataset) -> str:
    """Returns the modality in capitals; for files without one that of the SOP class: CT, MR or OT.

    A word that is no modality is UNKNOWN, because it could name the patient.
    """
    modality = str(dataset.get("Modality") or "").strip().upper()
    if modality:
        return modality if modality in _MODALITIES else UNKNOWN
    words = sop_class(dataset).split(" ")
    for known in ("CT", "MR"):
        if known in words:
            return known
    return "OT"


def is_displayed(dataset: Dataset, stored: Any) -> bool:
    """Returns whether an image is a picture as displayed: in colour, or grey of 8 bits from a screen or a camera.

    Others have the values of a detector or a scanner. They are of one modality, however many bits they have.

    Args:
        dataset: the header.
        stored: `[H, W]` or `[H, W, 3]`.
    """
    modality = modality_of(dataset)
    if stored.ndim == 3:
        return True
    if modality in {"CT", "MR"} or stored.dtype.name != "uint8":
        return False
    return modality in _DISPLAYED or is_secondary_capture(str(dataset.get("SOPClassUID") or ""))


def is_secondary_capture(uid: str) -> bool:
    """Returns whether a SOP class is one of the secondary captures, such as screenshots (PS3.4 B.5)."""
    return uid == SECONDARY_CAPTURE or uid.startswith(f"{SECONDARY_CAPTURE}.")


def sop_class(dataset: Dataset) -> str:
    """Returns the name of the SOP class, or its number if it is private."""
    uid = dataset.get("SOPClassUID")
    name = str(getattr(uid, "name", uid) or "")
    return "unknown class" if name == uid and re.fullmatch(r"[\d.]+", name) is None else name or "unknown class"
