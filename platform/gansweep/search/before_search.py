"""Measures what is known before any generator is trained: power, rivals, and how long a verdict's networks take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.config import TrialConfig
from gansweep.distributed import World
from gansweep.errors import ConfigError
from gansweep.scoring.networks.detection import train_detectors
from gansweep.scoring.networks.segmentation import segmenter_recipe, train_segmenters
from gansweep.scoring.power import NetworkSeconds, Power, Rivals, measure_rivals, network_seconds, power_of
from gansweep.scoring.reference import ReferenceMaker

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from gansweep.cohort.dataset import Cohort
    from gansweep.experiment import Experiment
    from gansweep.options import ConfirmOptions
    from gansweep.scoring.reference import Reference

__all__ = ["known_before"]


def known_before(
    scans: Cohort, experiment: Experiment, confirming: ConfirmOptions, folder: Path, device: torch.device
) -> tuple[Power, Rivals, NetworkSeconds]:
    """Trains detectors on training patients, and evaluates them on validation patients.

    Args:
        scans: the cohort.
        experiment: the search.
        confirming: options of the verdict, whose rivals are measured.
        folder: cache of features, baselines and rivals.
        device: device of the trials.

    Returns:
        The power of the test patients, the scores of the rivals, and the training times of a verdict's networks.

    Raises:
        ConfigError: the cohort has only one class.
    """
    settings = {key: value for key, value in experiment.overrides.items() if key.split(".")[0] == "data"}
    view = TrialConfig().derive(settings).data
    maker = ReferenceMaker(scans, experiment.scoring, experiment.trainables, folder, device)
    real = maker.make(view, World.current(device))
    if real.baseline is None:
        raise ConfigError("one class only, so there is nothing to detect", where=str(scans.path))
    rivals = measure_rivals(real, confirming.rivals, confirming.samples, folder, device)
    patients = scans.manifest.groupby("split")["patient"].nunique()
    claims = len(confirming.ratios) + 1  # one more for the arm of synthetic images only
    accuracy = rivals.scores["real"]["accuracy"]
    power = power_of(accuracy, int(patients["val"]), int(patients["test"]), claims)
    seeds = range(experiment.scoring.detector_seeds)
    detector_s = network_seconds(train_detectors, real.baseline.recipe, real.train, seeds, device)
    return power, rivals, NetworkSeconds(detector_s, _segmenter_seconds(experiment, real, device))


def _segmenter_seconds(experiment: Experiment, real: Reference, device: torch.device) -> float:
    """Returns the training time of one segmenter, or 0 if none can be trained."""
    scoring = experiment.scoring
    if real.train.masks is None or not scoring.segmenter_steps:
        return 0.0
    try:
        recipe = segmenter_recipe(scoring, experiment.trainables, real.spec)
        return network_seconds(train_segmenters, recipe, real.train, range(scoring.detector_seeds), device)
    except ConfigError:  # the network does not support this image size
        return 0.0
