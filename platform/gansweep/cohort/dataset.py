"""A cohort on disk: images, labels and patients' splits, opened, checked and loaded."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ValidationError

from gansweep.contracts import ImageSet, ImageSpec
from gansweep.errors import CohortError
from gansweep.experiment import DataView, Frozen

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

__all__ = ["FULL_SCALE", "Cohort", "CohortInfo", "content_hash_of", "file_hash"]

FULL_SCALE = 65535  # uint16 value of 1.0
MASK_COVER = 0.25


class CohortInfo(Frozen):
    """What `cohort.json` says.

    Args:
        classes: names in label order.
        positive_class: the disease, for sensitivity and specificity.
        size: pixels, height and width.
        channels: 1 grey, 3 colour.
        modality: CT, MR or raster.
        window: how intensities became [0, 1] (see `intensity`).
        scale: a stored value v is the intensity v / scale in [0, 1].
        split: fractions of train, val and test aimed at, or "given".
        seed: of the split.
        settings: every setting of the ingest.
        salt_fingerprint: of the salt the patients were hashed with.
        tool_version: of gansweep.
        content_hash: of images, masks, pairs, labels, patients (as groups) and splits; not of the salt.
        files: SHA-256 of each data file.
        images: how many, by split.
        patients: how many, by split.
        patients_known: False where an image, a volume or a study counts as a patient of its own.
        warnings: what the user should know about the data.
    """

    classes: tuple[str, ...]
    positive_class: str
    size: int
    channels: int
    modality: str
    window: str
    scale: int
    split: tuple[float, float, float] | Literal["given"]
    seed: int
    settings: dict[str, Any]
    salt_fingerprint: str
    tool_version: str
    content_hash: str
    files: dict[str, str]
    images: dict[str, int]
    patients: dict[str, int]
    patients_known: bool
    warnings: tuple[str, ...] = ()


class Cohort:
    """A folder that `gansweep ingest` wrote. Open one with `Cohort.open`."""

    def __init__(self, path: Path, info: CohortInfo, manifest: pd.DataFrame) -> None:
        self.path, self.info, self.manifest = path, info, manifest

    @classmethod
    def open(cls, path: str | Path) -> Cohort:
        """Reads and checks a cohort.

        Raises:
            CohortError: not a cohort, a file or the split changed since it was written, or a patient in two splits.
        """
        import pandas as pd

        path = Path(path)
        if not path.is_dir():
            raise CohortError("no such folder", where=str(path), fix="make a cohort with: gansweep ingest SRC OUT")
        try:
            info = CohortInfo.model_validate_json((path / "cohort.json").read_text())
            for name, expected in info.files.items():
                if file_hash(path / name) != expected:
                    raise CohortError(f"{name} has changed since it was ingested", where=str(path), fix="ingest again")
            manifest = pd.read_parquet(path / "manifest.parquet")
        except (OSError, ValidationError, ValueError) as error:
            reason = f"{Path(error.filename).name} is missing" if isinstance(error, FileNotFoundError) else "unreadable"
            raise CohortError(f"not a cohort ({reason})", where=str(path), fix="gansweep ingest writes one") from None
        _refuse_leaks(manifest, path)
        # Sweeps know a cohort by this hash: with another split under the old one, training patients could become test.
        if content_hash_of(info.files, manifest) != info.content_hash:
            raise CohortError(
                "its patients, labels or splits are not those it was ingested with", where=str(path), fix="ingest again"
            )
        return cls(path, info, manifest)

    @property
    def content_hash(self) -> str:
        """Names the data: equal hashes, equal images, labels, patients and splits."""
        return self.info.content_hash

    @cached_property
    def images(self) -> np.memmap[Any, Any]:
        """`[N, C, H, W]` uint16, memory-mapped; divide by `info.scale` for [0, 1]."""
        images: np.memmap[Any, Any] = np.load(self.path / "images.npy", mmap_mode="r")
        return images

    def spec(self, view: DataView | None = None) -> ImageSpec:
        """The shape of what `load` gives under `view`."""
        size = (view or DataView()).size or self.info.size
        masks, paired = int("masks.npy" in self.info.files), 0
        if "pairs.npy" in self.info.files:
            paired = np.load(self.path / "pairs.npy", mmap_mode="r").shape[1]
        positive = self.info.classes.index(self.info.positive_class)
        return ImageSpec(size, self.info.channels, self.info.classes, masks, paired, positive)

    def load(self, split: Literal["train", "val"], view: DataView | None = None) -> ImageSet:
        """The training or validation images.

        Raises:
            CohortError: the split has no images.
        """
        if split not in {"train", "val"}:
            raise ValueError(f"load gives train or val, not {split!r}; test patients are for `confirm` alone")
        return self._load(split, view)

    def load_test(self, view: DataView | None = None) -> ImageSet:
        """The test images: for the one evaluation of `confirm`, and nothing before it.

        Raises:
            CohortError: the cohort has no test images.
        """
        return self._load("test", view)

    def _load(self, split: str, view: DataView | None) -> ImageSet:
        import torch

        rows = np.flatnonzero(self.manifest["split"].to_numpy() == split)
        if not len(rows):
            raise CohortError(f"no {split} images", where=str(self.path), fix="ingest with a --split that has some")
        chosen = self.manifest.iloc[rows]
        order = {name: index for index, name in enumerate(self.info.classes)}
        labels = torch.tensor([order[label] for label in chosen["label"]], dtype=torch.int64)
        view = view or DataView()
        size = self.spec(view).size
        masks, pairs = self._array("masks.npy", rows, 1), self._array("pairs.npy", rows, self.info.scale)
        return ImageSet(
            images=_viewed(self._intensities("images.npy", rows), view.crop, size) * 2 - 1,
            labels=labels,
            masks=None if masks is None else (_viewed(masks, view.crop, size) >= MASK_COVER).float(),
            patients=tuple(chosen["patient"]),
            paired=None if pairs is None else _viewed(pairs, view.crop, size) * 2 - 1,
        )

    def _intensities(self, name: str, rows: np.ndarray[Any, Any]) -> Tensor:
        stored = self._array(name, rows, self.info.scale)
        if stored is None:
            raise CohortError(f"{name} is missing", where=str(self.path), fix="ingest again")
        return stored

    def _array(self, name: str, rows: np.ndarray[Any, Any], scale: int) -> Tensor | None:
        """Rows of a data file as float32 divided by `scale`, or None where the cohort has no such file."""
        import torch

        if name not in self.info.files:
            return None
        stored = np.load(self.path / name, mmap_mode="r")[rows]
        return torch.from_numpy(stored.astype(np.float32) / scale)


def _viewed(images: Tensor, crop: float, size: int) -> Tensor:
    """Central crop, then area averaging down or bilinear interpolation up, `[N, C, size, size]`."""
    from torch.nn import functional

    side = images.shape[-1]
    kept = max(2, round(side * crop))
    start = (side - kept) // 2
    images = images[..., start : start + kept, start : start + kept]
    if kept == size:
        return images.contiguous()
    if kept > size:
        return functional.adaptive_avg_pool2d(images, size)
    return functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def _refuse_leaks(manifest: pd.DataFrame, path: Path) -> None:
    splits = manifest.groupby("patient")["split"].nunique()
    leaks = splits[splits > 1]
    if len(leaks):
        raise CohortError(f"patient {leaks.index[0]} is in two splits", where=str(path), fix="ingest again")


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash_of(files: dict[str, str], manifest: pd.DataFrame) -> str:
    """The hash of what a cohort holds, without the salted names: patients count as groups only."""
    arrays = {name: digest for name, digest in files.items() if name.endswith(".npy")}
    groups = manifest["patient"].factorize()[0].tolist()
    columns = [manifest[name].tolist() for name in ("label", "split", "source_sha256")]
    return hashlib.sha256(json.dumps([arrays, groups, *columns], sort_keys=True).encode()).hexdigest()
