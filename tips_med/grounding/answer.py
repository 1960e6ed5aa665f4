"""Answers: where a query is in a scan, whether it is there at all, and its measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tips_med.query import Query
from tips_med.scan import Scan
from tips_med.shapes import Affine, Heat, Labels, Mask


@dataclass(frozen=True)
class Presence:
    """Is the finding there? Said of the finding, whether or not the query negates it.

    Attributes:
        state: ``unsure`` when the calibrated probability lies between the model's two thresholds.
        probability: Calibrated, 0 to 1.
        holds: For a negated query, whether the statement holds; None when unsure, or when nothing was negated.
    """

    state: Literal["present", "absent", "unsure"]
    probability: float
    holds: bool | None = None


@dataclass(frozen=True)
class Instance:
    """One connected piece of the mask (18-connected).

    Attributes:
        label: Its number in ``Grounding.labels``, from 1, largest score first.
        side: Of the patient; ``both`` for a piece that crosses over.
        region: In words: ``lower third of the left lung``.
        volume_ml: Number of voxels times their volume.
        long_axis_mm: Longest distance within one slice, as diameters are measured by RECIST 1.1.
        slices: First and last slice k, counted from 0.
        instance_uids: SOP Instance UIDs of those slices, for DICOM sources.
        mean_hu: Mean of the measured voxels in it.
        score: Calibrated probability of this piece by itself, 0 to 1.
        peak_lps: Where the evidence for it is strongest, LPS in mm.
        centroid_lps: Its centre, LPS in mm.
    """

    label: int
    side: Literal["left", "right", "both"] | None
    region: str
    volume_ml: float
    long_axis_mm: float
    slices: tuple[int, int]
    instance_uids: tuple[str, ...]
    mean_hu: float
    score: float
    peak_lps: tuple[float, float, float]
    centroid_lps: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Grounding:
    """The answer to one query.

    Attributes:
        query: What was asked, as it was understood.
        scan: What was asked of.
        presence: Present, absent or unsure.
        heat: Probability on the fine grid, [slab y x], NaN where the scan measured nothing.
        lps_from_heat: Maps (slab, y, x, 1) to LPS in mm.
        labels: Instance numbers on the scan's own grid, [k j i]; 0 where the finding is not.
        instances: The pieces, highest score first.
        peak_lps: Where the evidence is strongest, LPS in mm, also when the answer is ``absent``.
        token_heat: For every word understood, its own map on the same grid as ``heat``, made when it is asked for.
        sentence: The answer in words.
        model: Name and short hash of the weights that answered.
    """

    query: Query
    scan: Scan
    presence: Presence
    heat: Heat
    lps_from_heat: Affine
    labels: Labels
    instances: tuple[Instance, ...]
    peak_lps: tuple[float, float, float]
    token_heat: Mapping[str, Heat]
    sentence: str
    model: str

    @property
    def probability(self) -> float:
        """The calibrated probability that the finding is there."""
        return self.presence.probability

    @property
    def mask(self) -> Mask:
        """Where it is, on the scan's own grid, [k j i]."""
        return np.asarray(self.labels > 0)
