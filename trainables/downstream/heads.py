"""Detectors that learn on the features of a frozen network: a TorchScript file that the user names.

With few patients, features that were learned elsewhere can tell more than a network trained from the start.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from gansweep.files import sha256_of
from gansweep.scoring.networks.extractors import Extractor, load_extractor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gansweep.contracts import ImageSpec

__all__ = ["ForestHead", "LinearHead"]

TREES = 100
FITTED_IMAGES = 4096
"""A forest grows on so many images at most, the first that the batches bring: more of them cost time and add little."""


@lru_cache(maxsize=4)
def _opened(path: Path, digest: str, device: torch.device) -> Extractor:
    """The network of a file; a file that changes has another digest."""
    del digest
    return load_extractor(path, device)


class _OnFeatures(nn.Module):
    """Features of images, by a network that is neither trained nor kept with the detector's weights.

    Args:
        spec: shape of the images, and their classes.
        features: a TorchScript file, as `scoring.features` takes it.

    Raises:
        ConfigError: no such file, not TorchScript, or a network that does not give one vector per image.
    """

    on_features: ClassVar[bool] = True

    def __init__(self, spec: ImageSpec, features: str | Path) -> None:
        super().__init__()
        self._path = Path(features)
        # A missing file is told by load_extractor, in its own words.
        self._digest = sha256_of(self._path) if self._path.is_file() else ""
        self.classes = len(spec.classes)
        images = torch.zeros(2, spec.channels, spec.size, spec.size)
        extractor = self._extractor(images.device)
        self.features = extractor.vectors(images).shape[1]
        self.name = extractor.name

    def extra_repr(self) -> str:
        """Names the file's content: detectors on other features are others."""
        return self.name

    def vectors(self, images: Tensor) -> Tensor:
        """Features `[b, d]` of images `[b, C, H, W]`."""
        return self._extractor(images.device).vectors(images)

    def _extractor(self, device: torch.device) -> Extractor:
        return _opened(self._path, self._digest, device)


class LinearHead(_OnFeatures):
    """A linear layer on standardised features, trained as every detector is.

    The features are standardised by a batch normalisation without parameters of its own, as He et al. 2022, "Masked
    Autoencoders Are Scalable Vision Learners", appendix A, do for linear probes.
    """

    def __init__(self, spec: ImageSpec, features: str | Path) -> None:
        super().__init__(spec, features)
        self.standardise = nn.BatchNorm1d(self.features, affine=False)
        self.head = nn.Linear(self.features, self.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, classes]` of images `[b, C, H, W]`."""
        return cast("Tensor", self.head(self.standardise(self.vectors(images))))


class ForestHead(_OnFeatures):
    """A random forest (Breiman 2001) of 100 trees on features, grown by scikit-learn and kept as a tensor.

    Its logits are logarithms of probabilities, which are at least one in a thousand.
    """

    trees: Tensor
    """`[trees, nodes, 4 + classes]`: left and right child, feature, threshold, class probabilities; leaves have a left
    child of -1."""

    def __init__(self, spec: ImageSpec, features: str | Path) -> None:
        super().__init__(spec, features)
        self.register_buffer("trees", torch.zeros(0, 1, 4 + self.classes, dtype=torch.float64))

    def fit_batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Grows the forest.

        Args:
            batches: images `[b, C, H, W]` with labels `[b]` or class probabilities `[b, classes]`.
        """
        from sklearn.ensemble import RandomForestClassifier

        vectors: list[Tensor] = []
        weights: list[Tensor] = []
        device = self.trees.device
        for images, labels in batches:
            vectors.append(self.vectors(images).cpu())
            certain = labels if labels.ndim == 2 else nn.functional.one_hot(labels, self.classes)
            weights.append(certain.cpu().double())
            if sum(map(len, vectors)) >= FITTED_IMAGES:
                break
        found, weight = torch.cat(vectors), torch.cat(weights)
        # An image that is of two classes in part counts for each, with that weight.
        rows, classes = weight.nonzero(as_tuple=True)
        seed = int(torch.randint(2**31, ()))
        forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=seed)
        forest.fit(found[rows].numpy(), classes.numpy(), sample_weight=weight[rows, classes].numpy())
        self.trees = _as_tensor(forest, self.classes).to(device)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, classes]` of images `[b, C, H, W]`; all alike before the forest has grown."""
        vectors = self.vectors(images)
        count = len(self.trees)
        if not count:
            return vectors.new_zeros(len(images), self.classes)
        tree = torch.arange(count, device=vectors.device)
        at = torch.zeros(len(images), count, dtype=torch.int64, device=vectors.device)
        while True:
            nodes = self.trees[tree, at]
            inner = nodes[..., 0] >= 0
            if not inner.any():
                break
            value = vectors.gather(1, nodes[..., 2].long())
            child = torch.where(value <= nodes[..., 3], nodes[..., 0], nodes[..., 1]).long()
            at = torch.where(inner, child, at)
        return nodes[..., 4:].mean(1).clamp(min=1e-3).log().to(vectors.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A grown forest is larger than one that has not grown."""
        self.trees = torch.empty_like(state_dict[f"{prefix}trees"], device=self.trees.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _as_tensor(forest: Any, classes: int) -> Tensor:
    """A grown forest as `ForestHead.trees` has it."""
    grown = [estimator.tree_ for estimator in forest.estimators_]
    packed = torch.zeros(len(grown), max(tree.node_count for tree in grown), 4 + classes, dtype=torch.float64)
    known = torch.as_tensor(forest.classes_)
    for row, tree in zip(packed, grown, strict=True):
        nodes = row[: tree.node_count]
        parts = (tree.children_left, tree.children_right, tree.feature.clip(0), tree.threshold)
        nodes[:, :4] = torch.stack([torch.as_tensor(part).double() for part in parts], 1)
        votes = torch.as_tensor(tree.value[:, 0])
        nodes[:, 4 + known] = votes / votes.sum(1, keepdim=True)
    return packed
