"""Placement of the training images: in the device's memory, or on the host, from where batches are sent."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from gansweep.cohort.stored import Decoding, HostImages
from gansweep.devices import has_room, out_of_memory
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from gansweep.config import DataView
    from gansweep.contracts import ImageSet

__all__ = ["Prefetcher", "placed", "training_images", "within_reach"]

_PARTS = ("images", "masks", "paired")


def training_images(cohort: Any, view: DataView, device: torch.device) -> ImageSet:
    """Returns the training images of a `Cohort`, for `train` on `device`.

    For a CPU they are float32, ready to use. For a GPU they stay in the memory-mapped file until `train` moves them.

    Raises:
        CohortError: there are no training images, or not enough memory for them.
    """
    load = cohort.load if device.type == "cpu" else cohort.load_stored
    found: ImageSet = load("train", view)
    return found


def placed(
    data: ImageSet, device: torch.device, images_on: Literal["auto", "device", "host"]
) -> tuple[ImageSet, Literal["device", "host"]]:
    """Moves the training images to their place.

    Args:
        data: training images, as tensors or as `HostImages`.
        device: device of the training.
        images_on: `TrialConfig.images_on`. `auto` chooses the device if it has room for twice the images.

    Returns:
        The images, and where they are.

    Raises:
        ConfigError: `images_on` is `device`, but there is no GPU, or its memory is too small.
    """
    if device.type == "cpu":
        if images_on == "device":
            raise ConfigError("images_on = 'device', but the training runs on the CPU", fix="set images_on=auto")
        return data.to(device), "host"
    hosted = _hosted(data).to(device)
    needed = sum(part.nbytes for part in _parts(hosted).values())
    if images_on == "host" or (images_on == "auto" and not has_room(needed, device)):
        return hosted, "host"
    try:
        moved: dict[str, Any] = {name: part.resident(device) for name, part in _parts(hosted).items()}
        return replace(hosted, **moved), "device"
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        if images_on == "auto":
            return hosted, "host"
        raise ConfigError(
            f"images_on = 'device', but the training images take {needed / 2**30:.1f} GiB and {device} has no room",
            fix="set images_on=auto",
        ) from None


def within_reach(data: ImageSet, device: torch.device) -> ImageSet:
    """Returns images of which rows can be asked on `device`: they are there, or on the host if it has no room for them.

    Args:
        data: images in any form.
        device: device of the rows.
    """
    on_cpu = isinstance(data.images, Tensor) and data.images.device.type == "cpu"
    if on_cpu and device.type == "cuda":
        return placed(data, device, "auto")[0]
    return data.to(device)


def _hosted(data: ImageSet) -> ImageSet:
    """Returns the images as `HostImages`. Tensors on a device are copied to the host."""
    changed: dict[str, Any] = {}
    for name in _PARTS:
        part = getattr(data, name)
        if isinstance(part, Tensor):
            changed[name] = HostImages(part.cpu().numpy(), np.arange(len(part)), Decoding("none"))
    return replace(data, **changed)


def _parts(data: ImageSet) -> dict[str, HostImages]:
    parts = {name: getattr(data, name) for name in _PARTS}
    return {name: part for name, part in parts.items() if isinstance(part, HostImages)}


class Prefetcher:
    """Gathers batches of images on the host in a thread, while the device computes.

    Args:
        data: `HostImages`, with labels on the device of the training.
    """

    def __init__(self, data: ImageSet) -> None:
        self._parts = _parts(data)
        self._device = cast("HostImages", data.images).device
        self._labels = data.labels.cpu()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gansweep-prefetch")
        self._expected: dict[str, tuple[Tensor, Future[dict[str, Tensor]]]] = {}

    def take(self, stream: str, rows: Tensor) -> dict[str, Tensor]:
        """Returns a batch on the device: images and labels, and masks and paired images if there are any.

        Args:
            stream: name of a sequence of batches, of which one at a time is gathered in advance.
            rows: indices of the images, `[b]` on the CPU.
        """
        gathered = None
        if stream in self._expected:
            expected_rows, future = self._expected.pop(stream)
            if torch.equal(expected_rows, rows):
                gathered = future.result()
        if gathered is None:
            gathered = self._gathered(rows)
        found = {name: self._parts[name].sent(values) for name, values in gathered.items()}
        labels = self._labels[rows]
        if self._device.type == "cuda":
            labels = labels.pin_memory().to(self._device, non_blocking=True)
        return found | {"labels": labels}

    def expect(self, stream: str, rows: Tensor) -> None:
        """Starts to gather the rows of the next `take`."""
        future = self._thread.submit(self._gathered, rows)
        self._expected[stream] = (rows, future)

    def _gathered(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: part.gathered(rows) for name, part in self._parts.items()}
