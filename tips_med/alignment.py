"""Patches against query tokens: every score is a dot product, so a query is cheap.

A token (or a pooled phrase) is projected to three things: a direction among patch embeddings, a direction among fine
features, and a bias. Its map is the patch score, interpolated, plus the fine score: the patches say *what and where*,
the fine features say *up to which voxel*. The layout is that of promptable segmentation by dynamic 1 x 1 convolution
(LSeg, Li 2022; CLIP-driven universal model, Liu 2023); the patch-token matrix is TIPS's patch-text alignment, trained
here with dense token supervision, which TIPSv2 itself does not have.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AlignmentHead(nn.Module):
    """Scores patches and fine cells against text embeddings.

    Args:
        text_width: Embedding size of tokens and pooled phrases.
        patch_width: Embedding size of patches.
        fine_width: Features of a fine cell.
    """

    def __init__(self, text_width: int, patch_width: int, fine_width: int) -> None:
        super().__init__()
        self.to_patch = nn.Linear(text_width, patch_width)
        self.to_fine = nn.Linear(text_width, fine_width)
        self.bias = nn.Linear(text_width, 1)
        nn.init.constant_(self.bias.bias, -3.0)  # most of a body does not match a query

    def patch_scores(self, text: Tensor, patches: Tensor) -> Tensor:
        """The patch-token matrix: [... query width] x [... slab row col width] -> logits [... query slab row col]."""
        direction = self.to_patch(text)
        scores = torch.einsum("...qe,...srce->...qsrc", direction, patches.to(direction.dtype))
        return scores * patches.shape[-1] ** -0.5 + self.bias(text)[..., None, None]

    def fine_scores(self, text: Tensor, patches: Tensor, fine: Tensor) -> Tensor:
        """Logits on the fine grid, [... query slab y x]; its rows and columns are a multiple of those of patches."""
        coarse = self.patch_scores(text, patches)
        lead, (rows, columns) = coarse.shape[:-2], coarse.shape[-2:]
        size = fine.shape[-3:-1]
        coarse = functional.interpolate(
            coarse.reshape(-1, 1, rows, columns), size=size, mode="bilinear", align_corners=False
        )
        direction = self.to_fine(text)
        edges = torch.einsum("...qf,...syxf->...qsyx", direction, fine.to(direction.dtype))
        return coarse.reshape(*lead, *size) + edges * fine.shape[-1] ** -0.5
