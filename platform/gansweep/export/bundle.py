"""Writes an export as a MONAI Bundle: `python -m monai.bundle run` draws images with it or retrains it.

The layout follows the MONAI bundle specification (configs/metadata.json, models/model.pt, docs/README.md), and
metadata.json follows the schema of 2024-07-25.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gansweep._version import __version__
from gansweep.export.loading import load_generator
from gansweep.export.program import TOLERANCE, write_program
from gansweep.training.record import RECORD, WEIGHTS, GeneratorRecord

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.contracts import Trainables
    from gansweep.export.evidence import Evidence
    from gansweep.export.loading import LoadedGenerator
    from gansweep.options import Attribution

__all__ = ["GeneratorNetwork", "add_program", "write_bundle"]

# The address only identifies the schema; nothing is downloaded.
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

# Packages that running the bundle needs beyond MONAI, PyTorch and NumPy.
_PACKAGES = ("fire", "nibabel", "pydantic", "pydicom", "PyYAML", "ray", "safetensors")

_INFERENCE = """\
# Draws synthetic images:
#   python -m monai.bundle run --bundle_root . --config_file configs/inference.yaml --n 64 --output_dir images
# To use your own trainables, import them here instead.
imports:
  - $from pathlib import Path
  - $from trainables import TRAINABLES
  - $from gansweep.export.generate import generate
bundle_root: .
dataset_dir: null      # a cohort, for generators that start from real images
output_dir: $@bundle_root + '/images'
n: 16
format: png            # png, npy, nifti, dicom
label: null            # a class name; null: each class in turn
seed: 0
network_def:
  _target_: gansweep.export.bundle.GeneratorNetwork
  folder: $Path(@bundle_root)
  trainables: $TRAINABLES
run:
  - $generate(Path(@bundle_root), @n, Path(@output_dir), TRAINABLES, format=@format, label=@label, seed=@seed,
    cohort=Path(@dataset_dir) if @dataset_dir else None)
"""

_TRAIN = """\
# Trains the same configuration from scratch for its full budget. After an interruption, run it again to continue:
#   python -m monai.bundle run --bundle_root . --config_file configs/train.yaml --dataset_dir COHORT
# To use your own trainables, import them here instead.
imports:
  - $from pathlib import Path
  - $from trainables import TRAINABLES
  - $from gansweep.options import TrainOptions
  - $from gansweep.export.config_file import read_config
  - $from gansweep.export.production import train_production
bundle_root: .
dataset_dir: cohort    # made by gansweep ingest
output_dir: $@bundle_root + '/production'
workers: 1
gpus_per_worker: 0
iterations: null       # null: the configuration's own
allow_memorised: false # true: export a generator even if it copies training patients; its card says so
config: $read_config(Path(@bundle_root) / 'configs' / 'trial.yaml')
run:
  - "$train_production(@config if @iterations is None else @config.derive({'iterations': @iterations}),
    Path(@dataset_dir), Path(@output_dir), TRAINABLES, TrainOptions(workers=@workers,
    gpus_per_worker=@gpus_per_worker, allow_memorised=@allow_memorised))"
"""


_DRAW = """\
# Draws synthetic images without gansweep: needs PyTorch, NumPy and MONAI alone.
#   python -m monai.bundle run --bundle_root . --config_file configs/draw.yaml --n 64 --output_dir images
imports:
  - $from pathlib import Path
  - $import numpy as np
  - $import torch
bundle_root: .
output_dir: $@bundle_root + '/images'
n: 16
seed: 0
made: {labels}    # the classes that it makes: {names}
network_def: $torch.export.load(Path(@bundle_root) / 'models' / 'generator.pt2').module()
labels: $torch.tensor(@made)[torch.arange(max(@n, 2)) % len(@made)]
noise: $torch.randn(len(@labels), {noise}, generator=torch.Generator().manual_seed(@seed))
images: $@network_def(@labels, @noise).detach().numpy()[:@n]
run:
  - $Path(@output_dir).mkdir(parents=True, exist_ok=True)
  - $np.save(Path(@output_dir) / 'images.npy', @images)
  - $np.save(Path(@output_dir) / 'labels.npy', @labels.numpy()[:@n])
"""


class GeneratorNetwork(nn.Module):
    """A generator as a MONAI network from tensor to tensor. It draws with torch's global seed.

    Args:
        folder: an export or a bundle.
        trainables: registries of the names in its configuration.
    """

    def __init__(self, folder: Path, trainables: Trainables) -> None:
        super().__init__()
        self._generator = load_generator(folder, trainables, device=torch.device("cpu"))
        # Registered as submodules, so that state_dict and .to() work as in any network.
        self.networks = nn.ModuleDict({name: self._generator.gan.networks[name] for name in self._record.networks})

    def forward(self, labels: Tensor) -> Tensor:
        """Draws one image per row of `labels`.

        Args:
            labels: class labels `[n, 1]`. A fraction, or a class that the generator does not make, is rounded to the
                nearest class that it makes.

        Returns:
            Images `[n, C (+ 1 for a mask), H, W]` in [-1, 1].
        """
        # MONAI passes labels as float32; argmin finds the nearest class.
        made = torch.tensor(self._generator.classes, device=labels.device)
        wanted = made[(labels.reshape(-1, 1) - made).abs().argmin(dim=1)]
        seed = int(torch.randint(2**31, ()))
        # The caller may have moved this module to another device.
        here = replace(self._generator, device=next(self.networks.parameters()).device)
        return here.sample(len(wanted), wanted.tolist(), seed).to(labels.device)

    @property
    def _record(self) -> GeneratorRecord:
        return self._generator.record


def write_bundle(
    export: Path, record: GeneratorRecord, evidence: Evidence, made: tuple[str, ...], attribution: Attribution
) -> None:
    """Writes `bundle/` into an otherwise complete export.

    Args:
        export: folder of the export.
        record: record of the generator.
        evidence: evidence for the generator.
        made: classes that it makes.
        attribution: author and licence.
    """
    bundle = export / "bundle"
    for name in ("configs", "models", "docs"):
        (bundle / name).mkdir(parents=True)
    metadata = json.dumps(_metadata(record, evidence, made, attribution), indent=2)
    (bundle / "configs" / "metadata.json").write_text(metadata + "\n", encoding="utf-8")
    (bundle / "configs" / "inference.yaml").write_text(_INFERENCE, encoding="utf-8")
    (bundle / "configs" / "train.yaml").write_text(_TRAIN, encoding="utf-8")
    shutil.copyfile(export / "config.yaml", bundle / "configs" / "trial.yaml")
    shutil.copyfile(export / "MODEL_CARD.md", bundle / "docs" / "README.md")
    for name in (RECORD, WEIGHTS):
        shutil.copyfile(export / name, bundle / "models" / name)
    _save_state_dict(export / WEIGHTS, record, bundle / "models" / "model.pt")


def add_program(bundle: Path, generator: LoadedGenerator) -> None:
    """Adds the generator as an exported program, with the configuration that draws with it, if the family supports it.

    Args:
        bundle: a complete bundle.
        generator: the exported generator.
    """
    program = write_program(generator, bundle / "models" / "generator.pt2")
    if program is None:
        return
    names = ", ".join(f"{label} {generator.record.classes[label]}" for label in program.labels)
    text = _DRAW.format(labels=list(program.labels), names=names, noise=program.noise)
    (bundle / "configs" / "draw.yaml").write_text(text, encoding="utf-8")
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["exported_program"] = {
        "file": "models/generator.pt2",
        "config": "configs/draw.yaml",
        "inputs": f"labels [n] int64, noise [n, {program.noise}] float32, standard normal; n of at least 2",
        "largest_difference": TOLERANCE,
        "required_packages_version": {name: version(name) for name in ("torch", "numpy", "monai")},
    }
    if program.onnx:
        metadata["onnx"] = {
            "file": "models/generator.onnx",
            "inputs": metadata["exported_program"]["inputs"],
            "output": "images, in [-1, 1]",
            "largest_difference": TOLERANCE,
            "required_packages_version": {"onnxruntime": version("onnxruntime"), "numpy": version("numpy")},
        }
    path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _save_state_dict(weights: Path, record: GeneratorRecord, path: Path) -> None:
    """Writes the state dict of `GeneratorNetwork`; the specification requires models/model.pt."""
    from safetensors.torch import load_file

    # The weights file also holds `Gan.state`, which is not a network.
    own = tuple(f"{name}." for name in record.networks)
    flat = load_file(weights)
    torch.save({f"networks.{key}": value for key, value in flat.items() if key.startswith(own)}, path)


def _metadata(
    record: GeneratorRecord, evidence: Evidence, made: tuple[str, ...], attribution: Attribution
) -> dict[str, Any]:
    origin = f"trial {record.trial_id} of a search" if record.trial_id else "production training"
    classes = ", ".join(made)
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported from {origin}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"gansweep": __version__, **{name: version(name) for name in _PACKAGES}},
        "name": f"Synthetic {record.modality}: {classes}",
        "task": f"Generation of synthetic {record.modality} images of the classes {classes}",
        "description": f"A generative adversarial network (family {record.config.family}); see docs/README.md for its "
        "evidence and its limits.",
        "authors": attribution.author or "not stated",
        "copyright": attribution.licence or "not stated",
        "contact": attribution.contact or "not stated",
        "data_source": f"cohort {record.cohort_hash}",
        "data_type": "gansweep cohort",
        "image_classes": classes,
        "eval_metrics": evidence.scores,
        "intended_use": "Augmenting training data. Not for diagnosis, not for evaluation.",
        "network_data_format": {"inputs": {"image": _input(record, made)}, "outputs": {"pred": _output(record)}},
    }


def _input(record: GeneratorRecord, made: tuple[str, ...]) -> dict[str, Any]:
    """Returns the network's input. MONAI's tools require the name `image`, although the input is a class label."""
    labels = [record.classes.index(name) for name in made]
    return {
        "type": "label",
        "format": "classes",
        "num_channels": 1,
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [min(labels), max(labels)],
        "is_patch_data": False,
        "channel_def": {
            "0": "index of the wanted class: "
            + ", ".join(f"{label} {name}" for label, name in zip(labels, made, strict=True))
        },
    }


def _output(record: GeneratorRecord) -> dict[str, Any]:
    names = ["red", "green", "blue"] if record.channels == 3 else [f"image {i}" for i in range(record.channels)]
    names += ["lesion mask (positive: lesion)"] * record.draws_masks
    return {
        "type": "image",
        "format": "magnitude",
        "modality": record.modality,
        "num_channels": len(names),
        "spatial_shape": [record.size, record.size],
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(names)},
    }
