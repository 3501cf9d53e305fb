"""Interfaces between the packages: images as input, GANs, scores as output.

This module contains only shapes and protocols. Heavy packages are imported for type checking only, so that the command
line starts without them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

# Authors of trainables find every contract here, those of a trial's reports too.
from gansweep.progress import Interim, Progress, Report, Reporter

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
    "StartsFromImages",
    "StepRandom",
    "Trainables",
]

Scalars = Mapping[str, "Tensor"]
"""Zero-dimensional tensors that a loss reports (detached, and kept on the device until the next report)."""

Role = Literal["critic", "generator"]
"""Learning rate of a phase: `lr_d` for the critic or `lr_g` for the generator."""


@dataclass(frozen=True)
class ImageSpec:
    """Shape of a cohort's images.

    Args:
        size: height and width in pixels.
        channels: number of image channels (1 grey, 3 RGB, 2 for two intensity windows).
        classes: class names in label order; label i is `classes[i]`.
        mask_channels: 1 if the cohort has masks, else 0.
        paired_channels: number of channels of the paired images, 0 if the cohort has none.
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
        images: images `[N, C, H, W]` float32 in [-1, 1].
        labels: labels `[N]` int64, indices into the cohort's classes.
        masks: masks `[N, 1, H, W]` float32 in {0, 1}, or None.
        patients: salted patient hashes `[N]` (no identity).
        paired: paired image of the other modality (MR for CT) for each image, `[N, C, H, W]` in [-1, 1], or None.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None
    patients: tuple[str, ...] = ()
    paired: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> ImageSet:
        """Returns the same set with its tensors on `device`."""
        masks = None if self.masks is None else self.masks.to(device)
        paired = None if self.paired is None else self.paired.to(device)
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), masks=masks, paired=paired)


class StepRandom(Protocol):
    """Random numbers of one phase of one step.

    Every draw makes the numbers of the *global* batch from (seed, iteration, phase) and keeps this worker's rows. W
    workers with B/W images therefore compute the same as one worker with B images, and a resumed run neither repeats
    nor skips numbers.
    """

    def normal(self, *shape: int) -> Tensor:
        """Draws standard normal numbers, `[b, *shape]` for the b images of this worker."""

    def uniform(self, *shape: int) -> Tensor:
        """Draws uniform numbers in [0, 1), `[b, *shape]`."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draws integers in [0, high), `[b, *shape]` int64."""


@dataclass(frozen=True)
class Batch:
    """This worker's part of one step's real images, with the step's random numbers.

    Args:
        images: images `[b, C, H, W]` in [-1, 1].
        labels: labels `[b]` int64.
        masks: masks `[b, 1, H, W]` in {0, 1}, or None.
        draws: random numbers of the step.
        total: number of images in the global batch (b times the number of workers).
        paired: images of the other modality that belong to `images`, `[b, C, H, W]`, or None.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    draws: StepRandom
    total: int
    paired: Tensor | None = None


@dataclass(frozen=True)
class Condition:
    """Requested content of samples. A Gan ignores what it does not use.

    Args:
        labels: requested classes `[n]` int64.
        sources: real *training* images `[n, C, H, W]` to translate, to fuse (both, stacked) or to paint into, or None.
        masks: requested lesion masks `[n, 1, H, W]`, or None.
    """

    labels: Tensor
    sources: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class Phase:
    """One kind of update in an iteration.

    Args:
        name: name of the phase, passed to `Gan.loss`.
        updates: keys of the `Gan.networks` whose parameters this phase updates. Others get no gradients.
        role: role whose learning rate the phase uses.
        repeats: number of turns per iteration, each with a new batch (the critic's n_critic).
        interval: only every `interval`-th of these turns is taken, counted over the whole run (lazy regularisation).
            With one turn per iteration, that is every `interval`-th iteration.
        start, stop: fractions of the budget between which the phase is active (stop excluded).
        stratified: whether image r of its batches is of class r mod K, for K classes, with a separate order of each
            class (for translation between classes and for rare classes). The batch size must then be a multiple of K
            times the number of workers.
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
    """Networks and mathematics of a family. It owns no optimiser and does not know about workers.

    It is constructed as `family(config, spec, trainables)`. Parameters are initialised with the caller's torch seed.
    """

    networks: Mapping[str, nn.Module]
    phases: Sequence[Phase]
    averaged: Sequence[str]
    """Keys of the `networks` that `sample` uses. The loop keeps moving averages (EMA) of these."""
    state: nn.Module
    """State that checkpoints must contain in addition to weights, such as an adaptive lambda or ADA's probability.

    It has only buffers, computed from means over all workers, so that every worker has the same numbers. Use an empty
    `nn.Module()` if there is no state. Anything below a child named `history`, such as earlier images, is only for
    training and is never exported.
    """

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the scalar to minimise in `phase` at generator iteration `step`, and its log.

        The scalar is a mean over the b images. If the log has `critic_spread` (standard deviation of the critic's
        scores over real and fake images, relative to their size), the loop can detect a dead critic.

        On a GPU this may run once and then be replayed as a CUDA graph, with other images and random numbers in the
        same memory. It must therefore not read numbers on the device, and what depends on `step` needs `Scheduled`.
        State that one phase passes to another belongs in buffers, updated in place.
        """

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """Returns images `[n, C (+ mask_channels for joint families), H, W]` in [-1, 1], on the networks' device.

        The networks are in evaluation mode. All randomness comes from `generator`, which is on the same device.
        """


class GanFamily(Protocol):
    """Entry of `Trainables.gans`: a Gan class that declares its own parameters."""

    Architecture: ClassVar[type[BaseModel]]
    """Frozen pydantic model (unknown keys refused) that parses `TrialConfig.architecture`."""
    smallest: ClassVar[Mapping[str, bool | int | float | str]]
    """Architecture parameters of the smallest networks that still have all functions. Contract tests train these."""

    def __call__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> Gan:
        """Builds the networks."""

    def check(self, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Raises ConfigError, with the reason, for an impossible combination. `spec` is None if it is not known yet."""


@runtime_checkable
class Scheduled(Protocol):
    """A Gan whose loss changes with the step: a resolution that fades in, a weight that is annealed."""

    def schedule(self, step: int) -> Hashable:
        """Fills buffers with the numbers of generator iteration `step` (`gansweep.devices.set_number`).

        `loss` begins with it, and reads the buffers. A captured step cannot receive its numbers in any other way.

        Returns:
            What else of `step` the loss depends on, such as the resolution: each value gets a graph of its own.
        """


@runtime_checkable
class ChoosesConditions(Protocol):
    """A Gan that itself chooses what its samples start from, such as the scan to paint a lesion into."""

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Returns a full condition for the requested `labels` `[n]`, from the training images `data`."""


@runtime_checkable
class FreezableCritic(Protocol):
    """A critic, one of `Gan.networks`, whose blocks next to the image can be frozen (`--freeze-critic`)."""

    def blocks_from_image(self) -> Sequence[Iterable[nn.Module]]:
        """Returns the modules of each block, in the order of computation. Those after the last block are left out."""


@runtime_checkable
class MakesSomeClasses(Protocol):
    """A family whose samples belong to only some classes.

    A painter of lesions, for example, makes no healthy images.
    """

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Returns the labels of its samples. Empty if it is unconditional and the class of a sample is unknown."""


@dataclass(frozen=True)
class PairedTask:
    """Inputs of an image-to-image family with known correct outputs.

    Args:
        sources: value of `Condition.sources`, `[n, ?, H, W]`.
        targets: one target per output, or two targets that the output should combine; `[n, C, H, W]` each.
        baseline: output that needs no model, `[n, C, H, W]`: the source itself, its interpolation, or a pixel rule.
    """

    sources: Tensor
    targets: tuple[Tensor, ...]
    baseline: Tensor


@runtime_checkable
class AnswersPairs(Protocol):
    """A family that can be evaluated on held-out images."""

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """Returns the task for `data`; None if there is no correct output (translation between unpaired classes)."""


@runtime_checkable
class FitsBatches(Protocol):
    """A detector that is not trained by gradients.

    What its `state_dict` holds restores it. Its random numbers are torch's own, which the caller has seeded.
    """

    def fit_batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Fits images `[b, C, H, W]` to labels `[b]` or class probabilities `[b, classes]`."""


@dataclass(frozen=True)
class Trainables:
    """Registries that a search can choose from. Extend them with `replace(TRAINABLES, gans={**GANS, "mine": Mine})`."""

    gans: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, Any] = field(default_factory=dict)
    penalties: Mapping[str, Any] = field(default_factory=dict)
    augmentations: Mapping[str, Any] = field(default_factory=dict)
    conditionings: Mapping[str, Any] = field(default_factory=dict)
    attentions: Mapping[str, Any] = field(default_factory=dict)
    detectors: Mapping[str, Any] = field(default_factory=dict)
    segmenters: Mapping[str, Any] = field(default_factory=dict)

    def classes_made(self, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Returns the labels that samples of `config`'s family can be requested with.

        All, unless the family declares otherwise.

        All are returned also if its samples have no label (`classes_labelled`), because it ignores the request.
        """
        return self.classes_labelled(config, spec) or tuple(range(len(spec.classes)))

    def classes_labelled(self, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Returns the classes that samples of `config`'s family are known to have; () if a sample's class is unknown.

        Such samples can be compared with real images, but a classifier trained on them would learn random labels.
        """
        family = self.gans.get(config.family)
        return family.makes(config, spec) if isinstance(family, MakesSomeClasses) else tuple(range(len(spec.classes)))


Sampler = Callable[[Condition, int], "Tensor"]
"""(condition, seed) -> images `[n, C, H, W]` float32 in [-1, 1] on the CPU, from the averaged (EMA) generator."""


@runtime_checkable
class StartsFromImages(Protocol):
    """A `Sampler` that can begin with other real images than the training images."""

    def starting_from(self, data: ImageSet) -> Sampler:
        """Returns a sampler of the same generator whose missing sources and masks are chosen from `data`."""


Score = Callable[[Sampler, int], Mapping[str, float]]
"""(sampler, generator iteration) -> named scores. Called on every worker; each gets the same numbers."""
