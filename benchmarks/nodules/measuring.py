"""Marks of a model on scans, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nodules.cases import NODULE_TO_MM, Case
from tips_med.encoders.study import EncodedStudy
from tips_med.grounding import encode
from tips_med.grounding.candidates import find_candidates
from tips_med.grounding.maps import prepare
from tips_med.metrics import FROC, Outlines, Spheres
from tips_med.metrics.froc import FALSE_MARKS
from tips_med.model import GroundingModel
from tips_med.scan import Scan

QUERIES = ("nodule", "lesion")
"""What is queried: a nodule of up to 30 mm, and a lesion, which may be a mass."""

SIZES_MM = (6.0, 10.0, 20.0)
SIZES = ("", "_below_6_mm", "_6_to_10_mm", "_10_to_20_mm", "_from_20_mm")
SIZE_NAMES = ("all", "below 6 mm", "6 to 10 mm", "10 to 20 mm", "20 mm and more")

COLUMNS = ("cpm", *(f"sensitivity_at_{name}" for name in FALSE_MARKS))


@dataclass(frozen=True, eq=False)
class Marked:
    """A scan with its marks.

    Attributes:
        case: The case.
        query: What was queried.
        marks_lps: Places of the marks, LPS in mm [m 3], the surest first.
        logits: Their scores [m].
        truth: Nodules that are to be found.
        excluded: What is neither hit nor false mark.
    """

    case: Case
    query: str
    marks_lps: np.ndarray
    logits: np.ndarray
    truth: Outlines | Spheres
    excluded: tuple[Outlines | Spheres, ...]

    def kinds(self) -> list[str]:
        """Of each mark: ``hit``, ``excluded`` or ``false``."""
        hit = self.truth.hits(self.marks_lps).any(axis=0)
        left_out = np.any([one.hits(self.marks_lps).any(axis=0) for one in self.excluded] or [hit & False], axis=0)
        return np.where(hit, "hit", np.where(left_out, "excluded", "false")).tolist()


def encoded(case: Case, scan: Scan, model: GroundingModel, studies: Path | None) -> EncodedStudy:
    """The encoded scan, from a folder of studies where it is there, and kept there."""
    stored = None if studies is None else studies / f"{case.name}-{model.sha256[:12]}.safetensors"
    if stored is not None and stored.is_file():
        return EncodedStudy.load(stored)
    study = encode(scan, model)
    prepare(study, model)
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        study.save(stored)
    return study


def marked(case: Case, model: GroundingModel, studies: Path | None) -> tuple[Scan, list[Marked]]:
    """One scan, encoded once and queried twice."""
    scan, truth, excluded = case.read()
    study = encoded(case, scan, model, studies)
    found = []
    for query in QUERIES:
        marks = find_candidates(study, query, model)
        own, other = (truth, excluded) if query != "nodule" else _without_masses(truth, excluded)
        places = np.array([mark.place_lps for mark in marks]).reshape(-1, 3)
        found.append(Marked(case, query, places, np.array([mark.logit for mark in marks]), own, other))
    return scan, found


def _without_masses(
    truth: Outlines | Spheres, excluded: tuple[Outlines | Spheres, ...]
) -> tuple[Outlines | Spheres, tuple[Outlines | Spheres, ...]]:
    sizes = truth.sizes_mm()
    if (sizes <= NODULE_TO_MM).all():
        return truth, excluded
    if isinstance(truth, Spheres):
        centres, small = np.asarray(truth.centres_lps), sizes <= NODULE_TO_MM
        parts = [Spheres(centres[one], sizes[one]) for one in (small, ~small)]
    else:
        labels = np.asarray(truth.labels)
        numbers = np.unique(labels[labels > 0])
        large = np.isin(labels, numbers[sizes > NODULE_TO_MM])
        parts = [Outlines(np.where(one, labels, 0), truth.lps_from_kji) for one in (~large, large)]
    return parts[0], (*excluded, parts[1])


def froc(found: Iterable[Marked]) -> FROC:
    """The metric of some scans."""
    metric = FROC(SIZES_MM)
    for one in found:
        metric.update(one.marks_lps, one.logits, one.truth, one.excluded, patient=one.case.name)
    return metric


GROUPS = {
    "four readers": lambda case: case.group == "four readers",
    "four readers, held out": lambda case: case.group == "four readers" and not case.trained_on,
    "one lesion, held out": lambda case: case.group == "one lesion" and not case.trained_on,
    "one lesion, trained on": lambda case: case.group == "one lesion" and case.trained_on,
    "painted": lambda case: case.group == "painted",
}
"""Which scans are measured together."""


def values(found: Sequence[Marked]) -> dict[str, dict[str, Any]]:
    """Values with intervals and counts, by group and query."""
    table: dict[str, dict[str, Any]] = {}
    for group, belongs in GROUPS.items():
        for query in QUERIES:
            own = [one for one in found if one.query == query and belongs(one.case)]
            if not own:
                continue
            metric = froc(own)
            intervals, counts = metric.intervals(), metric.counts()
            table[f"{group}: {query}"] = {
                "scans": metric.cases,
                "nodules": {name: counts[f"cpm{size}"] for name, size in zip(SIZE_NAMES, SIZES)},
                "values": {
                    name: [None if np.isnan(n) else round(n, 3) for n in (one.value, one.low, one.high)]
                    for name, one in intervals.items()
                },
            }
    return table


def rows_of(found: Sequence[Marked]) -> list[dict[str, Any]]:
    """What the table is made of: sizes of nodules and every mark with its score and kind."""
    return [
        {
            "case": one.case.name,
            "group": one.case.group,
            "trained_on": one.case.trained_on,
            "query": one.query,
            "sizes_mm": one.truth.sizes_mm().round(1).tolist(),
            "marks": [
                [*place.round(0).tolist(), round(float(logit), 2), kind]
                for place, logit, kind in zip(one.marks_lps, one.logits, one.kinds())
            ],
        }
        for one in found
    ]


def markdown(table: dict[str, dict[str, Any]]) -> str:
    """One line for each group, query and size that has a nodule."""
    lines = [
        "| scans | query | size | nodules | CPM | 1/8 | 1/4 | 1/2 | 1 | 2 | 4 | 8 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, entry in table.items():
        group, query = key.split(": ")
        for name, size in zip(SIZE_NAMES, SIZES):
            if not (number := entry["nodules"][name]):
                continue
            cpm, *rates = (entry["values"][f"{column}{size}"] for column in COLUMNS)
            low, high = ("-" if n is None else f"{n:.2f}" for n in cpm[1:])
            numbers = " | ".join(f"{one[0]:.2f}" for one in rates)
            head = f"| {entry['scans']} {group} | {query} | {name} | {number} |"
            lines.append(f"{head} {cpm[0]:.2f} ({low} to {high}) | {numbers} |")
    return "\n".join(lines)


def write(path: Path, model: str, table: dict[str, dict[str, Any]], found: Sequence[Marked]) -> None:
    """Writes the figures and what they are made of; one line a scan."""
    rows = ",\n".join(json.dumps(row) for row in rows_of(found))
    head = json.dumps({"model": model, "table": table}, indent=1)
    path.write_text(f'{head[:-2]},\n "scans": [\n{rows}\n ]\n}}\n', "utf-8")
