"""What the scanner does to a head: blur, beam hardening and noise.

Noise of filtered back-projection is not white: the ramp filter removes its low frequencies and the reconstruction
kernel its high ones. Its strength follows from photon counting, so it grows where the beam has crossed more bone and
water (Kak and Slaney, "Principles of Computerized Tomographic Imaging", chapter 5).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from gansweep.cohort.phantom_anatomy import FIELD_OF_VIEW_MM

__all__ = ["scan"]

Array = NDArray[np.floating[Any]]

WATER_PER_MM = 0.019  # linear attenuation of water at about 70 keV, 1/mm
PIXELS_ACROSS = 2  # the head is painted this much finer than it is scanned: partial volume


def scan(head: Array, size: int, noise: float, rng: np.random.Generator) -> Array:
    """The image `[size, size]` in whole HU of a painted head `[n size, n size]`.

    Args:
        head: Hounsfield units.
        size: pixels of the image.
        noise: standard deviation at the centre of the head, HU.
        rng: draws the noise.
    """
    factor = head.shape[0] // size
    spacing = FIELD_OF_VIEW_MM / head.shape[0]
    blurred = ndimage.gaussian_filter(head, 0.55 / spacing)
    image = blurred.reshape(size, factor, size, factor).mean(axis=(1, 3))
    image = image + _cupping(image) + noise * _strength(image) * _texture(size, rng)
    return np.asarray(np.clip(np.round(image), -1024, 3071), np.float32)


def _texture(size: int, rng: np.random.Generator) -> Array:
    """Unit-variance noise `[size, size]` with the spectrum of a smooth reconstruction kernel."""
    down, right = np.meshgrid(fft.fftfreq(size), fft.rfftfreq(size), indexing="ij")
    frequency = np.hypot(down, right)
    shaped = fft.irfft2(fft.rfft2(rng.normal(size=(size, size))) * frequency * np.exp(-((frequency / 0.3) ** 2)))
    return np.asarray(shaped[:size, :size] / shaped.std(), np.float32)


def _strength(image: Array) -> Array:
    """Relative standard deviation of the noise: back-projected photon counts of two crossed views, 1 at the centre."""
    thickness = np.clip(image / 1000.0 + 1.0, 0.0, None) * WATER_PER_MM * (FIELD_OF_VIEW_MM / image.shape[0])
    views = [np.exp(thickness.sum(axis=axis, keepdims=True)) for axis in (0, 1)]
    variance = ndimage.gaussian_filter(views[0] + views[1], image.shape[0] / 16)
    middle = variance[image.shape[0] // 2, image.shape[1] // 2]
    return np.asarray(np.sqrt(variance / middle), np.float32)


def _cupping(image: Array) -> Array:
    """Beam hardening: tissue beside bone reads a few HU too high."""
    bone = ndimage.gaussian_filter((image > 300).astype(np.float32), image.shape[0] / 24)
    return np.asarray(np.where(image > -200, 8.0 * bone, 0.0), np.float32)
