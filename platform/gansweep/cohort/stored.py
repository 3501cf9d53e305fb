"""Images as a cohort stores them, in 8 or 16 bits a pixel: rows of them become float32 when they are needed.

Both kinds are indexed as the tensor that `Cohort.load` gives, and give its numbers bit for bit: on the device that has
them (`ResidentImages`), or from the memory-mapped file (`HostImages`), for cohorts that no device has room for.
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
    """How stored values become float32.

    Args:
        kind: `intensity`: from [0, scale] to [-1, 1]; `mask`: to {0, 1}; `none`: they are float32 already.
        scale: the stored value of intensity 1.
    """

    kind: Literal["intensity", "mask", "none"]
    scale: int = 1

    def __call__(self, values: Tensor) -> Tensor:
        """Float32 of stored values; those of 16 bits are given as int16, for torch hardly knows uint16."""
        if self.kind == "none":
            return values
        if values.dtype == torch.int16:
            values = values.to(torch.int32) & 0xFFFF
        unit = values.to(torch.float32)
        if self.kind == "mask":
            return (unit >= MASK_COVER).float()
        # By a tensor: CUDA multiplies by the inverse of a number, which rounds differently.
        return unit / torch.full((), self.scale, dtype=torch.float32, device=values.device) * 2 - 1


class ResidentImages:
    """Stored images on a device.

    Args:
        values: `[N, C, H, W]` int16 (for uint16), uint8 or float32.
        decoding: of the values.
    """

    def __init__(self, values: Tensor, decoding: Decoding) -> None:
        self._values = values
        self._decoding = decoding
        self.shape = values.shape
        self.device = values.device

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Tensor:
        """Float32 images, on the device."""
        return self._decoding(self._values[index])

    def to(self, device: torch.device) -> ResidentImages:
        """The same images on `device`."""
        return ResidentImages(self._values.to(device), self._decoding)


class HostImages:
    """Stored images in host memory or in a memory-mapped file, wanted on a device.

    Args:
        array: `[M, C, H, W]` uint16, uint8 or float32.
        rows: `[N]` which rows of the array these are.
        decoding: of the values.
        device: where rows of it are wanted.
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
        """Bytes of all images as they are stored."""
        return len(self) * int(np.prod(self.shape[1:])) * self._array.itemsize

    def __getitem__(self, index: Any) -> Tensor:
        """Float32 images, on the device. An index on a GPU makes the host wait for it."""
        return self.sent(self.gathered(index.cpu() if isinstance(index, Tensor) else index))

    def gathered(self, index: Any) -> Tensor:
        """Stored values of rows, on the CPU; `index` as of a tensor there."""
        if isinstance(index, Tensor):
            index = index.numpy()
        found = np.ascontiguousarray(self._array[self._rows[index]])
        return torch.from_numpy(found.view(np.int16) if found.dtype == np.uint16 else found)

    def sent(self, values: Tensor) -> Tensor:
        """What `gathered` gave as float32, on the device; the host does not wait for the copy."""
        if self.device.type == "cuda":
            values = values.pin_memory().to(self.device, non_blocking=True)
        return self._decoding(values)

    def to(self, device: torch.device) -> HostImages:
        """The same images, wanted on `device`; they stay on the host."""
        return HostImages(self._array, self._rows, self._decoding, device)

    def resident(self, device: torch.device, chunk: int = 256) -> ResidentImages | Tensor:
        """The images moved to `device`, a few at a time; a tensor if they are float32 already."""
        whole: Tensor | None = None
        for start in range(0, len(self), chunk):
            part = self.gathered(slice(start, start + chunk))
            if whole is None:
                whole = torch.empty(tuple(self.shape), dtype=part.dtype, device=device)
            whole[start : start + chunk] = part.to(device)
        assert whole is not None
        return whole if self._decoding.kind == "none" else ResidentImages(whole, self._decoding)
