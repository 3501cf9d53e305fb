"""Reads PNG, JPEG, WebP, TIFF and BMP images, grey or colour."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.readers.deep_colour import BITS_PER_SAMPLE, check_tiles, is_deep, png_bits, read_deep
from gansweep.cohort.readers.limits import check_picture
from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.slices import ScanError, Slice, reason_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_turned", "open_picture", "picture_size", "read_raster"]

PHOTOMETRIC = 262  # TIFF tags (TIFF 6.0, sections 8 and 19)
SAMPLE_FORMAT = 339
ORIENTATION = 274
QUARTER_TURN = 5  # the first orientation in which rows and columns change places
SIGNED = 2  # a sample format
GREY_TOLERANCE = 3.0  # of 255: if colour channels differ by less on average, the image is grey with chroma noise
COLOURED = 64  # of 255: channels that differ by more are no chroma noise
COLOURED_PIXELS = 9  # so many of them are a coloured part of a grey image
MAX_PAGES = 100
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how a file begins
FAX = {"tiff_ccitt", "group3", "group4"}  # compressions that code white and black themselves
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF")  # EPS would start a program


def read_raster(path: Path, bits: int | None = None) -> list[Slice]:
    """Reads one picture, scaled to [0, 1] by its bit depth.

    A colour file whose channels agree everywhere is read as grey. Transparent pixels are composited over black. EXIF
    rotation is applied.

    Args:
        path: the file.
        bits: bits that pictures of 16 bits use: with 12, the value 4095 becomes 1. None: all 16.

    Returns:
        One slice: `[1, H, W]` for grey, `[3, H, W]` for colour.

    Raises:
        ScanError: the file cannot be decoded, has several pages, values without a known range, or values that need more
            than `bits`.
    """
    values, depth = open_picture(path)
    if values.dtype.kind == "i":
        raise ScanError("signed or 32-bit values without a known range; save unsigned 8 or 16 bits", where=path.name)
    if not np.isfinite(values).all():
        raise ScanError("values that are not finite", where=path.name)

    scale = float(2**depth - 1) if values.dtype.kind in "ui" else 1.0
    if values.dtype == np.uint16 and bits is not None:
        scale = float(2**bits - 1)
    if values.dtype.kind not in "ui" and (values.min() < 0.0 or values.max() > 1.0):
        raise ScanError("floating-point values outside [0, 1]", where=path.name)
    if values.max() > scale:
        raise ScanError(f"values up to {values.max()}, which need more than {bits or depth} bits", where=path.name)
    if values.ndim == 2:
        pixels = values.astype(np.float32)[None]
        pixels /= scale
    elif not _is_coloured(values, scale):
        levels = np.arange(int(scale) + 1) / scale
        pixels = levels[values[..., 0]]
        pixels += levels[values[..., 1]]
        pixels += levels[values[..., 2]]
        pixels = (pixels / 3)[None]
    else:
        # One division per level instead of one per sample takes less memory.
        levels = (np.arange(int(scale) + 1) / scale).astype(np.float32)
        pixels = levels[np.moveaxis(values, -1, 0)]
    stored = f"{depth}-bit" if values.dtype.kind in "ui" else "float"
    return [Slice(np.ascontiguousarray(pixels, np.float32), "raster", depth=stored)]


def _is_coloured(values: Any, scale: float) -> bool:
    """Returns whether the channels of a picture differ by more than the chroma noise of a grey JPEG.

    Args:
        values: `[H, W, 3]`.
        scale: the value of white.
    """
    # Faster than a reduction over the last axis.
    red, green, blue = (values[..., channel] for channel in range(3))
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    spread = largest - smallest
    if float(spread.mean()) / scale * 255.0 >= GREY_TOLERANCE:
        return True
    # A small coloured lesion hardly changes the mean.
    return int(np.count_nonzero(spread > COLOURED / 255.0 * scale)) >= COLOURED_PIXELS


def picture_size(path: Path) -> tuple[int, int] | None:
    """Returns the rows and columns that `open_picture` gives, from the header alone; None for an unreadable file."""
    from PIL import Image

    try:
        with quiet(), path.open("rb") as file, Image.open(file, formats=FORMATS) as opened:
            turned = opened.getexif().get(ORIENTATION, 1) >= QUARTER_TURN
            return (opened.width, opened.height) if turned else (opened.height, opened.width)
    except Exception:  # Pillow's decoders raise many kinds of errors
        return None


def is_turned(path: Path) -> bool:
    """Returns whether `open_picture` turns or mirrors a picture, as its EXIF orientation says; False if unreadable."""
    from PIL import Image

    try:
        with quiet(), path.open("rb") as file, Image.open(file, formats=FORMATS) as opened:
            return int(opened.getexif().get(ORIENTATION, 1)) > 1
    except Exception:  # Pillow's decoders raise many kinds of errors
        return False


def open_picture(path: Path, *, mask: bool = False) -> tuple[Any, int]:
    """Returns the pixels `[H, W]` or `[H, W, 3]` in the file's own type, and the number of bits of a value.

    Args:
        path: the file.
        mask: whether the values are classes, of which 0 is the background even where it is shown white.

    Raises:
        ScanError: the file cannot be decoded, has several pages, or is too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        # Pillow would map a named file into memory, and turns mapped TIFFs wrongly. Opening reads the header only.
        with quiet(), path.open("rb") as file, Image.open(file, formats=FORMATS) as opened:
            check_picture(opened.height, opened.width, len(opened.getbands()), path)
            check_tiles(opened, path)
            _check_pages(opened, path)
            inverted = _is_inverted(opened) and not mask
            depth = _depth(opened)
            if is_deep(opened, path):
                return read_deep(opened, path), 16
            picture: Image.Image = ImageOps.exif_transpose(opened) or opened
            if opened.format == "PNG" and picture.mode in {"1", "L"} and "transparency" in picture.info:
                bits = 8 if picture.mode == "1" else png_bits(path)  # Pillow scales the level of 1 bit
                return _without_transparency(picture.convert("L"), bits), depth
            if picture.mode.startswith("I;16"):
                values = _without_transparency(picture, 16)
                return (2**depth - 1 - values if inverted else values), depth
            if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
                rgba = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")
            elif picture.mode == "1":
                picture = picture.convert("L")
            elif mask and picture.mode == "P":
                return _classes_of_palette(picture), depth
            elif picture.mode in {"P", "CMYK", "YCbCr", "HSV", "LAB"}:
                picture = picture.convert("RGB")
            return _as_stored(np.asarray(picture), opened, mask=mask), depth
    except ScanError:
        raise
    except UnidentifiedImageError:  # its own message shows the path
        raise ScanError(_unidentified(path), where=path.name) from None
    except Exception as error:  # Pillow's decoders raise many kinds of errors
        raise ScanError(f"not a readable image ({reason_of(error, path)})", where=path.name) from None


def _unidentified(path: Path) -> str:
    """Returns what is wrong with a file that Pillow does not identify: it knows few kinds of values in a TIFF."""
    with path.open("rb") as file:
        head = file.read(4)
    if head in TIFF:
        return "a TIFF of a kind that is not read, such as floats of 16 or 64 bits; save unsigned 8 or 16 bits"
    return "not a readable image (cannot identify image file)"


def _check_pages(opened: Any, path: Path) -> None:
    """Refuses files of several pages.

    Raises:
        ScanError: there are several. At most MAX_PAGES are counted, because each has to be found in the file.
    """
    # Phone cameras write MPO: a JPEG with a second, smaller image of the same scene.
    if opened.format == "MPO" or not getattr(opened, "is_animated", False):
        return
    pages = "several"  # a GIF would have to be read to its end
    if opened.format == "TIFF":
        count = 1
        with suppress(EOFError):
            while count <= MAX_PAGES:
                opened.seek(count)
                count += 1
        pages = str(count) if count <= MAX_PAGES else f"more than {MAX_PAGES}"
    elif opened.format != "GIF":
        pages = str(opened.n_frames)  # stands in the header
    raise ScanError(f"{pages} pages; save each as its own file", where=path.name)


def _depth(picture: Any) -> int:
    """Returns the bits of a value as returned by Pillow: 8, except for 16-bit modes, in which a TIFF may use fewer."""
    if not picture.mode.startswith("I;16"):
        return 8
    tags = getattr(picture, "tag_v2", {})
    return int(max(tags.get(BITS_PER_SAMPLE, (16,)))) if tags else 16


def _is_inverted(picture: Any) -> bool:
    """Returns whether 0 is white in a TIFF: Pillow inverts such images of 1 and 8 bits, not those of 16 or floats."""
    return getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0


def _is_signed(picture: Any) -> bool:
    """Returns whether a TIFF has signed values: Pillow takes those of 8 bits for unsigned."""
    return SIGNED in np.atleast_1d(getattr(picture, "tag_v2", {}).get(SAMPLE_FORMAT, ()))


def _as_stored(values: Any, opened: Any, *, mask: bool) -> Any:
    """Returns values of 8 bits and floats with the sign, and the meaning of 0, that the file gives them.

    Args:
        values: as Pillow decodes them: without signs, and with white as 255.
        opened: the file.
        mask: whether the values are classes, of which 0 is the background even where it is shown white.
    """
    if mask:
        by_number = _is_inverted(opened) and opened.info.get("compression") not in FAX
        values = 255 - values if by_number and values.ndim == 2 and values.dtype == np.uint8 else values
    if values.dtype == np.uint8 and _is_signed(opened):
        return values.view(np.int8)
    if mask:
        return values
    return 1 - values if _is_inverted(opened) and values.dtype.kind == "f" else values


def _without_transparency(picture: Any, bits: int) -> Any:
    """Returns grey values with the transparent level (PNG's tRNS chunk) over black.

    Pillow's own conversion to RGBA clips 16 bits to 8, and does not scale a level of fewer bits as it scales the
    pixels.

    Args:
        picture: grey, of 8 or 16 bits.
        bits: of a value in the file.
    """
    stored = np.asarray(picture)
    values = stored.astype(stored.dtype.newbyteorder("="))
    level = picture.info.get("transparency")
    if not isinstance(level, int):
        return values
    level *= max(1, 255 // (2**bits - 1))
    return np.where(values == level, 0, values).astype(values.dtype)


def _classes_of_palette(picture: Any) -> Any:
    """Returns `[H, W]`: the grey levels of a grey palette, or where a colour palette is not black.

    If a colour palette has no black, its first colour is the background. A palette that falls from white to black is
    the inverting one of ImageJ: the stored values count.
    """
    shown = np.asarray(picture.convert("RGB"))
    steps = np.diff(np.reshape(picture.getpalette(), (-1, 3)), axis=0)
    if len(steps) > 1 and (steps < 0).all():
        return np.asarray(picture)
    if not np.ptp(shown, axis=-1).any():
        return shown[..., 0]
    drawn = shown.any(axis=-1)
    return np.asarray(picture) > 0 if drawn.all() else drawn
