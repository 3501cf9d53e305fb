"""Detectors that learn on the features of a frozen network: a TorchScript file that the user names.

With few patients, features that were learned on other data can be better than a network trained from scratch.
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
"""Number of images after which a forest takes no further batch: more images cost time and add little."""
MIN_PROBABILITY = 1e-3
"""Lower limit of a forest's probabilities, so that their logarithms are finite."""
# Columns of `ForestHead.trees`; the class probabilities follow.
LEFT = 0
RIGHT = 1
FEATURE = 2
THRESHOLD = 3
PROBABILITIES = 4


@lru_cache(maxsize=4)
def _opened(path: Path, digest: str, device: torch.device) -> Extractor:
    """Returns the network in a file. The digest is part of the cache's key, so a changed file is loaded again."""
    del digest
    return load_extractor(path, device)


class _OnFeatures(nn.Module):
    """Base class: features of images from a network that is not trained and not part of the detector's weights.

    Args:
        spec: shape of the images, and their classes.
        features: a TorchScript file, as `scoring.features` takes it.

    Raises:
        ConfigError: the file does not exist or is not TorchScript, or the network does not return a vector per image.
    """

    on_features: ClassVar[bool] = True

    def __init__(self, spec: ImageSpec, features: str | Path) -> None:
        super().__init__()
        self._path = Path(features)
        # If the file is missing, load_extractor raises the error.
        self._digest = sha256_of(self._path) if self._path.is_file() else ""
        self.classes = len(spec.classes)
        images = torch.zeros(2, spec.channels, spec.size, spec.size)
        extractor = self._extractor(images.device)
        self.features = extractor.vectors(images).shape[1]
        self.name = extractor.name

    def extra_repr(self) -> str:
        """Returns the name of the extractor, which identifies the file's content.

        Detectors that differ only in their features therefore have different descriptions.
        """
        return self.name

    def vectors(self, images: Tensor) -> Tensor:
        """Returns features `[b, d]` of images `[b, C, H, W]`."""
        return self._extractor(images.device).vectors(images)

    def _extractor(self, device: torch.device) -> Extractor:
        return _opened(self._path, self._digest, device)


class LinearHead(_OnFeatures):
    """A linear layer on standardised features, trained by gradient descent as other detectors are.

    A batch normalisation without learned parameters standardises the features, as in the linear probes of He et al.
    2022, "Masked Autoencoders Are Scalable Vision Learners", appendix A.
    """

    def __init__(self, spec: ImageSpec, features: str | Path) -> None:
        super().__init__(spec, features)
        self.standardise = nn.BatchNorm1d(self.features, affine=False)
        self.head = nn.Linear(self.features, self.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, classes]` of images `[b, C, H, W]`.

        On a GPU no update waits for a check of its features. If they are not finite, the running mean is not either,
        and that is checked when the head is used.
        """
        extractor = self._extractor(images.device)
        unchecked = self.training and images.device.type == "cuda"
        vectors = extractor.vectors(images, finite=not unchecked)
        if not self.training and self.standardise.running_mean is not None:
            extractor.check_finite(self.standardise.running_mean)
        return cast("Tensor", self.head(self.standardise(vectors)))


class ForestHead(_OnFeatures):
    """A random forest (Breiman 2001) of 100 trees on features, grown by scikit-learn and stored as a tensor.

    Its logits are logarithms of probabilities, which are at least `MIN_PROBABILITY`.
    """

    trees: Tensor
    """`[trees, nodes, 4 + classes]`: left child, right child, feature, threshold, class probabilities.

    The left child of a leaf is -1.
    """

    def __init__(self, spec: ImageSpec, features: str | Path) -> None:
        super().__init__(spec, features)
        self.register_buffer("trees", torch.zeros(0, 1, PROBABILITIES + self.classes, dtype=torch.float64))

    def fit_batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Grows the forest.

        Args:
            batches: images `[b, C, H, W]` with labels `[b]` or class probabilities `[b, classes]`.
        """
        from sklearn.ensemble import RandomForestClassifier

        vectors: list[Tensor] = []
        probabilities: list[Tensor] = []
        count = 0
        device = self.trees.device
        for images, labels in batches:
            vectors.append(self.vectors(images).cpu())
            soft_labels = labels if labels.ndim == 2 else nn.functional.one_hot(labels, self.classes)
            probabilities.append(soft_labels.cpu().double())
            count += len(images)
            if count >= FITTED_IMAGES:
                break
        features = torch.cat(vectors)
        weights = torch.cat(probabilities)
        # scikit-learn takes hard labels. An image with a soft label counts for each of its classes, with that weight.
        rows, classes = weights.nonzero(as_tuple=True)
        seed = int(torch.randint(2**31, ()))
        forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=seed)
        forest.fit(features[rows].numpy(), classes.numpy(), sample_weight=weights[rows, classes].numpy())
        self.trees = _as_tensor(forest, self.classes).to(device)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns logits `[b, classes]` of images `[b, C, H, W]`; zeros before the forest has grown."""
        vectors = self.vectors(images)
        count = len(self.trees)
        if not count:
            return vectors.new_zeros(len(images), self.classes)
        # Each image walks down all trees at once, one level per iteration, until it is in a leaf of each.
        tree = torch.arange(count, device=vectors.device)
        node = torch.zeros(len(images), count, dtype=torch.int64, device=vectors.device)
        while True:
            rows = self.trees[tree, node]
            inner = rows[..., LEFT] >= 0
            if not inner.any():
                break
            value = vectors.gather(1, rows[..., FEATURE].long())
            goes_left = value <= rows[..., THRESHOLD]
            child = torch.where(goes_left, rows[..., LEFT], rows[..., RIGHT]).long()
            node = torch.where(inner, child, node)
        probabilities = rows[..., PROBABILITIES:].mean(1)
        return probabilities.clamp(min=MIN_PROBABILITY).log().to(vectors.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The buffer is resized first, because the stored forest has another number of trees and nodes.
        self.trees = torch.empty_like(state_dict[f"{prefix}trees"], device=self.trees.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _as_tensor(forest: Any, classes: int) -> Tensor:
    """Returns a grown scikit-learn forest in the layout of `ForestHead.trees`."""
    grown = [estimator.tree_ for estimator in forest.estimators_]
    most_nodes = max(tree.node_count for tree in grown)
    packed = torch.zeros(len(grown), most_nodes, PROBABILITIES + classes, dtype=torch.float64)
    # A class without an image is missing in the forest; its column stays zero.
    known = torch.as_tensor(forest.classes_)
    for row, tree in zip(packed, grown, strict=True):
        nodes = row[: tree.node_count]
        nodes[:, LEFT] = torch.as_tensor(tree.children_left)
        nodes[:, RIGHT] = torch.as_tensor(tree.children_right)
        # A leaf has feature -2, which is no valid index.
        nodes[:, FEATURE] = torch.as_tensor(tree.feature.clip(0))
        nodes[:, THRESHOLD] = torch.as_tensor(tree.threshold)
        votes = torch.as_tensor(tree.value[:, 0])
        nodes[:, PROBABILITIES + known] = votes / votes.sum(1, keepdim=True)
    return packed
