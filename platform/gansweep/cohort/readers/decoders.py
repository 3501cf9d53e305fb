"""Chooses the library that decodes each transfer syntax, and adds one that pydicom does not know.

pydicom uses the first library that is installed. The same file may then have other values on another machine, and one
of the libraries terminates the whole process for a damaged file. The choice is therefore made here. All libraries have
permissive licences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

__all__ = ["DECODER_DEPENDENCIES", "decode_jpeg", "has_codestream", "is_available", "plugin_for"]

_TURBO = (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_PLUGINS = {
    uid.JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(_TURBO, "imagecodecs"),
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pydicom",
}
# Required by pydicom in a module with a plugin.
DECODER_DEPENDENCIES = dict.fromkeys(_TURBO, ("imagecodecs",))

_SOS = b"\xff\xda"  # starts a scan (ISO/IEC 10918-1, B.2.3)
_EOI = b"\xff\xd9"  # ends the image
# Compressed data that no image contains: the restart markers keep a decoder from skipping it.
_NOISE = b"".join(bytes(range(1, 255)) + bytes((0xFF, 0xD0 + number)) for number in range(8))


def plugin_for(syntax: uid.UID) -> str:
    """Returns the name of the plugin that decodes a transfer syntax; "" if pydicom needs none."""
    return _PLUGINS.get(syntax, "")


def has_codestream(syntax: uid.UID) -> bool:
    """Returns whether a transfer syntax stores frames as JPEG, JPEG-LS or JPEG 2000, which have a size of their own."""
    return syntax in _PLUGINS and syntax != uid.RLELossless


def is_available(syntax: str) -> bool:
    """Returns whether `decode_jpeg` decodes a transfer syntax."""
    return syntax in _TURBO


def decode_jpeg(data: bytes, runner: DecodeRunner) -> bytes:
    """Decodes one frame of lossless JPEG, or of lossy JPEG with 12 bits, with libjpeg-turbo.

    Args:
        data: the codestream.
        runner: pydicom's information about the frame. It receives how the result is stored.

    Raises:
        ValueError: the codestream ends before the image does.
    """
    import imagecodecs

    # Colours are not converted, because pydicom converts them according to the header.
    same: dict[str, Any] = {"colorspace": "YCBCR", "outcolorspace": "YCBCR"} if runner.samples_per_pixel > 1 else {}
    pixels = imagecodecs.jpeg8_decode(data, **same)
    scan, ended, _ = data[data.rfind(_SOS) :].partition(_EOI)
    whole_scan = data[: data.rfind(_SOS)] + scan.rstrip(b"\xff")
    # libjpeg fills what is missing with a constant, and imagecodecs does not pass its warning on. A decoder that needs
    # more data than there is reads the noise instead. A second scan may be missing as a whole, in colour only.
    noisy = imagecodecs.jpeg8_decode(whole_scan + _NOISE + _EOI, **same)
    if not np.array_equal(pixels, noisy) or (runner.samples_per_pixel > 1 and not ended):
        raise ValueError("its codestream is cut off")
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    return bytes(pixels.tobytes())


for _syntax in _TURBO:
    get_decoder(_syntax).add_plugin("imagecodecs", (__name__, "decode_jpeg"))
