"""Settings of the user: the configuration of a trial, and how trials are scored and stopped.

All models are frozen and validated, and refuse unknown keys. Only Ray Tune gets a configuration as a dict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gansweep.errors import ConfigError, close_to, one_line
from gansweep.refusals import refuse_scheduler

__all__ = [
    "COPIES",
    "AugmentationSettings",
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


SHOWN = 200  # characters of an invalid value that a message shows

Model = TypeVar("Model", bound=BaseModel)

SamplerName = Literal["tpe", "gp", "cma-es", "nsga-ii", "nsga-iii", "qmc", "random", "grid", "nsga2"]
"""Name of a sampler, which proposes trials. `nsga2` is an older name of `nsga-ii`."""

SchedulerName = Literal["asha", "hyperband", "median", "mo-asha", "asha-any", "none"]
"""Name of a scheduler, which stops trials early."""


class Frozen(BaseModel):
    """Immutable model that refuses unknown keys. A field with an alias accepts both names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )


class DataView(Frozen):
    """Crop and size of the images that a trial sees.

    Args:
        size: height and width in pixels; None keeps the cohort's size.
        crop: central fraction of the height and width that is kept before resizing.
    """

    size: int | None = Field(None, ge=8, le=1024)
    crop: float = Field(1.0, gt=0.1, le=1.0)


class LossSettings(Frozen):
    """The adversarial loss and its additional terms.

    Args:
        kind: a key of `LOSSES`.
        label_smoothing: one-sided smoothing of the target of real images, for losses with targets.
        feature_matching: weight of the feature-matching term in the generator's loss.
        auxiliary: weight of the auxiliary classifier's cross-entropy (conditioning "auxiliary").
        clip: bound of weight clipping (the original WGAN); None: no clipping.
    """

    kind: str = "wasserstein"
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    feature_matching: float = Field(0.0, ge=0.0)
    auxiliary: float = Field(1.0, ge=0.0)
    clip: float | None = Field(None, gt=0.0)


class PenaltySettings(Frozen):
    """The regulariser of the critic.

    Args:
        kind: a key of `PENALTIES`.
        lambda_: weight of the penalty (`lambda` in files and on the command line).
        interval: number of critic steps per application of the penalty, which is then scaled by `interval`.
        interpolation: points at which the gradient penalty takes the gradient.
        norm: norm of the gradient.
        one_sided: whether to penalise only norms above the target.
        target: target of the gradient norm.
        layer: layer with respect to which the gradient penalty takes the gradient. 0: the image; k: the output of the
            critic's k-th block, which leaves the blocks before it unconstrained.
        adaptive: whether lambda is constant, follows the observed gradient norms, or follows the progress.
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
    """Differentiable augmentation of the critic's images.

    Args:
        kind: a key of `AUGMENTATIONS`.
        policy: operations to apply. The default has no `intensity`, because Hounsfield units carry meaning.
        probability: probability of each operation. Adaptive kinds start at 0, and this is their maximum.
    """

    kind: str = "none"
    policy: tuple[Literal["flip", "translation", "cutout", "rotation", "intensity"], ...] = ("flip", "translation")
    probability: float = Field(1.0, ge=0.0, le=1.0)


class TrialConfig(Frozen):
    """Configuration of a trial. On a CPU, equal configurations and cohorts give equal results.

    Args:
        family: a key of `GANS`.
        architecture: the family's own parameters, as defined by its `Architecture`.
        conditioning: a key of `CONDITIONINGS`.
        attention: a key of `ATTENTIONS`.
        lr_d, lr_g: Adam learning rates of the critic and of the generator (two time-scales, Heusel et al. 2017).
        beta1, beta2: Adam's decay rates.
        n_critic: critic updates per generator update.
        batch_size: images per critic update over all workers.
        ema_half_life: half-life of the moving average of generator weights, in thousands of images; 0: no average.
        precision: precision of the losses. `tf32` applies to convolutions and matrix products on a GPU, `bfloat16`
            to forward passes. Penalties and features are always computed in float32, without TF32.
        execution: how steps run on a GPU. `captured`: as CUDA graphs; `eager`: kernel by kernel; `auto`: captured if
            the graphs compute the same as the eager code, otherwise eagerly. Each row records which, and why eagerly.
            The updates of detectors and segmenters run in the same way; where they cannot be captured, the log says so.
        images_on: where the training images are while a GPU trains. `device`: on the GPU, with 8 or 16 bits per pixel
            as they are stored; `host`: in main memory, from which batches are copied; `auto`: on the GPU if they fit.
            The results are the same. Each row records which it was.
        iterations: budget in generator updates.
        seed: seed of initialisation, batches and noise.
        synthetic_ratio: synthetic images per real image in the detector's training batches.
        sample_filter: which samples the detector is trained on. `none`: all; `detector_agrees`: those that a detector
            trained on real images classifies as requested; `uncertain`: the half of each class of which that detector
            is least sure; `dense`: the half of each class where real features are densest.
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
        """Returns a copy with dotted keys changed: `derive({"penalty.lambda": 5.0, "architecture.width": 64})`.

        Raises:
            ConfigError: a key is unknown or a value is out of range. The message has the allowed values.
        """
        return validated(TrialConfig, with_dotted(self.as_dict(), changes), where="trial configuration")

    def as_dict(self) -> dict[str, Any]:
        """Returns nested JSON values, with `lambda` under its own name."""
        return self.model_dump(mode="json", by_alias=True)


class Objective(Frozen):
    """A score that the search optimises."""

    name: str
    direction: Literal["minimize", "maximize"]


COPIES = "copies_pixels"
"""A score that trials report only if it is asked for: by `ScoringSettings.copies`, or by a constraint."""


class SchedulerSettings(Frozen):
    """How trials are stopped before their budget is used.

    Args:
        kind: `asha` (Li et al. 2020), `hyperband` (several brackets of ASHA) and `median` (Golovin et al. 2017) compare
            trials by one objective. `mo-asha` (Schmucker et al. 2021) compares them by the non-dominated rank of all
            objectives. `asha-any` stops a trial that is among the best in no objective. `none` stops no trial.
        metric: objective by which `asha`, `hyperband` and `median` compare trials.
        grace: number of reports before a trial can be stopped.
        reduction_factor: at each rung, one in this many trials continues.
    """

    kind: SchedulerName = "asha"
    metric: str = "fid"
    grace: int = Field(1, ge=1)
    reduction_factor: int = Field(3, ge=2)

    @field_validator("kind", mode="before")
    @classmethod
    def _fits(cls, kind: Any) -> Any:
        return refuse_scheduler(kind)


class ScoringSettings(Frozen):
    """How a trial is scored.

    Args:
        samples: number of synthetic images for FID and KID.
        features: TorchScript file of a feature extractor; None: the cohort's own encoder, which is trained on it.
        encoder_steps: training updates of the cohort's own encoder.
        detector: a key of `DETECTORS`.
        detector_features: TorchScript file of a feature extractor, for detectors that learn from its features
            (`linear_head`, `forest_head`).
        detector_steps: training updates of each detector, the same in every arm. With too few, a detector lacks
            training rather than images, and good samples show no gain.
        detector_batch: images per update, the same in every arm.
        detector_seeds: number of detectors (and segmenters) per arm. Scores are their means.
        detector_augmentation: augmentation of the training images of every detector, real and synthetic.
        synthetic_use: how detectors use synthetic images. `mixed`: in every batch; `pretrained`: before the real
            images; `annealed`: a fraction that falls during training. The numbers of updates and of synthetic images
            are the same.
        copies: whether trials report `copies_pixels`, the fraction of samples that are copies of training images, and
            `copies_pixels_floor`, that of new patients. They also do if a constraint is on it.
        segmenter: a key of `SEGMENTERS`. Segmenters are trained for families that generate masks.
        segmenter_steps: training updates of each segmenter; 0: no segmenter.
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
    copies: bool = False
    segmenter: str = "unet"
    segmenter_steps: int = Field(200, ge=0)

    def with_scores(self, names: Iterable[str]) -> ScoringSettings:
        """Returns a copy that also computes the named scores."""
        return self.model_copy(update={"copies": self.copies or COPIES in names})


def validated(model: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
    """Returns a `model` of `values`.

    Raises:
        ConfigError: a value is invalid. The message names the first invalid key, its value and the allowed values.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # An unknown key explains a missing one: it is often that key, misspelt.
        unknown = [fault for fault in errors if fault["type"] == "extra_forbidden"]
        first = unknown[0] if unknown and errors[0]["type"] == "missing" else errors[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _keys_beside(model, first["loc"])
            hint = close_to(str(first["loc"][-1]), known)
            raise ConfigError(
                f"unknown key {key!r}", where=where, fix=f"{hint}known keys: {', '.join(known)}"
            ) from None
        if first["type"] == "missing" and isinstance(first["input"], Mapping):
            # The input is then everything that was given, which would hide what is missing.
            raise ConfigError(f"missing key {key!r}", where=where) from None
        raise ConfigError(first_fault(error), where=where) from None


def first_fault(error: ValidationError) -> str:
    """Returns the first invalid value and the reason: `lr_d = 2.0: input should be less than or equal to 1`."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":
        message = "input should be keys with values"  # pydantic's words have the name of a class
    return f"{key} = {one_line(repr(first['input']), SHOWN)}: {message[0].lower()}{message[1:]}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Returns the model in an annotation, also if the field may be None; None if there is none."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _keys_beside(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Returns the valid keys at the location of an unknown one."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            break
        model = inner
    return sorted(field.alias or name for name, field in model.model_fields.items())


def with_dotted(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `values` with dotted `changes`: `{"loss.kind": "hinge"}` sets `kind` inside `loss`.

    Unknown keys are kept, for validation to refuse.

    Raises:
        ConfigError: a key leads into a value that is not a mapping, or a number is set to true or false.
    """
    merged = dict(values)
    for key, value in changes.items():
        head, _, rest = key.partition(".")
        if not rest:
            # Python counts true as 1, but who writes `lr_d=true` means something else.
            if isinstance(value, bool) and type(merged.get(head)) in (int, float):
                raise ConfigError(f"{head} = {str(value).lower()}: input should be a number")
            merged[head] = value
            continue
        inner = merged.get(head)
        if inner is not None and not isinstance(inner, Mapping):
            raise ConfigError(f"{head!r} has no parts, so {key!r} cannot be set")
        merged[head] = with_dotted(inner or {}, {rest: value})
    return merged
