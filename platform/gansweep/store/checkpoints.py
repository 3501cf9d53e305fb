"""Checkpoints of training runs in a sweep's store."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gansweep.config import TrialConfig, validated
from gansweep.errors import ConfigError, StoreError
from gansweep.files import read_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.store.filesystem import Files

__all__ = ["Checkpoint", "belongs_to"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint of one training run. The file need not exist yet.

    A checkpoint belongs to the configuration stored in it (`state["config"]`), whatever its file name.

    Args:
        files: files of the store.
        name: name of the training run: a trial's id, or the name that `repeat` or `confirm` gave it.
    """

    files: Files
    name: str

    @property
    def path(self) -> str:
        """Path of the file in the store."""
        return f"checkpoints/{self.name}.pt"

    def exists(self) -> bool:
        """Returns whether the file exists."""
        return self.files.exists(self.path)

    def read(self) -> dict[str, Any]:
        """Loads the state, with its tensors on the CPU.

        Raises:
            StoreError: the file is missing or damaged.
        """
        return self._parsed(self.read_bytes())

    def read_for(self, config: TrialConfig, needs: Sequence[str] = ()) -> dict[str, Any]:
        """Loads the state and checks that it belongs to `config`.

        Args:
            config: configuration of the training.
            needs: parts of the state that the caller uses.

        Raises:
            StoreError: the file is missing or damaged, it belongs to another configuration, or lacks a part.
        """
        state = self._checked(self.read_bytes(), config)
        missing = [part for part in needs if part not in state]
        if missing:
            raise self._damaged(f"its state has no {missing[0]}")
        return state

    def state_to_continue(self, config: TrialConfig) -> dict[str, Any] | None:
        """Returns the state from which to resume training `config`, or None if training has to start from scratch.

        A checkpoint that is damaged or belongs to another configuration is ignored, with a warning in the log.

        Raises:
            StoreError: the file exists but cannot be read now; a later call may succeed.
        """
        if not self.exists():
            return None
        content = self.read_bytes()
        try:
            return self._checked(content, config)
        except StoreError as unusable:
            log.warning("%s starts anew: %s", self.name, unusable)
            return None

    def write(self, state: dict[str, Any]) -> None:
        """Replaces the state atomically.

        Raises:
            StoreError: the store cannot be written.
        """
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.write_bytes(buffer.getvalue())

    def read_bytes(self) -> bytes:
        """Returns the file's content. Raises StoreError if there is no file."""
        return self.files.read_bytes(self.path)

    def write_bytes(self, content: bytes) -> None:
        """Replaces the file's content. Raises StoreError if the store cannot be written."""
        self.files.write_bytes(self.path, content)

    def delete(self) -> None:
        """Deletes the file. A missing file is not an error."""
        self.files.delete(self.path)

    def _checked(self, content: bytes, config: TrialConfig) -> dict[str, Any]:
        state = self._parsed(content)
        if not belongs_to(state, config):
            raise StoreError(
                "checkpoint of another configuration",
                where=f"{self.files.label}/{self.path}",
                fix="put back this training's own, or delete it and train again",
            )
        return state

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            state = read_tensors(io.BytesIO(content))
        except ValueError as error:
            raise self._damaged(str(error)) from None
        if not isinstance(state, dict) or "config" not in state:
            raise self._damaged("no state of a training")
        return state

    def _damaged(self, reason: str) -> StoreError:
        where = f"{self.files.label}/{self.path}"
        return StoreError(f"damaged checkpoint ({reason})", where=where, fix="put back a copy of it, or delete it")


def belongs_to(state: dict[str, Any], config: TrialConfig) -> bool:
    """Returns whether a state belongs to `config`. Keys that the state's version did not have take their defaults."""
    try:
        return validated(TrialConfig, state["config"], where="checkpoint") == config
    except ConfigError:
        return False
