"""Ranks the unlabelled scans of a folder for a manifest that is still growing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.discovery import Discovery, FoundScan
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError, TipsMedError
from tips_med.geometry import transform_points
from tips_med.grounding.ground import adapters_of, check_study, parse_query
from tips_med.grounding.maps import CHEST_STRUCTURES
from tips_med.manifest import Row
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.suggestion.acquisition import PhraseValue, StudyValue, as_share, embedding_of, value_study
from tips_med.suggestion.selection import Selected, select_diverse

Encode = Callable[[FoundScan, tuple[int, ...]], EncodedStudy]
"""Reads and encodes a scan, with the features of some adapters."""

_Ranked = tuple[FoundScan, StudyValue, tuple[int, ...]]

_MAX_SHARE = 0.5
"""Maximum share of the candidates that are expected to have a finding: what is labelled first is often chosen to."""


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A scan to outline next.

    Attributes:
        scan: The scan.
        selected: Value, novelty and priority.
        phrases: What the model answered to each phrase, the most valuable first.
        slices: Slice k (from 0) of the strongest evidence of each phrase, in the same order: where to look first.
    """

    scan: FoundScan
    selected: Selected
    phrases: tuple[PhraseValue, ...]
    slices: tuple[int, ...]

    @property
    def path(self) -> Path:
        """File or folder of the scan."""
        return self.scan.root / self.scan.path

    @property
    def why(self) -> str:
        """The reason in words."""
        reasons = []
        for one in self.phrases[:2]:
            if one.rarity * one.presence_bits >= 0.5:
                reasons.append(f"unsure of {one.phrase} ({one.probability:.2f})")
            elif one.value >= 0.1:
                reasons.append(f"outline of {one.phrase} doubtful ({max(one.mask_doubt, one.disagreement):.2f})")
        if self.selected.novelty >= 0.5:
            reasons.append("unlike what is labelled")
        return "; ".join(reasons) or "little to learn"


@dataclass(frozen=True, eq=False)
class Suggestions:
    """The ranking, and what could not be ranked.

    Attributes:
        chosen: Scans to outline, best first.
        candidates: Number of unlabelled scans that were ranked.
        labelled: Number of scans that the manifest labels.
        phrases: Phrases that the model was asked.
        unknown: Phrases that the model does not know yet, with the reason.
        refused: Scans that cannot be used, with the reason.
    """

    chosen: tuple[Suggestion, ...]
    candidates: int
    labelled: int
    phrases: tuple[str, ...]
    unknown: tuple[tuple[str, TipsMedError], ...]
    refused: tuple[tuple[Path, str], ...]

    @property
    def complete(self) -> bool:
        """Whether every scan could be used."""
        return not self.refused

    def rows(self) -> list[Row]:
        """A manifest of what to outline: one row a scan and phrase, ``unknown`` until somebody has looked."""
        asked = self.phrases or tuple(phrase for phrase, _ in self.unknown)
        return [Row(one.path, phrase, label="unknown") for one in self.chosen for phrase in asked]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "format": "tips_med-suggestions-1",
            "use": "Research use only, not a medical device.",
            "candidates": self.candidates,
            "labelled": self.labelled,
            "unknown_phrases": {phrase: error.found for phrase, error in self.unknown},
            "refused": [{"path": str(path), "found": found} for path, found in self.refused],
            "chosen": [
                {
                    "rank": rank,
                    "path": str(one.path),
                    "series": one.scan.series,
                    "priority": one.selected.priority,
                    "value": one.selected.value,
                    "novelty": one.selected.novelty,
                    "why": one.why,
                    "phrases": [_phrase(phrase, k) for phrase, k in zip(one.phrases, one.slices)],
                }
                for rank, one in enumerate(self.chosen, start=1)
            ],
        }


def _phrase(one: PhraseValue, k: int) -> dict[str, Any]:
    return {
        "phrase": one.phrase,
        "answer": one.state,
        "probability": one.probability,
        "calibrated": one.calibrated,
        "presence_bits": one.presence_bits,
        "mask_doubt": one.mask_doubt,
        "disagreement": None if np.isnan(one.disagreement) else one.disagreement,
        "rarity": one.rarity,
        "slice": k,
        "peak_lps": list(one.peak_lps),
    }


def suggest_scans(
    rows: Sequence[Row],
    found: Discovery,
    model: GroundingModel,
    encode: Encode,
    top: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Suggestions:
    """Ranks every scan that the manifest does not label.

    Labelled scans are encoded as well: what is like them has less to teach.

    Args:
        rows: The manifest: phrases, and what is labelled.
        found: Scans to choose from; those that the manifest labels are left out.
        model: Model that learns, as it is now.
        encode: Reads and encodes a scan, with the features of the adapters that answer the phrases; raises TipsMedError
            for one that cannot be used.
        top: Number of scans to suggest, 1 or more.
        progress: Called with (scans done, total scans).
    """
    queries, unknown, outlined, absent = _phrases(rows, model)
    known = {row.scan_key for row in rows if row.label != "unknown"}
    candidates = [scan for scan in found.scans if not _places(scan) & known]
    labelled = [_as_found(path) for path in sorted(known)]
    refused = [(one.path, one.found) for one in found.refused]
    scans = [*labelled, *candidates]
    adapters = adapters_of(queries.values(), model)
    embeddings: list[np.ndarray] = []
    ranked: list[_Ranked] = []
    for done, scan in enumerate(scans):
        try:
            study = encode(scan, adapters)
            check_study(study, model)
            if done < len(labelled):
                embeddings.append(embedding_of(study, model, adapters))
            else:
                value = value_study(study, queries, outlined, model)
                ranked.append((scan, value, tuple(_slice(study, one.peak_lps) for one in value.phrases)))
        except TipsMedError as error:
            refused.append((scan.root / scan.path, error.found))
        progress(done + 1, len(scans))
    ranked = _expected(ranked, outlined, absent)
    chosen = []
    for one in select_diverse([value for _, value, _ in ranked], embeddings, top):
        scan, value, slices = ranked[one.index]
        order = sorted(range(len(value.phrases)), key=lambda n, value=value: -value.phrases[n].value)
        chosen.append(
            Suggestion(scan, one, tuple(value.phrases[n] for n in order), tuple(slices[n] for n in order))
        )  # fmt: skip
    return Suggestions(tuple(chosen), len(ranked), len(labelled), tuple(queries), unknown, tuple(refused))


def _expected(ranked: Sequence[_Ranked], outlined: Mapping[str, int], absent: Mapping[str, int]) -> list[_Ranked]:
    """The candidates with scores of each phrase that fit the share of labelled scans that have it."""
    by_scan = [list(value.phrases) for _, value, _ in ranked]
    for n, phrase in enumerate(one.phrase for one in (by_scan[0] if by_scan else ())):
        there, not_there = outlined.get(phrase, 0), absent.get(phrase, 0)
        share = (there + 1) / (there + not_there + 2)  # Laplace's rule of succession
        for phrases, moved in zip(by_scan, as_share([phrases[n] for phrases in by_scan], min(share, _MAX_SHARE))):
            phrases[n] = moved
    return [
        (scan, replace(value, phrases=tuple(phrases)), slices)
        for (scan, value, slices), phrases in zip(ranked, by_scan)
    ]


def _phrases(
    rows: Sequence[Row], model: GroundingModel
) -> tuple[dict[str, Query], tuple[tuple[str, TipsMedError], ...], dict[str, int], dict[str, int]]:
    """One phrase for each term that the manifest speaks of, and in how many patients it is outlined, or absent."""
    lexicon = model.lexicon
    queries: dict[str, Query] = {}
    unknown: dict[str, TipsMedError] = {}
    patients: dict[str, set[str]] = defaultdict(set)
    without: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        try:
            query = lexicon.parse(row.phrase)
        except QueryError as error:
            unknown[row.phrase] = error
            continue
        term = query.finding or query.structure
        if term is None:
            continue
        phrase = term.name
        if query.finding is not None and query.structure is not None and query.structure.id not in CHEST_STRUCTURES:
            phrase += f" in the {query.structure.name}"
        if row.mask is not None:
            patients[phrase].add(row.patient_key)
        elif row.resolved(query.negated) == "absent":
            without[phrase].add(row.patient_key)
        if phrase in queries or phrase in unknown:
            continue
        try:
            queries[phrase] = parse_query(phrase, model)
        except QueryError as error:
            unknown[phrase] = error
    outlined, absent = ({phrase: len(some) for phrase, some in one.items()} for one in (patients, without))
    return queries, tuple(unknown.items()), outlined, absent


def _places(scan: FoundScan) -> set[Path]:
    """All that a manifest may call this scan."""
    return {(scan.root / place).resolve() for place in (scan.path, *scan.folders)}


def _as_found(path: Path) -> FoundScan:
    return FoundScan("", path, path.parent)


def _slice(study: EncodedStudy, lps: tuple[float, float, float]) -> int:
    kji = transform_points(np.linalg.inv(study.scan.lps_from_kji), np.array([lps]))[0]
    return int(np.clip(round(float(kji[0])), 0, study.scan.shape[0] - 1))
