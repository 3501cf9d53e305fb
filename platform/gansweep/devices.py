"""Differences between devices: the arithmetic of matrix products and convolutions, and out-of-memory errors.

Policy of precision: penalties, the gradients in them, and features are computed in IEEE 754 float32, whatever torch's
default. Ampere and newer GPUs otherwise compute float32 convolutions in TF32, with ten bits of mantissa. The rest of a
trial is computed in its `precision`.
"""

from __future__ import annotations

import errno
import gc
import re
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from gansweep.errors import ConfigError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

__all__ = [
    "Arithmetic",
    "check_gpu",
    "check_precision",
    "cpu_threads",
    "device_fault",
    "device_of_trials",
    "energy_joules",
    "exact_float32",
    "has_room",
    "is_cuda",
    "out_of_memory",
    "peak_memory_gib",
    "release_cached_memory",
    "reset_peak_memory",
    "seconds_of_steps",
    "set_number",
    "why_no_gpu",
]

_FULL = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "bad_alloc",
    "alloc_failed",
    "allocation_failed",
    "unable to find a valid cudnn algorithm",
    "unable to find an engine to execute",
)
"""Error messages of the allocators of CUDA and of the CPU, of C++, and of cuBLAS, cuFFT and cuDNN.

The last two are torch's, when no algorithm of cuDNN for a convolution finds room for its workspace.
"""

_FAULT = re.compile(r"CUDA error|cuDNN error|CUBLAS_STATUS_|CUFFT_|NCCL error", re.IGNORECASE)
"""In messages of a device that has failed: a kernel's fault, a memory error, a lost or busy card."""

_TIMED_STEPS = {"cpu": (1, 4), "cuda": (24, 48)}
"""Steps of the shorter and the longer run that `seconds_of_steps` times.

On a GPU, both must include the capture of each phase's graph when it first runs, by default within 16 steps for lazy
phases, and the comparison at a second step.
"""

_AMPERE = (8, 0)
"""Compute capability of the first GPUs with TF32 and bfloat16."""


def out_of_memory(error: BaseException) -> bool:
    """Returns whether `error`, or one that it was raised from, means that a device is out of memory.

    TorchScript replaces errors inside a network by its own error, so the message is checked too.
    """
    if error.__cause__ is not None and out_of_memory(error.__cause__):
        return True
    if isinstance(error, torch.OutOfMemoryError | MemoryError):  # the latter is raised by Python, NumPy and Arrow
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | torch.jit.Error) and any(words in str(error).lower() for words in _FULL)


def device_fault(error: BaseException) -> bool:
    """Returns whether `error` is a fault of a GPU, after which most of what this process computes there fails, too."""
    return not out_of_memory(error) and _FAULT.search(str(error)) is not None


def is_cuda(device: torch.device) -> bool:
    """Returns whether `torch.cuda` can be asked about `device`.

    False also for a CUDA device that torch does not see. Tools that pretend a GPU on a CPU build of torch have those:
    they take tensors and refuse what CUDA refuses, but have no memory to ask for, no events and no graphs.
    """
    return device.type == "cuda" and torch.cuda.is_available()


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Computes with this number of CPU threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of_trials(gpus_per_worker: float) -> torch.device:
    """Returns the device that a trial would have on this machine: the CPU where it asks for no part of a GPU."""
    return torch.device("cuda" if gpus_per_worker and torch.cuda.is_available() else "cpu")


def seconds_of_steps(run: Callable[[int], object], steps: int, device: torch.device) -> float:
    """Estimates how long `run(steps)` takes, in seconds, from two shorter runs.

    A run has costs that do not grow with its length, such as building networks and capturing graphs, so the runs'
    difference gives the duration of a step.

    Args:
        run: function that computes so many steps.
        steps: number of steps whose duration is estimated.
        device: device that computes them.
    """
    short, long = _TIMED_STEPS[device.type]
    taken = []
    for count in (short, short, long):  # the first run warms up: libraries are loaded, kernels chosen
        began = time.perf_counter()
        run(count)
        if is_cuda(device):
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    _, short_s, long_s = taken
    step_s = (long_s - short_s) / (long - short)
    if step_s <= 0:  # so fast that the clock's noise is larger
        step_s = long_s / long
    return long_s + (steps - long) * step_s


def why_no_gpu() -> str:
    """Why torch cannot compute on a GPU here, in words; empty if it can."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        said = one_line(error)
        if found := re.search(r"driver .*too old \(found version (\d+)\)", said):
            version = int(found[1])
            known = f"{version // 1000}.{version % 1000 // 10}"
            return (
                f"the NVIDIA driver knows CUDA {known} at most, and torch {torch.__version__} needs CUDA "
                f"{torch.version.cuda}: update the driver, or install torch for an older CUDA"
            )
        return said
    return "torch sees no GPU"


def check_gpu(device: torch.device, gpus: float) -> None:
    """Checks that a worker that was given `gpus` GPUs computes on one.

    Raises:
        ConfigError: torch cannot use it.
    """
    if gpus and device.type != "cuda":
        reason = why_no_gpu() or "torch was told to use the CPU"
        raise ConfigError(f"a GPU was given, but cannot be used: {reason}", fix="look at: gansweep doctor")


def has_room(needed: int, device: torch.device) -> bool:
    """Returns whether `device` has room for `needed` bytes that stay there, and as many again for computations on them.

    What torch has reserved and does not use counts as free. The host is trusted to have room: what it cannot hold was
    never loaded.
    """
    if not is_cuda(device):
        return True
    free = torch.cuda.mem_get_info(device)[0]
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 2 * needed <= free + unused


def release_cached_memory(device: torch.device) -> None:
    """Gives a GPU the memory back that torch keeps for reuse in this process: other processes need it."""
    if is_cuda(device):
        gc.collect()
        torch.cuda.empty_cache()


def reset_peak_memory(device: torch.device) -> None:
    """Starts a new measurement of `peak_memory_gib`."""
    if is_cuda(device):
        torch.cuda.init()  # without it, torch knows no device by its number yet
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_gib(device: torch.device) -> float | None:
    """Returns the most memory that torch had allocated on a GPU since `reset_peak_memory`, in GiB (2^30 bytes).

    It does not count what torch has reserved beyond that. None for a CPU.
    """
    return torch.cuda.max_memory_allocated(device) / 2**30 if is_cuda(device) else None


def energy_joules(device: torch.device) -> float | None:
    """Returns the energy that a GPU has used since its driver was loaded, whoever used it, in joules.

    None for a CPU, for GPUs older than Volta and parts of a GPU (MIG), and without the package nvidia-ml-py.
    """
    if not is_cuda(device):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(card)) / 1000
    except pynvml.NVMLError:
        return None


def check_precision(precision: str, device: torch.device) -> None:
    """Checks that `device` supports the arithmetic of `TrialConfig.precision`.

    Raises:
        ConfigError: the device does not support it.
    """
    if precision == "float32" or (precision == "bfloat16" and device.type == "cpu"):
        return
    fix = "set precision=float32"
    if device.type != "cuda":
        raise ConfigError(f"precision = {precision!r}, but the training runs on the {device.type.upper()}", fix=fix)
    if is_cuda(device) and torch.cuda.get_device_capability(device) < _AMPERE:
        name = torch.cuda.get_device_name(device)
        raise ConfigError(
            f"precision = {precision!r}, but {name} has no {precision}: it needs compute capability 8.0 or newer",
            fix=fix,
        )


def set_number(buffer: Tensor, value: float) -> None:
    """Fills `buffer`, which a captured step reads, with what this step needs.

    Without effect during a capture: the graph would repeat this number for ever. Who captures has filled it before.
    """
    if not (is_cuda(buffer.device) and torch.cuda.is_current_stream_capturing()):
        buffer.fill_(value)


class Arithmetic:
    """Arithmetic of one update: of its loss, and of the backward pass of that loss.

    Args:
        precision: `float32`, `tf32`, or `bfloat16` for forward passes under autocast.
        device: device of the computation.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        self._precision = precision
        self._device = device
        self._exact = False

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Sets the arithmetic for computing a loss."""
        self._exact = False
        _active.append(self)
        try:
            with (
                _cudnn(tf32=self._precision == "tf32", benchmark=True),
                torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16"),
            ):
                yield
        finally:
            _active.pop()

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Sets the arithmetic for the backward pass.

        Without TF32 if a part of the loss was computed in `exact_float32`.
        """
        with _cudnn(tf32=self._precision == "tf32" and not self._exact, benchmark=True):
            yield

    def needs_exact(self) -> None:
        """Disables TF32 for the backward pass."""
        self._exact = True


_active: list[Arithmetic] = []
"""Updates whose losses are being computed, the innermost last."""


@contextmanager
def exact_float32(device: torch.device, *, enabled: bool = True, autotune: bool = False) -> Iterator[None]:
    """Computes in float32 without TF32 and autocast inside the block, and in the backward pass of a loss.

    Args:
        device: device of the computation.
        enabled: whether the block has any effect.
        autotune: whether cuDNN tries its algorithms for each new shape. The choice, and with it the rounding, may then
            differ between runs.
    """
    if not enabled:
        yield
        return
    for update in _active[-1:]:
        update.needs_exact()
    with _cudnn(tf32=False, benchmark=autotune or None), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def _cudnn(*, tf32: bool, benchmark: bool | None) -> Iterator[None]:
    """Sets torch's process-wide options, and restores them.

    Args:
        tf32: whether float32 convolutions and matrix products may use TF32.
        benchmark: whether cuDNN tries its algorithms for each new shape, which is worthwhile for fixed shapes; None:
            unchanged.
    """
    backends = torch.backends
    with ExitStack() as undo:
        undo.callback(setattr, backends.cudnn, "benchmark", backends.cudnn.benchmark)
        undo.callback(_allow_tf32, convolutions=_convolutions_use_tf32(), products=_products_use_tf32())
        if benchmark is not None:
            backends.cudnn.benchmark = benchmark
        _allow_tf32(convolutions=tf32, products=tf32)
        yield


def _allow_tf32(*, convolutions: bool, products: bool) -> None:
    # The older of torch's two interfaces, which also sets the newer one. torch 2.8 has only this one.
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


def _convolutions_use_tf32() -> bool:
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:  # set by the newer interface
        convolutions: Any = getattr(torch.backends.cudnn, "conv")  # noqa: B009 (torch's annotations do not have it)
        return bool(convolutions.fp32_precision == "tf32")


def _products_use_tf32() -> bool:
    try:
        return bool(torch.backends.cuda.matmul.allow_tf32)
    except RuntimeError:
        return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")
