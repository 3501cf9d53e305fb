"""Checkpoints of a training, copied from the device and written while the training continues."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.devices import is_cuda

if TYPE_CHECKING:
    from types import TracebackType

    from gansweep.progress import Reporter

__all__ = ["Checkpoints", "copied"]

log = logging.getLogger(__name__)


class Checkpoints:
    """Passes the states of a training to its reporter; on a GPU, from a separate thread.

    A copy into pinned memory is queued on the device: the host does not wait for it, and the next step cannot change
    it. Use it in a `with` block, which ends when the last state is stored.

    Args:
        reporter: stores the states.
        first: whether this is the first worker. Other workers copy nothing, unless `reporter.every_worker` is set.
        device: device of the training.
    """

    def __init__(self, reporter: Reporter, *, first: bool, device: torch.device) -> None:
        self._reporter = reporter
        self._wanted = first or getattr(reporter, "every_worker", False)
        self._device = device
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, raised: BaseException | None, _: TracebackType | None
    ) -> None:
        """Waits for the writer. Raises the writer's error, unless the training itself has failed."""
        try:
            self.wait()
        except BaseException as error:
            if raised is None:
                raise
            log.warning("the last checkpoint was not kept: %s", error)

    def keep(self, state: Mapping[str, Any]) -> None:
        """Copies `state` and passes the copy to the reporter.

        Raises:
            Exception: the reporter's error for the state before.
        """
        self.wait()
        if not self._wanted:
            return
        if not is_cuda(self._device):
            self._reporter.checkpoint(copied(state))
            return
        copy = copied(state)
        done = torch.cuda.Event()
        done.record()
        # Not a daemon thread, so that the process does not end before the checkpoint is written.
        self._writer = threading.Thread(target=self._write, args=(copy, done), name="checkpoint")
        self._writer.start()

    def wait(self) -> None:
        """Waits until the last state is stored.

        Raises:
            Exception: the reporter's error.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        error = self._error
        self._error = None
        if error is not None:
            raise error

    def _write(self, state: dict[str, Any], done: torch.cuda.Event) -> None:
        try:
            done.synchronize()
            self._reporter.checkpoint(state)
        except BaseException as error:  # raised again in the training's thread
            self._error = error


def copied(value: Any) -> Any:
    """Returns `value` with copies of its tensors on the CPU, in the contiguous layout that safetensors requires.

    Copies of tensors on a GPU are in pinned memory. They are complete when the device has done its work so far.
    """
    if isinstance(value, Tensor):
        if value.is_cuda:
            return value.detach().contiguous().to("cpu", non_blocking=True)
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(inner) for inner in value)
    return value
