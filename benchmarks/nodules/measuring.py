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
from tips_med.grounding.candidates import find_candidates
from tips_med.grounding.roundness import roundness
from tips_med.metrics import FROC, Outlines, Spheres
from tips_med.metrics.froc import FALSE_MARKS
from tips_med.model import GroundingModel

QUERIES = ("nodule", "lesion")
"""What is queried: a nodule of up to 30 mm, and a lesion, which may be a mass."""

ORDERS = {"nodule": ("nodule", 0.0), "nodule, by roundness": ("nodule", 2.0), "lesion": ("lesion", 0.0)}
"""What orders the marks of a query: its logit alone, or with so many logits for each unit of ``roundness``."""

ROUND = 30
"""Number of the surest marks whose roundness is measured; what orders by it has no others."""

SIZES_MM = (6.0, 10.0, 20.0)
SIZES = ("", "_below_6_mm", "_6_to_10_mm", "_10_to_20_mm", "_from_20_mm")
SIZE_NAMES = ("all", "below 6 mm", "6 to 10 mm", "10 to 20 mm", "20 mm and more")

COLUMNS = ("cpm", *(f"sensitivity_at_{name}" for name in FALSE_MARKS), "sensitivity")

DRAWS = 300
"""Draws of patients for the intervals."""

EXCLUDED, FALSE = -1, -2
"""What a mark hits, where that is no nodule that counts."""


@dataclass(frozen=True, eq=False)
class Marked:
    """Nodules of a scan, and its marks: a mark hits one nodule here, the first of them.

    Attributes:
        sizes: Diameters in mm [nodule].
        hit: Number of the nodule that each mark is in, or ``EXCLUDED``, or ``FALSE`` [mark].
    """

    sizes: np.ndarray
    hit: np.ndarray

    def sizes_mm(self) -> np.ndarray:
        """See ``tips_med.metrics.froc.Nodules``."""
        return self.sizes

    def hits(self, marks: np.ndarray) -> np.ndarray:
        """See ``tips_med.metrics.froc.Nodules``."""
        return self.hit[None] == np.arange(len(self.sizes))[:, None]


def row_of(
    case: Case,
    study: EncodedStudy,
    truth: Outlines | Spheres,
    excluded: tuple[Outlines | Spheres, ...],
    query: str,
    model: GroundingModel,
) -> dict[str, Any]:
    """The marks of one query: places in LPS mm, score (logit), and the number of the nodule that each is in."""
    marks = find_candidates(study, query, model)
    places = np.array([mark.place_lps for mark in marks]).reshape(-1, 3)
    sizes, hits = truth.sizes_mm(), truth.hits(places)
    out = np.any([one.hits(places).any(axis=0) for one in excluded] or [np.zeros(len(places), bool)], axis=0)
    if query == "nodule":  # a mass is none
        small = sizes <= NODULE_TO_MM
        out |= hits[~small].any(axis=0)
        sizes, hits = sizes[small], hits[small]
    number = hits.argmax(axis=0) if len(sizes) else np.zeros(len(places), int)
    hit = np.where(hits.any(axis=0), number, np.where(out, EXCLUDED, FALSE))
    listed = [
        [*(round(float(n)) for n in place), round(mark.logit, 3), int(one)]
        for place, mark, one in zip(places, marks, hit)
    ]
    row = {
        "case": case.name,
        "group": case.group,
        "trained_on": case.trained_on,
        "query": query,
        "sizes_mm": [round(float(size), 1) for size in sizes],
        "marks": listed,
    }
    if query == "nodule":
        at = np.array(listed, dtype=np.float64).reshape(-1, 5)[:ROUND, :3]
        row["roundness"] = roundness(study.scan, at).round(2).tolist()
    return row


def froc(rows: Iterable[dict[str, Any]], weight: float = 0.0) -> FROC:
    """The metric of some scans, with marks ordered by their logits and ``weight`` times their roundness."""
    metric = FROC(SIZES_MM)
    for row in rows:
        marks = np.array(row["marks"], dtype=np.float64).reshape(-1, 5)
        if weight:
            marks = marks[: len(row["roundness"])]
            marks[:, 3] += weight * np.array(row["roundness"])
        own = Marked(np.array(row["sizes_mm"]), marks[:, 4])
        excluded = Marked(np.ones(1), np.where(marks[:, 4] == EXCLUDED, 0, FALSE))
        metric.update(marks[:, :3], marks[:, 3], own, excluded, patient=row["case"])
    return metric


GROUPS = {
    "real, all nodules outlined": lambda row: row["group"] == "four readers",
    "of them, held out": lambda row: row["group"] == "four readers" and not row["trained_on"],
    "real, one lesion outlined": lambda row: row["group"] == "one lesion",
    "painted": lambda row: row["group"] == "painted",
}
"""Which scans are measured together."""


def values(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Values with intervals and counts, by group and order."""
    table: dict[str, dict[str, Any]] = {}
    for group, belongs in GROUPS.items():
        for order, (query, weight) in ORDERS.items():
            own = [row for row in rows if row["query"] == query and belongs(row)]
            if not own:
                continue
            metric = froc(own, weight)
            intervals, counts = metric.intervals(DRAWS), metric.counts()
            table[f"{group}: {order}"] = {
                "scans": metric.cases,
                "nodules": {name: counts[f"cpm{size}"] for name, size in zip(SIZE_NAMES, SIZES)},
                "values": {
                    name: [None if np.isnan(n) else round(n, 3) for n in (one.value, one.low, one.high)]
                    for name, one in intervals.items()
                },
            }
    return table


WEIGHTS = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Logits for each unit of roundness that are compared."""

CHOSEN_ON = ("4D-Lung-113", "NLST-101287", "pyradiomics-lung2", "torso 0", "torso 11")
"""Scans, beside those of four readers, on which the order by roundness and its weight were chosen."""

UNSEEN = {
    "real, all nodules outlined": lambda row: row["group"] == "four readers",
    "real, one lesion outlined": lambda row: row["group"] == "one lesion",
    "painted, chosen on": lambda row: row["group"] == "painted" and row["case"] in CHOSEN_ON,
    "painted, nothing was chosen on": lambda row: row["group"] == "painted" and row["case"] not in CHOSEN_ON,
}


def by_weight(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """CPM of "nodule" for each weight of the roundness, by group."""
    table = {}
    for group, belongs in UNSEEN.items():
        own = [row for row in rows if row["query"] == "nodule" and belongs(row)]
        if not own:
            continue
        numbers = [round(float(froc(own, weight).compute()["cpm"]), 3) for weight in WEIGHTS]
        nodules = sum(len(row["sizes_mm"]) for row in own)
        table[group] = {"scans": len(own), "nodules": nodules, "cpm": dict(zip(map(str, WEIGHTS), numbers))}
    return table


def weights_markdown(table: dict[str, dict[str, Any]]) -> str:
    """One line for each group."""
    lines = [
        f"| scans | nodules | logit alone | {' | '.join(f'+ {weight:g}' for weight in WEIGHTS[1:])} |",
        f"|{'---|' * (2 + len(WEIGHTS))}",
    ]
    for group, one in table.items():
        numbers = " | ".join(f"{cpm:.2f}" for cpm in one["cpm"].values())
        lines.append(f"| {group} ({one['scans']}) | {one['nodules']} | {numbers} |")
    return "\n".join(lines)


def markdown(table: dict[str, dict[str, Any]]) -> str:
    """One line for each group, query and size that has a nodule."""
    lines = [
        "| scans | query, order | size | nodules | CPM | 1/8 | 1/4 | 1/2 | 1 | 2 | 4 | 8 | at all marks |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, entry in table.items():
        group, query = key.split(": ")
        for name, size in zip(SIZE_NAMES, SIZES):
            if not (number := entry["nodules"][name]):
                continue
            cpm, *rates = (entry["values"][f"{column}{size}"] for column in COLUMNS)
            low, high = ("-" if n is None else f"{n:.2f}" for n in cpm[1:])
            numbers = " | ".join(f"{one[0]:.2f}" for one in rates)
            head = f"| {group} ({entry['scans']}) | {query} | {name} | {number} |"
            lines.append(f"{head} {cpm[0]:.2f} ({low} to {high}) | {numbers} |")
    return "\n".join(lines)


def write(
    path: Path,
    model: str,
    table: dict[str, dict[str, Any]],
    weights: dict[str, dict[str, Any]],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Writes the figures and what they are made of; one line for each scan and query."""
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = json.dumps({"model": model, "table": table, "cpm_by_weight_of_roundness": weights}, indent=1)
    path.write_text(f'{head[:-2]},\n "scans": [\n{lines}\n ]\n}}\n', "utf-8")
