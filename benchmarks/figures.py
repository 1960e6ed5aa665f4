"""Makes the pictures of the documentation, from the bundled scan alone.

python -m benchmarks.figures
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from tips_med.encoders.study import EncodedStudy
from tips_med.exporters.dicom.equipment import NOTICE
from tips_med.exporters.dicom.key_image import key_slice
from tips_med.exporters.dicom.picture import SlicePainter
from tips_med.exporters.figure import write_figure
from tips_med.geometry import RIGHT, spacing_mm
from tips_med.grounding import Grounding, encode, ground
from tips_med.grounding.maps import study_thorax
from tips_med.loading import open_model
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.sample import sample_path
from tips_med.slabs import BODY_MARGIN, make_slabs
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.findings import Canvas, known_findings
from tips_med.synthesis.phantom import make_phantom

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
QUERIES = {
    "mass-in-the-left-lung": "mass in the left lung",
    "ground-glass-opacity-left-lung": "ground-glass opacity left lung",
}


LEAST = {"calcification": 120, "emphysema": 6000, "cavity": 900, "pericardial_effusion": 24000}
"""Voxels that make a finding worth a picture, where 400 is not enough or too many."""
SOFT_TISSUE = ("pericardial_effusion", "cyst", "lesion")
"""What is painted into organs, and looked at in another window."""
ONE_SIDE = ("emphysema", "reticulation", "honeycombing", "atelectasis", "cavity", "calcification")
ORGANS = {"trachea": "#00d0ff", "heart": "#ff5050", "descending aorta": "#ff60ff", "liver": "#c08040",
          "spleen": "#b080ff", "stomach": "#60ff60", "spine": "#ffe040", "rib": "#ffa040"}  # fmt: skip
COLORS = ("#ffb000", "#00d0ff", "#ff60ff", "#60ff60")


def painted(scan: Anatomy, phantom: Anatomy, path: Path) -> None:
    """Every finding that can be painted: those of the lungs in a scan, those of labelled organs in a phantom."""
    figure = Figure(figsize=(12, 14.5), layout="constrained")
    for n, (name, finding) in enumerate(known_findings().items()):
        body = phantom if name in SOFT_TISSUE else scan
        # The scan has a mass of its own in the left lower lobe, which isn't to be painted over.
        side = RIGHT if name in ONE_SIDE else None
        made = None
        # The first that is large enough to be seen at this size.
        for seed in range(200):
            canvas = Canvas(
                body.volume_hu.astype(np.float32),
                body.lungs.copy(),
                body.spacing_mm,
                np.random.default_rng([7, n, seed]),
                np.zeros(body.lungs.shape, bool),
                body.organs,
            )
            made = finding.paint(canvas, side)
            if made is not None and made.mask.sum() >= LEAST.get(name, 400):
                break
        assert made is not None, f"{name} has no room in any of these"
        shown = made.everything
        slab = int(shown[-1].mask.sum(axis=(1, 2)).argmax())
        axes = figure.add_subplot(-(-len(known_findings()) // 3), 3, n + 1)
        low, high = (-160, 240) if name in SOFT_TISSUE else (-1060, -560) if name == "emphysema" else (-1250, 250)
        axes.imshow(canvas.volume_hu[slab], cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
        for one, color in zip(shown, COLORS):
            if one.mask[slab].any():
                axes.contour(one.mask[slab], [0.5], colors=color, linewidths=0.8)
        inside = ", ".join(one.finding for one in shown[1:] if one.finding != made.finding)
        title = f"{name.replace('_', ' ')}: {' '.join([made.side or made.structure, *made.attributes])}"
        axes.set_title(title + (f" (with {inside})" if inside else ""), fontsize=9, loc="left")
        axes.set_axis_off()
    figure.savefig(path, dpi=76, metadata={"Software": None})


def organs(study: EncodedStudy, model: GroundingModel, path: Path) -> None:
    """What the model outlines of organs, in two coronal planes and two axial ones."""
    scan = study.scan
    asked = {name: color for name, color in ORGANS.items() if name in model.names}
    answers = {name: ground(study, name, model) for name in asked}
    masks = {name: one.mask for name, one in answers.items() if one.presence.state == "present"}
    middle = {name: np.argwhere(mask).mean(axis=0).round().astype(int) for name, mask in masks.items()}
    up = scan.lps_from_kji[2, 0] > 0
    mm = spacing_mm(scan.lps_from_kji)
    planes = [(1, middle[name][1]) for name in ("heart", "descending aorta") if name in middle]
    planes += [(0, middle[name][0]) for name in ("heart", "liver") if name in middle]
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    for n, (axis, index) in enumerate(planes, start=1):
        axes = figure.add_subplot(1, len(planes), n)
        shown = {"cmap": "gray", "vmin": -160, "vmax": 240, "aspect": mm[1 - axis] / mm[2]}
        axes.imshow(np.take(scan.voxels, index, axis), origin="lower" if axis == 1 and up else "upper", **shown)
        for name, mask in masks.items():
            if np.take(mask, index, axis).any():
                axes.contour(np.take(mask, index, axis), [0.5], colors=asked[name], linewidths=1.1)
        axes.set_axis_off()
    lines = [Line2D([], [], color=asked[name], label=f"{name} ({answers[name].presence.state})") for name in asked]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def capture(answer: Grounding, path: Path) -> None:
    """The most telling slice as a secondary capture shows it."""
    painter, k = SlicePainter(answer), key_slice(answer)
    lines = [f"slice {k}", *painter.wrapped(answer.sentence), f"{NOTICE}."]
    Image.fromarray(painter.paint(k, lines)).save(path)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    model = open_model(device="cpu")
    scan = read_scan(sample_path())
    study = encode(scan, model, adapters="all")
    for name, query in QUERIES.items():
        write_figure(ground(study, query, model), IMAGES / f"{name}.png")
    capture(ground(study, QUERIES["mass-in-the-left-lung"], model), IMAGES / "capture.png")
    organs(study, model, IMAGES / "organs.png")
    slabs = make_slabs(scan, model.image.slab_spec, margin=BODY_MARGIN)
    shape = slabs.seen.shape
    volume = resample(scan.voxels, scan.lps_from_kji, slabs.lps_from_pixel, (shape[0], shape[1], shape[2]))
    hu = np.nan_to_num(volume, nan=-1024).astype(np.int16)
    nothing = np.zeros(shape, np.uint8)
    body = Anatomy("sample", hu, study_thorax(study, model).lungs, nothing, (), nothing > 0, slabs.spec.spacing_mm)
    painted(body, make_phantom(3), IMAGES / "painted-scenes.png")


if __name__ == "__main__":
    main()
