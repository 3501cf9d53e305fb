"""Reads pictures of 16 bits in colour or with transparency, of which Pillow keeps only 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.readers.limits import check_picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image

__all__ = ["BITS_PER_SAMPLE", "check_tiles", "is_deep", "png_bits", "read_deep"]

_PNG = b"\x89PNG\r\n\x1a\n"
_GREY = 0  # colour type of a PNG (PNG specification, 11.2.2); Pillow reads it with all its bits
BITS_PER_SAMPLE = 258  # TIFF tags (TIFF 6.0, section 8)
PLANAR_CONFIGURATION = 284
TILE_WIDTH = 322
TILE_LENGTH = 323
EXTRA_SAMPLES = 338
UNASSOCIATED = 2  # opacity; with 1, the colours are multiplied by it already
ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[Any], Any]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: np.swapaxes(image, 0, 1),
    6: lambda image: np.swapaxes(image[::-1], 0, 1),
    7: lambda image: np.swapaxes(image[::-1, ::-1], 0, 1),
    8: lambda image: np.swapaxes(image[:, ::-1], 0, 1),
}
"""How an image is turned for each EXIF orientation."""


def is_deep(opened: Image.Image, path: Path) -> bool:
    """Returns whether a PNG or TIFF has 16 bits in several channels.

    Args:
        opened: the picture, of which only the header was read.
        path: its file.
    """
    if opened.format == "PNG":
        bits, colour_type = _png_header(path)
        return bits == 16 and colour_type != _GREY
    samples = getattr(opened, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return opened.mode in {"RGB", "RGBA", "RGBX"} and len(samples) >= 3 and set(samples) == {16}


def png_bits(path: Path) -> int:
    """Returns the bits of a value in a PNG."""
    return _png_header(path)[0]


def _png_header(path: Path) -> tuple[int, int]:
    """Returns bit depth and colour type of a PNG; (0, 0) for other data."""
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if head.startswith(_PNG) else (0, 0)


def check_tiles(opened: Image.Image, path: Path) -> None:
    """Refuses a TIFF with a tile of too many pixels, because a whole tile is decoded even for a tiny picture.

    Strips need no such limit: a strip ends where the picture does.

    Raises:
        ScanError: a tile has more samples than a picture may have.
    """
    tags = getattr(opened, "tag_v2", {})
    if TILE_WIDTH in tags and TILE_LENGTH in tags:
        check_picture(int(tags[TILE_LENGTH]), int(tags[TILE_WIDTH]), len(opened.getbands()), path)


def read_deep(opened: Image.Image, path: Path) -> Any:
    """Reads such a picture, with transparent parts over black, turned as EXIF says.

    Returns:
        `[H, W]` or `[H, W, 3]` uint16.
    """
    import imagecodecs

    data = path.read_bytes()
    tags = getattr(opened, "tag_v2", {})
    if opened.format == "PNG":
        values = imagecodecs.png_decode(data)  # a transparent colour becomes a channel
        alpha = values.shape[-1] in {2, 4}
    else:
        values = imagecodecs.tiff_decode(data)
        if tags.get(PLANAR_CONFIGURATION) == 2:
            values = np.moveaxis(values, 0, -1)
        extra = tags.get(EXTRA_SAMPLES, ())
        alpha = UNASSOCIATED in np.atleast_1d(extra)
        if not alpha:
            values = values[..., :3]
    if alpha:
        opacity = values[..., -1:].astype(np.float64) / 65535
        values = np.round(values[..., :-1] * opacity).astype(np.uint16)
    turn = _TURNS.get(int(opened.getexif().get(ORIENTATION, 1)))
    values = turn(values) if turn else values
    return np.ascontiguousarray(values[..., 0] if values.shape[-1] == 1 else values)
