"""Makes the pictures of the documentation, from the bundled scan alone.

python -m benchmarks.figures
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tips_med.exporters.figure import write_figure
from tips_med.grounding import encode, ground
from tips_med.grounding.regions import Lungs
from tips_med.models import open_model
from tips_med.readers import read_scan
from tips_med.sample import sample_path
from tips_med.slabs import crop_to_body, make_slabs, resample
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.findings import PAINTERS, Canvas

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
QUERIES = {
    "mass-in-the-left-lung": "mass in the left lung",
    "ground-glass-opacity-left-lung": "ground-glass opacity left lung",
}


def painted(anatomy: Anatomy, path: Path) -> None:
    """Every finding that can be painted, in the same body."""
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    for n, (name, paint) in enumerate(PAINTERS.items()):
        rng = np.random.default_rng([7, n])
        canvas = Canvas(
            anatomy.volume_hu.astype(np.float32),
            anatomy.lungs.copy(),
            anatomy.spacing_mm,
            rng,
            np.zeros(anatomy.lungs.shape, bool),
        )
        made = None
        while made is None or made.mask.sum() < 400:
            made = paint(canvas)
        slab = int(made.mask.sum(axis=(1, 2)).argmax())
        axes = figure.add_subplot(2, 3, n + 1)
        axes.imshow(canvas.volume_hu[slab], cmap="gray", vmin=-1250, vmax=250, interpolation="bilinear")
        axes.contour(made.mask[slab], [0.5], colors="#ffb000", linewidths=0.8)
        axes.set_title(f"{name.replace('_', ' ')}, painted: {made.side}", fontsize=10, loc="left")
        axes.set_axis_off()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    model = open_model(device="cpu")
    scan = read_scan(sample_path())
    study = encode(scan, model)
    for name, query in QUERIES.items():
        write_figure(ground(study, query, model), IMAGES / f"{name}.png")
    slabs = crop_to_body(make_slabs(scan, model.image.slab_spec))
    shape = slabs.seen.shape
    volume = resample(scan.voxels, scan.lps_from_kji, slabs.lps_from_pixel, (shape[0], shape[1], shape[2]))
    lungs: Lungs = study.cache["lungs"]
    hu = np.nan_to_num(volume, nan=-1024).astype(np.int16)
    nothing = np.zeros(shape, np.uint8)
    body = Anatomy("sample", hu, lungs.inside, nothing, (), nothing > 0, slabs.spec.spacing_mm)
    painted(body, IMAGES / "painted-scenes.png")


if __name__ == "__main__":
    main()
