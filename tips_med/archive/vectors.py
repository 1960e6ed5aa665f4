"""A few hundred embeddings of regions that stand for a whole study, and the embedding of one region."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from tips_med.archive.record import Vectors
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.geometry import spacing_mm, transform_points
from tips_med.grounding.encoding import finding_adapters, patches_of
from tips_med.grounding.thorax import Thorax
from tips_med.model import GroundingModel

MAX_VECTORS = 512
"""Maximum number of vectors of a study."""

SALIENT_PER_TERM = 3
"""Number of places of a finding's strongest evidence, on each side, that keep a vector of their own."""

APART_MM = 25.0
"""Minimum distance of two such places of one finding."""

POOLED_RADIUS_MM = 15.0
"""Radius in mm of the region that a stored vector is the mean of; that of a searched region, unless told otherwise."""

_PLACE_WEIGHT = 1 / 80
"""Weight of a millimetre beside embeddings of length 1, where similar neighbours are put together."""

_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Blocks:
    """Places of the body, one a block of patches that is about as high as a patch is wide, and what is around them.

    Attributes:
        vectors: Mean embedding of the patches within ``POOLED_RADIUS_MM`` of the middle of each block, float32
            [block width].
        index: Place of the block in the grid of blocks: slab block, row, column, int [block 3].
        lps: Centre of the measured part of the body in it, LPS in mm, float64 [block 3].
        slabs: Slabs of a block.
        shape: Shape of the grid of blocks.
    """

    vectors: np.ndarray
    index: np.ndarray
    lps: np.ndarray
    slabs: int
    shape: tuple[int, int, int]


def pool_blocks(study: EncodedStudy, model: GroundingModel) -> Blocks:
    """All blocks of a study that hold some of the body, in the order of their index."""
    valid = _valid_patches(study)
    affine, slabs = study.features.lps_from_patch, _slabs_of_block(study)
    count, rows, columns = valid.shape
    blocks = -(-count // slabs)
    starts = np.arange(0, count, slabs)
    number = np.add.reduceat(valid.astype(np.float32), starts, axis=0)
    kept = np.argwhere(number >= 0.5 * np.minimum(slabs, count - starts)[:, None, None])
    place = tuple(kept.T)
    z = np.add.reduceat(valid * np.arange(count, dtype=np.float32)[:, None, None], starts, axis=0)[place]
    centres = np.column_stack([z / number[place], kept[:, 1:]])
    middle = np.rint(centres).astype(int)
    vectors = region_means(study, POOLED_RADIUS_MM, model)[0][tuple(middle.T)]
    return Blocks(vectors, kept, transform_points(affine, centres), slabs, (blocks, rows, columns))


def _valid_patches(study: EncodedStudy) -> np.ndarray:
    """Mask of the patches that show the body, bool [slab row column]."""
    rows, columns = study.features.patches.shape[1:3]
    mask = (study.seen & torch.from_numpy(study.body.inside)).float()
    return (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (rows, columns))[:, 0] >= 0.5).numpy()


def _slabs_of_block(study: EncodedStudy) -> int:
    step = spacing_mm(study.features.lps_from_patch)
    return max(1, round(float(step[1] / step[0])))


def region_means(study: EncodedStudy, radius_mm: float, model: GroundingModel) -> tuple[np.ndarray, np.ndarray]:
    """The mean embedding of the region about every patch, as ``region_vector`` takes it about a place.

    Args:
        study: Encoded study.
        radius_mm: Patches of the body whose centre lies within it are averaged.
        model: Model that encoded it; embeddings are those of ``patches_of``.

    Returns:
        Mean embeddings, float32 [slab row column width], and the mask of the patches of the body, bool
        [slab row column]; what is not of the body has the mean of no patch or of its neighbours.
    """
    valid = _valid_patches(study)
    slab_mm, row_mm, column_mm = (float(step) for step in spacing_mm(study.features.lps_from_patch))
    count, rows, columns = valid.shape
    patches = patches_of(study, model, finding_adapters(model)).float().numpy() * valid[..., None]
    # Sums along the slabs are differences of running sums, so that a thick region costs no more than a thin one.
    running = np.zeros((count + 1, rows, columns, patches.shape[-1] + 1), np.float32)
    np.cumsum(patches, axis=0, out=running[1:, ..., :-1])
    np.cumsum(valid, axis=0, dtype=np.float32, out=running[1:, ..., -1])
    sums = np.zeros_like(running[1:])
    index = np.arange(count)
    high, wide = int(radius_mm // row_mm), int(radius_mm // column_mm)
    for dy in range(-min(high, rows - 1), min(high, rows - 1) + 1):
        for dx in range(-min(wide, columns - 1), min(wide, columns - 1) + 1):
            left_mm2 = radius_mm**2 - (dy * row_mm) ** 2 - (dx * column_mm) ** 2
            if left_mm2 < 0:
                continue
            reach = int(left_mm2**0.5 // slab_mm)
            first, last = np.maximum(index - reach, 0), np.minimum(index + reach + 1, count)
            to_y, from_y = _overlap(dy, rows)
            to_x, from_x = _overlap(dx, columns)
            sums[:, to_y, to_x] += running[last, from_y, from_x] - running[first, from_y, from_x]
    return sums[..., :-1] / np.maximum(sums[..., -1:], 1), valid


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Where a shifted row meets itself: the part that receives, and the part that it comes from."""
    return slice(max(0, -shift), size - max(0, shift)), slice(max(0, shift), size + min(0, shift))


def directions(vectors: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings less a centre, of length 1, and their length before that."""
    moved = vectors - centre
    lengths = np.linalg.norm(moved, axis=1)
    return (moved / np.maximum(lengths, 1e-6)[:, None]).astype(np.float32), lengths.astype(np.float32)


def select_vectors(
    study: EncodedStudy,
    blocks: Blocks,
    centre: np.ndarray,
    thorax: Thorax | None,
    evidence: Iterable[np.ndarray] = (),
) -> Vectors:
    """The vectors that are stored: strong evidence by itself, the rest put together by likeness and place.

    Args:
        study: Encoded study.
        blocks: All its blocks.
        centre: Centre of the archive, float32 [width].
        thorax: Chest; None where the model knows none.
        evidence: Evidence map of each finding, [slab y x].
    """
    own, lengths = directions(blocks.vectors, centre)
    sides, heights = _sides_and_heights(study, blocks.lps, thorax)
    salient: list[int] = []
    for logits in evidence:
        strength = _by_block(logits, blocks)
        for label in (1, 2) if thorax is not None and thorax.seen else (None,):
            among = np.arange(len(own)) if label is None else np.flatnonzero(sides == label)
            salient += _strongest(strength, blocks.lps, among)
    chosen = np.array(list(dict.fromkeys(salient))[: MAX_VECTORS // 2], int)
    rest = np.setdiff1d(np.arange(len(own)), chosen)
    room = MAX_VECTORS - len(chosen)
    if len(rest) > room:
        features = np.hstack([own[rest], blocks.lps[rest] * _PLACE_WEIGHT]).astype(np.float32)
        label = _clusters(features, room)
        members = [rest[label == n] for n in np.unique(label)]
    else:
        members = [np.array([n]) for n in rest]
    pooled, pooled_lengths = directions(np.array([blocks.vectors[m].mean(axis=0) for m in members]), centre)
    # A vector of many blocks lies where the block most like it does, so that its place is one of the body.
    places = np.array([m[(own[m] @ vector).argmax()] for m, vector in zip(members, pooled)], int)
    at = np.concatenate([chosen, places])
    return Vectors(
        np.concatenate([own[chosen], pooled]),
        np.concatenate([lengths[chosen], pooled_lengths]),
        blocks.lps[at].astype(np.float32),
        sides[at],
        heights[at],
    )


def region_vector(
    study: EncodedStudy, at_lps: tuple[float, float, float], radius_mm: float, model: GroundingModel
) -> np.ndarray:
    """The mean embedding of the patches about a place, float32 [width].

    Args:
        study: Encoded study.
        at_lps: Centre, LPS in mm.
        radius_mm: Patches whose centre lies within it are taken; the nearest one where there is none.
        model: Model that encoded it; embeddings are those of ``patches_of``.

    Raises:
        QueryError: The place is outside the body that the scan shows, or the radius is not positive.
    """
    if not (np.isfinite(at_lps).all() and np.isfinite(radius_mm) and radius_mm > 0):
        raise QueryError("the region is no sphere", expected="a place in mm and a radius above 0", code="bad-region")
    valid = np.argwhere(_valid_patches(study))
    affine = study.features.lps_from_patch
    centres = transform_points(affine, valid)
    apart = np.linalg.norm(centres - np.asarray(at_lps), axis=1)
    nearest = float(apart.min(initial=np.inf))
    if nearest > max(radius_mm, float(spacing_mm(affine).max())):
        low, high = centres.min(axis=0), centres.max(axis=0)
        raise QueryError(
            f"the place {_text(at_lps)} is outside the body that the scan shows",
            expected=f"LPS in mm, between {_text(low)} and {_text(high)}",
            remedy="take it from peak_lps of an answer; signs of x and y are opposite in RAS (NIfTI)",
            code="outside-body",
        )
    some = valid[apart <= max(radius_mm, nearest)]
    return (
        patches_of(study, model, finding_adapters(model))[tuple(torch.from_numpy(some.T))].float().mean(dim=0).numpy()
    )


def _text(place: Iterable[float]) -> str:
    return ",".join(f"{value:.0f}" for value in place)


def _sides_and_heights(study: EncodedStudy, lps: np.ndarray, thorax: Thorax | None) -> tuple[np.ndarray, np.ndarray]:
    sides, heights = np.zeros(len(lps), np.uint8), np.full(len(lps), np.nan, np.float32)
    if thorax is None or not thorax.sides_known:
        return sides, heights
    affine = study.features.lps_from_fine
    affine = study.features.lps_from_patch if affine is None else affine
    index = np.rint(transform_points(np.linalg.inv(affine), lps)).astype(int)
    at = tuple(np.clip(index, 0, np.array(thorax.side.shape) - 1).T)
    sides[:] = thorax.side[at]
    known = sides > 0
    heights[known] = thorax.height[sides[known].astype(int) - 1, at[0][known]]
    return sides, heights


def _by_block(logits: np.ndarray, blocks: Blocks) -> np.ndarray:
    """The highest evidence in every block."""
    _, rows, columns = blocks.shape
    slab, y, x = logits.shape
    by_patch = np.maximum.reduceat(
        np.maximum.reduceat(logits, np.arange(rows) * y // rows, axis=1), np.arange(columns) * x // columns, axis=2
    )
    by_block = np.maximum.reduceat(by_patch, np.arange(0, slab, blocks.slabs), axis=0)
    return by_block[tuple(blocks.index.T)]


def _strongest(strength: np.ndarray, lps: np.ndarray, among: np.ndarray) -> list[int]:
    found: list[int] = []
    for n in among[np.argsort(-strength[among], kind="stable")]:
        if all(np.linalg.norm(lps[n] - lps[other]) >= APART_MM for other in found):
            found.append(int(n))
            if len(found) == SALIENT_PER_TERM:
                break
    return found


def _clusters(features: np.ndarray, count: int) -> np.ndarray:
    """Which of at most ``count`` clusters each feature is of (Lloyd 1982); the same features give the same clusters."""
    points = torch.from_numpy(features)
    means = points[torch.linspace(0, len(points) - 1, count).long()]
    label = torch.zeros(len(points), dtype=torch.int64)
    for _ in range(_ROUNDS):
        label = torch.cdist(points, means).argmin(dim=1)
        number = torch.bincount(label, minlength=count)[:, None]
        sums = torch.zeros_like(means).index_add_(0, label, points)
        means = torch.where(number > 0, sums / number.clamp_min(1), means)  # an empty one stays where it was
    return label.numpy()
