"""A large tower's patch embeddings taught to the compact tower, which is small enough for a CPU.

The loss is one minus the cosine, averaged over all patches and not only masked ones, as TIPSv2's own distillation
does (Cao 2026, arXiv:2604.12012, section on iBOT++); the alignment loss of the training stands beside it. The two
towers look at the same scan in slabs of different size, so patches meet by their affines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.encoders.base import ImageFeatures, ImageTower
from tips_med.encoders.compact import CompactNet
from tips_med.errors import ConfigError
from tips_med.scan import Scan
from tips_med.shapes import Affine
from tips_med.slabs import make_slabs

AlignmentLoss = Callable[[Tensor, Tensor], Tensor]
"""Of the student's patches [batch slab row col embedding] and fine features [batch slab y x feature], a scalar."""


@dataclass(frozen=True, eq=False)
class DistillationLoss:
    """The loss and its parts, each a scalar.

    Attributes:
        total: What to minimise.
        patches: One minus the mean cosine with the teacher's patches, 0 to 2.
        alignment: The alignment loss, before its weight; 0 without one.
    """

    total: Tensor
    patches: Tensor
    alignment: Tensor


class PatchDistillation(nn.Module):
    """The student, and a projection of its patches to the teacher's width, which is not needed afterwards.

    Args:
        student: The compact network.
        teacher_width: Embedding size of the teacher's patches.
        alignment_weight: What the alignment loss counts beside the cosine.
    """

    def __init__(self, student: CompactNet, teacher_width: int, alignment_weight: float = 1.0) -> None:
        super().__init__()
        if teacher_width < 1 or alignment_weight < 0:
            raise ConfigError(
                f"a teacher of width {teacher_width} and an alignment weight of {alignment_weight}",
                expected="a positive width and a weight of at least 0",
            )
        self.student, self.alignment_weight = student, alignment_weight
        self.to_teacher = nn.Linear(student.config.patch_width, teacher_width)

    def forward(
        self,
        pixels: Tensor,
        offset_mm: Tensor,
        target: Tensor,
        inside: Tensor,
        alignment_loss: AlignmentLoss | None = None,
    ) -> DistillationLoss:
        """The loss of one batch.

        Args:
            pixels: The student's slabs, [batch slab channel y x].
            offset_mm: As ``CompactNet`` takes it, [batch 2].
            target: The teacher's patches on the student's grid, [batch slab row col embedding]; no gradient flows.
            inside: Where the teacher saw something, [batch slab row col].
            alignment_loss: The training's loss of patches against text; a closure over the batch's phrases and masks.
        """
        patches, fine = self.student(pixels, offset_mm)
        if target.shape[:-1] != patches.shape[:-1] or inside.shape != patches.shape[:-1]:
            raise ValueError(
                f"targets {tuple(target.shape)} seen in {tuple(inside.shape)} for patches {tuple(patches.shape)}"
            )
        distance = patch_distance(self.to_teacher(patches), target, inside).mean()
        alignment = distance.new_zeros(()) if alignment_loss is None else alignment_loss(patches, fine)
        return DistillationLoss(distance + self.alignment_weight * alignment, distance, alignment)


def patch_distance(patches: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """One minus the cosine with the teacher, averaged over all patches that it saw.

    Args:
        patches: Patches of the student, at the teacher's width, [batch slab row col embedding].
        target: Target of the teacher, the same shape; no gradient flows.
        inside: Where the teacher saw something, [batch slab row col].

    Returns:
        One distance an item, 0 to 2, [batch]; 0 where the teacher saw nothing, which teaches nothing.
    """
    cosine = functional.cosine_similarity(patches, target.detach().to(patches.dtype), dim=-1)
    weight = inside.to(cosine.dtype)
    return ((1 - cosine) * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)


def teacher_patches(
    teacher: ImageTower, scan: Scan, lps_from_patch: Affine, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """A teacher's patch embeddings of a scan at the patch centres of another grid.

    Args:
        teacher: Any image tower.
        scan: What both towers look at.
        lps_from_patch: Patch centres of the student, from (slab, row, col, 1).
        shape: Slabs, rows and columns of the student.

    Returns:
        Embeddings [slab row col embedding], interpolated, float32; and whether the teacher has patches around that
        place, [slab row col]. Out of its grid the nearest patch stands in, marked as not inside.
    """
    features = teacher.encode(make_slabs(scan, teacher.slab_spec))
    return sample_patches(features, lps_from_patch, shape)


def sample_patches(
    features: ImageFeatures, lps_from_patch: Affine, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """Patch embeddings at other places; see ``teacher_patches``."""
    theirs_from_ours = np.linalg.inv(features.lps_from_patch) @ lps_from_patch
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    where = index @ theirs_from_ours[:3, :3].T + theirs_from_ours[:3, 3]
    size = np.asarray(features.patches.shape[:3])
    inside = ((where >= -0.5) & (where <= size - 0.5)).all(axis=1)
    # grid_sample counts from -1 to 1 between the outermost centres, in the order x, y, z.
    unit = np.where(size > 1, where / np.maximum(size - 1, 1) * 2 - 1, 0.0)
    grid = torch.from_numpy(unit[:, ::-1].astype(np.float32)).view(1, *shape, 3)
    volume = features.patches.float().permute(3, 0, 1, 2)[None]
    sampled = functional.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled[0].permute(1, 2, 3, 0).contiguous(), torch.from_numpy(inside.reshape(shape))
