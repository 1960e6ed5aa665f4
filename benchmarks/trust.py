"""Does an answer ever claim more than the scan showed? Real scans, altered, and queried for what is known of them.

    python -m benchmarks.trust DATA [--model WEIGHTS] [--cases NAME ...] [--out TABLE.json]

``DATA`` holds a folder for each case (``ct.nii.gz`` or ``dicom``, and ``lungs.nii.gz`` where there are some) and
``presence.csv``: what one reader reported, by finding and side. Every case is cut, shifted, turned, thinned and stored
in other ways, and queried for every finding, with and without a side, for both lungs, and for thirds. Four things are
counted:

- *side wrong*: an outlined instance, or a lung, is reported on the wrong side;
- *denied unseen*: "absent" for a side of which less than ``SEEN`` of the lung is in the scan;
- *denied though there*: "absent" for a finding whose middle is well inside the scan;
- *decided*: answers that are not "unsure", for the whole scan.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.presence_manifest import PLEURAL, scan_of
from tips_med.errors import TipsMedError
from tips_med.geometry import transform_points
from tips_med.grounding import Grounding, encode, ground
from tips_med.loading import open_model
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.scan import Provenance, Scan
from tips_med.synthesis.acquisition import add_arms

HELD_OUT = (
    "LIDC-IDRI-0003",
    "QIN-LSC-0064",
    "LIDC-IDRI-0314",
    "NSCLC-RG-R01-001",
    "4D-Lung-113",
    "pyradiomics-lung2",
    "NLST-101287",
)
"""Patients whose scans the shipped weights were not trained on."""

SEEN = 0.85
"""The share of a lung that must be in the scan for "absent" to be fair; the product's own rule requires 0.9."""

ACROSS_MM = 25.0
"""How far across the midline an instance may lie and still be of either side."""

AIR_HU = -1024.0


@dataclass(frozen=True)
class Known:
    """A finding of the reader.

    Attributes:
        finding: Finding in words.
        side: ``right`` or ``left``.
        there: Whether it is.
        centre_lps: Position, LPS in mm; None where the reader gave none.
        radius_mm: Half its size.
    """

    finding: str
    side: str
    there: bool
    centre_lps: np.ndarray | None
    radius_mm: float


@dataclass(frozen=True, eq=False)
class TrustCase:
    """A scan and what is known of it.

    Attributes:
        name: Name of the case.
        scan: The scan, CT.
        lungs: 1 right, 2 left on its grid; None where nobody outlined them.
        known: Findings of the reader.
        midline_lps: x of the body's middle, by eye from the lungs or the whole scan.
    """

    name: str
    scan: Scan
    lungs: np.ndarray | None
    known: tuple[Known, ...]
    midline_lps: float


def read_case(data: Path, name: str, model: GroundingModel) -> TrustCase:
    scan = read_scan(scan_of(data / name))
    scan = replace(scan, modality="CT", unit="HU", provenance=Provenance("array"))
    file = data / name / "lungs.nii.gz"
    lungs = np.nan_to_num(read_scan(file).voxels).round().astype(np.uint8) if file.exists() else None
    known = []
    with (data / "presence.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["case"] == name and row["state"] in ("present", "absent") and row["side"] in ("left", "right"):
                centre = [float(c) for c in row["approx_centre_lps_mm"].split()]
                sizes = [float(s) for s in row["approx_size_mm"].split("x") if s.strip()]
                place = np.array(centre) if len(centre) == 3 else None
                known.append(
                    Known(row["finding"], row["side"], row["state"] == "present", place, max(sizes or [20.0]) / 2)
                )
    body = encode(scan, model).body
    return TrustCase(name, scan, lungs, tuple(known), float(np.median(body.midline.x_mm)))


Alter = Callable[[TrustCase], tuple[Scan, np.ndarray | None]]
"""Gives the altered scan, and the lungs on its grid."""


def boxed(case: TrustCase, low: np.ndarray, high: np.ndarray) -> tuple[Scan, np.ndarray | None]:
    """The part of a scan between two points in LPS mm (infinite where a side is not cut)."""
    affine = case.scan.lps_from_kji
    slices = []
    for axis in range(3):
        direction = affine[:3, axis]
        way = int(np.abs(direction).argmax())
        place = affine[way, 3] + direction[way] * np.arange(case.scan.shape[axis])
        inside = np.flatnonzero((place >= low[way]) & (place <= high[way]))
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
    moved = affine.copy()
    moved[:3, 3] = transform_points(affine, np.array([part.start for part in slices]))[0]
    box = tuple(slices)
    scan = replace(case.scan, voxels=np.ascontiguousarray(case.scan.voxels[box]), lps_from_kji=moved)
    return scan, None if case.lungs is None else case.lungs[box]


def beside(axis: int, low: float = -np.inf, high: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    first, last = np.full(3, -np.inf), np.full(3, np.inf)
    first[axis], last[axis] = low, high
    return first, last


def lung_z(case: TrustCase) -> tuple[float, float]:
    """Lowest and highest z of the lungs, in mm."""
    if case.lungs is None:
        z = transform_points(case.scan.lps_from_kji, np.array([[0, 0, 0], [case.scan.shape[0] - 1, 0, 0]]))[:, 2]
    else:
        z = transform_points(case.scan.lps_from_kji, np.argwhere(case.lungs > 0)[::97])[:, 2]
    return float(z.min()), float(z.max())


def lesion(case: TrustCase) -> Known:
    """The centre of a narrow field of view: the first finding that is there and has a place."""
    return next(one for one in case.known if one.there and one.centre_lps is not None)


def around_lesion(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    centre = lesion(case).centre_lps
    assert centre is not None
    return boxed(case, np.array([*(centre[:2] - 80), -np.inf]), np.array([*(centre[:2] + 80), np.inf]))


def gaps(case: TrustCase, every: int) -> tuple[Scan, np.ndarray | None]:
    voxels = case.scan.voxels.copy()
    voxels[::every] = np.nan
    return replace(case.scan, voxels=voxels), case.lungs


def gap_at_lesion(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    centre = lesion(case).centre_lps
    assert centre is not None
    k = int(np.rint(transform_points(np.linalg.inv(case.scan.lps_from_kji), centre)[0, 0]))
    half = max(1, round(6 / case.scan.spacing_mm[0]))
    voxels = case.scan.voxels.copy()
    voxels[max(0, k - half) : k + half] = np.nan
    return replace(case.scan, voxels=voxels), case.lungs


def off_centre(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    """The patient lies 80 mm to one side of a wide field of view."""
    n = round(80 / case.scan.spacing_mm[2]) * 2
    affine = case.scan.lps_from_kji.copy()
    affine[:3, 3] -= n * affine[:3, 2]
    pad = ((0, 0), (0, 0), (n, 0))
    voxels = np.pad(np.nan_to_num(case.scan.voxels, nan=AIR_HU), pad, constant_values=AIR_HU)
    lungs = None if case.lungs is None else np.pad(case.lungs, pad)
    return replace(case.scan, voxels=voxels, lps_from_kji=affine), lungs


def rotated(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    """Turned by 15 degrees in plane, values and labels alike; the reader's positions stay within 30 mm."""
    voxels = ndimage.rotate(case.scan.voxels, 15, (1, 2), reshape=False, order=1, cval=AIR_HU)
    lungs = None if case.lungs is None else ndimage.rotate(case.lungs, 15, (1, 2), reshape=False, order=0)
    return replace(case.scan, voxels=voxels), lungs


def stored(axes: Sequence[int]) -> Alter:
    """The same patient, with array axes that run the other way: prone, decubitus and feet-first scans look so."""

    def alter(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
        affine, voxels, lungs = case.scan.lps_from_kji.copy(), case.scan.voxels, case.lungs
        for axis in axes:
            affine[:3, 3] += (voxels.shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis)
            lungs = None if lungs is None else np.flip(lungs, axis)
        return replace(case.scan, voxels=np.ascontiguousarray(voxels), lps_from_kji=affine), lungs

    return alter


def decubitus(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    """Rows and columns exchanged: a patient on the side, in the scanner's own picture."""
    affine = case.scan.lps_from_kji[:, [0, 2, 1, 3]]
    voxels = np.ascontiguousarray(case.scan.voxels.swapaxes(1, 2))
    return replace(case.scan, voxels=voxels, lps_from_kji=affine), (
        None if case.lungs is None else case.lungs.swapaxes(1, 2)
    )


def arms_down(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    n = round(120 / case.scan.spacing_mm[2])
    affine = case.scan.lps_from_kji.copy()
    affine[:3, 3] -= n * affine[:3, 2]
    pad = ((0, 0), (0, 0), (n, n))
    wide = np.pad(np.nan_to_num(case.scan.voxels, nan=AIR_HU), pad, constant_values=AIR_HU)
    voxels = add_arms(wide, case.scan.spacing_mm, np.random.default_rng(2)).astype(np.float32)
    return replace(case.scan, voxels=voxels, lps_from_kji=affine), None if case.lungs is None else np.pad(
        case.lungs, pad
    )


def heights(low: float, high: float) -> Alter:
    """Slices between two heights within the lungs, 0 lowest to 1 highest."""

    def alter(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
        first, last = lung_z(case)
        return boxed(case, *beside(2, first + low * (last - first), first + high * (last - first)))

    return alter


def filled(value_hu: float) -> Alter:
    """Nothing but one substance, in a body's place."""

    def alter(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
        return replace(case.scan, voxels=np.full(case.scan.shape, value_hu, np.float32)), (
            None if case.lungs is None else np.zeros_like(case.lungs)
        )

    return alter


WAYS: dict[str, Alter] = {
    "as it is": lambda case: (case.scan, case.lungs),
    "left half": lambda case: boxed(case, *beside(0, low=case.midline_lps)),
    "right half": lambda case: boxed(case, *beside(0, high=case.midline_lps)),
    "left lung only": lambda case: boxed(case, *beside(0, low=case.midline_lps + 15)),
    "right lung only": lambda case: boxed(case, *beside(0, high=case.midline_lps - 15)),
    "160 mm around a finding": around_lesion,
    "top cut off": heights(-9, 0.55),
    "bottom cut off": heights(0.45, 9),
    "middle only": heights(0.3, 0.7),
    "12 mm missing at a finding": gap_at_lesion,
    "every third slice missing": lambda case: gaps(case, 3),
    "every second slice missing": lambda case: gaps(case, 2),
    "80 mm off centre": off_centre,
    "turned by 15 degrees": rotated,
    "columns stored mirrored": stored([2]),
    "prone": stored([1, 2]),
    "decubitus": decubitus,
    "feet first": stored([0]),
    "arms down": arms_down,
    "20 slices": lambda case: boxed(
        case, *beside(2, (z := lung_z(case))[0] + 0.5 * (z[1] - z[0]), z[0] + 0.5 * (z[1] - z[0]) + 50)
    ),
    "upper abdomen only": heights(-9, 0.12),
    "water": filled(0.0),
    "air": filled(-1000.0),
}


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


COLUMNS = (
    "asked", "decided", "sides named", "side wrong", "unseen asked", "denied unseen", "there asked", "there present",
    "there unsure", "denied though there", "not there asked", "not there absent", "not there present", "third asked",
    "denied in its third", "claimed in nothing",
)  # fmt: skip


def table(tallies: dict[str, Tally]) -> str:
    """Markdown, a row for each way and one for all."""
    total: Counter[str] = Counter()
    lines = ["| altered | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for way, tally in tallies.items():
        total += tally.count
        lines.append(f"| {way} | " + " | ".join(str(tally.count[column]) for column in COLUMNS) + " |")
    return "\n".join([*lines, "| **all** | " + " | ".join(str(total[column]) for column in COLUMNS) + " |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--cases", nargs="+", default=HELD_OUT)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    model = open_model(given.model, "cpu")
    tallies = dict(run(given.data, given.cases, model))
    print(table(tallies))
    for way, tally in tallies.items():
        for fault in tally.faults:
            print(f"{way}: {fault}")
    if given.out:
        ways = {way: {"count": dict(tally.count), "faults": tally.faults} for way, tally in tallies.items()}
        content = {"model": model.identity, "cases": list(given.cases), "ways": ways}
        given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
