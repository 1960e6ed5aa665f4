"""Validation as a user would see it: whole studies, answered by ``ground``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tips_med.errors import QueryError
from tips_med.geometry import voxel_volume_mm3
from tips_med.grounding import Grounding, encode, ground
from tips_med.grounding.ground import adapters_of, parse_query, query_term
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.scan import Provenance, Scan
from tips_med.training.studies import PhraseLabel, PreparedStudy

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ValidatedPhrase:
    """One phrase of one study, answered.

    Attributes:
        label: What the manifest says of the phrase.
        term: Finding or structure term of the phrase.
        answer: Answer to it.
        truth: Cells that its mask covers by half or more, bool [slab y x]; None for an absent one.
        dice: Dice of the answer's mask; NaN for an absent one.
        false_ml: Marked volume in ml of what is absent; NaN for an outlined one.
    """

    label: PhraseLabel
    term: str
    answer: Grounding
    truth: np.ndarray | None
    dice: float
    false_ml: float


def validate_study(file: Path, model: GroundingModel) -> Iterator[ValidatedPhrase]:
    """Encodes a prepared study and asks it every phrase whose place, or absence, the manifest states.

    The study is asked on the working grid: where ``tips-med evaluate`` measures on the scan's own grid, thin edges
    differ. Region, threshold and components are those of ``ground``. Phrases that the model refuses are left out.

    Args:
        file: Prepared study.
        model: Model to validate; its lexicon is that of the phrases.

    Raises:
        ManifestError: The file is damaged.
    """
    study = PreparedStudy.load(file)
    asked: list[tuple[PhraseLabel, Query]] = []
    for label in study.statements:
        if label.mask is None and label.label != "absent":
            continue  # where it is, nobody said
        # A negated sentence is asked as what it denies, whose volume should be 0.
        try:
            asked.append((label, parse_query(label.text, model)))
        except QueryError as error:
            log.debug("not validated: %s", error)
    if not asked:
        return
    encoded = encode(scan_of_study(study), model, adapters=adapters_of([query for _, query in asked], model))
    for label, query in asked:
        answer = ground(encoded, query, model)
        term = query_term(query)
        known = np.array(True) if label.ignore is None else study.regions[label.ignore] == 0
        found = answer.mask & known
        if label.mask is None:
            ml = float(found.sum()) * voxel_volume_mm3(study.lps_from_pixel) / 1000
            yield ValidatedPhrase(label, term, answer, None, np.nan, ml)
            continue
        truth = (study.covers[label.mask] > 127) & known
        if not truth.any():
            continue  # thinner than half a cell
        both = float(np.count_nonzero(found & truth))
        dice = 2 * both / float(np.count_nonzero(found) + np.count_nonzero(truth))
        yield ValidatedPhrase(label, term, answer, truth, dice, np.nan)


def scan_of_study(study: PreparedStudy) -> Scan:
    """A prepared study as a scan on the working grid."""
    voxels = np.where(study.seen, study.volume_hu, np.float32(np.nan)).astype(np.float32)
    return Scan(voxels, study.lps_from_pixel, "CT", "HU", Provenance("prepared"))
