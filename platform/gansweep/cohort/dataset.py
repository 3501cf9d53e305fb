"""Opens, checks and loads a cohort: images, labels and patient splits in one folder."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, ValidationError

from gansweep.cohort.summary import html_summary
from gansweep.cohort.verification import changed_file
from gansweep.config import DataView, Frozen
from gansweep.contracts import ImageSet, ImageSpec
from gansweep.errors import CohortError
from gansweep.files import place_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

__all__ = ["FULL_SCALE", "Cohort", "CohortInfo", "content_hash_of", "write_record"]

_RECORD = "cohort.json"

FULL_SCALE = 65535  # the stored uint16 value of intensity 1.0


class CohortInfo(Frozen):
    """Content of `cohort.json`.

    Args:
        classes: class names; the position of a name is its label.
        positive_class: class with the disease, for sensitivity; specificity is about the others.
        size: height and width in pixels.
        channels: 1 for grey images, 3 for colour.
        modality: CT, MR or raster.
        window: name of the map from intensities to [0, 1] (see `intensity`).
        scale: a stored value v represents the intensity v / scale in [0, 1].
        split: target fractions of train, val and test, or "given" if the user provided the split.
        seed: seed of the split.
        settings: all settings of the ingest.
        salt_fingerprint: fingerprint of the salt in the patient hashes.
        tool_version: version of gansweep that wrote the cohort.
        content_hash: hash of images, masks, pairs, labels, patient groups and splits. It does not depend on the salt.
        files: SHA-256 of each data file.
        images: number of images by split.
        patients: number of patients by split.
        patients_known: False if some images, volumes or studies count as separate patients.
        warnings: warnings about the data.
        left_out: number of files left out, by reason.
        ranges: how the images of each class were stored (see `ingest.ranges.ranges_by_class`).
        record_hash: hash of everything else in the file (see `write_record`); "" in files of earlier versions.
    """

    classes: tuple[str, ...] = Field(min_length=1)
    positive_class: str
    size: int = Field(ge=1)
    channels: int = Field(ge=1)
    modality: str
    window: str
    scale: int = Field(ge=1)
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
    left_out: dict[str, int] = Field(default_factory=dict)
    ranges: dict[str, dict[str, Any]] = Field(default_factory=dict)
    record_hash: str = ""


class Cohort:
    """A folder written by `gansweep ingest`. Use `Cohort.open` to open one.

    Args:
        path: the folder.
        info: content of its `cohort.json`.
        manifest: one row per image, in the order of `images.npy`.
    """

    def __init__(self, path: Path, info: CohortInfo, manifest: pd.DataFrame) -> None:
        self.path = path
        self.info = info
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Cohort:
        """Reads and checks a cohort.

        Data files are hashed the first time that this machine opens them, and again when their size or times change.

        Args:
            path: a folder written by `gansweep ingest`.
            verify: hash all files again.

        Raises:
            CohortError: the folder is not a cohort, a file, its record or the split has changed since the ingest, or a
                patient is in two splits.
            ConfigError: `path` is neither a text nor a path.
        """
        import pandas as pd

        path = Path(place_of(path))
        if not path.is_dir():
            raise CohortError("no such folder", where=str(path), fix="make a cohort with: gansweep ingest SRC OUT")
        try:
            record = (path / _RECORD).read_text(encoding="utf-8")
            info = CohortInfo.model_validate_json(record)
            changed = _changed_record(record) or changed_file(path, info.files, anew=verify)
            if changed:
                raise CohortError(f"{changed} has changed since it was ingested", where=str(path), fix="ingest again")
            manifest = pd.read_parquet(path / "manifest.parquet")
        except (OSError, ValidationError, ValueError) as error:
            reason = f"{Path(error.filename).name} is missing" if isinstance(error, FileNotFoundError) else "unreadable"
            raise CohortError(f"not a cohort ({reason})", where=str(path), fix="gansweep ingest writes one") from None

        _check_no_leaks(manifest, path)
        # Sweeps identify a cohort by this hash. If the split changed under the old hash, a training patient of an
        # earlier sweep could become a test patient.
        if content_hash_of(info.files, manifest) != info.content_hash:
            raise CohortError(
                "patients, labels or splits have changed since the ingest", where=str(path), fix="ingest again"
            )
        return cls(path, info, manifest)

    @property
    def content_hash(self) -> str:
        """Hash that identifies the data: equal hashes mean equal images, labels, patients and splits."""
        return self.info.content_hash

    @cached_property
    def images(self) -> np.memmap[Any, Any]:
        """All images, `[N, C, H, W]` uint16, memory-mapped. Divide by `info.scale` to get [0, 1]."""
        import numpy as np

        images: np.memmap[Any, Any] = np.load(self.path / "images.npy", mmap_mode="r")
        return images

    def spec(self, view: DataView | None = None) -> ImageSpec:
        """Returns the shape of the images that `load` returns under `view` (None: as stored)."""
        import numpy as np

        size = (view or DataView()).size or self.info.size
        masks = int("masks.npy" in self.info.files)
        paired = 0
        if "pairs.npy" in self.info.files:
            paired = np.load(self.path / "pairs.npy", mmap_mode="r").shape[1]
        positive = self.info.classes.index(self.info.positive_class)
        return ImageSpec(size, self.info.channels, self.info.classes, masks, paired, positive)

    def load(self, split: Literal["train", "val"], view: DataView | None = None) -> ImageSet:
        """Loads the training or validation images.

        Args:
            split: "train" or "val".
            view: crop and size; None: as stored.

        Returns:
            Images `[N, C, H, W]` in [-1, 1] with labels, patients and, if the cohort has them, masks and pairs.

        Raises:
            CohortError: the split has no images.
            ValueError: the split is neither "train" nor "val".
        """
        if split not in {"train", "val"}:
            raise ValueError(f"load returns train or val, not {split!r}; only `confirm` may use the test patients")
        return self._load(split, view)

    def load_stored(self, split: Literal["train", "val"], view: DataView | None = None) -> ImageSet:
        """Loads training or validation images as `load` does, but leaves them in memory-mapped files.

        Their rows are read when they are indexed. A view that crops or resizes loads all images instead.

        Returns:
            `HostImages` for images, masks and pairs.

        Raises:
            CohortError: the split has no images.
        """
        import numpy as np

        from gansweep.cohort.stored import Decoding, HostImages

        view = view or DataView()
        crops = max(2, round(self.info.size * view.crop)) != self.info.size
        resizes = view.size is not None and view.size != self.info.size
        if crops or resizes:
            return self.load(split, view)
        rows = self._rows_of(split)

        def stored(name: str, decoding: Decoding) -> Tensor | None:
            if name not in self.info.files:
                return None
            # Not a tensor, but its rows are, and callers only index it.
            return cast("Tensor", HostImages(np.load(self.path / name, mmap_mode="r"), rows, decoding))

        intensity = Decoding("intensity", self.info.scale)
        images = stored("images.npy", intensity)
        assert images is not None
        labels, patients = self._labels_and_patients(rows)
        masks = stored("masks.npy", Decoding("mask"))
        return ImageSet(images, labels, masks, patients, stored("pairs.npy", intensity))

    def load_test(self, view: DataView | None = None) -> ImageSet:
        """Loads the test images. Only the final evaluation by `confirm` may call this.

        Raises:
            CohortError: the cohort has no test images.
        """
        return self._load("test", view)

    def _rows_of(self, split: str) -> np.ndarray[Any, Any]:
        import numpy as np

        rows = np.flatnonzero(self.manifest["split"].to_numpy() == split)
        if not len(rows):
            raise CohortError(f"no {split} images", where=str(self.path), fix="ingest with a --split that has some")
        return rows

    def _labels_and_patients(self, rows: np.ndarray[Any, Any]) -> tuple[Tensor, tuple[str, ...]]:
        import torch

        chosen = self.manifest.iloc[rows]
        order = {name: index for index, name in enumerate(self.info.classes)}
        labels = torch.tensor([order[label] for label in chosen["label"]], dtype=torch.int64)
        return labels, tuple(chosen["patient"])

    def _check_memory(self, count: int, split: str) -> None:
        """Raises CohortError if this number of images, as float32, does not fit into this machine's memory."""
        import psutil

        channels = self.info.channels + ("masks.npy" in self.info.files) + self.spec().paired_channels
        needed = count * channels * self.info.size**2 * 4
        free = psutil.virtual_memory().available
        if needed > free:
            raise CohortError(
                f"{count} {split} images take {needed / 2**30:.1f} GiB in memory, and {free / 2**30:.1f} GiB are free",
                where=str(self.path),
                fix="use a machine with more memory, or ingest with a smaller --size",
            )

    def _load(self, split: str, view: DataView | None) -> ImageSet:
        from gansweep.cohort.readers.resample import MASK_COVER

        rows = self._rows_of(split)
        labels, patients = self._labels_and_patients(rows)
        view = view or DataView()
        size = self.spec(view).size
        self._check_memory(len(rows), split)
        masks = self._array("masks.npy", rows, 1)
        pairs = self._array("pairs.npy", rows, self.info.scale)
        # Stored intensities are in [0, 1]; generators end in tanh, so networks see [-1, 1].
        return ImageSet(
            images=_apply_view(self._intensities("images.npy", rows), view.crop, size) * 2 - 1,
            labels=labels,
            masks=None if masks is None else (_apply_view(masks, view.crop, size) >= MASK_COVER).float(),
            patients=patients,
            paired=None if pairs is None else _apply_view(pairs, view.crop, size) * 2 - 1,
        )

    def _repr_html_(self) -> str:
        """Returns a summary for notebooks, without anything that identifies a patient."""
        facts = {
            "size": f"{self.info.channels} x {self.info.size} x {self.info.size}",
            "modality": self.info.modality,
            "window": self.info.window,
            "content hash": self.content_hash[:12],
        }
        return html_summary(self.manifest, self.info.classes, tuple(self.info.images), facts)

    def _intensities(self, name: str, rows: np.ndarray[Any, Any]) -> Tensor:
        stored = self._array(name, rows, self.info.scale)
        if stored is None:
            raise CohortError(f"{name} is missing", where=str(self.path), fix="ingest again")
        return stored

    def _array(self, name: str, rows: np.ndarray[Any, Any], scale: int) -> Tensor | None:
        """Returns rows of a data file as float32, divided by `scale`; None if the cohort has no such file."""
        import numpy as np
        import torch

        if name not in self.info.files:
            return None
        stored = np.load(self.path / name, mmap_mode="r")[rows]
        return torch.from_numpy(stored.astype(np.float32) / scale)


def _apply_view(images: Tensor, crop: float, size: int) -> Tensor:
    """Crops the centre, then resizes to `[N, C, size, size]`: area averaging down, bilinear interpolation up."""
    from torch.nn import functional

    side = images.shape[-1]
    cropped = max(2, round(side * crop))
    start = (side - cropped) // 2
    images = images[..., start : start + cropped, start : start + cropped]
    if cropped == size:
        return images.contiguous()
    if cropped > size:
        return functional.adaptive_avg_pool2d(images, size)
    return functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def write_record(info: CohortInfo, folder: Path) -> None:
    """Writes `cohort.json` with a hash of its content, so that nobody takes labels or units that were changed in it."""
    record = json.loads(info.model_dump_json())
    record["record_hash"] = _record_hash_of(record)
    (folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _changed_record(text: str) -> str:
    """Returns the name of the record if it is not what `write_record` wrote, else ""."""
    record = json.loads(text)
    recorded = record.get("record_hash", "")
    return _RECORD if recorded and recorded != _record_hash_of(record) else ""


def _record_hash_of(record: dict[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key != "record_hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_no_leaks(manifest: pd.DataFrame, path: Path) -> None:
    splits = manifest.groupby("patient")["split"].nunique()
    leaks = splits[splits > 1]
    if len(leaks):
        raise CohortError(f"patient {leaks.index[0]} is in two splits", where=str(path), fix="ingest again")


def content_hash_of(files: dict[str, str], manifest: pd.DataFrame) -> str:
    """Returns the hash of a cohort's content.

    Patients are included as group numbers, not as salted names, so the same data has the same hash under any salt.

    Args:
        files: SHA-256 of each data file, by name.
        manifest: one row per image.
    """
    arrays = {name: digest for name, digest in files.items() if name.endswith(".npy")}
    groups = manifest["patient"].factorize()[0].tolist()
    columns = [manifest[name].tolist() for name in ("label", "split", "source_sha256")]
    return hashlib.sha256(json.dumps([arrays, groups, *columns], sort_keys=True).encode()).hexdigest()
