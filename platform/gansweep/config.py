"""The values a user sets: one trial's configuration, and how trials are scored and stopped.

All models are frozen and validated, and refuse unknown keys. A dict exists only between Ray Tune and `TrialConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gansweep.errors import ConfigError

__all__ = [
    "AugmentationSettings",
    "Constraint",
    "DataView",
    "Frozen",
    "LossSettings",
    "Objective",
    "PenaltySettings",
    "SamplerName",
    "SchedulerName",
    "SchedulerSettings",
    "ScoringSettings",
    "TrialConfig",
    "first_fault",
    "validated",
    "with_dotted",
]


Model = TypeVar("Model", bound=BaseModel)

SamplerName = Literal["tpe", "gp", "cma-es", "nsga-ii", "nsga-iii", "qmc", "random", "grid", "nsga2"]
"""How trials are proposed. `nsga2` is an older name of `nsga-ii`."""

SchedulerName = Literal["asha", "hyperband", "median", "mo-asha", "asha-any", "none"]
"""How trials are stopped early."""


class Frozen(BaseModel):
    """A value: immutable, unknown keys refused, aliases accepted by either name."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )


class DataView(Frozen):
    """Which part of the cohort's images a trial sees, and how large.

    Args:
        size: pixels; None keeps the cohort's size.
        crop: central fraction of the height and width kept before resizing.
    """

    size: int | None = Field(None, ge=8, le=1024)
    crop: float = Field(1.0, gt=0.1, le=1.0)


class LossSettings(Frozen):
    """The adversarial loss and what is added to it.

    Args:
        kind: a key of `LOSSES`.
        label_smoothing: one-sided smoothing of the real target, where the loss has targets.
        feature_matching: weight of the feature-matching term in the generator's loss.
        auxiliary: weight of the auxiliary classifier's cross-entropy (conditioning "auxiliary").
        clip: weight-clipping bound of the original WGAN; None for none.
    """

    kind: str = "wasserstein"
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    feature_matching: float = Field(0.0, ge=0.0)
    auxiliary: float = Field(1.0, ge=0.0)
    clip: float | None = Field(None, gt=0.0)


class PenaltySettings(Frozen):
    """The critic's regulariser.

    Args:
        kind: a key of `PENALTIES`.
        lambda_: its weight (`lambda` in files and on the command line).
        interval: apply it in every `interval`-th critic step, scaled by `interval`.
        interpolation: where the gradient is taken, for the gradient penalty.
        norm: the gradient's norm.
        one_sided: penalise only norms above the target.
        target: the gradient norm aimed at.
        layer: where the gradient is taken, for the gradient penalty: 0 at the image, k at the output of the critic's
            k-th block, which leaves the blocks before it free.
        adaptive: how lambda changes: not, with the gradient norms seen, or with progress.
    """

    kind: str = "gradient_penalty"
    lambda_: float = Field(10.0, ge=0.0, le=1e4, alias="lambda")
    interval: int = Field(1, ge=1, le=64)
    interpolation: Literal["uniform", "convex", "real_real", "local"] = "uniform"
    norm: Literal["l1", "l2", "linf"] = "l2"
    one_sided: bool = False
    target: float = Field(1.0, ge=0.0)
    layer: int = Field(0, ge=0, le=8)
    adaptive: Literal["none", "norm", "progress"] = "none"


class AugmentationSettings(Frozen):
    """Differentiable augmentation of what the critic sees.

    Args:
        kind: a key of `AUGMENTATIONS`.
        policy: operations applied; `intensity` is left out by default because Hounsfield units carry meaning.
        probability: of each operation; for adaptive kinds, which start at 0, what it may rise to.
    """

    kind: str = "none"
    policy: tuple[Literal["flip", "translation", "cutout", "rotation", "intensity"], ...] = ("flip", "translation")
    probability: float = Field(1.0, ge=0.0, le=1.0)


class TrialConfig(Frozen):
    """Everything one trial depends on. Two trials with equal configurations and cohorts give equal results on a CPU.

    Args:
        family: a key of `GANS`.
        architecture: the family's own parameters, read with its `Architecture`.
        conditioning: a key of `CONDITIONINGS`.
        attention: a key of `ATTENTIONS`.
        lr_d, lr_g: Adam learning rates of the critic and of the generator (two time-scales, Heusel et al. 2017).
        beta1, beta2: Adam's decay rates.
        n_critic: critic updates per generator update.
        batch_size: images per critic update over all workers.
        ema_half_life: images (in thousands) after which a generator's weight counts half in the average; 0 for none.
        precision: arithmetic of losses. `tf32` is for convolutions and matrix products on a GPU, `bfloat16` for forward
            passes. Penalties and features are always computed in float32, without TF32.
        execution: how steps run on a GPU. `captured`: as CUDA graphs; `eager`: kernel by kernel; `auto`: captured where
            the graphs compute what the eager code computes, else eagerly. Each row says which, and why eagerly.
        images_on: where the training images are while a GPU trains: on the `device`, as they are stored (8 or 16 bits a
            pixel), or on the `host`, from where batches are sent; `auto`: on the device if there is room. It changes no
            number. Each row says which it was.
        iterations: the budget, in generator updates.
        seed: of initialisation, batches and noise.
        synthetic_ratio: synthetic images per real one in the detector's training batches.
        sample_filter: which samples the detector may see: all; those a detector trained on real images agrees with; or
            half of each class, those it is least sure of, or those in the densest places of real features.
    """

    data: DataView = DataView()
    family: str = "dcgan"
    architecture: dict[str, bool | int | float | str] = {}
    conditioning: str = "concat"
    attention: str = "none"
    loss: LossSettings = LossSettings()
    penalty: PenaltySettings = PenaltySettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    lr_d: float = Field(2e-4, gt=0.0, le=1.0)
    lr_g: float = Field(1e-3, gt=0.0, le=1.0)
    beta1: float = Field(0.0, ge=0.0, lt=1.0)
    beta2: float = Field(0.9, ge=0.0, lt=1.0)
    n_critic: int = Field(5, ge=1, le=100)
    batch_size: int = Field(64, ge=2)
    ema_half_life: float = Field(0.5, ge=0.0)
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    execution: Literal["auto", "eager", "captured"] = "auto"
    images_on: Literal["auto", "device", "host"] = "auto"
    iterations: int = Field(10_000, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)
    synthetic_ratio: float = Field(0.5, ge=0.0, le=8.0)
    sample_filter: Literal["none", "detector_agrees", "uncertain", "dense"] = "none"

    def derive(self, changes: Mapping[str, Any]) -> TrialConfig:
        """A copy with dotted keys changed: `derive({"penalty.lambda": 5.0, "architecture.width": 64})`.

        Raises:
            ConfigError: an unknown key or a value out of range, with the allowed values.
        """
        return validated(TrialConfig, with_dotted(self.as_dict(), changes), where="trial configuration")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, nested, with `lambda` under its own name."""
        return self.model_dump(mode="json", by_alias=True)


class Objective(Frozen):
    """One score the search drives at."""

    name: str
    direction: Literal["minimize", "maximize"]


class Constraint(Frozen):
    """A bound that samplers learn to keep: they prefer trials within it, whatever their objectives.

    Args:
        score: a score of a trial's reports, or `seconds_per_iteration` of its training.
        at_most: the largest value within the bound.
        at_least: the smallest; one of the two is given.
    """

    score: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give either at_most or at_least")
        return self

    def excess(self, values: Mapping[str, float]) -> float:
        """How far values are beyond the bound, in units of the bound (of 1, where it is 0); not above 0 within it.

        A trial that lacks the score counts as beyond: nobody knows that it keeps the bound.
        """
        value = values.get(self.score, math.nan)
        if not math.isfinite(value):
            return 1.0
        bound = self.at_most if self.at_most is not None else self.at_least
        assert bound is not None
        beyond = value - bound if self.at_most is not None else bound - value
        return beyond / (abs(bound) or 1.0)


class SchedulerSettings(Frozen):
    """When a trial is stopped before its budget is used.

    Args:
        kind: `asha` (Li et al. 2020), `hyperband` (its brackets, asynchronously) and `median` (Golovin et al. 2017) go
            by one objective. `mo-asha` (Schmucker et al. 2021) goes by the non-dominated rank of all, and `asha-any`
            stops a trial that is among the best in no objective. Or `none`.
        metric: the objective that the first three rank trials by.
        grace: reports every trial gets.
        reduction_factor: one in so many goes on at each rung.
    """

    kind: SchedulerName = "asha"
    metric: str = "fid"
    grace: int = Field(1, ge=1)
    reduction_factor: int = Field(3, ge=2)


class ScoringSettings(Frozen):
    """How a trial is scored.

    Args:
        samples: synthetic images drawn for FID and KID.
        features: a TorchScript file to extract features with; None: the cohort's own encoder.
        encoder_steps: updates the cohort's own encoder is trained for.
        detector: a key of `DETECTORS`.
        detector_features: a TorchScript file, for detectors that learn on its features (`linear_head`, `forest_head`).
        detector_steps: updates of each detector, the same in every arm. With fewer, a detector of few patients lacks
            training rather than images, and good samples show no gain.
        detector_batch: images per update, the same in every arm.
        detector_seeds: detectors (and segmenters) trained per arm; scores are their means.
        detector_augmentation: of the training images of every detector, real and synthetic.
        synthetic_use: how detectors use synthetic images, with as many updates and synthetic images each: mixed into
            every batch, before the real ones (pretraining), or fewer and fewer of them.
        segmenter: a key of `SEGMENTERS`, trained where a family draws masks.
        segmenter_steps: updates of each segmenter; 0: none is trained.
    """

    samples: int = Field(512, ge=2)
    features: str | None = None
    encoder_steps: int = Field(600, ge=1)
    detector: str = "small_cnn"
    detector_features: str | None = None
    detector_steps: int = Field(1200, ge=1)
    detector_batch: int = Field(32, ge=2)
    detector_seeds: int = Field(3, ge=1)
    detector_augmentation: Literal["classical", "mixup", "cutmix", "elastic", "intensity"] = "classical"
    synthetic_use: Literal["mixed", "pretrained", "annealed"] = "mixed"
    segmenter: str = "unet"
    segmenter_steps: int = Field(200, ge=0)


def validated(model: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
    """`model` made of `values`.

    Raises:
        ConfigError: one line that names the first offending key, its value and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"unknown key {key!r}", where=where, fix=f"known keys: {', '.join(_keys_beside(model, first['loc']))}"
            ) from None
        if first["type"] == "missing" and isinstance(first["input"], Mapping):
            # The input is then everything that was given, which would hide what is missing.
            raise ConfigError(f"missing key {key!r}", where=where) from None
        raise ConfigError(first_fault(error), where=where) from None


def first_fault(error: ValidationError) -> str:
    """The first value that a model refused, and why: `lr_d = 2.0: input should be less than or equal to 1`."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _keys_beside(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that would have been accepted where the unknown one stood."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return sorted(field.alias or name for name, field in model.model_fields.items())


def with_dotted(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with dotted `changes` applied: `{"loss.kind": "hinge"}` sets `kind` inside `loss`.

    Unknown keys are kept: validation refuses them.

    Raises:
        ConfigError: a key leads into a value that has no parts.
    """
    merged = dict(values)
    for key, value in changes.items():
        head, _, rest = key.partition(".")
        if not rest:
            merged[head] = value
            continue
        inner = merged.get(head)
        if inner is not None and not isinstance(inner, Mapping):
            raise ConfigError(f"{head!r} has no parts, so {key!r} cannot be set")
        merged[head] = with_dotted(inner or {}, {rest: value})
    return merged
