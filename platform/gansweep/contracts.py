"""What the rooms promise each other: images in, GANs in between, scores out.

Only shapes and protocols live here. Heavy packages are imported for type checkers alone, so that the command line
starts without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from torch import Tensor, nn

    from gansweep.config import TrialConfig

__all__ = [
    "AnswersPairs",
    "Batch",
    "ChoosesConditions",
    "Condition",
    "FitsBatches",
    "Gan",
    "GanFamily",
    "ImageSet",
    "ImageSpec",
    "Interim",
    "MakesSomeClasses",
    "PairedTask",
    "Phase",
    "Progress",
    "Report",
    "Reporter",
    "Role",
    "Sampler",
    "Scalars",
    "Scheduled",
    "Score",
    "StepRandom",
    "Trainables",
]

Scalars = Mapping[str, "Tensor"]
"""Zero-dimensional tensors a loss reports (detached, left on the device until the next report)."""

Role = Literal["critic", "generator"]
"""Whose learning rate a phase uses: `lr_d` or `lr_g`."""


@dataclass(frozen=True)
class ImageSpec:
    """The shape of a cohort's images.

    Args:
        size: height and width, in pixels.
        channels: image channels (1 grey, 3 RGB, 2 for two intensity windows).
        classes: class names in label order; label i is `classes[i]`.
        mask_channels: 1 where the cohort has masks, else 0.
        paired_channels: channels of the paired images, 0 where the cohort has none.
        positive: label of the class with the disease; -1 for the last.
    """

    size: int
    channels: int
    classes: tuple[str, ...]
    mask_channels: int = 0
    paired_channels: int = 0
    positive: int = -1


@dataclass(frozen=True)
class ImageSet:
    """Some images of a cohort.

    Those that a GPU trains on may be stored in 8 or 16 bits, on the GPU or in a file: rows of them are tensors, as
    described here, and nothing but rows can be asked for.

    Args:
        images: `[N, C, H, W]` float32 in [-1, 1].
        labels: `[N]` int64, indices into the cohort's classes.
        masks: `[N, 1, H, W]` float32 in {0, 1}, or None.
        patients: `[N]` salted patient hashes (no identity).
        paired: `[N, C, H, W]` the image of the other kind that belongs to each (MR to CT), in [-1, 1], or None.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None
    patients: tuple[str, ...] = ()
    paired: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> ImageSet:
        """The same set with its tensors on `device`."""
        masks = None if self.masks is None else self.masks.to(device)
        paired = None if self.paired is None else self.paired.to(device)
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), masks=masks, paired=paired)


class StepRandom(Protocol):
    """The random numbers of one phase of one step.

    Every draw makes the numbers of the *global* batch from (seed, iteration, phase) and keeps this worker's rows, so
    that W workers on B/W images compute what one worker computes on B images, and a resumed run repeats nothing and
    skips nothing.
    """

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, `[b, *shape]` for the b images of this worker."""

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), `[b, *shape]`."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high), `[b, *shape]` int64."""


@dataclass(frozen=True)
class Batch:
    """This worker's share of one step's real images, with the step's random numbers.

    Args:
        images: `[b, C, H, W]` in [-1, 1].
        labels: `[b]` int64.
        masks: `[b, 1, H, W]` in {0, 1}, or None.
        draws: the step's random numbers.
        total: images in the global batch (b times the number of workers).
        paired: `[b, C, H, W]` the images of the other kind that belong to `images`, or None.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    draws: StepRandom
    total: int
    paired: Tensor | None = None


@dataclass(frozen=True)
class Condition:
    """What a sample is asked to be; a Gan ignores what it has no use for.

    Args:
        labels: `[n]` int64 wanted classes.
        sources: `[n, C, H, W]` real *training* images to translate, to fuse (both, stacked) or to paint into, or None.
        masks: `[n, 1, H, W]` wanted lesion masks, or None.
    """

    labels: Tensor
    sources: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class Phase:
    """One kind of update in an iteration.

    Args:
        name: handed back to `Gan.loss`.
        updates: keys of `Gan.networks` whose parameters this phase changes; no others get gradients.
        role: whose learning rate it uses.
        repeats: turns per iteration, each on a fresh batch (the critic's n_critic).
        interval: of these turns, counted through the whole run, only every `interval`-th is taken (lazy
            regularisation); with one turn per iteration that is every `interval`-th iteration.
        start, stop: fractions of the budget between which it takes place (stop excluded).
        stratified: image r of its batches is of class r mod K, for K classes, each class gone through by itself
            (translation between classes, rare classes); the batch size must be a multiple of K times the workers.
    """

    name: str
    updates: tuple[str, ...]
    role: Role
    repeats: int = 1
    interval: int = 1
    start: float = 0.0
    stop: float = 1.0
    stratified: bool = False


class Gan(Protocol):
    """A family's networks and mathematics. It owns no optimiser and knows nothing of workers.

    Constructed as `family(config, spec, trainables)`; parameters are initialised under the caller's torch seed.
    """

    networks: Mapping[str, nn.Module]
    phases: Sequence[Phase]
    averaged: Sequence[str]
    """Keys of `networks` that `sample` uses: the loop keeps moving averages (EMA) of these."""
    state: nn.Module
    """What must survive a checkpoint and is no weight (an adaptive lambda, ADA's probability): buffers only, computed
    from means over all workers so that every worker holds the same numbers. An empty `nn.Module()` where unused. What
    is below a child named `history` (earlier images, say) serves training alone: no export holds it."""

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The scalar to minimise in `phase` at generator iteration `step` (a mean over the b images), and its log.

        A logged `critic_spread` (standard deviation of the critic's scores over real and fake images, relative to
        their size) lets the loop tell a dead critic.

        On a GPU this may run once and then be replayed as a CUDA graph, with other images and random numbers in the
        same memory: it must not look at numbers on the device, and what depends on `step` needs `Scheduled`. What one
        phase leaves to another belongs in buffers, filled in place.
        """

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C (+ mask_channels for joint families), H, W]` images in [-1, 1], on the networks' device.

        The networks are in evaluation mode; all randomness comes from `generator`, which lives on that device.
        """


class GanFamily(Protocol):
    """What `Trainables.gans` holds: a Gan class with the declaration of its own parameters."""

    Architecture: ClassVar[type[BaseModel]]
    """Frozen pydantic model (unknown keys refused) that `TrialConfig.architecture` is read with."""
    smallest: ClassVar[Mapping[str, bool | int | float | str]]
    """Architecture parameters of the smallest networks that still do everything: contract tests train these."""

    def __call__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> Gan:
        """Builds the networks."""

    def check(self, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Raises ConfigError, with the reason, for a combination that makes no sense; `spec` None: unknown yet."""


@runtime_checkable
class Scheduled(Protocol):
    """A Gan whose loss changes with the step: a resolution that fades in, a weight that is annealed."""

    def schedule(self, step: int) -> Hashable:
        """Fills buffers with the numbers of generator iteration `step` (`gansweep.devices.set_number`).

        `loss` begins with it, and reads the buffers. A captured step is told its numbers in no other way.

        Returns:
            What else of `step` the loss depends on, such as the resolution: each value gets a graph of its own.
        """


@runtime_checkable
class ChoosesConditions(Protocol):
    """A Gan that decides itself what its samples start from (which scan a lesion is painted into, say)."""

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """A full condition for the wanted `labels` `[n]`, from the training images `data`."""


@runtime_checkable
class MakesSomeClasses(Protocol):
    """A family whose samples are of some classes only (a painter of lesions has no healthy images of its own)."""

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """The labels of its samples. None at all: it is told no class, and nobody knows which a sample is of."""


@dataclass(frozen=True)
class PairedTask:
    """Questions to an image-to-image family whose right answers are known.

    Args:
        sources: `[n, ?, H, W]` what `Condition.sources` is to be.
        targets: `[n, C, H, W]` each: the one image that an answer should be, or the two that it should unite.
        baseline: `[n, C, H, W]` the answer that takes no model: the source itself, its interpolation, a pixel rule.
    """

    sources: Tensor
    targets: tuple[Tensor, ...]
    baseline: Tensor


@runtime_checkable
class AnswersPairs(Protocol):
    """A family that can be examined on held-out images."""

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """What to ask about `data`; None where there is no right answer (translation between unpaired classes)."""


@runtime_checkable
class FitsBatches(Protocol):
    """A detector that is not trained by gradients.

    What its `state_dict` holds restores it. Its random numbers are torch's own, which the caller has seeded.
    """

    def fit_batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Fits images `[b, C, H, W]` to labels `[b]` or class probabilities `[b, classes]`."""


@dataclass(frozen=True)
class Trainables:
    """What a search can choose from. Extend it for your own: `replace(TRAINABLES, gans={**GANS, "mine": Mine})`."""

    gans: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, Any] = field(default_factory=dict)
    penalties: Mapping[str, Any] = field(default_factory=dict)
    augmentations: Mapping[str, Any] = field(default_factory=dict)
    conditionings: Mapping[str, Any] = field(default_factory=dict)
    attentions: Mapping[str, Any] = field(default_factory=dict)
    detectors: Mapping[str, Any] = field(default_factory=dict)
    segmenters: Mapping[str, Any] = field(default_factory=dict)

    def classes_made(self, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """The labels that samples of `config`'s family may be asked for: all, unless it says otherwise.

        All too where its samples have no label (`classes_labelled`): it does not hear what it is asked for.
        """
        return self.classes_labelled(config, spec) or tuple(range(len(spec.classes)))

    def classes_labelled(self, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """The classes of which samples of `config`'s family are known to be; () where a sample's class is not known.

        Such samples can be compared with real images; a classifier that learned from them would learn from labels drawn
        by lot.
        """
        family = self.gans.get(config.family)
        return family.makes(config, spec) if isinstance(family, MakesSomeClasses) else tuple(range(len(spec.classes)))


Sampler = Callable[[Condition, int], "Tensor"]
"""(condition, seed) -> images `[n, C, H, W]` in [-1, 1] on the CPU, float32, from the averaged (EMA) generator."""

Score = Callable[[Sampler, int], Mapping[str, float]]
"""(sampler, generator iteration) -> named scores. Called on every worker; each gets the same numbers back."""


@dataclass(frozen=True)
class Progress:
    """One report of a trial.

    Args:
        index: 0 for the first report.
        final: whether the budget is used up.
        iteration: generator iterations done.
        images_seen: real images shown to the critic so far, over all workers.
        losses: means since the last report.
        scores: objectives and other scores; every report has all objectives.
        seconds_training: spent training since the trial (or its resumption) began.
        seconds_scoring: spent scoring, likewise.
        execution: how the steps ran last: `captured` as CUDA graphs, or `eager`.
        execution_reason: why they ran eagerly; empty if they did not.
        images_on: where the training images were: `device` or `host`.
    """

    index: int
    final: bool
    iteration: int
    images_seen: int
    losses: Mapping[str, float]
    scores: Mapping[str, float]
    seconds_training: float
    seconds_scoring: float
    execution: str = ""
    execution_reason: str = ""
    images_on: str = ""


@dataclass(frozen=True)
class Interim:
    """Where a trial is between two reports.

    Args:
        iteration: generator iterations done.
        iterations: the trial's budget.
        losses: means since the last report.
        images_per_second: real images shown to the critic, over all workers, since the last interim.
        seconds_left: until the trial has used its budget, at the pace so far; scores are counted once one was computed.
    """

    iteration: int
    iterations: int
    losses: Mapping[str, float]
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Report:
    """One report of a trial as it travels from the training loop to the leaderboard.

    Args:
        progress: what the loop tells.
        fid_features: name and hash of the feature extractor behind `fid` and `kid`; empty where nothing was scored.
    """

    progress: Progress
    fid_features: str = ""

    def undefined(self, objectives: Iterable[str]) -> list[str]:
        """The objectives that have no finite value."""
        scores = self.progress.scores
        return [name for name in objectives if not math.isfinite(scores.get(name, math.nan))]


@runtime_checkable
class Reporter(Protocol):
    """Where the training loop tells of its progress and keeps its state. Ray, a test and production each have one."""

    def restore(self) -> dict[str, Any] | None:
        """The state of the last checkpoint (tensors on the CPU), or None. Called on every worker."""

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Keeps `state`, whole or not at all. Called on the first worker alone; on a GPU by a thread of its own.

        A reporter with the attribute `every_worker = True` is called on every worker.
        """

    def reported(self) -> int:
        """How many reports of this trial have been received, so that a resumed trial repeats none."""

    def interim(self, interim: Interim) -> None:
        """Tells where the trial is. Only the first worker calls it, and it must not wait for the others."""

    def report(self, progress: Progress) -> bool:
        """Tells of progress; False: stop now. Every worker calls it and gets the same answer."""
