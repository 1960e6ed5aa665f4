"""The compact image tower: a 2.5D network small enough for a laptop's CPU.

Each slab is a stack of neighbouring slices under several windows. Convolutions take it down to a sixteenth, where
tokens attend to their own slab and, sparsely, to the same place in slabs near by; a decoder brings the result back up
to patches (an eighth) and to fine features (full resolution). Position is given in millimetres from the middle of the
body (``tips_med.body``), never as an array index, so neither a crop nor another matrix size changes what a place means.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.encoders.base import ImageFeatures, ImageTower, Progress, quantized
from tips_med.encoders.compact_decoder import DEPTH, CompactConfig, CompactDecoder, ResidualBlock
from tips_med.encoders.precision import has_fast_bfloat16
from tips_med.geometry import index_from_block
from tips_med.slabs import SlabStack

__all__ = ["DEPTH", "CompactConfig", "CompactImageTower", "CompactNet"]


class CompactNet(CompactDecoder):
    """The network itself: pixels in, patch embeddings and fine features out.

    Its convolutions are its own, its deep half is a ``CompactDecoder``: further ones may share the convolutions.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        widths, blocks = config.widths, config.blocks
        self.stem = nn.Conv2d(config.slabs.channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.levels = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(n))) for width, n in zip(widths, blocks)
        )

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


class CompactImageTower(ImageTower):
    """The compact network as an image tower.

    Args:
        net: Network, on the device to run on.
        chunk: Number of slabs that the convolutions take at once; bounds memory, changes nothing else.
        block: Number of slabs that are held at every level at once, a multiple of ``chunk``; bounds memory, changes
            nothing else.
        taught: Further decoders of the same convolutions, those of adapters; they run where ``encode_several`` is told
            their numbers.
    """

    name = "compact-1"

    def __init__(self, net: CompactNet, chunk: int = 4, block: int = 16, taught: Sequence[CompactDecoder] = ()) -> None:
        self.net, self.chunk, self.block = net.eval(), chunk, block
        self.decoders: tuple[CompactDecoder, ...] = (self.net, *(one.eval() for one in taught))
        self.reach = net.config.attention_blocks * max(abs(offset) for offset in net.config.slab_offsets)
        self.slab_spec = net.config.slabs
        self.modalities = net.config.modalities

    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        """See ImageTower. Patches are half precision, fine features int8."""
        return self.encode_several(slabs, (0,), progress)[0]

    @torch.inference_mode()
    def encode_several(
        self, slabs: SlabStack, numbers: Sequence[int], progress: Progress | None = None
    ) -> dict[int, ImageFeatures]:
        """See ImageTower. What a decoder gives is the same, bit for bit, whichever others run beside it."""
        device = next(self.net.parameters()).device
        slab_count, rows, columns = slabs.seen.shape
        middle_y_mm, middle_x_mm = slabs.body.middle_mm
        first = slabs.lps_from_pixel[1, 3] - middle_y_mm, slabs.lps_from_pixel[0, 3] - middle_x_mm
        offset = torch.tensor([first], dtype=torch.float32, device=device)
        made = {number: self._empty(slabs, number) for number in numbers}
        patch = self.slab_spec.patch
        total, done, at = (1 + len(made)) * slab_count, 0, 0
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(device)):
            deep: list[Tensor] = []
            levels: list[list[Tensor]] = []  # of the chunks that are not decoded yet
            for part in slabs.parts(self.chunk):
                levels.append(self.net.descend(_pad(part).to(device)))
                deep.append(levels[-1].pop())
                done += len(part)
                if progress:
                    progress(done, total)
                last = len(deep) * self.chunk >= slab_count
                while levels and (last or len(levels) * self.chunk >= self.block + self.reach):
                    some = [levels.pop(0) for _ in range(min(len(levels), self.block // self.chunk))]
                    end = min(at + len(some) * self.chunk, slab_count)
                    for number, features in made.items():
                        decoder = self.decoders[number]
                        assert features.fine is not None and features.fine_step is not None
                        tokens = self._attend(decoder, deep, at, end, offset).split(self.chunk)
                        for n, (own, skips) in enumerate(zip(tokens, some)):
                            slab = slice(at + n * self.chunk, at + n * self.chunk + len(own))
                            found, edges = decoder.ascend(own, skips)
                            features.patches[slab] = found[:, : rows // patch, : columns // patch].half().cpu()
                            values, steps = quantized(edges[:, :rows, :columns].float())
                            features.fine[slab], features.fine_step[slab] = values.cpu(), steps.cpu()
                        done += end - at
                        if progress:
                            progress(done, total)
                    at = end
        return made

    def _empty(self, slabs: SlabStack, number: int) -> ImageFeatures:
        """Features of a decoder, to be filled."""
        (slab_count, rows, columns), config, patch = slabs.seen.shape, self.net.config, self.slab_spec.patch
        return ImageFeatures(
            torch.empty(slab_count, rows // patch, columns // patch, config.patch_width, dtype=torch.half),
            slabs.lps_from_pixel @ index_from_block((1, patch, patch)),
            torch.empty(slab_count, rows, columns, config.fine_width, dtype=torch.int8),
            slabs.lps_from_pixel,
            torch.empty(slab_count, config.fine_width),
            number,
        )

    def _attend(self, decoder: CompactDecoder, deep: list[Tensor], first: int, end: int, offset: Tensor) -> Tensor:
        """Attention of a block of slabs to those near by, [slab width row col].

        Slabs farther away than ``reach`` change nothing, so a body of any length takes the memory of one block.

        Args:
            decoder: Decoder whose attention it is.
            deep: Deepest features of all chunks so far, from the first.
            first: First slab of the block, a multiple of ``chunk``.
            end: One past its last slab.
            offset: Position of the first pixel relative to the middle of the body, (y, x) in mm.
        """
        near = -(-self.reach // self.chunk)
        low, high = max(0, first // self.chunk - near), -(-end // self.chunk) + near
        tokens = decoder.attend(torch.cat(deep[low:high])[None], offset)[0]
        return tokens[first - low * self.chunk : end - low * self.chunk]


def _level(first: nn.Module, blocks: nn.Module, x: Tensor) -> Tensor:
    return blocks(functional.silu(first(x)))


def _pad(pixels: Tensor) -> Tensor:
    """Pads the far ends of y and x with air (0 in every window) to multiples of the deepest token."""
    y, x = pixels.shape[-2:]
    more_y, more_x = -y % DEPTH, -x % DEPTH
    return functional.pad(pixels, (0, more_x, 0, more_y))
