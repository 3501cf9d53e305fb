"""Decodes the stored values of a DICOM image, and interprets their bits according to the header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.readers.limits import Codestream, check_picture, check_values, codestream_header
from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.slices import ScanError, reason_of, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["bits_stored", "decode", "padding_of"]


def decode(dataset: Dataset, path: Path) -> Any:
    """Returns stored values as `[frames, H, W]` or `[frames, H, W, 3]`.

    Raises:
        ScanError: there are too many values, they cannot be decoded, or the codestream or the values contradict the
            header.
    """
    if not getattr(dataset, "file_meta", None) or "TransferSyntaxUID" not in dataset.file_meta:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ImplicitVRLittleEndian

        dataset.file_meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # the default of DICOM (PS3.5, 10.1)
    codes = _checked_codestreams(dataset, path)
    samples = 3 if int(dataset.get("SamplesPerPixel") or 1) == 3 else 1
    with quiet():
        try:
            stored = _pixels(dataset)
            if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
                return _frames(_coloured(stored, dataset), 3)
        except Exception as error:  # each decoder raises its own errors
            raise ScanError(f"its pixels cannot be decoded ({reason_of(error, path)})", where=path.name) from None
    frames = _frames(stored, 3 if samples == 3 else 2)
    _check_signs(dataset, frames, codes, path)
    return frames if stored.dtype.kind not in "iu" else _used_bits(dataset, frames, path)


def _pixels(dataset: Dataset) -> Any:
    """Returns a decoder's result for all frames.

    Raises:
        ValueError: a decoder written in Rust panicked, which is not an Exception in Python.
    """
    from pydicom.pixels.utils import pixel_array

    from gansweep.cohort.readers.decoders import plugin_for

    try:
        # pydicom would mask values that need more bits than BitsStored, whatever they mean.
        return pixel_array(
            dataset,
            correct_unused_bits=False,
            decoding_plugin=plugin_for(dataset.file_meta.TransferSyntaxUID),
        )
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise ValueError(f"the decoder failed: {error}") from None
        raise


def _coloured(stored: Any, dataset: Dataset) -> Any:
    """Returns the colours of a palette image `[..., 3]`, in 8 or 16 bits.

    Many writers store tables of 8-bit values in words of 16 bits, whatever the third value of the descriptor says
    (PS3.3 C.7.6.3.1.5). A table of true 16-bit values would be black if it had no larger ones.
    """
    from pydicom.pixels.processing import apply_color_lut

    coloured = apply_color_lut(stored, dataset)[..., :3]
    if coloured.dtype != np.uint16:
        return coloured
    count, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    entries = apply_color_lut(np.arange(first, first + (count or 2**16)), dataset)[..., :3]
    return coloured.astype(np.uint8) if entries.max() <= np.iinfo(np.uint8).max else coloured


def _frames(stored: Any, single: int) -> Any:
    """Adds a leading axis of frames if `stored` is one frame, which has `single` axes."""
    return stored[None] if stored.ndim == single else stored


def _checked_codestreams(dataset: Dataset, path: Path) -> list[Codestream]:
    """Returns the headers of the codestreams of all frames; none if the frames are not compressed so.

    Raises:
        ScanError: the image is too large when decoded, or a codestream has another size than the header says, or more
            bits.
    """
    from gansweep.cohort.readers.decoders import has_codestream

    rows = int(dataset.get("Rows") or 0)
    columns = int(dataset.get("Columns") or 0)
    check_picture(rows, columns, int(dataset.get("SamplesPerPixel") or 1), path)
    frames = int(dataset.get("NumberOfFrames") or 1)
    check_values((frames, rows, columns, int(dataset.get("SamplesPerPixel") or 1)), path)
    if not has_codestream(dataset.file_meta.TransferSyntaxUID):
        return []
    try:
        codes = [codestream_header(frame) for frame in _frames_encoded(dataset, frames)]
    except Exception as error:  # a damaged encapsulation raises many kinds of errors
        raise ScanError(f"its pixels cannot be decoded ({reason_of(error, path)})", where=path.name) from None
    known = [code for code in codes if code is not None]
    if len(known) < len(codes):
        raise ScanError("its pixels cannot be decoded (no header of a JPEG codestream)", where=path.name)
    allocated = int(dataset.get("BitsAllocated") or 0)
    for code in known:
        if code[:2] != (rows, columns):
            shown = f"{shape_text(code[:2])}, the header says {shape_text((rows, columns))}"
            raise ScanError(f"its compressed pixels are {shown}", where=path.name)
        # The decoded values would be cut into bytes.
        if code.bits > allocated:
            shown = f"{code.bits} bits, but BitsAllocated is {allocated}"
            raise ScanError(f"its compressed pixels have {shown}", where=path.name)
    return known


def _check_signs(dataset: Dataset, stored: Any, codes: list[Codestream], path: Path) -> None:
    """Refuses negative values of a codestream that the header calls unsigned: they became the largest ones.

    Raises:
        ScanError: there are some.
    """
    if int(dataset.get("PixelRepresentation") or 0) == 1:
        return
    for code, frame in zip(codes, stored, strict=False):
        if code.signed and int(frame.max()) >= 2 ** (code.bits - 1):
            what = "its compressed pixels have negative values, but PixelRepresentation says unsigned"
            raise ScanError(what, where=path.name)


def _frames_encoded(dataset: Dataset, frames: int) -> Iterator[bytes]:
    """Returns the codestreams as pydicom passes them to a decoder."""
    from pydicom.encaps import generate_frames

    table = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        table = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    return generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=table)


def bits_stored(dataset: Dataset, stored: Any) -> int:
    """Returns the number of bits per value of `stored`, according to the header."""
    allocated = 8 * stored.dtype.itemsize
    bits = int(dataset.get("BitsStored") or allocated)
    return bits if 0 < bits <= allocated else allocated


def _used_bits(dataset: Dataset, stored: Any, path: Path) -> Any:
    """Returns the stored values without the bits that do not belong to them (PS3.5, 8.1.1).

    Values end at HighBit. Unused bits above it may contain an old overlay, or zeros in place of a negative value's
    sign. Padding may be out of range.

    Raises:
        ScanError: other values need more bits than BitsStored.
    """
    allocated = 8 * stored.dtype.itemsize
    bits = bits_stored(dataset, stored)
    if bits == allocated or not stored.size:
        return stored
    shift = int(dataset.get("HighBit") or bits - 1) + 1 - bits
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if shift > 0 and not encapsulated:
        stored = stored >> shift
    signed = stored.dtype.kind == "i"
    low = -(2 ** (bits - 1)) if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    outside = (stored < low) | (stored > high)
    padding = padding_of(dataset, stored)
    if padding is not None:
        outside &= ~padding
    if not outside.any():
        return stored
    if signed and int(stored[outside].min()) >= 0 and int(stored.max()) < 2**bits:
        return np.where(outside, stored - np.array(2**bits, np.int64), stored).astype(stored.dtype)
    if _has_overlay_bits(dataset):
        kept = stored & (2**bits - 1)
        return np.where(kept > high, kept.astype(np.int64) - 2**bits, kept).astype(stored.dtype)
    raise ScanError(f"values up to {int(stored.max())}, but BitsStored is {bits}", where=path.name)


def _has_overlay_bits(dataset: Dataset) -> bool:
    """Returns whether an overlay is stored in the unused bits of the pixels (retired; PS3.3 C.9.2)."""
    tags = list(dataset.keys())
    bits = [tag for tag in tags if 0x6000 <= tag.group < 0x6020 and tag.elem == 0x0102]
    return any(int(dataset[tag].value or 0) > 0 for tag in bits)


def padding_of(dataset: Dataset, stored: Any) -> Any:
    """Returns a mask of the padding pixels (PS3.3 C.7.5.1.1.2), or None if there are none.

    It has the shape of grey `stored`.

    Padding is PixelPaddingValue, or the range from it to PixelPaddingRangeLimit.
    """
    if int(dataset.get("SamplesPerPixel") or 1) > 1:
        return None
    mask = _float_padding(dataset, stored) if stored.dtype.kind == "f" else _integer_padding(dataset, stored)
    return mask if mask is not None and mask.any() and not mask.all() else None


def _integer_padding(dataset: Dataset, stored: Any) -> Any:
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    first = _signed(dataset, value)
    last = first if limit is None or limit == "" else _signed(dataset, limit)
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _float_padding(dataset: Dataset, stored: Any) -> Any:
    """Padding of pixels of 32 or 64 bits has its own attributes (PS3.3 C.7.6.24 and C.7.6.25)."""
    kind = "Double" if stored.dtype.itemsize == 8 else ""
    value = dataset.get(f"{kind}FloatPixelPaddingValue")
    if value is None or value == "":
        return _integer_padding(dataset, stored)
    if np.isnan(value):
        return np.isnan(stored)
    limit = dataset.get(f"{kind}FloatPixelPaddingRangeLimit")
    first = stored.dtype.type(value)
    last = first if limit is None or limit == "" else stored.dtype.type(limit)
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _signed(dataset: Dataset, value: Any) -> int:
    """Returns a padding value with its sign restored: many writers store a signed value under an unsigned VR."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits = int(dataset.get("BitsAllocated", 16))
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    if signed:
        return int(value) - 2**bits if int(value) >= 2 ** (bits - 1) else int(value)
    return int(value) + 2**bits if int(value) < 0 else int(value)
