"""Losses of what a report says beside "it is there": where, how large, how many, on which sides.

Each is of one map, is zero where the map keeps to what was said, and never asks for more than was said. All are forms
of learning with constraints from weak labels: bounds on a soft size (Kervadec 2019, "Constrained-CNN losses for weakly
supervised segmentation", doi:10.1016/j.media.2019.02.009), and pooling of the most certain cells of a bag of which only
something is known to be in it (Ilse 2018, arXiv:1802.04712).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tips_med.training.signals import SignalBatch

LEAST_SHARE = 0.2
"""Share of the ball over its long axis that a finding fills at least: half as deep and as high as long is 0.25."""

SEPARATION_MM = 10.0
"""How far apart two peaks are at least that count as two findings."""


def evidence_loss(logits: Tensor, where: Tensor, cells: int) -> Tensor:
    """The highest cells of a region have to be high: something is there, nobody says in which of its cells.

    Args:
        logits: Logits, [slab y x].
        where: Cells that may hold it, bool, broadcast to the same shape.
        cells: Number of cells that are pooled, 1 or more.

    Returns:
        Cross-entropy of their mean with "present", a scalar; 0 where the region is empty.
    """
    held = logits[where.expand_as(logits)]
    if not len(held):
        return logits.sum() * 0
    return functional.softplus(-held.topk(min(cells, len(held))).values.mean())


def slice_loss(logits: Tensor, cited: Tensor, cells: int) -> Tensor:
    """The axial profile has to peak in the cited slices, and not elsewhere.

    The peak of each of the two bags is the mean of its highest cells, and the difference goes through a logistic loss:
    the ranking of bags of Sultani 2018 (arXiv:1801.04264), and the cross-entropy over two "slices". A log-sum-exp over
    slices was tried and lost: large faint structures outweigh a small peak. Slices may lie at any angle to the grid.

    Args:
        logits: Logits, [slab y x].
        cited: Cells of the cited slices and their tolerance, bool [slab y x].
        cells: Number of cells that make a peak, 1 or more.

    Returns:
        A scalar, 0 or more; 0 where no cell or each one is cited.
    """
    inside, outside = logits[cited], logits[~cited]
    if not len(inside) or not len(outside):
        return logits.sum() * 0
    peaks = [part.topk(min(cells, len(part))).values.mean() for part in (inside, outside)]
    return functional.softplus(peaks[1] - peaks[0])


def size_loss(logits: Tensor, size_mm: float, spacing_mm: Tensor, where: Tensor, largest: bool = True) -> Tensor:
    """Volume and extent of the map around its peak have to fit a long axis.

    What is L long lies within L of each of its points, and fills at most the ball of that diameter (the isodiametric
    inequality) and at least ``LEAST_SHARE`` of it. So the soft volume within L of the peak is bounded from both sides,
    by the squared log of the ratio to the bound that it breaks, and what lies between L and 1.5 L has to be low.
    Farther away there may be another one. The grid's own coarseness is allowed for.

    Args:
        logits: Logits, [slab y x].
        size_mm: Long axis.
        spacing_mm: Spacing: between slabs, rows and columns, [3].
        where: Cells that may hold the peak, bool, broadcast to the same shape.
        largest: Whether the peak is of the finding that was measured; one of several may be smaller.

    Returns:
        A scalar, 0 or more.
    """
    allowed = where.expand_as(logits)
    if not allowed.any():
        return logits.sum() * 0
    steps = [float(mm) for mm in spacing_mm]
    with torch.no_grad():
        # A mean over neighbours: one odd cell is no peak.
        smooth = functional.avg_pool3d(logits[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
        at = int(smooth.masked_fill(~allowed, -torch.inf).argmax())
    peak = [int(n) for n in torch.unravel_index(torch.tensor(at), logits.shape)]
    coarse_mm = math.sqrt(sum(mm * mm for mm in steps)) / 2
    reach_mm = size_mm + coarse_mm
    box, squared = [], torch.zeros((), device=logits.device)
    for axis, (middle, step, length) in enumerate(zip(peak, steps, logits.shape)):
        half = math.ceil(1.5 * reach_mm / step)
        low, high = max(0, middle - half), min(length, middle + half + 1)
        box.append(slice(low, high))
        offset = step * (torch.arange(low, high, device=logits.device) - middle)
        squared = squared + (offset**2).reshape([-1 if n == axis else 1 for n in range(3)])
    view = logits[tuple(box)]
    distance_mm = squared.sqrt()
    near, ring = distance_mm <= reach_mm, (distance_mm > reach_mm) & (distance_mm <= 1.5 * reach_mm)
    volume = (view.sigmoid() * near).sum() * math.prod(steps)
    least, most = ball_mm3(size_mm) * LEAST_SHARE, ball_mm3(size_mm + coarse_mm)
    log_volume = volume.clamp(min=1e-6).log()
    bounds = functional.relu(log_volume - math.log(most)) ** 2
    if largest:
        bounds = bounds + functional.relu(math.log(least) - log_volume) ** 2
    around = functional.softplus(view[ring]).mean() if ring.any() else logits.sum() * 0
    return bounds + around


def count_loss(
    logits: Tensor, count: int, spacing_mm: Tensor, where: Tensor, separation_mm: float = SEPARATION_MM
) -> Tensor:
    """There have to be at least as many separate peaks as were counted.

    Peaks are taken from the highest down, each farther than ``separation_mm`` from those before it along some axis
    (non-maximum suppression). More of them are no fault: a report need not count all.

    Args:
        logits: Logits, [slab y x].
        count: Number of findings, 1 or more.
        spacing_mm: Spacing: between slabs, rows and columns, [3].
        where: Cells that may hold them, bool, broadcast to the same shape.
        separation_mm: How far apart two peaks are at least that count as two findings.

    Returns:
        The mean cross-entropy of the peaks with "present", a scalar.
    """
    free = where.expand_as(logits).clone()
    half = [int(separation_mm / float(mm)) for mm in spacing_mm]
    peaks = []
    for _ in range(count):
        if not free.any():
            break
        with torch.no_grad():
            at = int(logits.masked_fill(~free, -torch.inf).argmax())
        place = [int(n) for n in torch.unravel_index(torch.tensor(at), logits.shape)]
        peaks.append(logits[tuple(place)])
        free[tuple(slice(max(0, n - h), n + h + 1) for n, h in zip(place, half))] = False
    return functional.softplus(-torch.stack(peaks)).mean() if peaks else logits.sum() * 0


def sides_loss(logits: Tensor, where: Tensor, x_mm: Tensor, cells: int) -> Tensor:
    """What is bilateral has to be found on each side of the body by itself; see ``evidence_loss``.

    Args:
        logits: Logits, [slab y x].
        where: Cells that may hold it, bool, broadcast to the same shape.
        x_mm: Position of every column from the middle of the body, [x].
        cells: Number of cells that are pooled on each side.
    """
    left = evidence_loss(logits, where & (x_mm > 0), cells)
    return (left + evidence_loss(logits, where & (x_mm < 0), cells)) / 2


def region_loss(logits: Tensor, outside: Tensor, hardest: float = 0.01) -> Tensor:
    """Outside of its organ and its side a finding is not: sigmoid cross-entropy, and the same of the hardest cells.

    Args:
        logits: Logits, [slab y x].
        outside: Cells that do not hold it, bool [slab y x].
        hardest: Share of the cells that count as hard, 0 to 1.

    Returns:
        A scalar, 0 or more; 0 where nothing is outside.
    """
    wrong = functional.softplus(logits[outside])
    if not len(wrong):
        return logits.sum() * 0
    return wrong.mean() + 0.3 * wrong.topk(max(1, int(hardest * len(wrong)))).values.mean()


def ball_mm3(diameter_mm: float) -> float:
    """The volume of a ball."""
    return math.pi / 6 * diameter_mm**3


def pooled_cells(size_mm: float, spacing_mm: Tensor, otherwise: int) -> int:
    """How many of the highest cells a weak phrase is judged by: as many as a finding of its size fills at least.

    Args:
        size_mm: Long axis; NaN where none is stated.
        spacing_mm: Spacing: between slabs, rows and columns, [3].
        otherwise: The number where no size is stated.
    """
    if not size_mm > 0:
        return max(1, otherwise)
    return max(1, round(LEAST_SHARE * ball_mm3(size_mm) / float(spacing_mm.prod())))


def signal_terms(
    logits: Tensor,
    signals: SignalBatch,
    presence: Tensor,
    used: Tensor,
    pool_share: float,
    weights: dict[str, float],
) -> dict[str, Tensor]:
    """The terms of all weak phrases of a batch; a signal whose weight is 0 is not looked at by any of them.

    A phrase's evidence is looked for where all its signals allow it: in the cited slices, within the organ.

    Args:
        logits: Logits, [crop phrase slab y x].
        signals: Signals of the phrases.
        presence: 1 for weak phrases, NaN for others, [crop phrase].
        used: 0 for padding, 1 otherwise, [crop phrase].
        pool_share: Share of a map's highest cells that a phrase without a size is judged by.
        weights: Weights by name: ``slice``, ``size``, ``count`` and ``region``.

    Returns:
        By name, and ``weak`` for the evidence: the mean over the weak phrases of a crop, then over crops; 0 for a
        phrase without the signal.
    """
    crops = len(used)
    sums = {name: logits.new_zeros(crops) for name in ("weak", *weights)}
    weak = (used > 0) & presence.isfinite()
    for crop, phrase in weak.nonzero().tolist():
        one, spacing, x_mm = logits[crop, phrase], signals.spacing_mm, signals.x_mm[crop]
        cited, outside = signals.cited[crop, phrase], signals.outside[crop, phrase]
        size_mm = float(signals.size_mm[crop, phrase]) if weights["size"] else float("nan")
        narrowed = bool(weights["slice"]) and bool(cited.any())
        where = torch.ones_like(cited)
        if weights["region"]:
            where = where & signals.inside[crop, phrase]
        if narrowed:
            where = where & cited
        if not where.any():  # a citation outside the organ: one of the two is wrong
            where = torch.ones_like(cited)
        # Few cells are enough only where the place is known: elsewhere they make the first wrong place the surest.
        cells = pooled_cells(size_mm if narrowed else math.nan, spacing, int(pool_share * one.numel()))
        found = {"weak": evidence_loss(one, where, cells)}
        if weights["slice"] and signals.peaks[crop, phrase]:
            found["slice"] = slice_loss(one, cited, cells)
        if size_mm > 0:
            several = bool(signals.both[crop, phrase]) or int(signals.count[crop, phrase]) > 1
            found["size"] = size_loss(one, size_mm, spacing, where, largest=narrowed or not several)
        if weights["count"]:
            # The cited slices are of one of them, not of all.
            apart_mm = max(SEPARATION_MM, size_mm if size_mm > 0 else 0.0)
            allowed = signals.inside[crop, phrase] if weights["region"] else torch.ones_like(cited)
            if signals.both[crop, phrase]:
                found["count"] = sides_loss(one, allowed, x_mm, cells)
            if (count := int(signals.count[crop, phrase])) > 1:
                found["count"] = found.get("count", 0) + count_loss(one, count, spacing, allowed, apart_mm)
        if weights["region"]:
            found["region"] = region_loss(one, outside)
        for name, value in found.items():
            sums[name] = sums[name] + functional.one_hot(torch.tensor(crop, device=one.device), crops) * value
    total = weak.sum(1).clamp(min=1)
    return {name: (value / total).mean() for name, value in sums.items()}
