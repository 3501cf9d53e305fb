"""A damaged checkpoint, or one of another configuration, is named and never gone on from."""

import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.errors import StoreError
from tests.store.damages import emptied, filled, truncated, warnings_of


@pytest.mark.parametrize("damage", [truncated, filled, emptied])
def test_a_damaged_checkpoint_is_named_and_never_gone_on_from(store, caplog, damage):
    checkpoint = store.checkpoint("0000")
    checkpoint.write({"config": TrialConfig().as_dict(), "weights": torch.arange(1000)})
    damage(store.local / checkpoint.path, 0.7)
    with pytest.raises(
        StoreError,
        match=r"checkpoints/0000\.pt: damaged checkpoint \(torch cannot read it: BadZipFile\); put back a copy of it",
    ):
        checkpoint.read()
    assert checkpoint.state_to_continue(TrialConfig()) is None
    assert warnings_of(caplog)[0].startswith("0000 starts anew: ")


def test_a_weight_that_changed_on_the_disk_is_damage(store):
    checkpoint = store.checkpoint("0000")
    weights = torch.arange(1000.0)
    checkpoint.write({"config": TrialConfig().as_dict(), "weights": weights})
    path = store.local / checkpoint.path
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes()) + 99] ^= 32
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"0000\.pt: damaged checkpoint \(the checksum of 0 differs\); put back"):
        checkpoint.read()


def test_a_checkpoint_that_lacks_what_is_needed_is_damaged(store):
    checkpoint = store.checkpoint("0000")
    checkpoint.write({"config": TrialConfig().as_dict(), "iteration": 3})
    assert checkpoint.read_for(TrialConfig(), needs=("iteration",))["iteration"] == 3
    with pytest.raises(StoreError, match=r"damaged checkpoint \(its state has no ema\)"):
        checkpoint.read_for(TrialConfig(), needs=("iteration", "ema"))


def test_a_checkpoint_belongs_to_the_configuration_inside_it(store, caplog):
    checkpoint = store.checkpoint("0000")
    mine, other = TrialConfig(lr_d=1e-3), TrialConfig(lr_d=2e-3)
    assert checkpoint.state_to_continue(mine) is None
    older = {key: value for key, value in mine.as_dict().items() if key != "sample_filter"}
    for config in (mine.as_dict(), older):  # a version that lacked a key trained with its default
        checkpoint.write({"config": config, "iteration": 7})
        assert checkpoint.read_for(mine)["iteration"] == checkpoint.state_to_continue(mine)["iteration"] == 7
    with pytest.raises(StoreError, match="checkpoint of another configuration"):
        checkpoint.read_for(other)
    assert warnings_of(caplog) == []
    assert checkpoint.state_to_continue(other) is None
    assert "0000 starts anew: " in warnings_of(caplog)[0]
