"""Components found, missed and false positives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from torch import Tensor

from tips_med.geometry import CONNECTIVITY_18
from tips_med.metrics.base import CaseMetric, share
from tips_med.metrics.inputs import ArrayLike, as_mask, box_of, one_case, split_cases


def find_components(mask: ArrayLike, min_voxels: int = 10, max_instances: int = 50) -> tuple[np.ndarray, int]:
    """The 18-connected components of a mask, the largest first.

    Args:
        mask: Mask [k j i].
        min_voxels: Minimum number of voxels; smaller components are dropped.
        max_instances: Maximum number of components; the largest are kept.

    Returns:
        Labels from 1, int32 [k j i], and their number.
    """
    marked = as_mask(mask)
    labels = np.zeros(marked.shape, np.int32)
    box = box_of(marked)
    if box is None:
        return labels, 0
    found = np.empty(marked[box].shape, np.int32)
    count = int(ndimage.label(marked[box], CONNECTIVITY_18, output=found))  # type: ignore[arg-type]
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    kept = [int(n) for n in order[:max_instances] if sizes[n] >= max(1, min_voxels)]
    renamed = np.zeros(count + 1, np.int32)
    renamed[kept] = np.arange(1, len(kept) + 1)
    labels[box] = renamed[found]
    return labels, len(kept)


def match_components(
    ours: np.ndarray, n_ours: int, theirs: np.ndarray, n_theirs: int, min_dice: float = 0.2
) -> tuple[int, int, int]:
    """Matches labels one to one, the pair with the highest Dice first, as long as it reaches ``min_dice``.

    Args:
        ours: Labels of the prediction, whole numbers [k j i] from 1 on; 0 outside.
        n_ours: Their number.
        theirs: Labels of the truth, likewise.
        n_theirs: Their number.
        min_dice: Minimum Dice of a match, 0 to 1.

    Returns:
        Numbers of matched labels, of those left of the prediction, and of those left of the truth.
    """
    if not n_ours or not n_theirs:
        return 0, n_ours, n_theirs
    pair = np.bincount((theirs.astype(np.int64) * (n_ours + 1) + ours).ravel(), minlength=(n_ours + 1) * (n_theirs + 1))
    overlap = pair.reshape(n_theirs + 1, n_ours + 1)
    sizes = overlap.sum(axis=1)[1:, None] + overlap.sum(axis=0)[None, 1:]
    score = 2 * overlap[1:, 1:] / sizes
    matched = 0
    while score.size and score.max() >= min_dice:
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        score[row, :] = score[:, column] = -1
        matched += 1
    return matched, n_ours - matched, n_theirs - matched


def count_instances(
    mask: ArrayLike, truth: ArrayLike, min_dice: float = 0.2, min_voxels: int = 10, max_instances: int = 50
) -> tuple[int, int, int]:
    """Components of both masks, matched one to one; see ``match_components``.

    Args:
        mask: Predicted mask [k j i].
        truth: True mask on the same grid.
        min_dice: Minimum Dice of a match, 0 to 1.
        min_voxels: See ``find_components``.
        max_instances: See ``find_components``.

    Returns:
        Numbers of true positive, false positive and missed components.
    """
    own, other = one_case(mask, truth)
    box = box_of(own | other)
    if box is None:
        return 0, 0, 0
    own, other = own[box], other[box]
    ours, n_ours = find_components(own, min_voxels, max_instances)
    theirs, n_theirs = find_components(other, min_voxels, max_instances)
    return match_components(ours, n_ours, theirs, n_theirs, min_dice)


class InstanceDetection(CaseMetric):
    """Precision, recall and F1 of components, with counts pooled over the whole set.

    Both masks are cut into components and filtered alike. ``ReXGroundingCT`` takes the stored instances of the truth
    instead and filters predictions only: where a truth has small instances its recall is lower than this one.

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

    def update(self, mask: ArrayLike, truth: ArrayLike, *, patient: str | Sequence[str | None] | None = None) -> None:
        """Adds a case, or a batch of them; both masks [k j i] or [b c k j i] on one grid."""
        for who, (own, other) in split_cases(patient, mask=as_mask(mask), truth=as_mask(truth, "truth")):
            counts = count_instances(own, other, self.min_dice, self.min_voxels, self.max_instances)
            self._add([float(count) for count in counts], who)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        matched, false_positive, missed = rows.sum(0)
        return {
            "precision": share(matched, matched + false_positive),
            "recall": share(matched, matched + missed),
            "f1": share(2 * matched, 2 * matched + false_positive + missed),
        }
