"""Answers: where a finding is in a scan, whether it is present, the basis of that, and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import numpy as np

from tips_med.card import BALANCED, Measured, OperatingPointName
from tips_med.errors import MissingExtraError, TipsMedError
from tips_med.geometry import box_around
from tips_med.query import Query
from tips_med.scan import Scan
from tips_med.shapes import Affine, Heat, Labels, Mask

State = Literal["present", "absent", "unsure"]

Reason = Literal[
    "outside-field-of-view",
    "gap",
    "not-aerated",
    "no-lung-seen",
    "side-unknown",
    "height-unknown",
    "extent-unknown",
    "wider-than-trained",
    "uncalibrated",
    "painted-only",
    "between-thresholds",
    "size-mismatch",
    "one-side-only",
    "lobe-by-estimate",
    "height-by-estimate",
    "location-unchecked",
    "attribute-unchecked",
    "hedge-ignored",
    "wording-unchecked",
    "size-of-all",
]
"""Codes for why an answer is limited, and for parts of the query without an answer; see ``wording.REASONS``."""


@dataclass(frozen=True)
class Coverage:
    """What of the searched region this scan shows.

    Attributes:
        assessed_fraction: Estimated share of the region that was assessed, 0 to 1.
        whole: Whether each side of it was seen nearly whole: only then can the answer be absent.
        side_known: Whether left and right are known in this scan.
        height_known: Whether heights within the searched lungs are known.
        reasons: Codes for why the rest was not assessed.
    """

    assessed_fraction: float = 1.0
    whole: bool = True
    side_known: bool = True
    height_known: bool = True
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Decision:
    """Is the finding there? The state is of the finding, whether or not the query negates it.

    Attributes:
        state: ``present``, ``absent`` (only where the searched region was assessed nearly whole) or ``unsure`` (see
            ``reasons``).
        score: Highest score of the model in the searched region, 0 to 1; not a probability.
        probability: Calibrated probability, 0 to 1; None where the model has no calibration for the finding.
        holds: For a negated query, whether the statement holds; None when unsure, or when nothing was negated.
        assessed_fraction: Estimated share of the searched region that the scan shows, 0 to 1.
        reasons: Short codes for limits of the state, and for parts of the query without an answer.
        sides: State of each side, where both were searched separately.
        evidence: What the thresholds rest on: ``real`` scans that have the finding, ``painted`` ones alone, or
            ``unknown``.
        operating_point: Operating point that decided.
        measured: How answers at these thresholds did on real scans; None where nobody measured it.
    """

    state: State
    score: float
    probability: float | None
    holds: bool | None = None
    assessed_fraction: float = 1.0
    reasons: tuple[Reason, ...] = ()
    sides: Mapping[str, Decision] = field(default_factory=dict)
    evidence: Literal["real", "painted", "unknown"] = "unknown"
    operating_point: OperatingPointName = BALANCED
    measured: Measured | None = None

    @property
    def calibrated(self) -> bool:
        """Whether ``probability`` is known."""
        return self.probability is not None


@dataclass(frozen=True)
class Instance:
    """One connected component of the mask (18-connected).

    Attributes:
        label: Number in ``Grounding.labels``, from 1, highest score first.
        side: Side of the patient; ``both`` for a component that crosses over; None where it has none, or it is not
            known.
        region: Region in words: ``lower third of the left lung``.
        volume_ml: Volume in ml: number of voxels times their volume.
        long_axis_mm: Longest distance within one slice in mm, as in RECIST 1.1.
        slices: First and last slice k, counted from 0.
        instance_uids: SOP Instance UIDs of those slices, for DICOM sources.
        mean_hu: Mean of its measured voxels, in Hounsfield units.
        score: Calibrated probability of this component by itself, 0 to 1; the model's score where it is not calibrated.
        peak_lps: Position of its strongest evidence, LPS in mm.
        centroid_lps: Position of its centroid, LPS in mm.
        lobes: Lobes in which it may lie by estimate, ``left lower lobe``: one where it is far from the estimated
            fissures, several near one; empty where nothing can be said (see ``lobes.lobes_of_cells``), for pleural
            findings and for structures.
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
    lobes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declined:
    """A query that got no answer, among others that did.

    Attributes:
        position: Position among all queries, from 0.
        query: Text of the query, as typed.
        error: Reason that there is no answer.
    """

    position: int
    query: str
    error: TipsMedError


@dataclass(frozen=True, eq=False)
class Grounding:
    """The answer to one query.

    Attributes:
        query: The query, as parsed.
        scan: Queried scan.
        presence: Present, absent or unsure, with its basis.
        heat: Score on the fine grid, [slab y x], NaN where the scan measured nothing.
        lps_from_heat: Maps (slab, y, x, 1) to LPS in mm.
        labels: Instance numbers on the scan's own grid, [k j i]; 0 outside all instances.
        instances: Components of the mask, highest score first.
        peak_lps: Position of the strongest evidence, LPS in mm; also when the answer is ``absent``.
        token_heat: Map of each understood word on the grid of ``heat``, made when first read.
        sentence: The answer in words.
        model: Name and short hash of the weights that answered.
    """

    query: Query
    scan: Scan
    presence: Decision
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
        """The calibrated probability that the finding is there; the model's score where there is no calibration."""
        return self.presence.score if self.presence.probability is None else self.presence.probability

    @property
    def mask(self) -> Mask:
        """Where it is, on the scan's own grid, [k j i]."""
        return np.asarray(self.labels > 0)

    def __repr__(self) -> str:
        """The answer in words: arrays say little."""
        return f"Grounding({self.query.text!r}: {self.sentence})"

    def _repr_png_(self) -> bytes | None:
        """The figure, by which an answer shows itself in a notebook; None without the extra ``figures``."""
        # By name, as ``import tips_med`` finds its parts: exporters are above this module, and only drawn with here.
        try:
            return import_module("tips_med.exporters.figure").figure_png(self)
        except MissingExtraError:
            return None

    def view(self, height_px: int = 360) -> Any:
        """An interactive view for notebooks: the scan, the outline, the maps of the answer and of its words.

        Args:
            height_px: Height of the picture in pixels.

        Returns:
            A ``tips_med.exporters.notebook.AnswerView``, a widget of ipywidgets.

        Raises:
            MissingExtraError: Without the extra ``notebook``.
        """
        return import_module("tips_med.exporters.notebook").AnswerView(self, height_px)

    @cached_property
    def box(self) -> tuple[slice, slice, slice] | None:
        """The box around all instances on the scan's own grid; None without any."""
        return box_around(self.labels)
