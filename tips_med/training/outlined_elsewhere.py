"""Outlines that lie where their phrase will not be looked for: what is learned there is never answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tips_med.card import ModelCard
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.geometry import transform_points
from tips_med.grounding import encode
from tips_med.grounding.ground import in_chest, search_regions
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.training.studies import PreparedStudy
from tips_med.training.validation import scan_of_study

MIN_SHARE = 0.5
"""Minimum share of an outline in the searched region: a lesion may reach out of it."""


@dataclass(frozen=True)
class OutlinedElsewhere:
    """A phrase whose outline lies mostly outside the region in which it will be looked for.

    Attributes:
        phrase: Phrase of the manifest.
        share: Share of the outline within the region, 0 to 1.
    """

    phrase: str
    share: float

    @property
    def warning(self) -> str:
        """What is wrong, and what to do."""
        return (
            f"the outline of {self.phrase!r} lies outside the lungs and the pleura by {1 - self.share:.0%}, and there "
            f"alone it will be looked for: name the place in the phrase, as in '{self.phrase} in the liver'"
        )


def outlined_elsewhere(
    files: Sequence[Path], model: GroundingModel, card: ModelCard, lexicon: Lexicon
) -> list[OutlinedElsewhere]:
    """Phrases that are looked for in the chest and outlined elsewhere; the first outline of each is looked at.

    Args:
        files: Prepared studies.
        model: Model before it is taught; it finds the lungs.
        card: Card of the model that is being made.
        lexicon: Lexicon of the phrases.
    """
    asked = replace(model, card=card, language=lexicon)
    looked_at: set[str] = set()
    found = []
    for file in files:
        study, encoded = PreparedStudy.load(file), None
        for label in study.statements:
            if label.mask is None or label.text in looked_at:
                continue
            cells = np.argwhere(study.covers[label.mask] > 127)
            try:
                query = lexicon.parse(label.text)
            except QueryError:
                continue
            if not len(cells) or not in_chest(query, asked):
                continue
            looked_at.add(label.text)
            encoded = encoded or encode(scan_of_study(study), model)
            mask = search_regions(encoded, query, asked)["searched"].mask
            share = _share_within(mask, encoded, transform_points(study.lps_from_pixel, cells))
            if share < MIN_SHARE:
                found.append(OutlinedElsewhere(label.text, share))
    return found


def _share_within(mask: np.ndarray, study: EncodedStudy, points_lps: np.ndarray) -> float:
    """Share of points [n 3] that lie in a mask on the study's fine grid."""
    affine = study.features.lps_from_fine
    affine = study.features.lps_from_patch if affine is None else affine
    cells = np.rint(transform_points(np.linalg.inv(affine), points_lps)).astype(int)
    inside = ((cells >= 0) & (cells < mask.shape)).all(axis=1)
    return float(mask[tuple(cells[inside].T)].sum() / len(cells))
