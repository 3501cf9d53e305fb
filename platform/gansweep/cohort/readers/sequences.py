"""Recognises the sequence of an MR image in free text: the description of its series, or the name of its file."""

from __future__ import annotations

import re

__all__ = ["sequence_in"]

_T1 = frozenset(("t1", "t1w", "t1wi", "t1n", "t1pre", "mprage", "bravo", "spgr"))
_CONTRAST = frozenset(("gd", "gad", "gado", "gadolinium", "post", "postcontrast", "contrast", "ce", "km"))
_NO_CONTRAST = frozenset(("pre", "precontrast", "without", "no", "non", "wo"))
_WORDS = {
    "FLAIR": ("flair", "t2flair", "t1flair", "t2f"),
    "DWI": ("dwi", "diffusion", "adc"),
    "SWI": ("swi", "swan"),
    "T2*": ("t2star", "t2starw", "t2*", "t2*w"),
    "T1 with contrast": ("t1c", "t1ce", "t1gd", "t1post", "t1km"),
    "T2": ("t2", "t2w", "t2wi"),
    "PD": ("pd", "pdw"),
    "MRA": ("mra", "tof"),
}


def sequence_in(text: str) -> str:
    """Returns the sequence that a text names, or "".

    The words are our own, because a text may name the patient. The first sequence that fits counts: a FLAIR often says
    that it is T2-weighted, too.
    """
    words = set(re.split(r"[^a-z0-9*]+", text.casefold()))
    for sequence, names in _WORDS.items():
        if not words.isdisjoint(names):
            return sequence
    if words.isdisjoint(_T1):
        return ""
    added = not words.isdisjoint(_CONTRAST) or re.search(r"\+ ?c\b", text, re.IGNORECASE) is not None
    enhanced = added and words.isdisjoint(_NO_CONTRAST)
    return "T1 with contrast" if enhanced else "T1"
