"""A pretended GPU that `torch.cuda` does not see, as other tools make it: nothing can be asked of it."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from gansweep.contracts import Condition
from gansweep.errors import ConfigError
from gansweep.testing.gan_contract import assert_equal
from gansweep.testing.gpu_contract import on_gpu
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

DATA, SPEC = shapes(count=20, size=16)
ASKED = (
    "CUDAGraph",
    "Event",
    "Stream",
    "get_device_capability",
    "get_device_name",
    "graph_pool_handle",
    "is_current_stream_capturing",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
)


@pytest.fixture
def unseen():
    def refuse(*_, **__):
        raise AssertionError("Torch not compiled with CUDA enabled")

    with PretendedGpu() as gpu, mock.patch.object(torch.cuda, "is_available", return_value=False):
        patches = [mock.patch.object(torch.cuda, name, refuse) for name in ASKED]
        for patch in patches:
            patch.start()
        yield gpu
        for patch in patches:
            patch.stop()


def trained(config, device):
    keeper = MemoryReporter()

    def score(sampler, _):
        sampler(Condition(torch.arange(4) % 2), 1)
        return {}

    train(config, build_gan(config, SPEC, TRAINABLES), DATA, keeper, score, reports=1, device=device)
    return keeper


@pytest.mark.parametrize("config", on_gpu("dcgan", SPEC, TRAINABLES), ids=str)
def test_a_training_ends_as_on_the_cpu(config, unseen):
    found = trained(config, GPU)
    assert unseen.kernels.total() > 0
    assert found.reports[-1].execution == "eager"
    assert found.reports[-1].execution_reason == "no CUDA device"
    assert_equal(found.state["ema"], trained(config, CPU).state["ema"], "averages")


@pytest.mark.usefixtures("unseen")
def test_a_capture_cannot_be_had_there():
    config = on_gpu("dcgan", SPEC, TRAINABLES)[0].derive({"execution": "captured"})
    with pytest.raises(ConfigError, match="execution = 'captured': no CUDA device; set execution=auto"):
        trained(config, GPU)
