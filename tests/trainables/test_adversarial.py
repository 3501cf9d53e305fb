"""The shared algorithm: its phases, which labels fakes get, where arithmetic is exact."""

from __future__ import annotations

import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.contracts import Phase
from gansweep.distributed import World
from gansweep.testing.images import shapes
from gansweep.training.batches import Batches
from gansweep.training.build import build_gan
from trainables import TRAINABLES

DATA, SPEC = shapes(count=24, size=16)
CONFIG = TrialConfig(architecture={"latent": 4, "width": 4}, batch_size=12, n_critic=2)


def built(**changes):
    config = CONFIG.derive({key.replace("__", "."): value for key, value in changes.items()})
    return build_gan(config, SPEC, TRAINABLES)


def batch(name="critic"):
    return Batches(DATA, 12, 0, World(), torch.device("cpu")).draw(Phase(name, ("critic",), "critic"), 0, 0)


def names(gan):
    return [(phase.name, phase.repeats, phase.interval) for phase in gan.phases]


def test_phases():
    assert names(built()) == [("critic", 2, 1), ("generator", 1, 1)]
    assert names(built(penalty__interval=4)) == [("critic", 2, 1), ("penalty", 2, 4), ("generator", 1, 1)]
    assert names(built(loss__kind="hinge", penalty__kind="none", penalty__interval=4)) == names(built())


def test_a_lazy_penalty_is_so_much_the_stronger():
    loss, log = built(penalty__interval=4).loss("penalty", batch(), 0)
    assert loss.item() == pytest.approx(4 * 10.0 * log["penalty"].item())


def test_an_eager_penalty_is_added_once():
    loss, log = built().loss("critic", batch(), 0)
    distance = (log["critic_fake"] - log["critic_real"]).item()
    assert loss.item() == pytest.approx(distance + 10.0 * log["penalty"].item(), rel=1e-5)


def test_real_and_fake_in_one_forward_is_the_same_as_in_two():
    gan, given = built(conditioning="projection"), batch()
    fake = torch.rand_like(given.images)
    both = gan._judge_both(given.images, fake, given, together=True)
    each = gan._judge_both(given.images, fake, given, together=False)
    for one, two in zip(both, each, strict=True):
        torch.testing.assert_close(one.scores, two.scores)
        assert len(one.features) == len(two.features) == 2
        torch.testing.assert_close(one.features[-1], two.features[-1])


@pytest.mark.parametrize(("loss", "as_in_the_batch"), [("wasserstein", False), ("relativistic", True)])
def test_which_labels_fakes_get(loss, as_in_the_batch):
    gan, given, asked = built(loss__kind=loss), batch(), []
    synthesise = gan._synthesise
    gan._synthesise = lambda noise, labels, masks: asked.append(labels) or synthesise(noise, labels, masks)
    gan.loss("critic", given, 0)
    gan.loss("generator", given, 0)
    critic, generator = asked
    # The critic must not learn the labels' frequencies; the generator should learn the rare class too.
    assert torch.equal(critic, given.labels)
    assert torch.equal(generator, given.labels) == as_in_the_batch


def test_classes_are_asked_for_equally_often():
    rare = type(DATA)(DATA.images, torch.tensor([1, *[0] * 23]))
    gan, asked = built(), []
    synthesise = gan._synthesise
    gan._synthesise = lambda noise, labels, masks: asked.append(labels) or synthesise(noise, labels, masks)
    batches = Batches(rare, 12, 0, World(), torch.device("cpu"))
    for iteration in range(40):
        gan.loss("generator", batches.draw(Phase("generator", ("generator",), "generator"), iteration, 0), iteration)
    assert 0.4 < torch.cat(asked).float().mean() < 0.6


@pytest.mark.parametrize(("kind", "interval"), [("gradient_penalty", 1), ("gradient_penalty", 2), ("r1_r2", 1)])
def test_penalties_are_computed_in_float32(kind, interval):
    gan = built(precision="bfloat16", penalty__kind=kind, penalty__interval=interval)
    penalised, images = [], []

    def note(_critic, inputs, judged):
        images.append(inputs[0])
        penalised.append(judged.features[0].dtype)

    gan.networks["critic"].register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16):
        gan.loss("penalty" if interval > 1 else "critic", batch(), 0)
    differentiated = [dtype for dtype, x in zip(penalised, images, strict=True) if x.requires_grad]
    assert set(differentiated) == {torch.float32}
    if kind == "gradient_penalty" and interval == 1:
        assert torch.bfloat16 in penalised  # the loss's own forward


def test_batch_norm_judges_real_and_fake_apart():
    changes = {"loss.kind": "non_saturating", "penalty.kind": "none", "architecture.critic_norm": "batch"}
    gan = build_gan(CONFIG.derive(changes), SPEC, TRAINABLES)
    sizes = []
    gan.networks["critic"].register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    gan.loss("critic", batch(), 0)
    assert sizes == [12, 12]


def test_lesion_conditioning_reaches_both_networks():
    for kind in ("lesion_mask", "lesion_burden"):
        gan, given = built(conditioning=kind), batch()
        larger = given.masks.clone()
        larger[:, :, :8] = 1.0
        noise = torch.zeros(12, 4)
        assert not torch.equal(
            gan._synthesise(noise, given.labels, given.masks), gan._synthesise(noise, given.labels, larger)
        )
        one, other = (gan.judge(given.images, given.labels, masks).scores for masks in (given.masks, larger))
        assert not torch.equal(one, other)


POLICY = ("flip", "translation", "rotation", "cutout", "intensity")


def test_the_critic_sees_each_mask_where_its_lesion_lies():
    """Whatever moves or hides the image does so with the mask; its intensity is the image's own."""
    gan = built(conditioning="lesion_mask", augmentation__kind="diffaugment", augmentation__policy=POLICY)
    seen, given = [], batch()
    gan.networks["critic"].register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].detach()))
    gan.loss("critic", given, 0)
    real = seen[0][:12]
    image, mask = real[:, :1], real[:, -1:]
    bright = (image.flatten(1) - image.mean(dim=(1, 2, 3))[:, None]) > 0
    marked = mask.flatten(1) > 0.5
    left = marked.any(dim=1)  # of some lesions all is cut out
    overlap = (bright & marked).sum(1)[left] / marked.sum(1)[left]
    assert left.sum() >= 6
    assert overlap.min() > 0.8
    assert not torch.equal(mask, given.masks)
    assert mask.min() == 0.0
    assert mask.max() == 1.0


def test_the_mask_is_no_direction_of_the_penalised_slope():
    gan, given = built(conditioning="lesion_burden", penalty__kind="r1_r2"), batch()
    _, log = gan.loss("critic", given, 0)
    gan._augmented = lambda images, _batch: images.detach()
    gan._judge_augmented = lambda seen, labels: gan.judge(seen, labels, given.masks.repeat(len(labels) // 12, 1, 1, 1))
    _, in_the_image_alone = gan.loss("critic", batch(), 0)
    torch.testing.assert_close(log["gradient_norm"], in_the_image_alone["gradient_norm"])
