"""Ray Train's `TorchTrainer` without two processes that a worker group here does not need."""

from __future__ import annotations

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback  # neither has a public name in Ray Train
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

__all__ = ["LeanTrainer"]


class LeanTrainer(TorchTrainer):  # type: ignore[misc]
    """A `TorchTrainer` whose groups do without two processes of Ray Train.

    One would hand out Ray's datasets, but images come from the cohort. The other would remove the placement group of a
    controller that was killed, which `ray_cluster` does for all groups.
    """

    def _create_default_callbacks(self) -> list[object]:
        needless = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [item for item in super()._create_default_callbacks() if not isinstance(item, needless)]
