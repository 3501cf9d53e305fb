"""Recognises what an unreadable file is: a stand-in for one that was not downloaded, or one under another suffix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["placeholder_in"]

_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = b"/annex/objects/"  # an unlocked file of git-annex
_PAGES = (b"<!doctype html", b"<html")
_DICOM = (".dcm", ".dicom", ".ima")
_KINDS = {
    b"\x89PNG\r\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "a compressed file",
    b"\x5c\x01\0\0": "an uncompressed NIfTI file",
}
_SUFFIXES = {
    "a PNG picture": (".png",),
    "a JPEG picture": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "a compressed file": (".nii.gz",),
    "an uncompressed NIfTI file": (".nii",),
}


def placeholder_in(path: Path) -> str:
    """Returns what an unreadable file holds instead of what its name says, or ""."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return ""
    if head.startswith(_LFS):
        return "a pointer of Git LFS; git lfs pull fetches its content"
    if _ANNEX in head:
        return "a pointer of git-annex; datalad get fetches its content"
    if head.lstrip().lower().startswith(_PAGES):
        return "a web page, perhaps of a failed download"
    return _under_another_suffix(path.name.casefold(), head)


def _under_another_suffix(name: str, head: bytes) -> str:
    if head[128:] == b"DICM" and not name.endswith(_DICOM):
        return "a DICOM file under another suffix; name it .dcm"
    kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), "")
    if not kind or name.endswith(_SUFFIXES[kind]):
        return ""
    return f"{kind} under another suffix; name it {_SUFFIXES[kind][0]}"
