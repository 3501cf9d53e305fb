"""Sections on what a step takes: precision, the textbook's loop, the device's ceiling, batches, and drawing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.gpu.bench import Bench, Row, one_line
from benchmarks.step_time import textbook
from gansweep.contracts import Condition
from gansweep.devices import Arithmetic, check_precision, out_of_memory
from gansweep.errors import ConfigError
from gansweep.testing.images import shapes
from gansweep.training.sampling import make_sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSet, ImageSpec

__all__ = ["ceiling", "generated", "largest_batch", "precisions", "textbook_loop"]

PRECISIONS = ("float32", "tf32", "bfloat16")


def textbook_loop(bench: Bench) -> Iterator[Row]:
    """A WGAN-GP iteration of our loop and of the textbook's, with copies of the same networks."""
    data, spec = shapes(bench.sizes.images, bench.sizes.pixels)
    config = bench.config()
    ours = bench.step_seconds(lambda count: bench.trained(config, spec, data, count))

    def theirs_for(count: int) -> None:
        networks = {name: copy.deepcopy(one).to(bench.device) for name, one in bench.gan(config, spec).networks.items()}
        textbook(networks, data, config.derive({"iterations": count}), bench.sizes.architecture["latent"], bench.device)

    theirs = bench.step_seconds(theirs_for)
    yield Row("ours", ours * 1e3, "ms an iteration", _described(bench))
    yield Row("textbook", theirs * 1e3, "ms an iteration", "images in host memory, copied batch by batch")
    yield Row("ours", theirs / ours, "times as fast as the textbook")


def precisions(bench: Bench) -> Iterator[Row]:
    """An iteration in each precision."""
    data, spec = shapes(bench.sizes.images, bench.sizes.pixels)
    for precision in PRECISIONS:
        config = bench.config(precision=precision)
        try:
            check_precision(precision, bench.device)
        except ConfigError as error:
            yield Row(precision, "not available", note=one_line(error))
            continue
        seconds = bench.step_seconds(lambda count, one=config: bench.trained(one, spec, data, count))
        yield Row(precision, seconds * 1e3, "ms an iteration", _described(bench))


def ceiling(bench: Bench) -> Iterator[Row]:
    """The rate of a large matrix product and of a convolution, and the fraction of it that an iteration reaches.

    The floating-point operations of an iteration are counted by torch.
    """
    data, spec = shapes(bench.sizes.images, bench.sizes.pixels)
    for precision in PRECISIONS:
        try:
            check_precision(precision, bench.device)
        except ConfigError as error:
            yield Row(precision, "not available", note=one_line(error))
            continue
        product = _rate(bench, precision, _product(bench, precision))
        convolution = _rate(bench, precision, _convolution(bench, precision))
        yield Row(f"{precision}, matrix product", product / 1e12, "TFLOP/s", f"{bench.sizes.matrix} squared")
        yield Row(f"{precision}, convolution", convolution / 1e12, "TFLOP/s", f"{_channels(bench)} channels, 3x3")
        config = bench.config(precision=precision)
        operations = _operations(bench, config, spec, data)
        seconds = bench.step_seconds(lambda count, one=config: bench.trained(one, spec, data, count))
        achieved = operations / seconds
        yield Row(f"{precision}, iteration", operations / 1e9, "GFLOP")
        yield Row(f"{precision}, iteration", achieved / 1e12, "TFLOP/s", _described(bench))
        best = max(product, convolution)
        yield Row(f"{precision}, iteration", achieved / best, "of the ceiling", "the better of the two rates")


def _product(bench: Bench, precision: str) -> Callable[[], object]:
    side = bench.sizes.matrix
    one = _operand(bench, precision, side, side)
    other = _operand(bench, precision, side, side)
    return lambda: one @ other


def _convolution(bench: Bench, precision: str) -> Callable[[], object]:
    channels = _channels(bench)
    images = _operand(bench, precision, bench.sizes.batch, channels, bench.sizes.pixels, bench.sizes.pixels)
    images = images.to(memory_format=torch.channels_last)
    weight = _operand(bench, precision, channels, channels, 3, 3).to(memory_format=torch.channels_last)
    return lambda: functional.conv2d(images, weight, padding=1)


def _operand(bench: Bench, precision: str, *shape: int) -> Tensor:
    """Random numbers in the type of the operation. Autocast would convert them in each timed call."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    return torch.randn(*shape, device=bench.device).to(dtype)


def _channels(bench: Bench) -> int:
    return 128 if bench.on_gpu else 16


class _Operations(TorchDispatchMode):
    """Counts floating-point operations, in backward passes too, by torch's own formulas.

    Not torch's `FlopCounterMode`: it hooks modules, and refuses `torch.autograd.grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _rate(bench: Bench, precision: str, work: Callable[[], object]) -> float:
    """Floating-point operations a second of `work`."""
    repeats = 20
    with _Operations() as counter:
        work()

    def many() -> None:
        with torch.no_grad(), Arithmetic(precision, bench.device).forward():
            for _ in range(repeats):
                work()

    many()
    best = min(bench.seconds(many) for _ in range(bench.sizes.rounds))
    return counter.total * repeats / best


def _operations(bench: Bench, config: TrialConfig, spec: ImageSpec, data: ImageSet) -> float:
    """Floating-point operations of one iteration: those of two less those of one, which starts and ends as well.

    The iterations are eager: torch cannot see what a graph computes.
    """
    config = config.derive({"execution": "eager"})
    found = []
    for count in (1, 2):
        with _Operations() as counter:
            bench.trained(config, spec, data, count)
        found.append(counter.total)
    return float(found[1] - found[0])


def largest_batch(bench: Bench) -> Iterator[Row]:
    """Batches that double until the device is full, and what an iteration takes an image."""
    size = bench.sizes.batch
    fitted = 0
    while size <= bench.sizes.largest_batch and not bench.late():
        data, spec = shapes(size, bench.sizes.pixels)
        config = bench.config(batch_size=size, execution="eager")  # a capture costs more than two iterations
        if bench.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(bench.device)
        try:
            bench.trained(config, spec, data, 1)
            seconds = bench.seconds(lambda one=config, seen=data, its=spec: bench.trained(one, its, seen, 2))
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or out_of_memory(error)):
                raise
            yield Row(f"batch {size}", "does not fit", note=_described(bench))
            break
        memory = f", {torch.cuda.max_memory_allocated(bench.device) / 2**30:.2f} GiB" if bench.on_gpu else ""
        yield Row(f"batch {size}", size * 2 / seconds, "images a second", f"a run of 2 eager iterations{memory}")
        fitted = size
        size *= 2
    stopped = "the search ends here" if size > bench.sizes.largest_batch else ""
    yield Row("largest batch that fitted", fitted, "images", stopped or "the device was full, or the time was up")


def generated(bench: Bench) -> Iterator[Row]:
    """Images that a sampler draws a second."""
    data, spec = shapes(bench.sizes.images, bench.sizes.pixels)
    gan = bench.gan(bench.config(), spec)
    for module in (*gan.networks.values(), gan.state):
        module.to(bench.device)
    sampler = make_sampler(gan, None, data, bench.device)
    condition = Condition(torch.arange(bench.sizes.generated) % len(spec.classes))
    sampler(condition, 0)
    best = min(bench.seconds(lambda: sampler(condition, 1)) for _ in range(bench.sizes.rounds))
    yield Row("drawn to host memory", bench.sizes.generated / best, "images a second", _described(bench))


def _described(bench: Bench) -> str:
    sizes = bench.sizes
    return f"dcgan, WGAN-GP, n_critic 1, {sizes.pixels} pixels, width {sizes.width}, batch {sizes.batch}"
