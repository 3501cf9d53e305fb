"""Every transfer syntax gives the values that libjpeg's own library gave, with libraries that may be shipped."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom import uid

from gansweep.cohort.phantom.ct_writer import CtSlice, write_ct
from gansweep.cohort.readers.dicom import read_dicom

FILES = Path(pydicom.data.__file__).parent / "test_files"
# As decoded by pylibjpeg-libjpeg 2.5, pylibjpeg-openjpeg 2.6 and pyjpegls 1.5: a checksum, and twelve of the values.
DECODED = json.loads(Path(__file__).with_name("decoded.json").read_text())
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", DECODED)
def test_a_compressed_file_has_its_values(name: str) -> None:
    expected = DECODED[name]
    found = np.stack([part.pixels for part in read_dicom(next(FILES.rglob(name)), derived=True)])
    assert list(found.shape) == expected["shape"]
    if not expected["lossy"]:
        assert zlib.crc32(found.tobytes()) == expected["crc"]
        return
    # One grey level in the decoded samples, which is up to two in RGB after the conversion from YBR.
    levels = 1 if found.shape[1] == 1 else 2
    differences = (found.ravel()[expected["places"]] - expected["values"]) * expected["scale"]
    assert np.abs(differences).max() <= levels + 1e-3
    assert abs(found.mean(dtype=np.float64) - expected["mean"]) * expected["scale"] < 0.2


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEG2000Lossless,
        uid.JPEGLSLossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_a_lossless_syntax_changes_no_value(tmp_path: Path, syntax: Any) -> None:
    hu = np.random.default_rng(0).integers(-1000, 3000, (64, 48)).astype(np.float32)
    write_ct(tmp_path / "a.dcm", hu, CtSlice("NOBODY", "test", 1, 0.0, 0.5, 5.0, "test"))
    expected = read_dicom(tmp_path / "a.dcm")[0].pixels
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    if syntax.is_encapsulated:
        dataset.compress(syntax)
    elif syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "b.dcm",
        dataset,
        implicit_vr=syntax == uid.ImplicitVRLittleEndian,
        little_endian=syntax != uid.ExplicitVRBigEndian,
        force_encoding=True,
    )
    np.testing.assert_array_equal(read_dicom(tmp_path / "b.dcm")[0].pixels, expected)
    np.testing.assert_array_equal(expected[0], hu)


def test_every_syntax_of_the_files_is_covered() -> None:
    assert {facts["syntax"] for facts in DECODED.values()} >= {
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEGLSNearLossless,
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.RLELossless,
    }


def write_package(folder: Path, name: str, metadata: str) -> None:
    (folder / f"{name}-1.0.dist-info").mkdir(parents=True)
    (folder / f"{name}-1.0.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}"
    )


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("License: GPL V3.0\n", "needed 1.0: licence 'GPL V3.0' is not accepted"),
        ("License-Expression: AGPL-3.0-only\n", "licence 'AGPL-3.0-only'"),
        ("License-Expression: MIT AND GPL-2.0-only\n", "licence 'MIT AND GPL-2.0-only'"),
        ("", "licence 'unknown'"),
        ("License-Expression: GPL-2.0-only OR MIT\n", ""),
        ("Classifier: License :: OSI Approved :: MIT License\n", ""),
        ("License: Apache 2.0\n", ""),
    ],
)
def test_a_required_package_needs_an_accepted_licence(tmp_path: Path, metadata: str, said: str) -> None:
    write_package(
        tmp_path, "direct", "License: MIT\nRequires-Dist: needed\nRequires-Dist: extra-only; extra == 'more'\n"
    )
    write_package(tmp_path, "needed", metadata)
    code = (
        "import importlib.util, sys;"
        f"sys.path.insert(0, {str(tmp_path)!r});"
        f"spec = importlib.util.spec_from_file_location('licences', {str(ROOT / '.ci' / 'licences.py')!r});"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module);"
        "lines = module.refusals(module.required(['direct>=1']), ['MIT', 'Apache-2.0']);"
        "print('\\n'.join(lines))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().startswith(said) if not said or said[0] == "n" else said in ran.stdout
    assert bool(ran.stdout.strip()) == bool(said)


def test_the_licences_of_this_environment_are_accepted(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / ".ci" / "licences.py", "--sbom", tmp_path / "sbom.json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    components = {item["name"]: item for item in json.loads((tmp_path / "sbom.json").read_text())["components"]}
    assert components["pydicom"]["licenses"] == [{"license": {"name": "MIT"}}]
    assert "pylibjpeg-libjpeg" not in components
    assert len(components) > 50
