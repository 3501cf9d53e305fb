"""The checks of a GPU find what is planted: in a loss, a factory, a scalar, a collective."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gansweep.contracts import Condition
from gansweep.distributed import mean_over_workers, sum_over_workers
from gansweep.testing.gpu_contract import check_on_gpu, check_on_two_gpus, check_stored_images, on_gpu
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import DeviceMismatch
from trainables import AUGMENTATIONS, CONDITIONINGS, GANS, LOSSES, PENALTIES, TRAINABLES
from trainables.gans.dcgan import Dcgan

DATA, SPEC = shapes(count=20, size=16)


class OfWholeImages(Dcgan):
    def condition(self, labels, data, generator):  # noqa: ARG002
        data.images.mean()
        return Condition(labels)


class InLoss(Dcgan):
    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return (loss + torch.zeros(len(batch.labels))).mean(), scalars


class InScalars(Dcgan):
    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return loss, {**scalars, "planted": torch.zeros(())}


class InFactory(Dcgan):
    def sample(self, n, condition, generator):
        del generator
        noise = torch.randn(n, self.latent)
        return self._synthesise(noise, condition.labels, condition.masks).clamp(-1.0, 1.0)


class OfGenerator(Dcgan):
    def sample(self, n, condition, generator):
        noise = torch.randn(n, self.latent, generator=torch.Generator().manual_seed(0), device=generator.device)
        return self._synthesise(noise, condition.labels, condition.masks).clamp(-1.0, 1.0)


class Waiting(Dcgan):
    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return (loss if float(loss.detach()) < 1e9 else 2 * loss), scalars


class Copying(Dcgan):
    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return loss * torch.tensor([1.0], device=loss.device).sum(), scalars


class Number(Dcgan):
    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return loss * torch.tensor(1.0), scalars


class Collective(Dcgan):
    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        # Of no effect with one worker, and harmless under gloo.
        return loss * mean_over_workers(torch.ones(())).to(loss.device), scalars


class Gradient(Dcgan):
    def loss(self, phase, batch, step):
        loss, scalars = super().loss(phase, batch, step)
        return loss + 0.0 * sum_over_workers(loss.cpu()).to(loss.device), scalars


class OfLoss(LOSSES["hinge"]):
    def critic(self, real, fake, labels):
        return super().critic(real, fake, labels) + torch.ones(3).mean()


class OfPenalty(PENALTIES["r1"]):
    def penalties(self, context):
        values, norms = super().penalties(context)
        return values + torch.zeros(len(values)), norms


class KeptByPenalty(PENALTIES["r1"]):
    """A tensor that no module knows of, so that nothing moves it."""

    def penalties(self, context):
        values, norms = super().penalties(context)
        self.seen = getattr(self, "seen", torch.zeros(1)) + 1
        return values * self.seen, norms


class OfAugmentation(AUGMENTATIONS["diffaugment"]):
    def forward(self, images, draws, masks=0):
        return super().forward(images + torch.zeros(images.shape), draws, masks)


class OfConditioning(CONDITIONINGS["concat"]):
    def code(self, labels, masks):
        return super().code(labels, masks) + torch.zeros(len(labels), 2)


def planted(family):
    return replace(TRAINABLES, gans={**GANS, "dcgan": family})


CONFIG = on_gpu("dcgan", SPEC, TRAINABLES)[0]


@pytest.mark.parametrize(
    ("family", "error", "told"),
    [
        (InLoss, DeviceMismatch, r"test_gpu_contract\.py:\d+: aten::add"),
        (InScalars, DeviceMismatch, r"divergence\.py:\d+: aten::stack"),
        (InFactory, DeviceMismatch, "Expected all tensors to be on the same device"),
        (OfGenerator, DeviceMismatch, "Expected a 'cuda' device type for generator but found 'cpu'"),
        (Waiting, AssertionError, r"iteration 1 waits for the host: \{'aten::_local_scalar_dense at test_gpu_contract"),
        (Copying, AssertionError, "iteration 1 waits for the host: {'copy to cuda at test_gpu_contract"),
        (Number, AssertionError, "iteration 1 waits for the host: {'number on the CPU in aten::mul at test_gpu"),
    ],
)
def test_what_is_planted_is_found(family, error, told):
    with pytest.raises(error, match=told):
        check_on_gpu(CONFIG, SPEC, DATA, planted(family))


@pytest.mark.parametrize(
    ("registry", "key", "name", "planted_class", "error"),
    [
        ("losses", "loss.kind", "hinge", OfLoss, AssertionError),
        ("penalties", "penalty.kind", "r1", OfPenalty, DeviceMismatch),
        ("penalties", "penalty.kind", "r1", KeptByPenalty, DeviceMismatch),
        ("augmentations", "augmentation.kind", "diffaugment", OfAugmentation, DeviceMismatch),
        ("conditionings", "conditioning", "concat", OfConditioning, DeviceMismatch),
    ],
)
def test_what_is_planted_in_a_part_is_found(registry, key, name, planted_class, error):
    parts = {**getattr(TRAINABLES, registry), name: planted_class}
    with pytest.raises(error, match=r"test_gpu_contract\.py:\d+|same device|number on the CPU"):
        check_on_gpu(CONFIG.derive({key: name}), SPEC, DATA, replace(TRAINABLES, **{registry: parts}))


def test_an_honest_one_passes():
    check_on_gpu(CONFIG, SPEC, DATA, planted(Dcgan))
    check_stored_images(CONFIG, SPEC, DATA, planted(Dcgan))


def test_a_family_that_asks_stored_images_for_more_than_rows_is_found():
    with pytest.raises(AttributeError, match="has no attribute 'mean'"):
        check_stored_images(CONFIG, SPEC, DATA, planted(OfWholeImages))


@pytest.mark.parametrize("family", [Collective, Gradient])
def test_a_planted_collective_is_found(family):
    with pytest.raises(Exception, match="No backend type associated with device type cpu"):
        check_on_two_gpus([CONFIG], SPEC, DATA, planted(family))
