"""What an archive stores of a study, so that it can be ranked without being opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FORMAT = "tips_med-archive-3"


@dataclass(frozen=True)
class About:
    """What holds for all studies of an archive.

    Attributes:
        weights_sha256: SHA-256 of the weights that encoded them.
        model: Name and short hash of the model.
        terms: Findings and structures whose evidence is stored, by term of the lexicon.
        width: Size of a vector.
        centre: Mean of the vectors of the first study, float32 [width], which all are counted from: without it, all
            patches point nearly the same way.
        format: Version of the archive.
    """

    weights_sha256: str
    model: str
    terms: tuple[str, ...]
    width: int
    centre: tuple[float, ...]
    format: str = FORMAT


@dataclass(frozen=True)
class StoredInstance:
    """A component that the model marked when the study was indexed, asked for by the plain name of a finding.

    Attributes:
        term: Finding, by term of the lexicon.
        side: Side of the patient; empty where it has none, or it is not known.
        region: Region in words: ``lower third of the left lung``.
        volume_ml: Volume in ml.
        long_axis_mm: Longest distance within one slice, mm.
        score: Calibrated probability of this component by itself, 0 to 1.
        peak_lps: Position of its strongest evidence, LPS in mm.
        centroid_lps: Position of its centroid, LPS in mm.
        lobes: Lobes in which it may lie by estimate, ``left lower lobe``; empty where nothing can be said.
    """

    term: str
    side: str
    region: str
    volume_ml: float
    long_axis_mm: float
    score: float
    peak_lps: tuple[float, float, float]
    centroid_lps: tuple[float, float, float]
    lobes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Vectors:
    """Pooled patch embeddings of a study, with their place.

    Attributes:
        directions: Embeddings less the archive's centre, of length 1, float32 [vector width].
        lengths: Length of each before that, float32 [vector].
        lps: Place of each, LPS in mm, float32 [vector 3].
        sides: 1 right, 2 left, 0 neither or not known, uint8 [vector].
        heights: Height within that lung, 0 lowest to 1 highest, float32 [vector]; NaN where it has none.
    """

    directions: np.ndarray
    lengths: np.ndarray
    lps: np.ndarray
    sides: np.ndarray
    heights: np.ndarray

    def __len__(self) -> int:
        """The number of vectors."""
        return len(self.lengths)


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """A study in an archive. Nothing in it tells whose it is.

    Attributes:
        key: Keyed hash of what the scan is known by.
        modality: DICOM modality code.
        thickness_mm: Distance between slices, mm.
        slices: Number of slices.
        year: Year of the study, None where it is not known; the rest of the date is not stored.
        evidence: Highest evidence (logit) for each term, float32 [side height], see ``places``.
        known: Whether side and height are known in this scan, bool [side height].
        whole: Whether the scan shows the place nearly whole, bool [side height]: only then can it be called absent.
        instances: What the model marked, findings in the order of the terms.
        vectors: Pooled patch embeddings.
    """

    key: str
    modality: str
    thickness_mm: float
    slices: int
    year: int | None
    evidence: Mapping[str, np.ndarray]
    known: np.ndarray
    whole: np.ndarray
    instances: tuple[StoredInstance, ...]
    vectors: Vectors
