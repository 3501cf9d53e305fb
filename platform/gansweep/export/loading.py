"""Loads a generator from an export, for drawing images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.contracts import Condition, Gan, ImageSet, ImageSpec, Trainables
from gansweep.errors import ConfigError, ExportError
from gansweep.seeds import seed_from
from gansweep.training.placement import within_reach
from gansweep.training.record import STATE, GeneratorRecord, Need, generator_home, read_record, read_weights
from gansweep.training.restore import HISTORY, restore_gan
from gansweep.training.sampling import make_sampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["LoadedGenerator", "flat_weights", "load_generator", "sampling_traits"]

BLOCK = 1024
"""Number of images drawn at once. Each block has its own seed, so changing this value changes the images of a seed."""


@dataclass(frozen=True)
class LoadedGenerator:
    """A trained generator with its weights.

    Args:
        record: record of the generator.
        gan: the family. Its sampling networks have the averaged weights and are in evaluation mode.
        data: real training images, for families that paint into or translate them.
        device: device of the networks.
        classes: labels that it makes. A generator that paints lesions makes no healthy images.
    """

    record: GeneratorRecord
    gan: Gan
    data: ImageSet | None
    device: torch.device
    classes: tuple[int, ...]

    def sample(self, n: int, labels: Sequence[int] | None = None, seed: int = 0) -> Tensor:
        """Draws images.

        Args:
            n: number of images.
            labels: class of each image `[n]`; None: each class that it makes in turn.
            seed: seed of the draw. Equal seeds give equal images on a CPU, and a longer draw starts with the images of
                a shorter one.

        Returns:
            Images `[n, C + mask_channels, H, W]` float32 in [-1, 1], on the CPU.

        Raises:
            ExportError: the family needs real images and has none, or it does not make the class of a label.
        """
        return torch.cat([images for images, _ in self.blocks(n, labels, seed)])

    def blocks(
        self, n: int, labels: Sequence[int] | int | None = None, seed: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the images of `sample` and their labels in blocks, because a long draw may not fit into memory.

        Args:
            n: see `sample`.
            labels: see `sample`; one number: the class of all images.
            seed: see `sample`.

        Raises:
            ExportError: see `sample`.
        """
        self._check(n, labels)
        if self.record.needs and self.data is None:
            needs = " and ".join(self.record.needs)
            raise ExportError(f"this generator starts from real {needs} and has none", fix="pass --cohort")
        sampler = make_sampler(self.gan, None, self.data or _stand_in(self.record.spec).to(self.device), self.device)
        for number, start in enumerate(range(0, n, BLOCK)):
            part = self._labels(range(start, min(start + BLOCK, n)), labels)
            yield sampler(Condition(part), seed_from(seed, "block", number)), part

    def _labels(self, places: range, labels: Sequence[int] | int | None) -> Tensor:
        """Returns the labels of some images. A list of all would fill the memory before a very long draw begins."""
        if labels is None:
            # Classes alternate, so that any number of images is balanced.
            return torch.tensor(self.classes)[torch.arange(places.start, places.stop) % len(self.classes)]
        if isinstance(labels, int):
            return torch.full((len(places),), labels)
        return torch.as_tensor(labels[places.start : places.stop], dtype=torch.int64)

    def _check(self, n: int, labels: Sequence[int] | int | None) -> None:
        if n < 1:
            raise ExportError(f"{n} images requested", fix="request at least one")
        if labels is None:
            return
        asked = [labels] if isinstance(labels, int) else labels
        if not isinstance(labels, int) and len(asked) != n:
            raise ExportError(f"{len(asked)} labels for {n} images")
        if not set(torch.as_tensor(asked).tolist()) <= set(self.classes):
            names = ", ".join(f"{label} ({self.record.classes[label]})" for label in self.classes)
            raise ExportError(f"the generator does not make a requested class; it makes {names}")


def load_generator(
    folder: Path, trainables: Trainables, *, data: ImageSet | None = None, device: torch.device | None = None
) -> LoadedGenerator:
    """Loads the generator in `folder`.

    Args:
        folder: an export, or the bundle in it.
        trainables: registries of the names in its configuration.
        data: real training images, for families that need them.
        device: device of the networks; None: a GPU if there is one.

    Raises:
        ExportError: a file is missing, the weights have changed since the export, or they do not fit the configuration.
    """
    record = read_record(folder)
    parts = read_weights(folder, record)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gan = _rebuilt(record, parts, generator_home(folder), trainables, device)
    made = trainables.classes_made(record.config, record.spec)
    return LoadedGenerator(record, gan, None if data is None else within_reach(data, device), device, made)


def flat_weights(networks: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Flattens state dicts to `<network>.<parameter>`.

    Each tensor gets its own memory, because safetensors refuses shared memory.

    Args:
        networks: state dict of each network.
        state: `Gan.state`. Its training history is left out.
    """
    state = {key: tensor for key, tensor in state.items() if not key.startswith(HISTORY)}
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous().clone()
        for name, tensors in {**networks, STATE: state}.items()
        for key, tensor in tensors.items()
    }


def sampling_traits(gan: Gan, data: ImageSet, device: torch.device) -> tuple[tuple[Need, ...], bool]:
    """Determines which parts of real images a family's samples depend on, and whether it draws masks.

    This is found by experiment, so that no family has to declare it: a part is needed if changing it changes the
    samples.

    Args:
        gan: GAN with its networks in evaluation mode, as after `load_generator`.
        data: real training images.
        device: device of the networks.

    Returns:
        (needed parts, whether samples have masks).
    """
    condition = Condition(data.labels.unique().cpu())

    def drawn(images: ImageSet) -> Tensor:
        return make_sampler(gan, None, images, device)(condition, 0)

    # Equal seeds, one part changed at a time. Negation and inversion change every pixel that is not 0 or 0.5.
    others: dict[Need, ImageSet] = {"images": replace(data, images=-data.images)}
    if data.masks is not None:
        others["masks"] = replace(data, masks=1 - data.masks)
    if data.paired is not None:
        others["paired"] = replace(data, paired=-data.paired)
    expected = drawn(data)
    needs = [part for part, images in others.items() if not torch.equal(drawn(images), expected)]
    return tuple(needs), expected.shape[1] > data.images.shape[1]


def _stand_in(spec: ImageSpec) -> ImageSet:
    """Returns blank images, one per class, for a sampler whose family does not use real images."""
    n = len(spec.classes)
    pixels = (spec.size, spec.size)
    return ImageSet(
        images=torch.zeros(n, spec.channels, *pixels),
        labels=torch.arange(n),
        masks=torch.zeros(n, spec.mask_channels, *pixels) if spec.mask_channels else None,
        paired=torch.zeros(n, spec.paired_channels, *pixels) if spec.paired_channels else None,
    )


def _rebuilt(
    record: GeneratorRecord,
    parts: Mapping[str, Mapping[str, Tensor]],
    home: Path,
    trainables: Trainables,
    device: torch.device,
) -> Gan:
    networks = {name: parts[name] for name in record.networks}
    try:  # a configuration error means here that the weights do not fit
        return restore_gan(record.config, record.spec, trainables, networks, parts[STATE], device)
    except ConfigError as error:
        where = ": ".join(part for part in (str(home), error.where) if part)
        raise ExportError(error.what, where=where, fix=error.fix) from None
