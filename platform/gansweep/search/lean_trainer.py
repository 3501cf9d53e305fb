"""Ray Train's `TorchTrainer` without a process that a worker group here does not need."""

from __future__ import annotations

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback  # it has no public name in Ray Train

__all__ = ["LeanTrainer"]


class LeanTrainer(TorchTrainer):  # type: ignore[misc]
    """A `TorchTrainer` whose groups have no process that hands out Ray's datasets: images come from the cohort."""

    def _create_default_callbacks(self) -> list[object]:
        return [item for item in super()._create_default_callbacks() if not isinstance(item, DatasetsCallback)]
