"""The model card: what a user must know about a generator, with its scores and their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.options import Attribution
from gansweep.scoring.metrics.formatting import short

if TYPE_CHECKING:
    from gansweep.export.evidence import Budget, CohortFacts, Evidence, Selection
    from gansweep.scoring.memorisation.evidence import MemorisationEvidence
    from gansweep.training.record import GeneratorRecord

__all__ = ["model_card"]

_CARD = """\
# {family} generator of synthetic {modality} images: {classes}

{answer}{summary}

**Synthetic images. Not for diagnosis, and not a substitute for patients in any evaluation.**
{warning}
## Model details

{what}

## Uses

- Direct use: images for training detectors and segmenters of this disease, beside real ones.
- Out of scope: diagnosis, evaluation, teaching what the disease looks like, other sites, scanners or ages.

## Bias, risks and limitations

{limitations}

## How to get started

```
gansweep generate . --n 100 --out images --format png{source_option}
python -m monai.bundle run --bundle_root bundle --config_file bundle/configs/inference.yaml --n 100{bundle_option}
gansweep train config.yaml --cohort COHORT --out production
```

`sha256sum --check SHA256SUMS` tells whether a file has changed since the export.

## Training details

### Training data

{data}

### Budget

{budget}

## Evaluation

{evidence}

### Memorisation and privacy

{memorisation}

## Model card contact

{contact}
"""

_COMPARABLE = "Values from other extractors, or from other numbers of images, cannot be compared with these."

_MEANING = {
    "fid": "Frechet distance of samples to the training images; lower is better, biased upwards for few images",
    "fid_matched": "the same with as many samples as the floor has images: compare these two",
    "fid_floor": "real against real: validation images to training images; the best value to expect",
    "kid": "kernel distance of samples to the training images; lower is better, unbiased",
    "kid_floor": "real against real: validation images to training images",
    "accuracy": "of a detector trained on real and synthetic images",
    "sensitivity": "of the same detector",
    "specificity": "of the same detector",
    "auroc": "of the same detector",
    "log_loss": "of the same detector: mean negative logarithm of the probability of the true class; lower is better",
    "brier": "of the same detector: mean squared error of its probabilities; lower is better",
    "dice": "overlap with the lesion masks (at most 1) of a segmenter trained on real and synthetic images",
    "lesion_fidelity": "fraction of samples in which detectors trained on real images see the requested class",
    "psnr": "peak signal-to-noise ratio of a translated image against the real one, in dB; higher is better",
    "ssim": "structural similarity of the two (at most 1); higher is better",
    "ms_gmsd": "multi-scale deviation of the gradients of the two; lower is better",
    "scd": "sum of the correlations of differences of a fused image (at most 2); higher is better",
    "spatial_frequency": "activity of the grey values; to be compared with that of real images",
}


_MEMORISATION = """\
- `memorisation_excess`: how many more samples than expected by chance are nearest to a training patient instead of a
  held-out one; 0 without memorisation, 1 for a generator that replays its training images.
- `copies`: fraction of samples that are conspicuously close to one training patient, more than real images of other
  patients are; `_floor` is the value for new patients.
- `membership_auc`: how well the distance to the nearest sample separates training patients from held-out ones; 0.5 is
  chance.
- `closer_than_held_out`: probability that a sample is closer to the training images than a held-out image is; 0.5 for
  the true distribution. Smooth images raise it without any copying, so it is not part of the verdict.

This check finds copies of whole images. It does not prove that no information about a patient can be extracted."""


def model_card(
    record: GeneratorRecord,
    evidence: Evidence,
    made: tuple[str, ...],
    attribution: Attribution | None = None,
) -> str:
    """Returns the text of `MODEL_CARD.md` in GitHub-flavoured Markdown.

    Args:
        record: record of the generator.
        evidence: evidence for the generator.
        made: classes that it makes. A generator that paints lesions makes only one of its cohort's classes.
        attribution: author, licence and contact; None: not stated.
    """
    config = record.config
    credited = attribution or Attribution()
    return _CARD.format(
        family=config.family,
        modality=record.modality,
        classes=", ".join(made),
        answer=_answer(evidence),
        summary=_summary(evidence.selection),
        what=_what(record, evidence, made, credited),
        data=_data(evidence.cohort),
        budget=_budget(evidence.budget),
        evidence=_evidence(evidence),
        warning=_warning(record, evidence.memorisation),
        memorisation=_memorisation(evidence.memorisation),
        limitations=_bullets(_limitations(record, evidence)),
        source_option=" --cohort COHORT" if record.needs else "",
        contact=credited.contact or "Not stated.",
        bundle_option=" --dataset_dir COHORT" if record.needs else "",
    )


def _answer(evidence: Evidence) -> str:
    """Answers the most common question: are its images of any use?"""
    if not evidence.answer:
        return ""
    about = ""
    if not evidence.answer_applies:
        about = f" This is about trial {evidence.answer_trial}, another configuration than this generator's."
    return f"**{evidence.answer}**{about}\n\n"


def _summary(selection: Selection | None) -> str:
    if selection is None:
        return "Trained by `gansweep train` for the full budget of its configuration."
    how = "the best" if selection.chosen == "by rank" and selection.rank == 1 else f"number {selection.rank}"
    return f"{how.capitalize()} of the {selection.trials} trials of the sweep `{selection.sweep}` ({selection.status})."


def _what(record: GeneratorRecord, evidence: Evidence, made: tuple[str, ...], attribution: Attribution) -> str:
    config = record.config
    # A generator that paints lesions into healthy images makes only some classes of its cohort.
    others = [name for name in record.classes if name not in made]
    lines = [
        f"developed by: {attribution.author or 'not stated'}",
        f"licence: {attribution.licence or 'not stated'}",
        f"family `{config.family}`, conditioning `{config.conditioning}`, attention `{config.attention}`",
        f"loss `{config.loss.kind}`, penalty `{config.penalty.kind}` (lambda {config.penalty.lambda_:g})",
        "every other setting: `config.yaml`",
        f"images: {record.channels} x {record.size} x {record.size}, classes {', '.join(made)}"
        + (f" and none of {', '.join(others)}" if others else "")
        + (", each with its lesion mask" if record.draws_masks else ""),
        f"weights: moving averages of {', '.join(record.networks)}; SHA-256 `{record.weights_sha256}`",
    ]
    if evidence.started_from:
        lines.append(f"trained from the weights of {evidence.started_from}")
    if record.needs:
        lines.append(f"starts from real {' and '.join(record.needs)}: its samples contain parts of real images")
    return _bullets(lines)


def _data(facts: CohortFacts) -> str:
    splits = "; ".join(
        f"{split} {count} images of {facts.patients.get(split, 0)} patients" for split, count in facts.images.items()
    )
    lines = [
        f"cohort `{facts.content_hash}`",
        f"{facts.modality}, window `{facts.window}`, {facts.size} pixels; positive class {facts.positive_class}",
        f"split by patient with seed {facts.split_seed}: {splits}",
    ]
    if not facts.patients_known:
        unknown = "patients are unknown: every image, volume or study counts as one"
        lines.append(f"{unknown}, so images of one patient may be in several splits")
    return _bullets([*lines, *facts.warnings])


def _budget(budget: Budget) -> str:
    return (
        f"{budget.iterations} generator iterations, {budget.images_seen} real images seen, {budget.workers} "
        f"worker(s), {budget.seconds:.0f} s, {budget.gpu_seconds:.0f} GPU seconds."
    )


def _evidence(evidence: Evidence) -> str:
    if not evidence.scores:
        return f"None: {evidence.intervals_note}."
    sizes = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in evidence.n.items())
    rows = [_row(name, evidence) for name in _ordered(evidence.scores)]
    parts = [
        f"Evaluated on: {evidence.evaluated_on}. n: {sizes}.",
        f"Feature extractor of the distances: `{evidence.fid_features or 'unknown'}`. {_COMPARABLE}",
        "| score | value | interval | meaning |\n|---|---|---|---|\n" + "\n".join(rows),
    ]
    if set(evidence.scores) - set(evidence.intervals):
        parts.append(f"No interval: {evidence.intervals_note}.")
    return "\n\n".join([*parts, f"Test patients: {evidence.test_patients}."])


def _row(name: str, evidence: Evidence) -> str:
    # Four significant digits: more than any interval supports, enough to compare with the leaderboard.
    low, high = evidence.intervals.get(name, (None, None))
    interval = "none" if low is None or high is None else f"{short(low, 4)} to {short(high, 4)}"
    return f"| {name} | {short(evidence.scores[name], 4)} | {interval} | {_meaning(name)} |"


def _meaning(name: str) -> str:
    if name.endswith("_real_only"):
        base = name.removesuffix("_real_only")
        return f"{base} of the same {'segmenter' if base == 'dice' else 'detector'} trained on real images alone"
    if name.endswith("_difference"):
        return f"{name.removesuffix('_difference')}: with synthetic images minus real images alone"
    return _MEANING.get(name, "")


def _ordered(scores: dict[str, float]) -> list[str]:
    """Orders scores: explained ones first, in the order of `_MEANING`, each followed by its variants."""
    known = list(_MEANING)
    base = {name: name.removesuffix("_real_only").removesuffix("_difference") for name in scores}
    return sorted(scores, key=lambda name: (known.index(base[name]) if base[name] in known else len(known), name))


def _limitations(record: GeneratorRecord, evidence: Evidence) -> list[str]:
    lines = [
        "Images are synthetic. A finding in one says nothing about any patient; anatomy and lesions can be impossible.",
        "It represents its cohort only, not other scanners, protocols, ages or diseases.",
        "Samples may resemble training images; no privacy guarantee is given.",
    ]
    if evidence.selection is not None and evidence.selection.trials > 1:
        lines.append(
            f"It was selected from {evidence.selection.trials} trials by scores on the same validation patients, so "
            "these scores are too optimistic."
        )
    if evidence.selection is not None and evidence.selection.status == "stopped":
        lines.append("The search stopped this trial early, so it was trained for only a part of its budget.")
    if evidence.selection is not None and evidence.selection.infeasible:
        lines.append(f"It breaks a constraint of its search: {evidence.selection.infeasible}.")
    # The gain decides whether the generator is of use, so a missing or unproven gain must be stated.
    gain = evidence.scores.get("accuracy_difference")
    if gain is not None and gain <= 0:
        lines.append("Its images did NOT help the detector on validation patients.")
    if gain is not None and gain > 0 and "accuracy_difference" not in evidence.intervals:
        lines.append("Its gain on validation patients has no interval (one training), so it may be due to chance.")
    if not record.calibrated:
        lines.append("Grey values have no unit: the training images were normalised.")
    return lines


def _warning(record: GeneratorRecord, found: MemorisationEvidence) -> str:
    """Returns the warnings at the top of the card."""
    lines = []
    if found.memorised:
        lines.append(
            "**WARNING: this generator memorised patients it was trained on. It was exported on request nevertheless. "
            f"Protect it and every image it makes like those patients' scans.** Reason: {found.reason}."
        )
    if found.memorised is None:
        lines.append(f"**Not checked for memorisation** ({found.reason}). Protect it like the scans it was trained on.")
    if record.needs:
        needs = " and ".join(record.needs)
        lines.append(f"**Its samples are made from real {needs}: protect each like the scan it was made from.**")
    return "".join(f"\n{line}\n" for line in lines)


def _memorisation(found: MemorisationEvidence) -> str:
    if found.memorised is None:
        return f"Not checked: {found.reason}."
    counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in found.counts.items())
    verdict = f"MEMORISED: {found.reason}." if found.memorised else "No figure exceeds its limit."
    limits = ", ".join(f"{name} {value:g}" for name, value in found.limits.items())
    parts = [f"{verdict} n: {counts}. Limits: {limits}. Features: `{found.features or 'none'}`."]
    if found.sources:
        parts.append(f"The checked samples were made from images of {found.sources}.")
    rows = [_figure_row(name, figure) for name, figure in found.figures.items()]
    parts += ["| figure | value | 95 % interval | remark |\n|---|---|---|---|\n" + "\n".join(rows), _MEMORISATION]
    return "\n\n".join(parts)


def _figure_row(name: str, figure: dict[str, Any]) -> str:
    # A figure may be undefined, for example without held-out patients; its reason says so.
    if figure["value"] is None:
        return f"| {name} | absent | | {figure['reason']} |"
    return (
        f"| {name} | {figure['value']:.3g} | {figure['low']:.3g} to {figure['high']:.3g} | {figure.get('reason', '')} |"
    )


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
