"""X-VLM: texts against the regions that they describe, and a box for each text (Zeng 2022, arXiv:2111.08276).

Contrast, matching with hard negatives and masked words, for whole crops and for regions (the cells inside a box, pooled
or attended to alone), and the box of a sentence from the whole crop, by L1 and GIoU. All terms weigh the same, as in
the paper. The box, drawn, is the map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.contrast import contrast_loss
from tips_med.training.objectives.base import AlignmentBatch, ImageView, Objective, SharedTowers, TextView
from tips_med.training.objectives.boxes import BoxHead, box_loss, cells_inside, drawn
from tips_med.training.objectives.clip import Projections
from tips_med.training.objectives.fusion import Fusion, Pairs, hard_pairs, hide_words, own_sentences, picked

SAME = 1e-3
"""Boxes whose corners differ by less are the same."""


class XVlm(Objective):
    """X-VLM's objective; see the module."""

    dense = True

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__(towers)
        width = towers.width
        self.projections, self.fusion = Projections(width), Fusion(width)
        self.match, self.word = nn.Linear(width, 1), nn.Linear(width, towers.mask_index)
        self.box = BoxHead(width)

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        crops, sentences = batch.meaning.shape
        box, words = batch.boxed().flatten(0, 1), batch.words.flatten(0, 1)
        text = self.towers.read(words)
        unit = self.projections.text(text.pooled)
        crop = torch.arange(crops, device=box.device).repeat_interleave(sentences)
        there = box[:, 0].isfinite().nonzero()[:, 0]
        # Regions: what sentences name. A region is pooled from the cells inside of its box.
        inside = cells_inside(box[there], (image.cells.shape[2], image.cells.shape[3])).flatten(1)
        tokens = image.tokens
        pooled = torch.einsum("nc,ncd->nd", inside / inside.sum(1, keepdim=True), tokens[crop[there]])
        of_regions = functional.normalize(self.projections.of_image(pooled), dim=-1)
        scale = self.projections.scale
        image_scores = scale * self.projections.image(image.cells) @ unit.T
        region_scores = scale * of_regions @ unit.T
        region_relation = self._regions(batch, box, crop, there)
        own = own_sentences(crops, sentences, box.device)
        own_region = torch.zeros_like(region_relation, dtype=torch.bool)
        own_region[torch.arange(len(there)), there] = True
        of_crops = hard_pairs(image_scores, batch.relation, own)
        pairs = hard_pairs(region_scores, region_relation, own_region)
        hidden = inside <= 0
        boxes = self.box(self.fusion(picked(text, there), tokens[crop[there]])[0][:, 0])
        distance, overlap = box_loss(boxes, box[there])
        one = there[torch.randperm(len(there), device=box.device)[:crops]]  # as many as crops
        seen = torch.isin(there, one).nonzero()[:, 0]
        return {
            "contrast": contrast_loss(image_scores, batch.relation) + contrast_loss(region_scores, region_relation),
            "matching": self._matching(text, tokens, of_crops)
            + self._matching(text, tokens[crop[there]], pairs, hidden),
            "words": self._guess(words[there[seen]], tokens[crop[there[seen]]])
            + self._guess(words[there[seen]], tokens[crop[there[seen]]], hidden[seen]),
            "distance": distance,
            "overlap": overlap,
        }

    def _regions(self, batch: AlignmentBatch, box: Tensor, crop: Tensor, there: Tensor) -> Tensor:
        """How regions stand to all sentences, as ``relation`` does for crops, [region crop*sentence]."""
        of_crop = batch.relation[crop[there]]
        meaning = batch.meaning.flatten()
        # True of the crop is not yet true of the region: only the same meaning is.
        table = torch.where(of_crop < 0, of_crop, (meaning[there, None] == meaning[None]).to(of_crop.dtype))
        same = ((box[there, None] - box[None]).abs() < SAME).all(-1)
        mine = crop[there, None] == crop[None]
        return torch.where(mine, torch.where(same, 1, -1), table)

    def _matching(self, text: TextView, tokens: Tensor, pairs: Pairs, hidden: Tensor | None = None) -> Tensor:
        outside = None if hidden is None else hidden[pairs.view]
        first = self.fusion(picked(text, pairs.sentence), tokens[pairs.view], outside)[0][:, 0]
        return functional.binary_cross_entropy_with_logits(self.match(first)[:, 0], pairs.match)

    def _guess(self, words: Tensor, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        given, wanted = hide_words(words, self.towers.mask_index)
        found = self.fusion(self.towers.read(given), tokens, hidden)[0][:, 1:]
        return functional.cross_entropy(self.word(found).flatten(0, 1), wanted.flatten(), ignore_index=-100)

    def _first(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """The first token of each sentence with its crop, [crop sentence width]."""
        text, sentences = self.towers.read(batch.words.flatten(0, 1)), batch.words.shape[1]
        return self.fusion(text, image.tokens.repeat_interleave(sentences, 0))[0][:, 0].unflatten(0, (-1, sentences))

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        return drawn(self.box(self._first(batch, image)), (image.fine.shape[2], image.fine.shape[3]))[:, :, None]

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        return self.match(self._first(batch, image))[..., 0]
