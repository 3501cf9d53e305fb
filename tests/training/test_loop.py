"""The loop: reports, checkpoints, resumption, workers, and trials that end early."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gansweep.config import TrialConfig
from gansweep.contracts import Batch, Condition, Phase
from gansweep.errors import ConfigError, Diverged
from gansweep.testing.images import shapes
from gansweep.testing.workers import run_workers
from gansweep.training.build import build_gan
from gansweep.training.ema import decay
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

DATA, SPEC = shapes(count=20, size=16)
CPU = torch.device("cpu")
CONFIG = TrialConfig(
    architecture={"latent": 4, "width": 4}, batch_size=6, n_critic=2, iterations=8, penalty={"interval": 3}
)


def run(config=CONFIG, reporter=None, reports=4, score=lambda _sampler, _iteration: {}, gan=None, **kept):
    reporter = reporter or MemoryReporter()
    gan = gan or build_gan(config, SPEC, TRAINABLES)
    train(config, gan, DATA, reporter, score, reports=reports, device=CPU, **kept)
    return reporter


@pytest.fixture
def _often(monkeypatch):
    """Divergence is looked for every 10 iterations, and a phase is dead after 20 without a gradient."""
    monkeypatch.setattr("gansweep.training.loop.CHECK_EVERY", 10)
    monkeypatch.setattr("gansweep.training.divergence.DEAD_AFTER", 20)


def test_reports_at_equal_fractions_of_the_budget():
    reporter = run(CONFIG.derive({"iterations": 10}), score=lambda _, iteration: {"fid": float(iteration)})
    assert [(p.index, p.iteration, p.final) for p in reporter.reports] == [
        (0, 3, False),
        (1, 5, False),
        (2, 8, False),
        (3, 10, True),
    ]
    assert [p.scores["fid"] for p in reporter.reports] == [3.0, 5.0, 8.0, 10.0]
    assert {"critic_loss", "generator_loss", "penalty", "gradient_norm"} <= set(reporter.reports[0].losses)


def test_lazy_phase_runs_in_every_third_turn():
    # 8 iterations of 2 turns: turns 0, 3, ..., 15 are 6 penalties of 6 images, beside 16 critic updates.
    assert run().reports[-1].images_seen == (16 + 6) * 6


def test_stops_at_once_when_told():
    scored = []
    reporter = run(
        reporter=MemoryReporter(proceed=lambda progress: progress.index < 1),
        score=lambda _, iteration: scored.append(iteration) or {},
    )
    assert len(reporter.reports) == 2
    assert scored == [2, 4]


def test_checkpoint_comes_before_the_score_and_is_a_copy():
    class KilledError(Exception):
        pass

    def die(_sampler, iteration):
        if iteration == 4:
            raise KilledError
        return {"fid": 1.0}

    reporter = MemoryReporter()
    with pytest.raises(KilledError):
        run(reporter=reporter, score=die)
    assert reporter.state["iteration"] == 4
    assert reporter.reported() == 1
    # What was trained but not reported is scored and reported first, and nothing twice.
    scored = []
    run(reporter=reporter, score=lambda _, iteration: scored.append(iteration) or {"fid": 1.0})
    assert scored == [4, 6, 8]
    undisturbed = run(score=lambda _s, _i: {"fid": 1.0})
    assert [dict(p.losses) for p in reporter.reports] == [dict(p.losses) for p in undisturbed.reports]
    for name, weights in undisturbed.state["ema"]["generator"].items():
        assert torch.equal(weights, reporter.state["ema"]["generator"][name])


def test_a_checkpoint_can_be_written_and_read_without_trust(tmp_path):
    reporter = MemoryReporter(proceed=lambda _: False)
    run(reporter=reporter)
    torch.save(reporter.state, tmp_path / "0007.pt")
    reread = torch.load(tmp_path / "0007.pt", weights_only=True)
    assert reread["config"] == CONFIG.as_dict()
    assert {"networks", "ema", "optimisers", "gan_state", "iteration", "images_seen"} <= set(reread)


def test_population_based_search_may_change_the_rates():
    reporter = MemoryReporter(proceed=lambda _: False)
    run(reporter=reporter)
    reporter._proceed = None
    run(CONFIG.derive({"lr_g": 0.5}), reporter=reporter)
    assert reporter.state["optimisers"]["generator"]["param_groups"][0]["lr"] == 0.5


def whole_run():
    """A run in float64: Adam turns the rounding of float32 gradients near zero into steps of full length."""
    torch.set_default_dtype(torch.float64)
    try:
        data = replace(DATA, images=DATA.images.double(), masks=DATA.masks.double())
        reporter, gan = MemoryReporter(), build_gan(CONFIG, SPEC, TRAINABLES)
        train(CONFIG, gan, data, reporter, sample_mean, reports=4, device=CPU)
        return reporter.state, [(dict(p.losses), dict(p.scores)) for p in reporter.reports]
    finally:
        torch.set_default_dtype(torch.float32)


def sample_mean(sampler, _iteration):
    return {"mean": float(sampler(Condition(torch.arange(10) % 2), 0).mean())}


def unequal_batch():
    try:
        run(CONFIG.derive({"batch_size": 7}))
    except ConfigError as error:
        return str(error)
    return ""


def nan_on_the_second_worker():
    """Only worker 1 has a loss that is not finite; both must end."""
    gan = build_gan(CONFIG, SPEC, TRAINABLES)
    honest = gan.loss
    if torch.distributed.get_rank() == 1:

        def broken(*step):
            loss, scalars = honest(*step)
            return loss * float("nan"), scalars

        gan.loss = broken
    try:
        run(gan=gan)
    except Diverged as error:
        return str(error)
    return ""


def refused_on_the_second_worker(step):
    """Only worker 1's device is refused: another process fills it, or it is an older one. Both must end."""

    def refused(*_):
        raise ConfigError(f"{step} refuses this device")

    with pytest.MonkeyPatch.context() as patched:
        if torch.distributed.get_rank() == 1:
            patched.setattr(f"gansweep.training.loop.{step}", refused)
        try:
            run(CONFIG)
        except ConfigError as error:
            return str(error)
    return ""


def worker():
    refusals = tuple(refused_on_the_second_worker(step) for step in ("check_precision", "placed"))
    return whole_run(), unequal_batch(), nan_on_the_second_worker(), refusals


@pytest.fixture(scope="module")
def workers():
    return run_workers(worker)


def test_two_workers_train_the_generator_of_one(workers):
    alone, reports_alone = whole_run()
    ((first, reports_first), *_), ((second, reports_second), *_) = workers
    assert reports_first == reports_second
    assert first["images_seen"] == alone["images_seen"]
    for part in ("networks", "ema"):
        for network, tensors in alone[part].items():
            for name, tensor in tensors.items():
                assert torch.equal(first[part][network][name], second[part][network][name])
                torch.testing.assert_close(first[part][network][name], tensor, rtol=1e-7, atol=1e-9)
    for (losses, scores), (expected, expected_scores) in zip(reports_first, reports_alone, strict=True):
        # Each worker looks for a dead critic in its own share, so the spread alone is not that of the whole batch.
        del losses["critic_spread"], expected["critic_spread"]
        assert losses == pytest.approx(expected, rel=1e-7)
        assert scores == pytest.approx(expected_scores, rel=1e-5)


def test_workers_decide_alike(workers):
    (_, refused, diverged, devices), (_, *other) = workers
    assert other == [refused, diverged, devices]
    assert devices == ("check_precision refuses this device", "placed refuses this device")
    assert "batch_size = 7 is not divisible by 2 workers; choose a multiple of 2, or" in refused
    assert "non-finite" in diverged


def test_fewer_iterations_than_reports():
    with pytest.raises(ConfigError, match="less than the 4 reports"):
        run(CONFIG.derive({"iterations": 3}))


class OneScore(nn.Module):
    """A generator of one image for whatever noise, against a critic that says the same to whatever image."""

    averaged = ("generator",)
    phases = (Phase("critic", ("critic",), "critic"), Phase("generator", ("generator",), "generator"))

    def __init__(self, *, spread, noise=1.0, factor=1.0):
        super().__init__()
        self.networks = {"critic": nn.Linear(1, 1), "generator": nn.Linear(1, 256)}
        self.state = nn.Module()
        self.spread = spread
        self.noise = noise
        self.factor = factor

    def loss(self, phase: str, batch: Batch, step: int):
        del step
        x = batch.draws.normal(1)
        log = {"critic_spread": torch.tensor(self.spread)} if phase == "critic" else {}
        return self.factor * self.networks[phase](x).square().mean(), log

    def sample(self, n, condition, generator):
        del condition
        noise = self.noise * torch.randn(n, 1, generator=generator)
        return self.networks["generator"](noise).tanh().view(n, 1, 16, 16)


@pytest.mark.parametrize(
    ("gan", "reason"),
    [
        ({"spread": 1.0, "factor": float("nan")}, "non-finite loss"),
        ({"spread": 1.0, "factor": float("inf")}, "non-finite loss"),
        ({"spread": 1e-9}, "dead critic"),
        ({"spread": 1.0, "noise": 0.0}, "collapsed samples"),
    ],
)
def test_divergence_ends_the_trial_with_its_reason(gan, reason):
    with pytest.raises(Diverged, match=reason):
        run(gan=OneScore(**gan))


def test_a_healthy_one_goes_on():
    assert len(run(gan=OneScore(spread=1.0)).reports) == 4


def test_no_gradient_for_long_is_death():
    with pytest.raises(Diverged, match="dead critic: no gradient from iteration 100 to 300"):
        run(CONFIG.derive({"iterations": 400}), gan=OneScore(spread=1.0, factor=0.0), reports=1)


@pytest.mark.usefixtures("_often")
def test_a_lazy_penalty_whose_constraint_holds_is_no_death():
    """Spectral normalisation keeps the slope below one, and a one-sided penalty then says nothing."""
    # An interval with which the penalty is among the updates that are looked at, at iterations 10 and 40.
    satisfied = {"kind": "gradient_penalty", "one_sided": True, "norm": "linf", "interval": 3}
    changes = {"iterations": 60, "architecture.critic_norm": "spectral", "penalty": satisfied, "n_critic": 1}
    reporter = run(CONFIG.derive(changes), reports=1)
    assert reporter.reports[-1].losses["penalty_loss"] == 0.0


def test_a_dead_critic_of_the_real_family_is_seen():
    gan = build_gan(CONFIG, SPEC, TRAINABLES)
    for parameter in gan.networks["critic"].parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(Diverged, match="dead critic"):
        run(CONFIG.derive({"lr_d": 1e-12}), gan=gan)


def test_clipping_bounds_the_critic_alone():
    config = CONFIG.derive({"penalty.kind": "none", "loss.clip": 0.01})
    networks = run(config).state["networks"]
    assert max(float(weights.abs().max()) for weights in networks["critic"].values()) <= 0.01 + 1e-9
    assert max(float(weights.abs().max()) for weights in networks["generator"].values()) > 0.02


def test_average_follows_its_formula():
    # Four iterations, each with its checkpoint: average <- kept * average + (1 - kept) * weights.
    states = []

    class Every(MemoryReporter):
        def checkpoint(self, state):
            states.append(state)
            super().checkpoint(state)

    config = CONFIG.derive({"iterations": 4, "ema_half_life": 0.01})
    expected = build_gan(config, SPEC, TRAINABLES).networks["generator"].state_dict()["start.weight"].clone()
    run(config, reporter=Every(), reports=4)
    for state in states:
        kept = decay(0.01, 6, 6 * state["iteration"])
        expected = kept * expected + (1 - kept) * state["networks"]["generator"]["start.weight"]
        torch.testing.assert_close(state["ema"]["generator"]["start.weight"], expected)
        running = "start_norm.running_mean"
        assert torch.equal(state["ema"]["generator"][running], state["networks"]["generator"][running])


def test_half_life_means_what_it_says():
    # After ramp-up, half the weight is left after 2,000 images; ramp-up shortens it to 5 % of the images seen.
    assert decay(2.0, 20, 10**6) ** 100 == pytest.approx(0.5)
    assert decay(2.0, 20, 10_000) ** 25 == pytest.approx(0.5)
    assert decay(0.0, 20, 10_000) == 0.0


class Transposed(nn.Module):
    """A loss whose gradient comes with transposed strides: each weight is drawn to its own target."""

    averaged = ("net",)
    phases = (Phase("generator", ("net",), "generator"),)

    def __init__(self):
        super().__init__()
        self.networks, self.state = {"net": nn.Linear(256, 3, bias=False)}, nn.Module()
        self.target = torch.randn(3, 256, generator=torch.Generator().manual_seed(0))

    def loss(self, phase: str, batch: Batch, step: int):
        del phase, batch, step
        return (self.networks["net"].weight.t() - self.target.t()).square().mean(), {}

    def sample(self, n, condition, generator):
        del condition
        return torch.rand(n, 1, 16, 16, generator=generator)


def test_gradients_of_any_layout_reach_their_own_weights():
    gan = Transposed()
    run(CONFIG.derive({"iterations": 100, "lr_g": 0.1, "beta1": 0.9, "beta2": 0.999}), gan=gan)
    assert (gan.networks["net"].weight - gan.target).abs().max() < 0.3
