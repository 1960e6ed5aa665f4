"""Asks altered scans, and counts what an answer claims that the scan did not show."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.presence_manifest import PLEURAL
from benchmarks.trust.alterations import WAYS
from benchmarks.trust.cases import Known, TrustCase, read_case
from tips_med.errors import TipsMedError
from tips_med.geometry import transform_points
from tips_med.grounding import Grounding, encode, ground
from tips_med.model import GroundingModel
from tips_med.scan import Scan

SEEN = 0.85
"""The share of a lung that must be in the scan for "absent" to be fair; the product's own rule requires 0.9."""

ACROSS_MM = 25.0
"""How far across the midline an instance may lie and still be of either side."""


@dataclass
class Tally:
    """Counts of one way, and an example of each fault."""

    count: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, kind: str, text: str) -> None:
        """Counts a fault, and keeps the answer."""
        self.count[kind] += 1
        self.faults.append(f"{kind}: {text}")


def shares(case: TrustCase, lungs: np.ndarray | None, scan: Scan) -> dict[str, float] | None:
    """How much of each lung is in an altered scan and was measured; None where nobody outlined the lungs."""
    if case.lungs is None or lungs is None:
        return None
    measured = np.asarray(np.isfinite(scan.voxels).any(axis=(1, 2)))[:, None, None]
    whole = {side: (case.lungs == label).sum() for label, side in ((1, "right"), (2, "left"))}
    return {
        side: float(((lungs == label) & measured).sum() / max(1, whole[side]))
        for label, side in ((1, "right"), (2, "left"))
    }


def inside(scan: Scan, one: Known) -> bool:
    """Whether a finding's middle half lies within an altered scan, and was measured."""
    if one.centre_lps is None:
        return False
    index = transform_points(np.linalg.inv(scan.lps_from_kji), one.centre_lps)[0]
    margin = 0.5 * one.radius_mm / np.array(scan.spacing_mm)
    if (index < margin).any() or (index > np.array(scan.shape) - 1 - margin).any():
        return False
    k, j, i = np.rint(index).astype(int)
    near = scan.voxels[max(0, k - 2) : k + 3, j, i]
    return bool(np.isfinite(near).any())


def phrase(finding: str, side: str | None) -> str:
    if side is None:
        return finding
    return f"{side} {finding}" if finding in PLEURAL else f"{finding} in the {side} lung"


def check_sides(answer: Grounding, case: TrustCase, tally: Tally) -> None:
    for one in answer.instances:
        if one.side not in ("left", "right"):
            continue
        tally.count["sides named"] += 1
        beyond = one.centroid_lps[0] - case.midline_lps
        if (beyond < -ACROSS_MM) if one.side == "left" else (beyond > ACROSS_MM):
            tally.fault("side wrong", f"{case.name}, {answer.query.text}: {answer.sentence}")


def ask(case: TrustCase, scan: Scan, lungs: np.ndarray | None, model: GroundingModel, way: str, tally: Tally) -> None:
    study = encode(scan, model)
    seen = shares(case, lungs, scan)
    empty = way in ("water", "air")
    for side in ("right", "left"):
        answer = ground(study, f"{side} lung", model)
        check_sides(answer, case, tally)
        if empty and answer.presence.state != "unsure":
            tally.fault("claimed in nothing", f"{case.name}, {side} lung: {answer.sentence}")
    findings = dict.fromkeys(one.finding for one in case.known)
    for finding in findings:
        own = {one.side: one for one in case.known if one.finding == finding}
        for side in (None, "right", "left"):
            try:
                answer = ground(study, phrase(finding, side), model)
            except TipsMedError:  # the model does not answer it
                continue
            state = answer.presence.state
            tally.count["asked"] += 1
            tally.count["decided"] += state != "unsure"
            text = f"{case.name}, {answer.query.text}: {answer.sentence}"
            if empty:
                if state != "unsure":
                    tally.fault("claimed in nothing", text)
                continue
            check_sides(answer, case, tally)
            sides = [side] if side else ["right", "left"]
            if seen is not None and min(seen[one] for one in sides) < SEEN:
                tally.count["unseen asked"] += 1
                if state == "absent":
                    tally.fault("denied unseen", text)
            moved = way == "turned by 15 degrees"
            there = [own[one] for one in sides if one in own and own[one].there and inside(scan, own[one])]
            if there and not moved:
                tally.count["there asked"] += 1
                tally.count[f"there {state}"] += 1
                if state == "absent":
                    tally.fault("denied though there", text)
            if side and side in own and not own[side].there and (seen is None or seen[side] >= SEEN):
                tally.count["not there asked"] += 1
                tally.count[f"not there {state}"] += 1


def thirds(case: TrustCase, scan: Scan, lungs: np.ndarray | None, model: GroundingModel, tally: Tally) -> None:
    """Findings that are there, queried in each third of their lung: never denied in their own."""
    if lungs is None:
        return
    study = encode(scan, model)
    for one in case.known:
        if not one.there or one.centre_lps is None or one.finding in (*PLEURAL, "atelectasis", "emphysema"):
            continue
        z = transform_points(case.scan.lps_from_kji, np.argwhere(case.lungs == (2 if one.side == "left" else 1))[::31])
        height = (one.centre_lps[2] - z[:, 2].min()) / np.ptp(z[:, 2])
        own = "lower" if height < 1 / 3 else "middle" if height < 2 / 3 else "upper"
        if min(abs(height - 1 / 3), abs(height - 2 / 3)) < 0.06:
            continue
        try:
            answer = ground(study, f"{one.finding} in the {own} third of the {one.side} lung", model)
        except TipsMedError:
            continue
        if inside(scan, one):
            tally.count["third asked"] += 1
            if answer.presence.state == "absent":
                tally.fault("denied in its third", f"{case.name}, {answer.query.text}: {answer.sentence}")


def run(data: Path, names: Sequence[str], model: GroundingModel) -> Iterator[tuple[str, Tally]]:
    """Every way with its counts, over all cases."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for name in names:
        case = read_case(data, name, model)
        for way, alter in WAYS.items():
            scan, lungs = alter(case)
            ask(case, scan, lungs, model, way, tallies[way])
            if way in ("as it is", "top cut off", "bottom cut off"):
                thirds(case, scan, lungs, model, tallies[way])
        print(f"{name}: {sum(len(tally.faults) for tally in tallies.values())} faults so far", flush=True)
    yield from tallies.items()
