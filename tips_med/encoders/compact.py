"""The compact image tower: a 2.5D network small enough for a laptop's CPU.

Each slab is a stack of neighbouring slices under several windows. Convolutions take it down to a sixteenth, where
tokens attend to their own slab and, sparsely, to the same place in slabs near by; a decoder brings the result back up
to patches (an eighth) and to fine features (full resolution). Position is given in millimetres from the middle of the
body (``tips_med.body``), never as an array index, so neither a crop nor another matrix size changes what a place means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tips_med.encoders.base import ImageFeatures, ImageTower, Progress
from tips_med.geometry import index_from_block
from tips_med.slabs import SlabSpec, SlabStack

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


class CompactNet(nn.Module):
    """The network itself: pixels in, patch embeddings and fine features out.

    Attributes:
        checkpointing: In training, compute activations within a level or attention block again in the backward pass
            instead of storing them: slower, with less memory.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config, self.checkpointing = config, False
        widths, blocks = config.widths, config.blocks
        self.stem = nn.Conv2d(config.slabs.channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.levels = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(n))) for width, n in zip(widths, blocks)
        )
        self.position = nn.Linear(4 * len(_WAVELENGTHS_MM), widths[4])
        self.attention = nn.ModuleList(
            AttentionBlock(widths[4], config.heads, config.slab_offsets) for _ in range(config.attention_blocks)
        )
        self.up = nn.ModuleList(nn.Conv2d(widths[n + 1], widths[n], 1) for n in range(4))
        self.merge = nn.ModuleList(nn.Conv2d(widths[n], widths[n], 3, padding=1) for n in range(4))
        self.refine = nn.ModuleList([nn.Identity(), *(ResidualBlock(widths[n]) for n in (1, 2, 3))])
        self.to_patch = nn.Sequential(nn.GroupNorm(8, widths[3]), nn.Conv2d(widths[3], config.patch_width, 1))
        self.to_fine = nn.Conv2d(widths[0], config.fine_width, 3, padding=1)

    def forward(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Patches and fine features of chunks of consecutive slabs.

        Args:
            pixels: [batch slab channel y x]; y and x multiples of 16.
            offset_mm: Position of the first pixel's centre relative to the middle of the body, [batch 2] as (y, x), in
                mm.

        Returns:
            Patches [batch slab row col embedding] and fine features [batch slab y x feature].
        """
        b, s = pixels.shape[:2]
        skips = self.descend(pixels.flatten(0, 1))
        deep = self.attend(skips.pop().unflatten(0, (b, s)), offset_mm)
        patches, fine = self.ascend(deep.flatten(0, 1), skips)
        return patches.unflatten(0, (b, s)), fine.unflatten(0, (b, s))

    def descend(self, x: Tensor) -> list[Tensor]:
        """Convolutions, slab by slab: [n channel y x] -> features at every level."""
        skips = [x.contiguous(memory_format=torch.channels_last)]
        for first, level in zip((self.stem, *self.down), self.levels):
            skips.append(self._run(partial(_level, first, level), skips[-1]))
        return skips[1:]

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


class CompactImageTower(ImageTower):
    """The compact network as an image tower.

    Args:
        net: Network, on the device to run on.
        chunk: Number of slabs that the convolutions take at once; bounds memory, changes nothing else.
        block: Number of slabs that are held at every level at once, a multiple of ``chunk``; bounds memory, changes
            nothing else.
    """

    name = "compact-1"

    def __init__(self, net: CompactNet, chunk: int = 8, block: int = 32) -> None:
        self.net, self.chunk, self.block = net.eval(), chunk, block
        self.reach = net.config.attention_blocks * max(abs(offset) for offset in net.config.slab_offsets)
        self.slab_spec = net.config.slabs
        self.modalities = net.config.modalities

    @torch.inference_mode()
    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        """See ImageTower. Features are half precision."""
        device = next(self.net.parameters()).device
        pixels = slabs.pixels
        rows, columns = slabs.pixels.shape[-2:]
        middle_y_mm, middle_x_mm = slabs.body.middle_mm
        first = slabs.lps_from_pixel[1, 3] - middle_y_mm, slabs.lps_from_pixel[0, 3] - middle_x_mm
        offset = torch.tensor([first], dtype=torch.float32, device=device)
        total, done = 2 * len(pixels), 0
        patch, config = self.slab_spec.patch, self.net.config
        patches = torch.empty(len(pixels), rows // patch, columns // patch, config.patch_width, dtype=torch.half)
        fine = torch.empty(len(pixels), rows, columns, config.fine_width, dtype=torch.half)
        at = 0
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(device)):
            deep: list[Tensor] = []
            levels: list[list[Tensor]] = []  # of the chunks that are not decoded yet
            for part in pixels.split(self.chunk):
                levels.append(self.net.descend(_pad(part).to(device)))
                deep.append(levels[-1].pop())
                done += len(part)
                if progress:
                    progress(done, total)
                last = len(deep) * self.chunk >= len(pixels)
                while levels and (last or len(levels) * self.chunk >= self.block + self.reach):
                    some = self._ascend_block(deep, levels, offset, len(pixels))
                    for some_patches, some_fine in some:
                        own = slice(at, at + len(some_patches))
                        patches[own] = some_patches[:, : rows // patch, : columns // patch].half().cpu()
                        fine[own] = some_fine[:, :rows, :columns].half().cpu()
                        at = own.stop
                    done += sum(len(one) for one, _ in some)
                    if progress:
                        progress(done, total)
        lps_from_patch = slabs.lps_from_pixel @ index_from_block((1, patch, patch))
        return ImageFeatures(patches, lps_from_patch, fine, slabs.lps_from_pixel)

    def _ascend_block(
        self, deep: list[Tensor], levels: list[list[Tensor]], offset: Tensor, slabs: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Brings the next block of slabs up: attention among them and those near by, then the decoder.

        Slabs farther away than ``reach`` change nothing, so a body of any length takes the memory of one block.

        Args:
            deep: Deepest tokens of all encoded chunks, from the first.
            levels: Features of the chunks that are not decoded yet; those of the block are removed.
            offset: Position of the first pixel relative to the middle of the body, (y, x) in mm.
            slabs: Total number of slabs.
        """
        chunks = min(len(levels), self.block // self.chunk)
        first = len(deep) - len(levels)
        near = -(-self.reach // self.chunk)
        low, high = max(0, first - near), min(len(deep), first + chunks + near)
        tokens = self.net.attend(torch.cat(deep[low:high])[None], offset)[0]
        own = tokens[(first - low) * self.chunk : min((first + chunks) * self.chunk, slabs) - low * self.chunk]
        return [self.net.ascend(part, levels.pop(0)) for part in own.split(self.chunk)]


def _level(first: nn.Module, blocks: nn.Module, x: Tensor) -> Tensor:
    return blocks(functional.silu(first(x)))


_WAVELENGTHS_MM = (1600.0, 800.0, 400.0, 200.0, 100.0, 50.0)


def _waves(mm: Tensor) -> Tensor:
    angle = mm[..., None] * (2 * math.pi / torch.tensor(_WAVELENGTHS_MM, device=mm.device))
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def _pad(pixels: Tensor) -> Tensor:
    """Pads the far ends of y and x with air (0 in every window) to multiples of the deepest token."""
    y, x = pixels.shape[-2:]
    more_y, more_x = -y % DEPTH, -x % DEPTH
    return functional.pad(pixels, (0, more_x, 0, more_y))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster: a CPU without instructions for it takes ten times as long as in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
