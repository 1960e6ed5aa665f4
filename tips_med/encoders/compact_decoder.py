"""The deep half of the compact image network: attention among the deepest tokens, and the way back up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tips_med.slabs import SlabSpec

DEPTH = 16
"""Pixels along an edge of the deepest token."""


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of the compact tower.

    Attributes:
        slabs: Specification of the input slabs.
        widths: Channels at full resolution, 1/2, 1/4, 1/8 and 1/16.
        blocks: Number of residual blocks at each of these levels.
        attention_blocks: Number of attention blocks at the deepest level.
        heads: Number of attention heads.
        slab_offsets: Neighbours that a slab attends to, as offsets in slabs; sparse, so cost grows linearly with their
            number.
        patch_width: Size of a patch embedding.
        fine_width: Number of features of a fine cell.
        modalities: DICOM modality codes of the training data.
    """

    slabs: SlabSpec = field(default_factory=SlabSpec)
    widths: tuple[int, int, int, int, int] = (32, 48, 96, 160, 256)
    blocks: tuple[int, int, int, int, int] = (0, 1, 1, 2, 1)
    attention_blocks: int = 2
    heads: int = 8
    slab_offsets: tuple[int, ...] = (-4, -2, -1, 0, 1, 2, 4)
    patch_width: int = 128
    fine_width: int = 24
    modalities: tuple[str, ...] = ("CT",)


class ResidualBlock(nn.Module):
    """Norm, convolution, SiLU, convolution, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n width y x] -> the same."""
        return x + self.second(functional.silu(self.first(self.norm(x))))


class AttentionBlock(nn.Module):
    """Attention within each slab, then across a sparse window of slabs at the same place, then an MLP."""

    def __init__(self, width: int, heads: int, slab_offsets: tuple[int, ...]) -> None:
        super().__init__()
        self.heads, self.slab_offsets = heads, slab_offsets
        self.norm_plane, self.norm_slab, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.plane_qkv = nn.Linear(width, 3 * width)
        self.plane_out = nn.Linear(width, width)
        self.slab_qkv = nn.Linear(width, 3 * width)
        self.slab_out = nn.Linear(width, width)
        self.slab_bias = nn.Parameter(torch.zeros(heads, len(slab_offsets)))
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[batch slab token width] -> the same; slabs of one batch item are consecutive."""
        x = x + self._plane(self.norm_plane(x))
        x = x + self._across(self.norm_slab(x))
        return x + self.mlp(self.norm_mlp(x))

    def _plane(self, x: Tensor) -> Tensor:
        b, s, t, w = x.shape
        q, k, v = self.plane_qkv(x).view(b * s, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v)
        return self.plane_out(out.transpose(1, 2).reshape(b, s, t, w))

    def _across(self, x: Tensor) -> Tensor:
        b, s, t, w = x.shape
        q, k, v = self.slab_qkv(x).view(b, s, t, 3, self.heads, -1).unbind(3)
        where = torch.arange(s, device=x.device)[:, None] + torch.tensor(self.slab_offsets, device=x.device)
        outside = (where < 0) | (where >= s)
        where = where.clamp(0, s - 1)
        score = torch.einsum("bsthd,bsothd->bstho", q, k[:, where]) * q.shape[-1] ** -0.5
        score = (score + self.slab_bias.to(score.dtype)).masked_fill(outside[None, :, None, None, :], -torch.inf)
        mixed = torch.einsum("bstho,bsothd->bsthd", score.softmax(-1), v[:, where])
        return self.slab_out(mixed.reshape(b, s, t, w))


class CompactDecoder(nn.Module):
    """What makes patches and fine features of the convolutions' features.

    Args:
        config: Sizes of the image tower.

    Attributes:
        checkpointing: In training, compute activations within a level or attention block again in the backward pass
            instead of storing them: slower, with less memory.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config, self.checkpointing = config, False
        widths = config.widths
        self.position = nn.Linear(4 * len(_WAVELENGTHS_MM), widths[4])
        self.attention = nn.ModuleList(
            AttentionBlock(widths[4], config.heads, config.slab_offsets) for _ in range(config.attention_blocks)
        )
        self.up = nn.ModuleList(nn.Conv2d(widths[n + 1], widths[n], 1) for n in range(4))
        self.merge = nn.ModuleList(nn.Conv2d(widths[n], widths[n], 3, padding=1) for n in range(4))
        self.refine = nn.ModuleList([nn.Identity(), *(ResidualBlock(widths[n]) for n in (1, 2, 3))])
        self.to_patch = nn.Sequential(nn.GroupNorm(8, widths[3]), nn.Conv2d(widths[3], config.patch_width, 1))
        self.to_fine = nn.Conv2d(widths[0], config.fine_width, 3, padding=1)

    def attend(self, deep: Tensor, offset_mm: Tensor) -> Tensor:
        """Attention over [batch slab width row col], all slabs of a scan at once."""
        b, _, _, rows, columns = deep.shape
        tokens = deep.flatten(3).transpose(2, 3)
        step = [mm * DEPTH for mm in self.config.slabs.spacing_mm[1:]]
        centre = [(DEPTH - 1) / 2 * mm for mm in self.config.slabs.spacing_mm[1:]]
        y = offset_mm[:, :1] + centre[0] + step[0] * torch.arange(rows, device=deep.device)
        x = offset_mm[:, 1:] + centre[1] + step[1] * torch.arange(columns, device=deep.device)
        waves = torch.cat(
            [
                _waves(y)[:, :, None].expand(b, rows, columns, -1),
                _waves(x)[:, None].expand(b, rows, columns, -1),
            ],
            dim=-1,
        )
        tokens = tokens + self.position(waves).flatten(1, 2)[:, None]
        for block in self.attention:
            tokens = self._run(block, tokens)
        return tokens.transpose(2, 3).unflatten(3, (rows, columns))

    def ascend(self, deep: Tensor, skips: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Back up, slab by slab: [n width row col] and the skips -> patches, fine features (channels last)."""
        x, patches = deep, None
        for n in (3, 2, 1, 0):
            x = self._run(self._merge, x, skips[n], n)
            if n == 3:
                patches = self.to_patch(x).permute(0, 2, 3, 1)
        assert patches is not None  # n == 3 is always visited
        return patches, self.to_fine(x).permute(0, 2, 3, 1)

    def _merge(self, x: Tensor, skip: Tensor, n: int) -> Tensor:
        x = functional.interpolate(self.up[n](x), scale_factor=2, mode="nearest") + skip
        return self.refine[n](functional.silu(self.merge[n](x)))

    def _run(self, part: Callable[..., Tensor], *inputs: Tensor | int) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)


_WAVELENGTHS_MM = (1600.0, 800.0, 400.0, 200.0, 100.0, 50.0)


def _waves(mm: Tensor) -> Tensor:
    angle = mm[..., None] * (2 * math.pi / torch.tensor(_WAVELENGTHS_MM, device=mm.device))
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
