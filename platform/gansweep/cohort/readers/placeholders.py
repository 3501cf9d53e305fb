"""Recognises files that stand for others, whose content has not been downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["placeholder_in"]

_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = b"/annex/objects/"  # an unlocked file of git-annex
_PAGES = (b"<!doctype html", b"<html")


def placeholder_in(path: Path) -> str:
    """Returns what stands in a file instead of its content, or ""."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return ""
    if head.startswith(_LFS):
        return "a pointer of Git LFS; git lfs pull fetches its content"
    if _ANNEX in head:
        return "a pointer of git-annex; datalad get fetches its content"
    return "a web page, perhaps of a failed download" if head.lstrip().lower().startswith(_PAGES) else ""
