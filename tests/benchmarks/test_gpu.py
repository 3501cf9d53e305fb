"""`make gpu`: with four packages and no GPU it runs, tells that, and one failing section stops no other."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from benchmarks.gpu.__main__ import _followed
from benchmarks.gpu.bench import CPU_SIZES, Bench, Row
from benchmarks.gpu.correctness import CPU
from benchmarks.gpu.report import CPU_NOTE, markdown
from benchmarks.gpu.scoring import detectors
from benchmarks.gpu.sections import SECTIONS, run_sections
from benchmarks.gpu.speed import _operations
from benchmarks.gpu.workers import two_workers
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import GPU, PretendedGpu
from tests.benchmarks.bare_python import bare_python
from trainables import GANS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gansweep.config import TrialConfig

ROOT = Path(__file__).parents[2]


def _ran(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, cwd=ROOT, check=False, capture_output=True, text=True)


NEEDED = ["torch", "numpy", "pydantic", "safetensors"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run finds where the four packages alone are installed."""
    packages = tmp_path_factory.mktemp("packages")
    out = tmp_path_factory.mktemp("out")
    command, environment = bare_python(packages, NEEDED, [ROOT / "platform", ROOT])
    for absent in ("ray", "monai", "pandas", "pydicom"):
        missing = _ran([*command, "-c", f"import {absent}"], environment)
        assert f"No module named '{absent}'" in missing.stderr
    ran = _ran(
        [*command, "-m", "benchmarks.gpu", "--device", "cpu", "--out", str(out)],
        environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr + "".join(path.read_text() for path in out.glob("gpu.md"))
    read: dict[str, Any] = json.loads((out / "gpu.json").read_text())
    assert (out / "gpu.md").read_text() == markdown(read)
    return read


@pytest.mark.slow
def test_every_section_is_measured_or_says_why_not(found: dict[str, Any]) -> None:
    assert found["note"] == CPU_NOTE
    sections = {section["name"]: section for section in found["sections"]}
    assert list(sections) == list(SECTIONS)
    unavailable = {name: section["reason"] for name, section in sections.items() if section["status"] != "measured"}
    assert unavailable.pop("two processes under NCCL") == "there is no GPU"
    assert set(unavailable) <= {"captured against eager"}
    assert all(section["rows"] for name, section in sections.items() if section["status"] == "measured")


@pytest.mark.slow
def test_every_family_is_compared_in_both_types(found: dict[str, Any]) -> None:
    rows = found["sections"][0]["rows"]
    assert [row["what"] for row in rows] == [f"{name}, {kind}" for name in GANS for kind in ("float64", "float32")]
    without = [row for row in rows if row["what"].startswith("diffusion")]
    assert {(row["value"], row["note"]) for row in without} == {("not run", "the family needs monai")}
    compared = [row for row in rows if row not in without]
    assert {row["value"] for row in compared} == {0.0}
    assert all(row["note"].endswith("against the CPU itself") for row in compared)


@pytest.mark.slow
def test_the_table_has_a_row_for_each_figure(found: dict[str, Any]) -> None:
    table = [line for line in markdown(found).splitlines() if line.startswith("| ")]
    figures = sum(len(section["rows"]) for section in found["sections"])
    without = sum(section["status"] != "measured" for section in found["sections"])
    assert len(table) == 1 + figures + without
    assert all(line.count(" | ") == 4 for line in table)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_detectors_are_timed_captured_where_there_is_a_gpu(device: torch.device) -> None:
    with PretendedGpu() if device == GPU else nullcontext():
        rows = list(detectors(Bench(device, CPU_SIZES)))
    timed = [row.what for row in rows if row.unit == "s"]
    executions = ["eager", "captured"] if device == GPU else ["eager"]
    assert timed == [f"2 seeds, {way}, {one}" for way in ("one by one", "together") for one in executions]
    captured = [row.what for row in rows if row.unit == "times as fast as eager"]
    assert captured == [what for what in timed if what.endswith("captured")]
    assert all(isinstance(row.value, float) for row in rows), "a figure is missing"


def test_a_timed_iteration_has_no_part_of_the_capture() -> None:
    bench = Bench(GPU, CPU_SIZES)
    data, spec = shapes(128, CPU_SIZES.pixels)  # no iteration begins an epoch, which draws another order
    launches = {}
    with PretendedGpu() as gpu:

        def loop(count: int) -> None:
            before = gpu.kernels.total()
            bench.trained(bench.config(), spec, data, count)
            launches[count] = gpu.kernels.total() - before

        bench.step_seconds(loop)
        short, long = sorted(launches)
        loop(long + bench.sizes.iterations)
    *_, longer = launches.values()
    assert longer - launches[long] == launches[long] - launches[short]


def test_operations_are_counted_in_eager_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(CPU, CPU_SIZES)
    data, spec = shapes(CPU_SIZES.images, CPU_SIZES.pixels)
    executions = []
    trained = Bench.trained

    def noted(own: Bench, config: TrialConfig, *others: Any) -> Any:
        executions.append(config.execution)
        return trained(own, config, *others)

    monkeypatch.setattr(Bench, "trained", noted)
    assert _operations(bench, bench.config(), spec, data) > 0
    assert set(executions) == {"eager"}


def test_two_workers_are_compared_with_an_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"eager": 3.0, "auto": 1.0}
    state = {"networks": {"critic": {"weight": torch.zeros(1)}}}
    executions = []

    def trained(_bench: Bench, config: TrialConfig, *_: object) -> SimpleNamespace:
        executions.append(config.execution)
        return SimpleNamespace(state=state)

    def step_seconds(_bench: Bench, loop: Callable[[int], object]) -> float:
        loop(1)
        return seconds[executions[-1]]

    def workers(_work: object, args: tuple[Path, Bench], **_: object) -> None:
        for rank in range(2):
            torch.save({**state, "seconds": 2.0}, args[0] / f"{rank}.pt")

    monkeypatch.setattr(Bench, "trained", trained)
    monkeypatch.setattr(Bench, "step_seconds", step_seconds)
    monkeypatch.setattr("benchmarks.gpu.workers.start_processes", workers)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    rows = {row.what: row.value for row in two_workers(Bench(GPU, CPU_SIZES))}
    assert rows["one worker, captured"] == 1000
    assert rows["one worker, eager"] == 3000
    assert rows["two workers, eager"] == 2000
    assert rows["scaling"] == 0.75


def test_a_failing_section_is_told_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_bench: Bench) -> Iterator[Row]:
        yield Row("before", 1.0)
        raise ValueError("planted\nsecond line")

    monkeypatch.setitem(SECTIONS, "failing", failing)
    monkeypatch.setitem(SECTIONS, "whole", lambda _bench: iter([Row("after", 2.0)]))
    run_sections(Bench(CPU, CPU_SIZES), ["failing", "whole"], tmp_path / "found", 60.0)
    told = [json.loads(line) for line in (tmp_path / "found").read_text().splitlines()]
    assert [line.get("section") or line.get("status") or line["row"]["what"] for line in told] == [
        "failing", "before", "failed", "whole", "after", "measured",
    ]  # fmt: skip
    assert told[2]["reason"] == "ValueError: planted"


@pytest.mark.parametrize(
    ("end", "reason"),
    [("import sys; sys.exit(7)", "its process ended with status 7"), ("time.sleep(60)", "it did not end within 1 s")],
)
def test_a_section_that_dies_or_hangs_is_told(
    end: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gpu.__main__.PATIENCE", 1.0)
    file = tmp_path / "found"
    row = json.dumps({"row": Row("half", 1.0).as_dict()})
    file.write_text('{"section": "first"}\n' + row + '\n{"status": "measured", "reason": ""}\n{"section": "lost"}\n')
    child = subprocess.Popen([sys.executable, "-c", f"import time; {end}"])
    done, lost = _followed(child, file, time.monotonic() + 60)
    assert child.poll() is not None
    assert (done["status"], done["rows"][0]["what"]) == ("measured", "half")
    assert (lost["status"], lost["reason"].startswith(reason)) == ("failed", True)


def test_a_gpu_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "benchmarks.gpu", "--device", "cuda", "--out", str(tmp_path)]
    ran = _ran(asked, {"PYTHONPATH": f"{ROOT}/platform:{ROOT}"})
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith("--device cuda, but torch sees no GPU here; see: gansweep doctor")


def test_a_python_without_torch_is_one_line(tmp_path: Path) -> None:
    python, environment = bare_python(tmp_path, ["numpy"], [ROOT])
    ended = subprocess.run(
        [*python, "-m", "benchmarks.gpu"], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "python has no torch, pydantic, safetensors; pip install torch pydantic safetensors, "
        "or make gpu PYTHON=.venv/bin/python\n"
    )
