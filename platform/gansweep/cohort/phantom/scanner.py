"""Simulates the CT scanner: blur, beam hardening and noise.

The noise of filtered back-projection is not white: the ramp filter removes its low frequencies, and the reconstruction
kernel its high ones. Its strength follows from photon counting, so it is larger where the beam crosses more bone and
water (Kak and Slaney 1988, "Principles of Computerized Tomographic Imaging", chapter 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

from gansweep.cohort.phantom.anatomy import FIELD_OF_VIEW_MM

if TYPE_CHECKING:
    from gansweep.cohort.phantom.anatomy import Array

__all__ = ["scan"]

WATER_PER_MM = 0.019  # linear attenuation of water at about 70 keV, 1/mm
PIXELS_ACROSS = 2  # painted pixels per scanned pixel and axis, for partial-volume effects


def scan(head: Array, size: int, noise: float, rng: np.random.Generator) -> Array:
    """Scans a painted head.

    Args:
        head: `[n * size, n * size]` in Hounsfield units.
        size: height and width of the image in pixels.
        noise: standard deviation of the noise at the centre of the head, HU.
        rng: source of the noise.

    Returns:
        `[size, size]` in whole Hounsfield units.
    """
    factor = head.shape[0] // size
    spacing = FIELD_OF_VIEW_MM / head.shape[0]
    blurred = ndimage.gaussian_filter(head, 0.55 / spacing)  # point spread: 0.55 mm standard deviation, 1.3 mm FWHM
    image = blurred.reshape(size, factor, size, factor).mean(axis=(1, 3))
    image = image + _cupping(image) + noise * _strength(image) * _texture(size, rng)
    return np.asarray(np.clip(np.round(image), -1024, 3071), np.float32)  # the range of 12-bit CT


def _texture(size: int, rng: np.random.Generator) -> Array:
    """Noise `[size, size]` of unit variance with the spectrum of a smooth reconstruction kernel."""
    down, right = np.meshgrid(fft.fftfreq(size), fft.rfftfreq(size), indexing="ij")
    frequency = np.hypot(down, right)  # the ramp filter; the Gaussian is the kernel
    shaped = fft.irfft2(fft.rfft2(rng.normal(size=(size, size))) * frequency * np.exp(-((frequency / 0.3) ** 2)))
    return np.asarray(shaped[:size, :size] / shaped.std(), np.float32)


def _strength(image: Array) -> Array:
    """The relative standard deviation of the noise `[H, W]`, 1 at the centre.

    A ray that loses the fraction 1 - exp(-t) of its photons has noise of variance proportional to exp(t). Two crossed
    views stand for all projections.
    """
    thickness = np.clip(image / 1000.0 + 1.0, 0.0, None) * WATER_PER_MM * (FIELD_OF_VIEW_MM / image.shape[0])
    views = [np.exp(thickness.sum(axis=axis, keepdims=True)) for axis in (0, 1)]
    variance = ndimage.gaussian_filter(views[0] + views[1], image.shape[0] / 16)
    middle = variance[image.shape[0] // 2, image.shape[1] // 2]
    return np.asarray(np.sqrt(variance / middle), np.float32)


def _cupping(image: Array) -> Array:
    """Beam hardening: tissue near bone reads a few HU too high."""
    bone = ndimage.gaussian_filter((image > 300).astype(np.float32), image.shape[0] / 24)
    return np.asarray(np.where(image > -200, 8.0 * bone, 0.0), np.float32)
