"""The state of one training, kept in its sweep's store."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gansweep.store.filesystem import Files

__all__ = ["Checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of a training, there or not yet.

    Args:
        files: of the store.
        name: of the training: a trial's id, or the name that `repeat` or `confirm` gave it.
    """

    files: Files
    name: str

    @property
    def path(self) -> str:
        """Where it lies in the store."""
        return f"checkpoints/{self.name}.pt"

    def exists(self) -> bool:
        """Whether there is one."""
        return self.files.exists(self.path)

    def read(self) -> dict[str, Any]:
        """The state, with its tensors on the CPU.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        import torch

        state: dict[str, Any] = torch.load(io.BytesIO(self.read_bytes()), map_location="cpu", weights_only=True)
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replaces the state, whole or not at all.

        Raises:
            StoreError: the store cannot be written.
        """
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.write_bytes(buffer.getvalue())

    def read_bytes(self) -> bytes:
        """The file as it is. Raises StoreError if there is none."""
        return self.files.read_bytes(self.path)

    def write_bytes(self, content: bytes) -> None:
        """Replaces the file. Raises StoreError if the store cannot be written."""
        self.files.write_bytes(self.path, content)

    def delete(self) -> None:
        """Removes it; one that is not there is no error."""
        self.files.delete(self.path)
