"""Feature extractors: a user's TorchScript file, or the cohort's own encoder.

A Fréchet distance is meaningless without its extractor, so the name of each extractor ends in a hash of its weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import PositiveFloat, PositiveInt, ValidationInfo, field_validator
from torch import Tensor
from torch.nn import functional

from gansweep.config import Frozen, validated
from gansweep.devices import device_fault, exact_float32, out_of_memory
from gansweep.errors import ConfigError
from gansweep.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Extractor", "InputFormat", "content_hash", "load_extractor", "load_script"]

EXTRA_FILE = "gansweep.json"
"""Name of the `torch.jit.save(..., _extra_files=)` entry that describes an extractor's input."""


_BATCH = 64
_GPU_BATCH = 256


class InputFormat(Frozen):
    """Input format of an extractor.

    Args:
        size: height and width in pixels; None accepts any.
        channels: 3 repeats the channel of grey images; 1 averages the channels; None accepts any.
        mean, std: images in [0, 1] are normalised as (x - mean) / std: one value, or one per channel. The default maps
            them to [-1, 1].
    """

    size: PositiveInt | None = None
    channels: Literal[1, 3] | None = 3
    mean: tuple[float, ...] = (0.5,)
    std: tuple[PositiveFloat, ...] = (0.5,)

    @field_validator("mean", "std")
    @classmethod
    def _one_or_per_channel(cls, values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        channels = info.data.get("channels") or 3  # colour images have three channels
        if len(values) not in {1, channels}:
            raise ValueError(f"{len(values)} values; needed is one{', or three' if channels == 3 else ''}")
        return values

    def prepared(self, images: Tensor) -> Tensor:
        """Converts images `[b, C, H, W]` in [-1, 1] to this format."""
        if self.channels == 3 and images.shape[1] != 3:
            images = images[:, :1].expand(-1, 3, -1, -1)
        if self.channels == 1:
            images = images.mean(1, keepdim=True)
        if self.size is not None and images.shape[-1] != self.size:
            images = functional.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        return ((images + 1) / 2 - _per_channel(self.mean, images)) / _per_channel(self.std, images)


def _per_channel(values: tuple[float, ...], images: Tensor) -> Tensor:
    """Returns `values` as a tensor `[1, values, 1, 1]` for `images`, made on their device without a copy to it."""
    return torch.stack([images.new_full((), value) for value in values]).view(1, -1, 1, 1)


@dataclass(frozen=True)
class Extractor:
    """Maps images to features.

    Args:
        name: `stem:hash12`, shown with every number that depends on it.
        module: network from prepared images to features `[b, d]`.
        format: input format; None: images are passed unchanged.
        device: device of the network.
        trained_on: description of the real images that it was trained on here; "" for a user's extractor.
    """

    name: str
    module: Callable[[Tensor], Tensor]
    format: InputFormat | None
    device: torch.device
    trained_on: str = ""

    @property
    def batch(self) -> int:
        """Number of images in a batch: 64 on a CPU, and 256 on a GPU, which would be idle with smaller batches."""
        return _GPU_BATCH if self.device.type == "cuda" else _BATCH

    @torch.no_grad()
    def features(self, images: Tensor, batch: int | None = None) -> Tensor:
        """Returns features `[n, d]` in float64 on the CPU for images `[n, C, H, W]` in [-1, 1].

        Args:
            images: images on any device.
            batch: number of images in a batch; None: `self.batch`.

        Raises:
            ConfigError: the extractor does not return one vector per image, or returns values that are not finite.
            torch.OutOfMemoryError: the device has too little memory for a batch.
        """
        size = batch or self.batch
        with exact_float32(self.device):
            # Copied back once, so that no batch waits for the one before it.
            found = torch.cat([self._vectors(chunk) for chunk in images.split(size)])
        self.check_finite(found)
        return found.cpu().double()

    @torch.no_grad()
    def vectors(self, images: Tensor, *, finite: bool = True) -> Tensor:
        """Returns features `[b, d]` of one batch of images, in the extractor's precision and on its device.

        Args:
            images: images on any device.
            finite: whether to check that they are finite, for which the host waits for a GPU.

        Raises:
            ConfigError, torch.OutOfMemoryError: see `features`.
        """
        found = self._vectors(images)
        if finite:
            self.check_finite(found)
        return found

    def _vectors(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        if self.format is not None:
            images = self.format.prepared(images)
        try:
            found = self.module(images)
        except (RuntimeError, torch.jit.Error) as error:  # errors raised by the network itself are torch.jit.Error
            shape = "x".join(str(n) for n in images.shape)
            if out_of_memory(error):
                raise torch.OutOfMemoryError(
                    f"extractor {self.name}: out of memory on {self.device} with images {shape}; use a device with "
                    "more room, or fewer trials on it"
                ) from None
            if device_fault(error):
                raise
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"fails on images {shape}: {reason}", where=f"extractor {self.name}") from None
        if not isinstance(found, Tensor) or not _is_vectors(found, len(images)):
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(
                f"gives {got} for {len(images)} images",
                where=f"extractor {self.name}",
                fix="it must return one feature vector per image, [b, d]",
            )
        return found.flatten(1)

    def check_finite(self, found: Tensor) -> None:
        """Checks features, or what was computed from them.

        Raises:
            ConfigError: one is not finite.
        """
        if not found.isfinite().all():
            raise ConfigError("gives values that are not finite", where=f"extractor {self.name}", fix="use another")


def load_extractor(path: str | Path, device: torch.device) -> Extractor:
    """Loads the extractor in a TorchScript file.

    Its input is RGB in [-1, 1] at the cohort's size, unless the file has an extra file `gansweep.json` with the keys of
    `InputFormat` (`torch.jit.save(module, path, _extra_files={"gansweep.json": '{"size": 299}'})`).

    Raises:
        ConfigError: the file is missing or is not TorchScript, or its description cannot be read.
    """
    path = Path(path)
    module, text = load_script(path, device, what="feature extractor")
    return Extractor(f"{path.stem}:{sha256_of(path)[:12]}", module, _format(text, path), device)


def load_script(path: Path, device: torch.device, *, what: str) -> tuple[Callable[..., Tensor], str]:
    """Loads the network in a TorchScript file, in evaluation mode, and the text of its `gansweep.json`.

    The text is empty if there is no such entry.

    Raises:
        ConfigError: the file is missing or is not TorchScript.
        torch.OutOfMemoryError: the device has too little memory.
    """
    if not path.is_file():
        raise ConfigError("no such file", where=f"{what} {path}", fix="name a TorchScript file (torch.jit.save)")
    extra = {EXTRA_FILE: ""}
    try:
        module = torch.jit.load(str(path), map_location=device, _extra_files=extra).eval()
    except (RuntimeError, ValueError) as error:
        if out_of_memory(error):
            raise torch.OutOfMemoryError(f"{what} {path}: out of memory on {device} while it is loaded") from None
        if device_fault(error):
            raise
        fix = "save it with torch.jit.save, not torch.save"
        raise ConfigError("not a TorchScript file", where=f"{what} {path}", fix=fix) from None
    text = extra[EXTRA_FILE]
    return module, text.decode() if isinstance(text, bytes) else text


def _format(text: str, path: Path) -> InputFormat:
    where = f"{EXTRA_FILE} in feature extractor {path}"
    try:
        known = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"not JSON: {error}", where=where) from None
    if not isinstance(known, dict):
        raise ConfigError(f"{text} is no object", where=where, fix='write it like {"size": 299}')
    return validated(InputFormat, known, where=where)


def _is_vectors(found: Tensor, n: int) -> bool:
    """Returns whether `found` has n entries of at least two features each, of any shape."""
    return found.ndim > 1 and len(found) == n and found[0].numel() > 1


def content_hash(state: dict[str, Tensor]) -> str:
    """Returns twelve hexadecimal digits that identify a network's weights."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
