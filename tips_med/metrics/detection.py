"""Components found, missed and false positives, as ReXGroundingCT counts them (arXiv:2507.22030)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor

from tips_med.geometry import CONNECTIVITY_18
from tips_med.metrics.base import CaseMetric, share
from tips_med.shapes import Mask


def find_components(mask: Mask, min_voxels: int = 10, max_instances: int = 50) -> tuple[np.ndarray, int]:
    """The 18-connected components of a mask, the largest first.

    Args:
        mask: Mask, bool [k j i].
        min_voxels: Minimum number of voxels; smaller components are dropped.
        max_instances: Maximum number of components; the largest are kept.

    Returns:
        Labels from 1, int32 [k j i], and their number.
    """
    labels = np.empty(mask.shape, np.int32)
    count = int(ndimage.label(mask, CONNECTIVITY_18, output=labels))  # type: ignore[arg-type]
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    kept = [int(n) for n in order[:max_instances] if sizes[n] >= max(1, min_voxels)]
    renamed = np.zeros(count + 1, np.int32)
    renamed[kept] = np.arange(1, len(kept) + 1)
    return renamed[labels], len(kept)


def count_instances(
    mask: Mask, truth: Mask, min_dice: float = 0.2, min_voxels: int = 10, max_instances: int = 50
) -> tuple[int, int, int]:
    """Components matched one to one, the pair with the highest Dice first, as long as it reaches ``min_dice``.

    Args:
        mask: Predicted mask, bool [k j i].
        truth: True mask on the same grid.
        min_dice: Minimum Dice of a match, 0 to 1.
        min_voxels: See ``find_components``.
        max_instances: See ``find_components``.

    Returns:
        Numbers of true positive, false positive and missed components.
    """
    ours, n_ours = find_components(mask, min_voxels, max_instances)
    theirs, n_theirs = find_components(truth, min_voxels, max_instances)
    if not n_ours or not n_theirs:
        return 0, n_ours, n_theirs
    pair = np.bincount(
        (ours.astype(np.int64) * (n_theirs + 1) + theirs).ravel(), minlength=(n_ours + 1) * (n_theirs + 1)
    )
    overlap = pair.reshape(n_ours + 1, n_theirs + 1)
    sizes = overlap.sum(axis=1)[1:, None] + overlap.sum(axis=0)[None, 1:]
    score = 2 * overlap[1:, 1:] / sizes
    matched = 0
    while score.size and score.max() >= min_dice:
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        score[row, :] = score[:, column] = -1
        matched += 1
    return matched, n_ours - matched, n_theirs - matched


class InstanceDetection(CaseMetric):
    """Precision, recall and F1 of components, with counts pooled over the whole set.

    Values: ``precision``, ``recall``, ``f1``; NaN while nothing was predicted, or nothing is there.

    Args:
        min_dice: Minimum Dice of a match, 0 to 1.
        min_voxels: Minimum number of voxels; smaller components are dropped from both masks.
        max_instances: Maximum number of components in each mask; the largest are kept.
    """

    higher_is_better = True

    def __init__(self, min_dice: float = 0.2, min_voxels: int = 10, max_instances: int = 50) -> None:
        super().__init__()
        self.min_dice, self.min_voxels, self.max_instances = min_dice, min_voxels, max_instances

    def update(self, mask: Mask, truth: Mask, *, patient: str | None = None) -> None:
        """Adds a case; both masks [k j i] on one grid."""
        counts = count_instances(mask, truth, self.min_dice, self.min_voxels, self.max_instances)
        self._add([float(count) for count in counts], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        matched, false_positive, missed = rows.sum(0)
        return {
            "precision": share(matched, matched + false_positive),
            "recall": share(matched, matched + missed),
            "f1": share(2 * matched, 2 * matched + false_positive + missed),
        }
