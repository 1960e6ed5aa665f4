"""The methods and their tracks: which objective, learned from what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.alignment.training import Budget
from tips_med.training.objectives.albef import Albef
from tips_med.training.objectives.base import Objective, Scaling, SharedTowers
from tips_med.training.objectives.clip import Clip
from tips_med.training.objectives.fine_tuned import FIRST_PART, FineTuned
from tips_med.training.objectives.flava import Flava
from tips_med.training.objectives.glip import Glip
from tips_med.training.objectives.pali_x import PaliX
from tips_med.training.objectives.patch_token import PatchToken
from tips_med.training.objectives.tips import Tips
from tips_med.training.objectives.x_vlm import XVlm

Track = Literal["weak", "dense"]


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: Name in the table.
        track: ``weak`` (crops and sentences) or ``dense`` (masks or boxes, too).
        granularity: What is aligned with what.
        supervision: What it learns from.
        make: Makes the objective for towers and a budget.
    """

    name: str
    track: Track
    granularity: str
    supervision: str
    make: Callable[[SharedTowers, Budget], Objective]


def _tuned(base: Callable[[SharedTowers, Scaling], Objective], views: int) -> Callable[..., Objective]:
    """Its own training first, over which its constants are scaled, then the common box head."""
    return lambda towers, budget: FineTuned(base(towers, Scaling(max(1, int(FIRST_PART * budget.steps(views))))))


METHODS: dict[str, Method] = {
    "clip": Method("CLIP", "weak", "image - text", "sentences", lambda t, b: Clip(t)),
    "albef": Method("ALBEF", "weak", "image - text, words to image", "sentences",
                    lambda t, b: Albef(t, Scaling(b.steps(1)))),
    "tips": Method("TIPSv2-like", "weak", "image - text, patch - patch", "sentences",
                   lambda t, b: Tips(t, Scaling(b.steps(2)))),
    "flava": Method("FLAVA", "weak", "image - text, words with patches", "sentences", lambda t, b: Flava(t)),
    "ours-weak": Method("ours, weak", "weak", "patch - text", "sentences", lambda t, b: PatchToken(t, "sentences")),
    "ours-weak-hard": Method("ours, weak, hard negatives", "weak", "patch - text", "sentences",
                             lambda t, b: PatchToken(t, "sentences", hard=True)),
    "clip-tuned": Method("CLIP, fine-tuned", "dense", "image - text", "sentences, then boxes",
                         _tuned(lambda t, s: Clip(t), 1)),
    "albef-tuned": Method("ALBEF, fine-tuned", "dense", "image - text, words to image", "sentences, then boxes",
                          _tuned(Albef, 1)),
    "tips-tuned": Method("TIPSv2-like, fine-tuned", "dense", "image - text, patch - patch", "sentences, then boxes",
                         _tuned(Tips, 2)),
    "flava-tuned": Method("FLAVA, fine-tuned", "dense", "image - text, words with patches", "sentences, then boxes",
                          _tuned(lambda t, s: Flava(t), 2)),
    "x-vlm": Method("X-VLM", "dense", "region - text", "boxes", lambda t, b: XVlm(t)),
    "glip": Method("GLIP", "dense", "region - word", "boxes", lambda t, b: Glip(t)),
    "pali-x": Method("PaLI-X", "dense", "image to text", "boxes, as text", lambda t, b: PaliX(t)),
    "ours-cells": Method("ours, boxes only, cells alone", "dense", "patch - text", "boxes",
                         lambda t, b: PatchToken(t, "boxes", fine=False)),
    "ours-boxes": Method("ours, boxes only", "dense", "patch - text", "boxes", lambda t, b: PatchToken(t, "boxes")),
    "ours-focal": Method("ours, focal loss", "dense", "patch - text", "masks", lambda t, b: PatchToken(t, focal=True)),
    "ours": Method("ours", "dense", "patch - text", "masks", lambda t, b: PatchToken(t)),
}  # fmt: skip
"""All rows, in the order of the table; those whose names end in ``-tuned`` are ``FineTuned``."""

OURS: dict[Track, str] = {"weak": "ours-weak", "dense": "ours"}
"""With which each track's other methods are compared."""
