"""Torch's process group, without a port that is open to others where all workers are on this machine.

Torch's `TCPStore`, by which workers find each other, listens on all addresses. Workers on one machine can use a file.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from gansweep.search.loopback import cluster_is_on_loopback

__all__ = ["ProcessGroupConfig"]


@dataclass
class ProcessGroupConfig(TorchConfig):  # type: ignore[misc]
    """Ray's `TorchConfig`, but for the place where workers on one machine find each other."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """The class that starts the process group."""
        return _Backend


class _Backend(_TorchBackend):  # type: ignore[misc]
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Starts the process group."""
        if not cluster_is_on_loopback():
            super().on_start(worker_group, backend_config)
            return
        self._folder = tempfile.TemporaryDirectory(prefix="gansweep-group-")
        group = {
            "backend": backend_config.backend,
            "world_size": len(worker_group),
            "timeout": timedelta(seconds=backend_config.timeout_s),
        }
        path = f"{self._folder.name}/store"
        ranks = range(len(worker_group))
        ray.get([worker_group.execute_single_async(rank, _join, group, path, rank) for rank in ranks])

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Ends the process group."""
        super().on_shutdown(worker_group, backend_config)
        if self._folder is not None:
            self._folder.cleanup()


def _join(group: dict[str, Any], path: str, rank: int) -> None:
    # Not by the URL `file://...`, which torch cuts at a `#` or `?` of TMPDIR.
    store = dist.FileStore(path, group["world_size"])  # type: ignore[attr-defined]
    dist.init_process_group(**group, store=store, rank=rank)
