"""The MONAI Bundle, judged by MONAI's own tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_net_in_out

from gansweep.export.bundle import GeneratorNetwork
from gansweep.export.loading import load_generator
from gansweep.export.program import write_program
from trainables import TRAINABLES

ROOT = Path(__file__).parents[2]

TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
TEXTS = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"]
METADATA = {
    "type": "object",
    "required": [*TEXTS, "copyright", "required_packages_version", "network_data_format"],
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in [*TEXTS, "copyright", "intended_use", "data_source"]},
        "changelog": {"type": "object"},
        "eval_metrics": {"type": "object"},
        "required_packages_version": {"type": "object"},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
        },
    },
}
"""What MONAI's metadata schema of 2024-07-25 demands; MONAI itself fetches the schema, tests fetch nothing."""


def test_metadata_is_what_monai_demands(exported: Path) -> None:
    metadata = json.loads((exported / "bundle" / "configs" / "metadata.json").read_text())
    jsonschema.validate(metadata, METADATA)
    assert metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"] == [16, 16]
    assert metadata["eval_metrics"]["accuracy"] == 0.80


def test_the_network_fits_its_description(exported: Path) -> None:
    configs = exported / "bundle" / "configs"
    verify_net_in_out(
        "network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.yaml"),
        bundle_root=str(exported / "bundle"),
        device="cpu",
    )


def test_model_pt_is_the_networks_state(exported: Path) -> None:
    network = GeneratorNetwork(exported / "bundle", TRAINABLES)
    state = torch.load(exported / "bundle" / "models" / "model.pt", weights_only=True)
    assert set(state) == set(network.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert network(torch.tensor([[0.0], [1.0], [0.6]])).shape == (3, 1, 16, 16)


def test_both_workflows_parse(exported: Path) -> None:
    for name in ("inference", "train"):
        workflow = ConfigWorkflow(
            str(exported / "bundle" / "configs" / f"{name}.yaml"), bundle_root=str(exported / "bundle")
        )
        workflow.initialize()
        assert workflow.parser.get_parsed_content("bundle_root") == str(exported / "bundle")
        assert "run" in workflow.parser
        for statement in workflow.parser["imports"]:  # MONAI itself tells a failed import only when its name is used
            exec(statement.removeprefix("$"), {})


@pytest.mark.slow
def test_inference_runs_and_gives_what_generate_gives(exported: Path, tmp_path: Path) -> None:
    from gansweep.export.generate import generate

    done = _run(exported / "bundle", "inference", n=4, seed=9, label="fahr", output_dir=tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    generate(exported, 4, tmp_path / "generate", TRAINABLES, seed=9, label="fahr")
    files = sorted((tmp_path / "bundle" / "images").iterdir())
    assert len(files) == len(pd.read_csv(tmp_path / "bundle" / "labels.csv")) == 4
    for file in files:
        assert file.read_bytes() == (tmp_path / "generate" / "images" / file.name).read_bytes()


def test_the_program_draws_what_the_generator_draws(exported: Path) -> None:
    from gansweep.export.loading import load_generator
    from gansweep.export.program import TOLERANCE, _Drawing

    program = torch.export.load(exported / "bundle" / "models" / "generator.pt2").module()
    generator = load_generator(exported, TRAINABLES, device=torch.device("cpu"))
    drawing = _Drawing(generator.gan).eval()
    labels = torch.arange(9) % 2
    noise = torch.randn(9, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        images = program(labels, noise)
        assert (images - drawing(labels, noise)).abs().max() <= TOLERANCE
        assert images.shape == (9, 1, 16, 16)
        assert str(ROOT).encode() not in (exported / "bundle" / "models" / "generator.pt2").read_bytes()
        assert not torch.equal(images, program(1 - labels, noise)), "the class counts"
        assert not torch.equal(images, program(labels, noise + 1)), "the noise counts"


def test_onnx_draws_what_the_program_draws_for_any_number_of_images(exported: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    models = exported / "bundle" / "models"
    program = torch.export.load(models / "generator.pt2").module()
    session = onnxruntime.InferenceSession(models / "generator.onnx", providers=["CPUExecutionProvider"])
    metadata = json.loads((exported / "bundle" / "configs" / "metadata.json").read_text())
    assert metadata["onnx"]["file"] == "models/generator.onnx"
    width = session.get_inputs()[1].shape[1]
    for n in (2, 5, 33):
        labels = torch.arange(n) % 2
        noise = torch.randn(n, width, generator=torch.Generator().manual_seed(n))
        (images,) = session.run(["images"], {"labels": labels.numpy(), "noise": noise.numpy()})
        assert images.shape == (n, 1, 16, 16)
        assert abs(torch.from_numpy(images) - program(labels, noise)).max() <= metadata["onnx"]["largest_difference"]
    assert str(ROOT).encode() not in (models / "generator.onnx").read_bytes(), "a path of this machine"


def test_without_the_onnx_packages_there_is_a_program_and_no_onnx(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gansweep.export.program._ONNX", ("onnx", "no_such_package"))
    generator = load_generator(exported, TRAINABLES, device=torch.device("cpu"))
    program = write_program(generator, tmp_path / "generator.pt2")
    assert program is not None
    assert not program.onnx
    assert [path.name for path in tmp_path.iterdir()] == ["generator.pt2"]


@pytest.mark.slow
def test_the_bundle_draws_without_gansweep(exported: Path, tmp_path: Path) -> None:
    """In a process in which neither gansweep nor its trainables can be imported."""
    bundle = exported / "bundle"
    code = (
        "import sys; sys.modules |= {'gansweep': None, 'trainables': None, 'search_spaces': None}\n"
        "from monai.bundle import run\n"
        "run(config_file=sys.argv[1] + '/configs/draw.yaml', bundle_root=sys.argv[1], n=5, output_dir=sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle), str(tmp_path / "images")],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    images = np.load(tmp_path / "images" / "images.npy")
    assert images.shape == (5, 1, 16, 16)
    assert np.load(tmp_path / "images" / "labels.npy").tolist() == [0, 1, 0, 1, 0]
    assert np.abs(images).max() <= 1
    assert images.std() > 0
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert set(metadata["exported_program"]["required_packages_version"]) == {"torch", "numpy", "monai"}


@pytest.mark.acceptance
@pytest.mark.ray
def test_training_runs(exported: Path, cohort: Path, tmp_path: Path) -> None:
    done = _run(exported / "bundle", "train", dataset_dir=cohort, output_dir=tmp_path / "production")
    assert done.returncode == 0, done.stderr
    evidence = json.loads((tmp_path / "production" / "evidence.json").read_text())
    assert evidence["budget"]["iterations"] == 3
    again = _run(tmp_path / "production" / "bundle", "inference", n=2, output_dir=tmp_path / "images")
    assert again.returncode == 0, again.stderr


def _run(bundle: Path, config: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m monai.bundle run` from a directory of its own."""
    words = [f"--bundle_root={bundle}", f"--config_file={bundle / 'configs' / config}.yaml"]
    words += [f"--{name}={value}" for name, value in options.items()]
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *words],
        cwd=bundle.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
