"""Writes the files of an export, for the best trial of a search or for a production training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from gansweep._version import __version__
from gansweep.config import ScoringSettings
from gansweep.errors import ExportError
from gansweep.export.bundle import add_program, write_bundle
from gansweep.export.card import model_card
from gansweep.export.config_file import config_yaml
from gansweep.export.datasheet import DATASHEET, datasheet
from gansweep.export.loading import flat_weights, load_generator, sampling_traits
from gansweep.files import sha256_of
from gansweep.options import Attribution
from gansweep.training.build import build_gan
from gansweep.training.record import RECORD, WEIGHTS, GeneratorRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.export.config_file import Origin
    from gansweep.export.evidence import Evidence
    from gansweep.export.memorisation import MemorisationGate

__all__ = ["CHECKSUMS", "Trained", "write_export"]

CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Args:
        config: configuration of the training.
        state: last checkpoint.
        cohort: the training's cohort.
        evidence: evidence for the generator.
        scoring: scoring settings.
        origin: trial whose scores a training of the same configuration should reproduce.
        attribution: author, licence and contact.
    """

    config: TrialConfig
    state: Mapping[str, Any]
    cohort: Cohort
    evidence: Evidence
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    origin: Origin | None = None
    attribution: Attribution = field(default_factory=Attribution)


def write_export(
    folder: Path, trained: Trained, trainables: Trainables, header: list[str], gate: MemorisationGate
) -> None:
    """Writes all files of an export, then loads the generator from them and tests it for memorisation.

    Args:
        folder: an empty folder.
        trained: the training.
        trainables: registries of the names in its configuration.
        header: comment lines for `config.yaml`.
        gate: tests the generator for memorisation.

    Raises:
        ExportError: the checkpoint has no averaged weights, they do not fit the configuration, or the generator
            memorised training patients and the gate does not allow that.
    """
    from safetensors.torch import save

    if not trained.state.get("ema"):
        raise ExportError("the checkpoint has no averaged weights (ema)", fix="train again")

    weights = flat_weights(trained.state["ema"], trained.state.get("gan_state", {}))
    # A single metadata entry: safetensors writes several in random order, and equal exports must have equal bytes.
    (folder / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))
    record = _record(trained, sha256_of(folder / WEIGHTS), trainables)
    (folder / RECORD).write_text(record.to_json(), encoding="utf-8")

    # Load what was written, because the test must cover the files that are passed on.
    generator = load_generator(folder, trainables)
    needs, draws_masks = sampling_traits(
        generator.gan, trained.cohort.load("train", trained.config.data), generator.device
    )
    # Both traits are only known once the generator has drawn.
    record = record.model_copy(update={"needs": needs, "draws_masks": draws_masks})
    memorisation = gate.passed(replace(generator, record=record), trained.cohort)

    made = tuple(record.classes[label] for label in generator.classes)
    evidence = trained.evidence.model_copy(update={"memorisation": memorisation})
    for name, text in {
        RECORD: record.to_json(),
        "config.yaml": config_yaml(trained.config, header, trained.scoring, trained.origin),
        "evidence.json": evidence.to_json(),
        "MODEL_CARD.md": model_card(record, evidence, made, trained.attribution),
        DATASHEET: datasheet(trained.cohort),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_bundle(folder, record, evidence, made, trained.attribution)
    # The program is traced and compared on the CPU, also where the generator was tested on a GPU.
    add_program(folder / "bundle", load_generator(folder, trainables, device=torch.device("cpu")))
    (folder / CHECKSUMS).write_text(_checksums(folder), encoding="utf-8")


def _checksums(folder: Path) -> str:
    """Returns the SHA-256 of every file in the format of `sha256sum --check`."""
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in files)


def _record(trained: Trained, sha256: str, trainables: Trainables) -> GeneratorRecord:
    config = trained.config
    info = trained.cohort.info
    spec = trained.cohort.spec(config.data)
    # A family may have changed since the training; its networks must still be those of the checkpoint.
    averaged = tuple(build_gan(config, spec, trainables).averaged)
    if set(averaged) != set(trained.state["ema"]):
        raise ExportError(
            f"the checkpoint averages {', '.join(trained.state['ema'])}, family {config.family} {', '.join(averaged)}",
            fix="use the gansweep that trained it",
        )
    return GeneratorRecord(
        config=config,
        size=spec.size,
        channels=spec.channels,
        classes=spec.classes,
        mask_channels=spec.mask_channels,
        paired_channels=spec.paired_channels,
        positive_class=info.positive_class,
        networks=averaged,
        modality=info.modality,
        window=info.window,
        weights_sha256=sha256,
        trial_id=trained.evidence.trial_id,
        cohort_hash=trained.cohort.content_hash,
        iteration=int(trained.state["iteration"]),
        images_seen=int(trained.state["images_seen"]),
        gansweep_version=__version__,
    )
