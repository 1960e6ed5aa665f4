"""What a comparison of two scans is worth: repeat noise, registration, matches and changes of volume.

    python -m benchmarks.follow_up DATA --out docs/measurements/follow_up.json [--parts repeat pairs moved]

``DATA`` holds a folder for each case (``ct.nii.gz`` or ``dicom``). A part is replaced in the table when it runs:

- *repeat*: a scan is answered again on other grids (shifted by half a voxel, in slices of twice the thickness,
  turned by 5 degrees). Nothing changed: whatever differs is repeat noise.
- *pairs*: scans of one patient, and of two, registered to each other: what tells a good registration from a bad one.
- *moved*: a real scan as the prior one; the current one is the same patient moved by a known deformation and scanned on
  another grid, with other noise. Painted lesions stay, grow or shrink by a known volume, come or go.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from benchmarks.presence_manifest import scan_of
from benchmarks.trust.cases import HELD_OUT
from tips_med.encoders.study import EncodedStudy
from tips_med.followup import Change, Comparison, Registration, compare, register
from tips_med.followup.noise import Z_95
from tips_med.followup.quality import Quality
from tips_med.geometry import index_from_block, index_from_crop, transform_points, voxel_volume_mm3
from tips_med.grounding import encode
from tips_med.grounding.maps import prepare, study_thorax
from tips_med.loading import open_model
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.scan import Provenance, Scan
from tips_med.shapes import Affine
from tips_med.synthesis.findings import Canvas
from tips_med.synthesis.growth import paint_lesion
from tips_med.synthesis.motion import Motion, move, sample_motion

FINDINGS = ("nodule", "mass", "consolidation", "ground-glass opacity", "pleural effusion", "atelectasis")
"""Findings that are answered again; the others are seldom present in these scans."""

SAME_PATIENT = (("elastix-lung-t1", "elastix-lung-t2"), ("elastix-lung-t2", "elastix-lung-t1"))
"""Pairs of one patient on two days, whose lungs overlap."""

LITTLE_IN_COMMON = (
    ("TCGA-LIHC-A3KF-acq1", "TCGA-LIHC-A3KF-acq2"),
    ("ACRIN-FLT-Breast_001-t1", "ACRIN-FLT-Breast_001-t2"),
)
"""Pairs of one patient of which one scan shows the lungs, and the other one nearly nothing of them."""

FATES = {"stable": (1.0, 1.0), "grown": (1.0, 1.26), "shrunk": (1.26, 1.0), "new": (0.0, 1.0), "gone": (1.0, 0.0)}
"""Factors of the diameter in the prior and the current scan; 1.26 doubles the volume."""

DIAMETERS_MM = (10.0, 16.0, 26.0)
NOISE_HU = 12.0
ASKED = "lesion"
"""What is asked of painted lesions: one that grows beyond 30 mm is no nodule any more."""


def read(data: Path, name: str) -> Scan:
    return replace(read_scan(scan_of(data / name)), modality="CT", unit="HU", provenance=Provenance("array"))


def encoded(scan: Scan, model: GroundingModel) -> EncodedStudy:
    study = encode(scan, model)
    prepare(study, model)
    return study


# --- repeat


def shifted(affine: Affine, shape: tuple[int, int, int]) -> tuple[Affine, tuple[int, int, int]]:
    """Half a voxel along each axis."""
    return affine @ index_from_crop((0.5, 0.5, 0.5)), (shape[0] - 1, shape[1] - 1, shape[2] - 1)


def thick(affine: Affine, shape: tuple[int, int, int]) -> tuple[Affine, tuple[int, int, int]]:
    """Slices of twice the thickness."""
    return affine @ index_from_block((2, 1, 1)), (shape[0] // 2, shape[1], shape[2])


def turned(affine: Affine, shape: tuple[int, int, int], degrees: float = 5.0) -> tuple[Affine, tuple[int, int, int]]:
    """Turned about the middle, about the x and the z axis."""
    turn = sitk.Euler3DTransform([0, 0, 0], np.deg2rad(degrees), 0, np.deg2rad(degrees))
    middle = affine[:3, :3] @ (np.array(shape) - 1) / 2 + affine[:3, 3]
    out = affine.copy()
    out[:3, :3] = np.array(turn.GetMatrix()).reshape(3, 3) @ affine[:3, :3]
    out[:3, 3] = middle - out[:3, :3] @ (np.array(shape) - 1) / 2
    return out, shape


Regrid = Callable[[Affine, tuple[int, int, int]], tuple[Affine, tuple[int, int, int]]]
GRIDS: dict[str, Regrid] = {"shifted": shifted, "thick": thick, "turned": turned}


def in_place() -> Registration:
    """The registration of a scan with itself."""
    quality = Quality(1.0, 1.0, 1.0, np.full((2, 1, 1, 1), np.nan), np.eye(4))
    return Registration(sitk.CompositeTransform([sitk.TranslationTransform(3)]), quality)


def row_of(change: Change) -> dict[str, Any]:
    return {
        "status": change.status,
        "reasons": list(change.reasons),
        "prior_ml": round(change.prior_ml, 4),
        "current_ml": round(change.current_ml, 4),
        "prior_score": round(max((one.score for one in change.prior), default=0.0), 4),
        "current_score": round(max((one.score for one in change.current), default=0.0), 4),
        "elsewhere": None if change.elsewhere is None else round(change.elsewhere.probability or 0.0, 4),
        "density_difference_hu": None
        if change.elsewhere is None or not np.isfinite(change.elsewhere.density_difference_hu)
        else round(change.elsewhere.density_difference_hu, 1),
    }


def repeats(data: Path, names: Sequence[str], model: GroundingModel) -> Iterator[dict[str, Any]]:
    for name in names:
        scan = read(data, name)
        first = encoded(scan, model)
        for grid, regrid in GRIDS.items():
            affine, shape = regrid(scan.lps_from_kji, scan.shape)
            voxels = resample(scan.voxels, scan.lps_from_kji, affine, shape)
            again = encoded(replace(scan, voxels=voxels, lps_from_kji=affine), model)
            for finding in FINDINGS:
                made = compare(first, again, finding, model, in_place())
                states = [made.prior.presence.state, made.current.presence.state]
                for change in made.changes:
                    yield {"case": name, "grid": grid, "finding": finding, "states": states, **row_of(change)}


def noise_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Repeat noise of volumes where both answers say present: with the same slices, and with slices twice as thick.

    The floor is the standard deviation of ln(volume) whose 95% limits hold 95% of the pairs.
    """
    found = {}
    for name, thick_slices in (("same slices", False), ("slices of twice the thickness", True)):
        pairs = [
            (row["prior_ml"], row["current_ml"])
            for row in rows
            if row["prior_ml"] and row["current_ml"]
            and row["states"] == ["present", "present"] and (row["grid"] == "thick") == thick_slices
        ]  # fmt: skip
        before, after = np.array(pairs).T
        ratio = np.abs(np.log(after / before))
        spread = float(np.quantile(ratio, 0.95))
        found[name] = {
            "pairs": len(pairs),
            "from_ml": round(float(before.min()), 2),
            "to_ml": round(float(before.max()), 1),
            "rms_of_ln_ratio": round(float(np.sqrt((ratio**2).mean())), 2),
            "factor_of_95_percent": round(float(np.exp(spread)), 2),
            "floor": round(spread / (Z_95 * 2**0.5), 2),
        }
    return found


# --- pairs


def pairs(data: Path, model: GroundingModel) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        kept: dict[str, Path] = {}

        def study(name: str) -> EncodedStudy:
            if name not in kept:
                kept[name] = encoded(read(data, name), model).save(Path(folder) / f"{name}.safetensors")
            return EncodedStudy.load(kept[name])

        strangers = itertools.permutations(("QIN-LSC-0064", "NSCLC-RG-R01-001", "pyradiomics-lung2"), 2)
        for kind, some in (("one", SAME_PATIENT), ("little", LITTLE_IN_COMMON), ("two", tuple(strangers))):
            for prior, current in some:
                before, now = study(prior), study(current)
                start, cpu = time.perf_counter(), time.process_time()
                found = register(before, now, model)
                seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
                yield {"prior": prior, "current": current, "patients": kind, "seconds": round(seconds, 1)} | {
                    "cpu_seconds": round(cpu, 1),
                    **quality_of(found.quality),
                }


def quality_of(quality: Quality) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    index = np.argwhere(np.isfinite(quality.structure[0]))
    local: list[float] = []
    if len(index):
        chosen = index[rng.choice(len(index), min(100, len(index)), replace=False)]
        local = [quality.near(place) for place in transform_points(quality.lps_from_kji, chosen)]
    known = [one for one in local if np.isfinite(one)]
    return {
        "correlation": None if np.isnan(quality.correlation) else round(quality.correlation, 3),
        "lungs_dice": round(quality.lungs_dice, 3),
        "shared_fraction": round(quality.shared_fraction, 3),
        "local": [round(float(n), 3) for n in np.percentile(known, [0, 5, 50, 95, 100])] if known else None,
    }


# --- moved


def other_grid(scan: Scan, number: int) -> tuple[Affine, tuple[int, int, int]]:
    """Another scanner's grid over the same space: thicker or thinner slices, turned or stored mirrored."""
    spacing = ((3.0, 0.9, 0.9), (5.0, 1.2, 1.2), (2.0, 1.4, 1.4))[number % 3]
    extent = np.array(scan.shape) * scan.spacing_mm
    k, j, i = (int(n) for n in np.round(extent / spacing))
    affine = scan.lps_from_kji.copy()
    affine[:3, :3] = affine[:3, :3] / scan.spacing_mm * spacing
    if number % 2:
        affine[:3, 3] += (i - 1) * affine[:3, 2]
        affine[:3, 2] *= -1
    return (turned(affine, (k, j, i), 4.0)) if number % 3 == 1 else (affine, (k, j, i))


def lungs_of(study: EncodedStudy, model: GroundingModel) -> np.ndarray:
    lungs = study_thorax(study, model).lungs.astype(np.uint8)
    fine = study.features.lps_from_fine
    assert fine is not None
    return resample(lungs, fine, study.scan.lps_from_kji, study.scan.shape, linear=False)


def painted(scan: Scan, lungs: np.ndarray, turn: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A scan with lesions, before and after: both volumes, and both label maps, 1 for the first of ``FATES``."""
    before, after = (np.nan_to_num(scan.voxels, nan=-1024).astype(np.float32) for _ in range(2))
    truth = np.zeros((2, *scan.shape), np.uint8)
    deep = ndimage.distance_transform_edt(lungs > 0, scan.spacing_mm)
    calm = ndimage.uniform_filter((before > -500).astype(np.float32), 9) < 0.15
    rng = np.random.default_rng([11, turn])
    taken = np.zeros(scan.shape, bool)
    for number, factors in enumerate(FATES.values(), start=1):
        diameter = DIAMETERS_MM[(number + turn) % len(DIAMETERS_MM)]
        free = (deep > 0.75 * diameter) & calm & ~ndimage.binary_dilation(taken, iterations=8)
        place = np.flatnonzero(free)
        if not len(place):
            continue
        centre = np.array(np.unravel_index(rng.choice(place), scan.shape))
        for volume, marks, factor in zip((before, after), truth, factors):
            if factor:
                generator = np.random.default_rng([5, turn, number])
                canvas = Canvas(volume, lungs, scan.spacing_mm, generator, np.zeros(scan.shape, bool))
                mask = paint_lesion(canvas, centre, diameter * factor)
                marks[mask] = number
                taken |= mask
    return before, after, truth[0], truth[1]


def moved(data: Path, names: Sequence[str], turns: Sequence[int], model: GroundingModel) -> Iterator[dict[str, Any]]:
    for name, turn in itertools.product(names, turns):
        scan = read(data, name)
        plain = encoded(scan, model)
        before, after, truth, later = painted(scan, lungs_of(plain, model), turn)
        rng = np.random.default_rng([3, turn])
        motion = sample_motion(scan, Motion(), rng)
        affine, shape = other_grid(scan, turn)
        voxels = move(after, scan.lps_from_kji, motion, affine, shape)
        grain = ndimage.gaussian_filter(rng.normal(size=shape), (0, 0.7, 0.7)).astype(np.float32)
        voxels += np.float32(NOISE_HU) * grain / grain.std()
        prior = encoded(replace(scan, voxels=before), model)
        current = encoded(replace(scan, voxels=voxels, lps_from_kji=affine), model)
        start, cpu = time.perf_counter(), time.process_time()
        registration = register(prior, current, model)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        truths = truth, move(later, scan.lps_from_kji, motion, affine, shape, linear=False)
        made = compare(prior, current, ASKED, model, registration)
        yield {
            "case": name,
            "turn": turn,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            **quality_of(registration.quality),
            **errors_mm(registration, motion, current, model),
            "states": [made.prior.presence.state, made.current.presence.state],
            "lesions": lesions(made, truths),
            "others": [row_of(one) for one in made.changes if not any(owners(made, one, truths))],
        }


def errors_mm(
    registration: Registration, motion: sitk.Transform, current: EncodedStudy, model: GroundingModel
) -> dict[str, Any]:
    """Target registration errors over the lungs."""
    fine = current.features.lps_from_fine
    assert fine is not None
    index = np.argwhere(study_thorax(current, model).lungs > 0)
    points = transform_points(fine, index[:: max(1, len(index) // 2000)])
    true = np.array([motion.TransformPoint(point.tolist()) for point in points])
    off = np.linalg.norm(registration.points_in_prior(points) - true, axis=1)
    start = np.linalg.norm(points - true, axis=1)
    middle, high, worst = (round(float(n), 2) for n in np.percentile(off, [50, 95, 100]))
    return {"tre_mm": middle, "tre_p95_mm": high, "tre_max_mm": worst, "before_mm": round(float(np.median(start)), 1)}


def owners(made: Comparison, change: Change, truths: Sequence[np.ndarray]) -> tuple[set[int], set[int]]:
    """The painted lesions that the instances of a change lie on, in the prior and in the current scan."""
    found = []
    for answer, instances, truth in zip((made.prior, made.current), (change.prior, change.current), truths):
        hit: set[int] = set()
        for instance in instances:
            counts = np.bincount(truth[answer.labels == instance.label], minlength=len(FATES) + 1)
            if counts[1:].max() >= 0.2 * counts.sum():
                hit.add(int(counts[1:].argmax()) + 1)
        found.append(hit)
    return found[0], found[1]


def lesions(made: Comparison, truths: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """For each painted lesion: its true volumes, whether each answer has it, and what was said of it."""
    ml = [voxel_volume_mm3(answer.scan.lps_from_kji) / 1000 for answer in (made.prior, made.current)]
    rows = []
    for number, fate in enumerate(FATES, start=1):
        true = [float((truth == number).sum() * one) for truth, one in zip(truths, ml)]
        if not any(true):
            continue
        owned = [(change, owners(made, change, truths)) for change in made.changes]
        about = [change for change, (before, now) in owned if number in before or number in now]
        found = [any(number in sides[n] for _, sides in owned) for n in (0, 1)]
        wrong = any((before - {number}) or (now - {number}) for change, (before, now) in owned if change in about)
        rows.append(
            {
                "fate": fate,
                "true_prior_ml": round(true[0], 3),
                "true_current_ml": round(true[1], 3),
                "found": found,
                "said": [change.status for change in about],
                "wrong_match": wrong,
                "changes": [row_of(change) for change in about],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["repeat", "pairs", "moved"])
    parser.add_argument("--cases", nargs="+", default=list(HELD_OUT))
    parser.add_argument("--turns", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    model = open_model(given.model)
    table = json.loads(given.out.read_text("utf-8")) if given.out.exists() else {}
    table["model"] = model.identity
    runs: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "repeat": lambda: repeats(given.data, given.cases, model),
        "pairs": lambda: pairs(given.data, model),
        "moved": lambda: moved(given.data, given.cases, given.turns, model),
    }
    for part in given.parts:
        table[part] = []
        for row in runs[part]():
            table[part].append(row)
            print(json.dumps(row), flush=True)
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    if table.get("repeat"):
        table["noise"] = noise_of(table["repeat"])
        print(json.dumps(table["noise"], indent=1))
    given.out.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
