"""What of the asked region a scan does not show, as a mask to shade."""

from __future__ import annotations

import numpy as np

from tips_med.encoders.study import EncodedStudy
from tips_med.grounding import Grounding
from tips_med.grounding.ground import in_chest
from tips_med.grounding.maps import study_thorax
from tips_med.grounding.thorax import SIDES
from tips_med.model import GroundingModel
from tips_med.shapes import Mask


def not_assessed(study: EncodedStudy, answer: Grounding, model: GroundingModel) -> Mask:
    """Where an answer says nothing, on the grid of its map, [slab y x].

    That is where nothing was measured (gaps, padding), and an asked side of the chest that holds no aerated lung. What
    lies outside the scan is in no mask: the answer's reasons name it.

    Args:
        study: The queried study.
        answer: The answer.
        model: Model that answered.
    """
    hidden = np.isnan(answer.heat)
    if in_chest(answer.query, model):
        thorax = study_thorax(study, model)
        for label, name in SIDES.items():
            if answer.query.side in (None, "both", name) and not thorax.parts[label - 1].aerated:
                hidden |= thorax.side == label
    return hidden
