"""Whether the estimated lobe of a real scan holds a lesion whose lobe a reader named, and a picture of such lobes.

    python -m benchmarks.lobes.lesions SCANS [--cases CASE ...] [--write]

SCANS holds one folder a scan and ``presence.csv``: its rows that say where the centre of a nodule or a mass is, and in
which lobe, are asked. The picture is of the bundled scan. ``--write`` puts the table into docs/lobes.md and the picture
into docs/images/lobes.png.
"""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.marked import DOCS, write_between_marks
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import transform_points
from tips_med.grounding import encode
from tips_med.grounding.coverage import THIRDS
from tips_med.grounding.ground import default_model, parse_query, search_regions
from tips_med.grounding.lobes import LOBES_OF_LUNG, depth_in_lobe_mm, frame_of_side, lobes_of_cells
from tips_med.grounding.maps import study_thorax
from tips_med.grounding.thorax import SIDES
from tips_med.readers import read_scan
from tips_med.sample import sample_path

NAMED = re.compile(r"\b(right|left) (upper|middle|lower) lobe")
COLOURS = {"upper": "#e8743b", "middle": "#efdb54", "lower": "#4f93e8"}


@dataclass(frozen=True)
class Lesion:
    """A lesion whose lobe was named.

    Attributes:
        case: Folder of the scan.
        finding: What it is.
        lobe: ``left lower lobe``.
        centre_lps: Its centre, LPS in mm.
    """

    case: str
    finding: str
    lobe: str
    centre_lps: tuple[float, float, float]


def read_lesions(file: Path) -> list[Lesion]:
    """The rows of ``presence.csv`` that name a lobe for what is present and has a centre."""
    found = []
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            named = NAMED.search(row["note"])
            x, y, z, *_ = [float(mm) for mm in row["approx_centre_lps_mm"].split()] or [np.nan] * 3
            compact = row["finding"] in ("nodule", "mass")
            if row["state"] == "present" and compact and named and named[1] == row["side"] and np.isfinite(x):
                found.append(Lesion(row["case"], row["finding"], named[0], (x, y, z)))
    return found


def measured(study: EncodedStudy, lesion: Lesion) -> str:
    """One line of the table."""
    model = default_model()
    thorax = study_thorax(study, model)
    affine = study.features.lps_from_fine
    assert affine is not None
    at = np.rint(transform_points(np.linalg.inv(affine), np.array(lesion.centre_lps))[0]).astype(int)
    place = tuple(int(n) for n in np.clip(at, 0, np.array(thorax.side.shape) - 1))
    side, lobe, _ = lesion.lobe.split()
    label = {name: label for label, name in SIDES.items()}[side]  # pyright: ignore[reportArgumentType]
    region = search_regions(study, parse_query(f"{lesion.finding} in the {lesion.lobe}", model), model)["searched"]
    height = float(thorax.height[label - 1, place[0]])
    lobes = LOBES_OF_LUNG[label]
    bands = {one: THIRDS[f"{one}_lobe"] for one in lobes}
    by_height = ", ".join(one for one, (low, high) in bands.items() if low <= height <= high) or "unknown"
    frame = frame_of_side(thorax, label)
    held = "yes" if region.mask[place] else "no"
    if frame is None:
        return f"| {lesion.case} | {lesion.finding}, {lesion.lobe} | none, by height | - | - | {by_height} | {held} |"
    named = ", ".join(
        one.removeprefix(f"{side} ").removesuffix(" lobe") for one in lobes_of_cells(np.array([place]), thorax)
    )
    depth = {one: float(depth_in_lobe_mm(frame, one)[place]) for one in lobes}
    best = max(depth, key=lambda one: depth[one])
    cells = [f"{lesion.finding}, {lesion.lobe}", best, f"{depth[lobe]:.0f} mm", named, by_height, held]
    return f"| {lesion.case} | {' | '.join(cells)} |"


def picture(study: EncodedStudy, file: Path) -> None:
    """One coronal and two sagittal sections with the outlines of the estimated lobes."""
    thorax = study_thorax(study, default_model())
    affine = study.features.lps_from_fine
    assert affine is not None
    scan = study.scan
    frames = {label: frame_of_side(thorax, label) for label in SIDES}
    middles = {label: int(np.median(np.argwhere(thorax.lungs == label)[:, 2])) for label in SIDES}
    row = int(np.median(np.argwhere(thorax.lungs > 0)[:, 1]))
    steps = np.array(thorax.step_mm)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    inverse = np.linalg.inv(scan.lps_from_kji)
    sections = [("right lung, sagittal", 2, middles[1]), ("coronal", 1, row), ("left lung, sagittal", 2, middles[2])]
    for shown, (title, axis, at) in zip(axes, sections):
        # The scan's own voxels, half a cell apart, at the places of the section.
        index = np.stack(np.meshgrid(*_section(thorax.side.shape, axis, at), indexing="ij"), axis=-1)
        flat = transform_points(inverse @ affine, index.reshape(-1, 3))
        near = np.clip(np.rint(flat).astype(int), 0, np.array(scan.shape) - 1)
        values = np.squeeze(scan.voxels[tuple(near.T)].reshape(index.shape[:3]), axis=axis)
        heights = steps[0] * np.arange(thorax.side.shape[0])
        across = steps[3 - axis] * np.arange(thorax.side.shape[3 - axis])
        extent = (across[0], across[-1], heights[0], heights[-1])
        shown.imshow(values, cmap="gray", vmin=-1000, vmax=-500, origin="lower", extent=extent)
        for label, frame in frames.items():
            if frame is None:
                continue
            own = np.take(thorax.lungs == label, at, axis=axis)
            for lobe in LOBES_OF_LUNG[label]:
                depth = np.take(depth_in_lobe_mm(frame, lobe), at, axis=axis)
                inside = (own & (depth >= 0)).astype(float)
                if inside.any():
                    shown.contour(across, heights, inside, [0.5], colors=[COLOURS[lobe]], linewidths=1)
        shown.set_title(title, fontsize=9)
        shown.set_axis_off()
    figure.savefig(file, dpi=110)


def _section(shape: tuple[int, ...], axis: int, at: int) -> list[np.ndarray]:
    along = [np.arange(0, size - 0.5, 0.5) for size in shape]
    along[axis] = np.array([float(at)])
    return along


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--cases", nargs="*", help="folders to ask; all that have such a row when left out")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    lesions = read_lesions(chosen.scans / "presence.csv")
    lesions = [lesion for lesion in lesions if not chosen.cases or lesion.case in chosen.cases]
    lines = [
        "| scan | lesion and lobe by a reader | estimated lobe | depth in it | named | lobes by height | searched |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(lesion.case for lesion in lesions):
        folder = chosen.scans / case
        ct = folder / "ct.nii.gz"
        study = encode(read_scan(ct if ct.exists() else folder / "dicom"))
        lines += [measured(study, lesion) for lesion in lesions if lesion.case == case]
        print(lines[-1], flush=True)
    text = "\n".join(lines)
    print(text)
    if chosen.write:
        write_between_marks(DOCS / "lobes.md", "lesions", text)
        picture(encode(read_scan(sample_path())), DOCS / "images" / "lobes.png")


if __name__ == "__main__":
    main()
