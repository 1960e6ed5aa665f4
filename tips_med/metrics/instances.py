"""Pieces found, missed and made up, as ReXGroundingCT counts them (arXiv:2507.22030)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor

from tips_med.metrics.base import CaseMetric, share
from tips_med.shapes import Mask

_EIGHTEEN = ndimage.generate_binary_structure(3, 2)


def find_pieces(mask: Mask, least_voxels: int = 10, most: int = 50) -> tuple[np.ndarray, int]:
    """The 18-connected pieces of a mask, the largest first; small ones and those past ``most`` are dropped.

    Args:
        mask: [k j i].
        least_voxels: Pieces with fewer are dropped.
        most: Pieces kept.

    Returns:
        Labels from 1, int32 [k j i], and their number.
    """
    labels = np.empty(mask.shape, np.int32)
    count = int(ndimage.label(mask, _EIGHTEEN, output=labels))  # type: ignore[arg-type]
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    kept = [int(n) for n in order[:most] if sizes[n] >= max(1, least_voxels)]
    renamed = np.zeros(count + 1, np.int32)
    renamed[kept] = np.arange(1, len(kept) + 1)
    return renamed[labels], len(kept)


def count_instances(
    mask: Mask, truth: Mask, least_dice: float = 0.2, least_voxels: int = 10, most: int = 50
) -> tuple[int, int, int]:
    """Pieces matched one to one, the pair with the highest Dice first, as long as it reaches ``least_dice``.

    Args:
        mask: Predicted, [k j i].
        truth: On the same grid.
        least_dice: Of a match.
        least_voxels: See ``find_pieces``.
        most: Likewise.

    Returns:
        Numbers of true positive, false positive and missed pieces.
    """
    ours, n_ours = find_pieces(mask, least_voxels, most)
    theirs, n_theirs = find_pieces(truth, least_voxels, most)
    if not n_ours or not n_theirs:
        return 0, n_ours, n_theirs
    pair = np.bincount(
        (ours.astype(np.int64) * (n_theirs + 1) + theirs).ravel(), minlength=(n_ours + 1) * (n_theirs + 1)
    )
    overlap = pair.reshape(n_ours + 1, n_theirs + 1)
    sizes = overlap.sum(axis=1)[1:, None] + overlap.sum(axis=0)[None, 1:]
    score = 2 * overlap[1:, 1:] / sizes
    matched = 0
    while score.size and score.max() >= least_dice:
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        score[row, :] = score[:, column] = -1
        matched += 1
    return matched, n_ours - matched, n_theirs - matched


class InstanceDetection(CaseMetric):
    """Precision, recall and F1 of pieces, with counts pooled over the whole set.

    Values: ``precision``, ``recall``, ``f1``; NaN while nothing was predicted, or nothing is there.

    Args:
        least_dice: Of a match.
        least_voxels: Smaller pieces are dropped, on either side.
        most: Pieces kept, the largest, on either side.
    """

    higher_is_better = True

    def __init__(self, least_dice: float = 0.2, least_voxels: int = 10, most: int = 50) -> None:
        super().__init__()
        self.least_dice, self.least_voxels, self.most = least_dice, least_voxels, most

    def update(self, mask: Mask, truth: Mask, *, patient: str | None = None) -> None:
        """Adds a case; both masks [k j i] on one grid."""
        counts = count_instances(mask, truth, self.least_dice, self.least_voxels, self.most)
        self._add([float(count) for count in counts], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        matched, made_up, missed = rows.sum(0)
        return {
            "precision": share(matched, matched + made_up),
            "recall": share(matched, matched + missed),
            "f1": share(2 * matched, 2 * matched + made_up + missed),
        }
