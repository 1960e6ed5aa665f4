"""The dense track for objectives that learn from sentences alone: their own training first, then one common box head.

The head is the same for all of them: words look at cells, and the first token gives a box (L1 and GIoU, as X-VLM's) and
whether it is there. In the second part everything is trained, the towers too, and the objective's own loss has ended.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.objectives.base import AlignmentBatch, ImageView, Objective
from tips_med.training.objectives.boxes import BoxHead, box_loss, drawn
from tips_med.training.objectives.fusion import Fusion

FIRST_PART = 0.6
"""Share of the image forwards that the objective's own training has."""


class FineTuned(Objective):
    """An objective with the common box head.

    Args:
        base: Objective that learns from sentences.
    """

    dense = True

    def __init__(self, base: Objective) -> None:
        super().__init__(base.towers)
        self.base, self.own = base, True
        width = base.towers.width
        self.fusion, self.box, self.there = Fusion(width), BoxHead(width), nn.Linear(width, 1)

    def at(self, progress: float) -> None:
        """See Objective."""
        self.own = progress < FIRST_PART
        self.base.at(min(1.0, progress / FIRST_PART))

    def after_step(self) -> None:
        """See Objective."""
        if self.own:
            self.base.after_step()

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        if self.own:
            return self.base.loss(batch.weak(), image)
        first = self._first(batch, image)
        distance, overlap = box_loss(self.box(first), batch.boxed())
        there = functional.binary_cross_entropy_with_logits(self.there(first)[..., 0], batch.present)
        return {"distance": distance, "overlap": overlap, "there": there}

    def _first(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        text, sentences = self.towers.read(batch.words.flatten(0, 1)), batch.words.shape[1]
        found = self.fusion(text, image.tokens.repeat_interleave(sentences, 0))[0][:, 0]
        return found.unflatten(0, (-1, sentences))

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        size = image.fine.shape[2], image.fine.shape[3]
        return drawn(self.box(self._first(batch, image)), size)[:, :, None]

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        return self.there(self._first(batch, image))[..., 0]
