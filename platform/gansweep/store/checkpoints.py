"""The state of one training, kept in its sweep's store."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gansweep.config import TrialConfig, validated
from gansweep.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from gansweep.store.filesystem import Files

__all__ = ["Checkpoint"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of a training, there or not yet.

    It belongs to the configuration inside it (`state["config"]`), whatever its name.

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
            StoreError: there is none, or it is damaged.
        """
        return self._parsed(self.read_bytes())

    def read_for(self, config: TrialConfig) -> dict[str, Any]:
        """The state of a training of `config`.

        Raises:
            StoreError: there is none, it is damaged, or it is of another configuration.
        """
        return self._checked(self.read_bytes(), config)

    def state_to_continue(self, config: TrialConfig) -> dict[str, Any] | None:
        """The state that a training of `config` goes on from, or None.

        One that is damaged or of another configuration is left out, and named in the log: the training starts anew.

        Raises:
            StoreError: it is there and cannot be fetched; a later call may succeed.
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

    def _checked(self, content: bytes, config: TrialConfig) -> dict[str, Any]:
        state = self._parsed(content)
        if not _is_of(state, config):
            raise StoreError(
                "checkpoint of another configuration",
                where=f"{self.files.label}/{self.path}",
                fix="put back this training's own, or delete it and train again",
            )
        return state

    def _parsed(self, content: bytes) -> dict[str, Any]:
        import torch

        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises another kind for each part that is damaged
            reason = " ".join(str(error).partition("\n")[0].split())[:120] or type(error).__name__
            raise self._damaged(reason) from None
        if not isinstance(state, dict) or "config" not in state:
            raise self._damaged("no state of a training")
        return state

    def _damaged(self, reason: str) -> StoreError:
        where = f"{self.files.label}/{self.path}"
        return StoreError(f"damaged checkpoint ({reason})", where=where, fix="put back a copy of it, or delete it")


def _is_of(state: dict[str, Any], config: TrialConfig) -> bool:
    """Whether a state is of a training of `config`; keys that its version did not have are at their defaults."""
    try:
        return validated(TrialConfig, state["config"], where="checkpoint") == config
    except ConfigError:
        return False
