"""Images in a cohort's stored form, 8 or 16 bits per pixel. Rows are converted to float32 when they are indexed.

`ResidentImages` are in the memory of a device. `HostImages` are in a memory-mapped file, for cohorts that are too large
for the device. Indexing either gives the same values, bit for bit, as indexing the tensor of `Cohort.load`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gansweep.cohort.readers.resample import MASK_COVER

__all__ = ["Decoding", "HostImages", "ResidentImages"]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Decoding:
    """Conversion of stored values to float32.

    Args:
        kind: `intensity`: from [0, scale] to [-1, 1]; `mask`: to {0, 1}; `none`: values are already float32.
        scale: stored value of intensity 1.
    """

    kind: Literal["intensity", "mask", "none"]
    scale: int = 1

    def __call__(self, values: Tensor) -> Tensor:
        """Converts stored values to float32. Values of 16 bits are passed as int16: torch hardly supports uint16."""
        if self.kind == "none":
            return values
        if values.dtype == torch.int16:
            values = values.to(torch.int32) & 0xFFFF
        unit = values.to(torch.float32)
        if self.kind == "mask":
            return (unit >= MASK_COVER).float()
        # Divided by a tensor, because CUDA multiplies by the inverse of a number, which rounds differently.
        scale = torch.full((), self.scale, dtype=torch.float32, device=values.device)
        return unit / scale * 2 - 1


class ResidentImages:
    """Stored images on a device.

    Args:
        values: `[N, C, H, W]` int16 (for uint16), uint8 or float32.
        decoding: conversion of the values.
    """

    def __init__(self, values: Tensor, decoding: Decoding) -> None:
        self._values = values
        self._decoding = decoding
        self.shape = values.shape
        self.device = values.device

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Tensor:
        """Returns images as float32, on the device."""
        return self._decoding(self._values[index])

    def to(self, device: torch.device) -> ResidentImages:
        """Returns the same images on `device`."""
        return ResidentImages(self._values.to(device), self._decoding)


class HostImages:
    """Stored images in host memory or in a memory-mapped file, whose rows are sent to a device.

    Args:
        array: `[M, C, H, W]` uint16, uint8 or float32.
        rows: rows of the array that belong to these images, `[N]`.
        decoding: conversion of the values.
        device: device to which rows are sent.
    """

    def __init__(
        self, array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], decoding: Decoding, device: torch.device = _CPU
    ) -> None:
        self._array = array
        self._rows = rows
        self._decoding = decoding
        self.device = device
        self.shape = torch.Size((len(rows), *array.shape[1:]))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Size of all images in their stored form, in bytes."""
        return len(self) * int(np.prod(self.shape[1:])) * self._array.itemsize

    def __getitem__(self, index: Any) -> Tensor:
        """Returns images as float32, on the device. An index on a GPU makes the host wait for the GPU."""
        if isinstance(index, Tensor):
            index = index.cpu()
        return self.sent(self.gathered(index))

    def gathered(self, index: Any) -> Tensor:
        """Returns the stored values of some rows, on the CPU. A tensor `index` must be on the CPU."""
        if isinstance(index, Tensor):
            index = index.numpy()
        found = np.ascontiguousarray(self._array[self._rows[index]])
        return torch.from_numpy(found.view(np.int16) if found.dtype == np.uint16 else found)

    def sent(self, values: Tensor) -> Tensor:
        """Converts the result of `gathered` to float32 on the device. The host does not wait for the copy."""
        if self.device.type == "cuda":
            values = values.pin_memory().to(self.device, non_blocking=True)
        return self._decoding(values)

    def to(self, device: torch.device) -> HostImages:
        """Returns the same images on the host, with `device` as the target of their rows."""
        return HostImages(self._array, self._rows, self._decoding, device)

    def resident(self, device: torch.device, chunk: int = 256) -> ResidentImages | Tensor:
        """Moves the images to `device` in chunks. Returns a tensor if they are already float32."""
        whole: Tensor | None = None
        for start in range(0, len(self), chunk):
            part = self.gathered(slice(start, start + chunk))
            if whole is None:
                whole = torch.empty(tuple(self.shape), dtype=part.dtype, device=device)
            whole[start : start + chunk] = part.to(device)
        assert whole is not None
        return whole if self._decoding.kind == "none" else ResidentImages(whole, self._decoding)
