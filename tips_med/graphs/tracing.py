"""The networks of a compact model as graphs whose sizes stay open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from tips_med.alignment import AlignmentHead
from tips_med.encoders.compact import DEPTH, CompactNet
from tips_med.encoders.compact_decoder import CompactDecoder
from tips_med.encoders.compact_text import MAX_WORDS, CompactTextNet

GRAPHS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image": (("pixels", "offset_mm"), ("patches", "fine")),
    "words": (("indices",), ("tokens", "pooled")),
    "head": (("text", "patches", "fine"), ("logits",)),
}
"""Names of what goes into each graph, and of what comes out."""

AXES: dict[str, tuple[str, ...]] = {
    "pixels": ("batch", "slab", "channel", "row", "column"),
    "offset_mm": ("batch", "axis"),
    "indices": ("phrase", "word"),
    "text": ("query", "width"),
    "patches": ("slab", "row", "column", "embedding"),
    "fine": ("slab", "row", "column", "feature"),
}
"""Axes of what goes in. Sizes of pixels are multiples of tokens, those of fine features of patches."""

MAX_SLABS, MAX_TOKENS, MAX_QUERIES = 4096, 256, 4096
"""Largest number of slabs, of tokens of 16 pixels along an edge, and of phrases: far beyond any body."""


@dataclass(frozen=True)
class Traced:
    """A graph, and what was traced.

    Attributes:
        module: The network in PyTorch.
        program: Its graph.
    """

    module: nn.Module
    program: ExportedProgram


class ImageGraph(nn.Module):
    """Convolutions and a decoder: what an image network does, or an adapter on its convolutions."""

    def __init__(self, net: CompactNet, decoder: CompactDecoder) -> None:
        super().__init__()
        self.net, self.decoder = net, decoder

    def forward(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        """[1 slab channel y x], (y, x) in mm [1 2] -> patches and fine features, each [1 slab ...]."""
        skips = self.net.descend(pixels.flatten(0, 1))
        deep = self.decoder.attend(skips.pop().unflatten(0, (1, pixels.shape[1])), offset_mm)
        patches, fine = self.decoder.ascend(deep.flatten(0, 1), skips)
        return patches[None], fine[None]


class HeadGraph(nn.Module):
    """The head: embeddings of phrases or words, patches and fine features in; logits out."""

    def __init__(self, head: AlignmentHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, text: Tensor, patches: Tensor, fine: Tensor) -> Tensor:
        """[query width], [slab row col embedding], [slab y x feature] -> logits [query slab y x]."""
        return self.head.fine_scores(text, patches, fine)


def trace(net: CompactNet, decoder: CompactDecoder, text: CompactTextNet, head: AlignmentHead) -> dict[str, Traced]:
    """The three graphs of a model, or of an adapter of it, by name; see ``GRAPHS``.

    Args:
        net: Image network, whose convolutions are used.
        decoder: The image network again, or an adapter's decoder.
        text: Word network.
        head: Head.
    """
    config = net.config
    patch = config.slabs.patch
    slab, row, column = Dim("slab", max=MAX_SLABS), Dim("row", max=MAX_TOKENS), Dim("column", max=MAX_TOKENS)
    patch_row, patch_column = Dim("patch_row", max=2 * MAX_TOKENS), Dim("patch_column", max=2 * MAX_TOKENS)
    phrase, word, query = Dim("phrase", max=MAX_QUERIES), Dim("word", max=MAX_WORDS), Dim("query", max=MAX_QUERIES)
    width = text.config.width
    pixels = torch.zeros(1, 3, config.slabs.channels, 2 * DEPTH, 3 * DEPTH)
    patches, fine = torch.zeros(3, 4, 6, config.patch_width), torch.zeros(3, 4 * patch, 6 * patch, config.fine_width)
    return {
        "image": _traced(
            ImageGraph(net, decoder),
            (pixels, torch.zeros(1, 2)),
            ({1: slab, 3: DEPTH * row, 4: DEPTH * column}, {}),
        ),
        "words": _traced(text, (torch.ones(2, 3, dtype=torch.int64),), ({0: phrase, 1: word},)),
        "head": _traced(
            HeadGraph(head),
            (torch.zeros(2, width), patches, fine),
            (
                {0: query},
                {0: slab, 1: patch_row, 2: patch_column},
                {0: slab, 1: patch * patch_row, 2: patch * patch_column},
            ),
        ),
    }


def _traced(module: nn.Module, example: tuple[Tensor, ...], sizes: tuple[dict[int, Any], ...]) -> Traced:
    module = module.eval()
    fused = torch.backends.mha.get_fastpath_enabled()
    # One fused operator stands for a layer of the word network otherwise, which nothing but PyTorch knows.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            program = torch.export.export(module, example, dynamic_shapes=sizes, strict=False)
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # where the code lay on the machine that traced it
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return Traced(module, program)
