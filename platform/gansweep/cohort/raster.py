"""PNG, JPEG, TIFF and BMP images, grey or colour, and mask files of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.scan import Mask, ScanError, Slice, reason_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_mask", "read_raster"]

COLOUR_NOISE = 32  # of 255: colours of masks are stronger, what JPEG makes of grey is weaker
GREY_TOLERANCE = 3.0  # mean difference of colour channels (of 255) below which JPEG "colour" is only chroma noise


def read_raster(path: Path) -> list[Slice]:
    """One grey `[1, H, W]` or colour `[3, H, W]` picture with values in [0, 1] of its bit depth.

    A colour file whose channels agree is read as grey; transparency is laid over black; EXIF rotation is applied.

    Raises:
        ScanError: the file cannot be decoded, has several pages, or values of which nobody can say what is white.
    """
    values = _open(path)
    if values.dtype.kind == "i":
        raise ScanError("signed or 32-bit values without a known range; save 8 or 16 bits", where=path.name)
    if not np.isfinite(values).all():
        raise ScanError("values that are not finite", where=path.name)
    scale = float(np.iinfo(values.dtype).max) if values.dtype.kind in "ui" else 1.0
    if values.dtype.kind not in "ui" and (values.min() < 0.0 or values.max() > 1.0):
        raise ScanError("floating-point values outside [0, 1]", where=path.name)
    pixels = (values.astype(np.float32) / scale)[None] if values.ndim == 2 else np.moveaxis(values / scale, -1, 0)
    if pixels.shape[0] == 3 and float(np.ptp(pixels, axis=0).mean()) * 255.0 < GREY_TOLERANCE:
        pixels = pixels.mean(axis=0, keepdims=True)
    return [Slice(np.ascontiguousarray(pixels, np.float32), "raster")]


def read_mask(path: Path) -> Mask:
    """A mask `[H, W]` (or `[X, Y, Z]` from NIfTI).

    Small integers are classes and count above 0, probabilities above a half, grey levels above half of the largest.
    Colours stand for classes: all count but black, or the first of a palette that begins with another.

    Raises:
        ScanError: the file cannot be read or is no mask.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            from gansweep.cohort.nifti import load_canonical

            values: Any = load_canonical(path)[0]
        elif name.endswith(".npy"):
            values = np.load(path, allow_pickle=False)
        else:
            values = _open(path, mask=True)
    except (ValueError, EOFError) as error:
        raise ScanError(f"not a readable mask ({reason_of(error, path)})", where=path.name) from None
    if values.ndim == 3 and values.shape[-1] == 3 and not name.endswith((".nii", ".nii.gz")):
        colours = bool(np.ptp(values, axis=-1).max() > COLOUR_NOISE)
        values = values.max(axis=-1)
        return np.asarray(values > (COLOUR_NOISE if colours else _half(values)))
    return np.asarray(values > _half(values))


def _half(values: Any) -> float:
    """What lesion pixels are above."""
    if values.max() > 16:
        return float(values.max()) / 2
    return 0.5 if values.dtype.kind == "f" and bool((values % 1).any()) else 0.0


def _open(path: Path, *, mask: bool = False) -> Any:
    """`[H, W]` or `[H, W, 3]` in the file's own type.

    Raises:
        ScanError: the file cannot be decoded, or has several pages.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            # A telephone's JPEG is an MPO with a second picture of the same.
            pages = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
            picture: Image.Image = ImageOps.exif_transpose(opened) or opened
            if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
                rgba = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")
            elif picture.mode == "1":
                picture = picture.convert("L")
            elif mask and picture.mode == "P":
                return _classes_of_palette(picture)
            elif picture.mode in {"P", "CMYK", "YCbCr", "HSV", "LAB"}:
                picture = picture.convert("RGB")
            values = np.asarray(picture)
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ScanError(f"not a readable image ({reason_of(error, path)})", where=path.name) from None
    if pages > 1:
        raise ScanError(f"{pages} pages; save each as its own file", where=path.name)
    return values


def _classes_of_palette(picture: Any) -> Any:
    """`[H, W]` grey levels of a grey palette; of a coloured one, which pixels are not black.

    Where a coloured one shows no black, its first colour stands for the background.
    """
    shown = np.asarray(picture.convert("RGB"))
    if not np.ptp(shown, axis=-1).any():
        return shown[..., 0]
    drawn = shown.any(axis=-1)
    return np.asarray(picture) > 0 if drawn.all() else drawn
