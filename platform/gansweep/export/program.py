"""Exports a generator as a program that runs in PyTorch or ONNX Runtime without gansweep."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gansweep.contracts import Condition

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.contracts import Gan
    from gansweep.export.loading import LoadedGenerator

__all__ = ["TOLERANCE", "Program", "write_program"]

TOLERANCE = 1e-4
"""Maximum difference of a pixel in [-1, 1] between the program and the generator."""
_BATCH = 4
_ONNX = ("onnx", "onnxruntime", "onnxscript")
_MOST_NOISE = 2**22
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Program:
    """Inputs of an exported program.

    Args:
        noise: number of standard normal values per image.
        labels: labels of the classes that it generates.
        onnx: whether there is an ONNX file, too.
    """

    noise: int
    labels: tuple[int, ...]
    onnx: bool = False


class _GivenNoise(TorchFunctionMode):
    """Makes `torch.randn` return parts of a given tensor `[n, k]`, so that a program takes its noise as an input."""

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self._noise = noise
        self.used = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.randn:
            return func(*args, **(kwargs or {}))
        shape = args[0] if isinstance(args[0], list | tuple) else args
        count = 1
        for length in shape[1:]:
            count *= length
        part = self._noise[:, self.used : self.used + count]
        self.used += count
        return part.reshape(shape)


class _Drawing(nn.Module):
    """`gan.sample` as a function of labels and noise."""

    def __init__(self, gan: Gan) -> None:
        super().__init__()
        self._gan = gan
        self.networks = nn.ModuleDict({name: gan.networks[name] for name in gan.averaged})
        self._unused = torch.Generator()

    def forward(self, labels: Tensor, noise: Tensor) -> Tensor:
        with _GivenNoise(noise):
            return self._gan.sample(labels.shape[0], Condition(labels), self._unused)


def write_program(generator: LoadedGenerator, path: Path) -> Program | None:
    """Exports a `torch.export` program from labels `[n]` and noise `[n, k]` to images `[n, C (+ 1 for a mask), H, W]`.

    Args:
        generator: the generator, on the CPU. One that starts from real images has no program.
        path: file to write.

    Returns:
        The inputs of the program. None, and no file, if the family cannot be exported or its program does not reproduce
        the generator's images.
    """
    if generator.record.needs:
        return None
    # torch warns about its own way of exporting, which nobody can change here, and of torchvision, which is not needed.
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            return _write_traced(generator, path)
    finally:
        exporter.setLevel(level)


def _write_traced(generator: LoadedGenerator, path: Path) -> Program | None:
    module = _Drawing(generator.gan).eval()
    made = torch.tensor(generator.classes)
    labels = made[torch.arange(_BATCH) % len(made)]
    try:
        with torch.no_grad():
            width = _noise_of(generator.gan, labels)
            batch = torch.export.Dim("batch", min=2, max=4096)
            program = torch.export.export(
                module, (labels, _noise(_BATCH, width)), dynamic_shapes={"labels": {0: batch}, "noise": {0: batch}}
            )
            wanted = made[torch.arange(_BATCH + 3) % len(made)]
            noise = _noise(_BATCH + 3, width)
            error = float((program.module()(wanted, noise) - module(wanted, noise)).abs().max())
    except Exception as cause:
        # torch.export has no common error for code that it cannot trace. The safetensors file remains in any case.
        log.info("no exported program: family %s: %s", generator.record.config.family, type(cause).__name__)
        return None
    if not error <= TOLERANCE:
        log.info("no exported program: it differs from the generator by %.2g", error)
        return None
    for node in program.graph.nodes:
        # The stack trace of a node contains paths of this machine.
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)
    onnx = _write_onnx(program, path.with_suffix(".onnx"), wanted, noise)
    return Program(width, tuple(generator.classes), onnx)


def _write_onnx(program: Any, path: Path, labels: Tensor, noise: Tensor) -> bool:
    """Writes the program as an ONNX file. Returns whether the file exists and reproduces the program's images.

    Args:
        program: the exported program.
        path: file to write.
        labels: labels `[n]` for the comparison of both. n is not the batch size that the program was traced with.
        noise: noise `[n, k]` for the comparison.
    """
    if missing := [name for name in _ONNX if importlib.util.find_spec(name) is None]:
        log.info("no ONNX file: %s not installed; pip install 'gansweep[onnx]'", ", ".join(missing))
        return False
    try:
        import onnxruntime

        torch.onnx.export(
            program,
            f=path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["labels", "noise"],
            output_names=["images"],
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (images,) = session.run(None, {"labels": labels.numpy(), "noise": noise.numpy()})
        error = float((torch.from_numpy(images) - program.module()(labels, noise)).abs().max())
    except Exception as cause:
        # The exporter has no common error for an operator that ONNX lacks or a shape that it cannot infer.
        log.info("no ONNX file: %s", type(cause).__name__)
        path.unlink(missing_ok=True)
        return False
    if not error <= TOLERANCE:
        log.info("no ONNX file: it differs from the generator by %.2g", error)
        path.unlink()
        return False
    return True


def _noise_of(gan: Gan, labels: Tensor) -> int:
    """Returns the number of standard normal values that a sample uses."""
    counting = _GivenNoise(torch.zeros(len(labels), 1).expand(-1, _MOST_NOISE))
    with counting:
        gan.sample(len(labels), Condition(labels), torch.Generator())
    return counting.used


def _noise(n: int, width: int) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(0))
