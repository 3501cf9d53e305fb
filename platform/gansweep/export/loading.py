"""A generator from its folder, ready to draw from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.contracts import Condition, Gan, ImageSet, ImageSpec, Trainables
from gansweep.errors import ConfigError, ExportError
from gansweep.export.files import file_sha256
from gansweep.export.record import WEIGHTS, GeneratorRecord, Need, generator_home, read_record
from gansweep.training.draws import seed_from
from gansweep.training.restore import HISTORY, restore_gan
from gansweep.training.sampling import make_sampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["LoadedGenerator", "flat_weights", "load_generator", "sampling_traits"]

BLOCK = 1024
"""Images held in memory at once. Part of what a seed means, so that a long draw begins with the short one."""

_STATE = "__state__"
"""Where the weights file keeps `Gan.state`; no network can be called that."""


@dataclass(frozen=True)
class LoadedGenerator:
    """A trained generator with its weights in place.

    Args:
        record: what it is.
        gan: the family, its sampling networks holding the averaged weights, in evaluation mode.
        data: real training images to paint into or to translate, for families that need them.
        device: where the networks are.
        classes: labels it can be asked for; a painter of lesions makes no healthy image.
    """

    record: GeneratorRecord
    gan: Gan
    data: ImageSet | None
    device: torch.device
    classes: tuple[int, ...]

    def sample(self, n: int, labels: Sequence[int] | None = None, seed: int = 0) -> Tensor:
        """Draws images.

        Args:
            n: how many.
            labels: wanted classes by index, n of them; None: each class it makes in turn.
            seed: equal seeds give equal images on a CPU, and a longer draw begins with the shorter one.

        Returns:
            `[n, C + mask_channels, H, W]` float32 in [-1, 1], on the CPU.

        Raises:
            ExportError: the family changes real images and has none, or a label is no class that it makes.
        """
        return torch.cat([images for images, _ in self.blocks(n, labels, seed)])

    def blocks(self, n: int, labels: Sequence[int] | None = None, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `sample` with their labels, `BLOCK` at a time: long draws do not fit into memory."""
        wanted = self._labels(n, labels)
        if self.record.needs and self.data is None:
            needs = " and ".join(self.record.needs)
            raise ExportError(f"this generator starts from real {needs} and has none", fix="pass --cohort")
        sampler = make_sampler(self.gan, None, self.data or _stand_in(self.record.spec).to(self.device), self.device)
        for number, start in enumerate(range(0, n, BLOCK)):
            part = wanted[start : start + BLOCK]
            yield sampler(Condition(part), seed_from(seed, "block", number)), part

    def _labels(self, n: int, labels: Sequence[int] | None) -> Tensor:
        if n < 1:
            raise ExportError(f"{n} images asked for", fix="ask for at least one")
        made = torch.tensor(self.classes)
        wanted = made[torch.arange(n) % len(made)] if labels is None else torch.as_tensor(labels, dtype=torch.int64)
        if len(wanted) != n:
            raise ExportError(f"{len(wanted)} labels for {n} images")
        if not torch.isin(wanted, made).all():
            names = ", ".join(f"{label} ({self.record.classes[label]})" for label in self.classes)
            raise ExportError(f"a label this generator does not make; it makes {names}")
        return wanted


def load_generator(
    folder: Path, trainables: Trainables, *, data: ImageSet | None = None, device: torch.device | None = None
) -> LoadedGenerator:
    """Rebuilds the generator that `folder` holds.

    Args:
        folder: an export, or the bundle inside one.
        trainables: what its configuration names.
        data: real training images, for families that need them.
        device: where to put it; None: a GPU if there is one.

    Raises:
        ExportError: a file is missing, the weights are not those that were recorded, or they do not fit.
    """
    home, record = generator_home(folder), read_record(folder)
    weights = home / WEIGHTS
    if not weights.is_file():
        raise ExportError(f"no {WEIGHTS}", where=str(home), fix="export again")
    if file_sha256(weights) != record.weights_sha256:
        raise ExportError(
            "not the weights that were exported (SHA-256 differs)", where=str(weights), fix="export again"
        )
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gan = _rebuilt(record, weights, trainables, device)
    made = trainables.classes_made(record.config, record.spec)
    return LoadedGenerator(record, gan, None if data is None else data.to(device), device, made)


def flat_weights(networks: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dicts as one flat dict, `<network>.<parameter>`, each tensor with memory of its own (safetensors' rule)."""
    state = {key: tensor for key, tensor in state.items() if not key.startswith(HISTORY)}
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous().clone()
        for name, tensors in {**networks, _STATE: state}.items()
        for key, tensor in tensors.items()
    }


def sampling_traits(gan: Gan, data: ImageSet, device: torch.device) -> tuple[tuple[Need, ...], bool]:
    """What a family's samples start from and bring along, found by trying: no family has to declare it.

    Args:
        gan: with its networks in evaluation mode, as `load_generator` leaves them.
        data: real training images.
        device: where the networks are.

    Returns:
        The parts of real images that samples depend on (they change when the part does), and whether samples come with
        masks.
    """
    condition = Condition(data.labels.unique().cpu())

    def drawn(images: ImageSet) -> Tensor:
        return make_sampler(gan, None, images.to(device), device)(condition, 0)

    others: dict[Need, ImageSet] = {"images": replace(data, images=-data.images)}
    if data.masks is not None:
        others["masks"] = replace(data, masks=1 - data.masks)
    if data.paired is not None:
        others["paired"] = replace(data, paired=-data.paired)
    expected = drawn(data)
    needs = [part for part, images in others.items() if not torch.equal(drawn(images), expected)]
    return tuple(needs), expected.shape[1] > data.images.shape[1]


def _stand_in(spec: ImageSpec) -> ImageSet:
    """What the sampler may choose from where the family looks at no real image: a blank one of each class."""
    n, pixels = len(spec.classes), (spec.size, spec.size)
    return ImageSet(
        images=torch.zeros(n, spec.channels, *pixels),
        labels=torch.arange(n),
        masks=torch.zeros(n, spec.mask_channels, *pixels) if spec.mask_channels else None,
        paired=torch.zeros(n, spec.paired_channels, *pixels) if spec.paired_channels else None,
    )


def _rebuilt(record: GeneratorRecord, weights: Path, trainables: Trainables, device: torch.device) -> Gan:
    from safetensors.torch import load_file

    flat = load_file(weights)
    parts = {
        part: {key.removeprefix(f"{part}."): value for key, value in flat.items() if key.startswith(f"{part}.")}
        for part in (*record.networks, _STATE)
    }
    state = parts.pop(_STATE)
    try:
        return restore_gan(record.config, record.spec, trainables, parts, state, device)
    except ConfigError as error:
        where = ": ".join(part for part in (str(weights.parent), error.where) if part)
        raise ExportError(error.what, where=where, fix=error.fix) from None
