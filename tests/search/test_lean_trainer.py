"""Which processes of Ray Train a worker group has."""

from ray.train.torch import TorchTrainer

from gansweep.search.cluster import Footprint, torch_trainer


def test_only_needless_processes_are_left_out() -> None:
    trainer = torch_trainer(print, {}, Footprint(2), name="group", storage="/nowhere", max_failures=1)
    ours = [type(item).__name__ for item in trainer._create_default_callbacks()]
    rays = [type(item).__name__ for item in TorchTrainer._create_default_callbacks(trainer)]
    assert [name for name in rays if name not in ours] == ["PlacementGroupCleanerCallback", "DatasetsCallback"]
    assert "BackendSetupCallback" in ours
