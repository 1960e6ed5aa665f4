"""Measures the texture of emphysema by kind: in real patches that readers classified, and in painted ones.

    python -m benchmarks.emphysema_texture DATA [--picture FILE.png] [--earlier] [--write]

DATA is a folder of public scans with ``emphysema-patches/EmphysemaPatches.mat`` (Chest Imaging Platform; its licence
lies beside it). Its 1,337 axial patches of 31 x 31 pixels do not say how large a pixel is: 0.78 mm is assumed here.
They are brought to the 2 mm of the training's grid, across the slice only, so that they have the noise of one thin
slice where a painted patch has that of 2.5 mm. Painted patches are cut from scenes of bodies in which a reader saw no
emphysema, without anything that the scanner adds: around places of what was painted, by what the painter calls it.

``--write`` keeps the figures in docs/measurements/emphysema_texture.json and in the table of docs/training.md;
``--earlier`` keeps those of the painted patches as the earlier painter's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.io import loadmat

from benchmarks.marked import DOCS, write_between_marks
from benchmarks.training_pack import training_settings
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.deform import Deformation, sample_deformed_crop
from tips_med.synthesis.findings.canvas import Canvas
from tips_med.synthesis.findings.emphysema import paint_emphysema
from tips_med.training.cases import prepare_cases

WRITTEN = DOCS / "measurements" / "emphysema_texture.json"

CLASSES = {
    "NT": "normal",
    "PS": "paraseptal",
    "PL": "panlobular",
    "CL1": "centrilobular, mild",
    "CL2": "centrilobular, moderate",
    "CL3": "centrilobular, severe",
}
"""The classes of the patches, in the words of the painter."""

PANLOBULAR = {"diffuse": "panlobular"}
"""What the painter's attribute for it is: the lexicon has no panlobular."""

BODIES = ("LIDC-IDRI-0001", "LIDC-IDRI-0003", "QIN-LUNG-01-0007", "LungCT-Diagnosis-R168", "TCGA-LIHC-A3KF-acq2")
"""Scans of a deep breath in which the reader saw no emphysema for sure."""

REAL = {"QIN-LSC-0003": "real scan, diffuse", "NLST-101287": "real scan, diffuse and held out"}
"""Scans in which the reader saw diffuse low density on both sides."""

PIXEL_MM, GRID_MM = 0.78, 2.0
SIZE = 12
"""Pixels of a patch on the grid: 24 mm, as wide as the real ones."""

LUNG_TO_HU = -600.0
LOW_HU = -950.0
WITHOUT_VESSELS_HU = -700.0
"""What is denser counts as much where the length of the texture is measured: the lung's, not that of vessels."""

SHAPE = (16, 128, 160)
STILL = Deformation(mirrored=0.0, turn_degrees=0.0, zoom=0.0, elastic_mm=0.0, breath=0.0, dependent=0.0)


@dataclass(frozen=True)
class Texture:
    """What patches of one class look like.

    Attributes:
        patches: Number of patches.
        mean_hu: Mean of the lung, without vessels (above -600 HU).
        p5_hu: 5th percentile of it.
        p50_hu: Median of it.
        p95_hu: 95th percentile of it.
        laa950: Share of it below -950 HU, 0 to 1.
        low_mm: Diameter of the disc as large as the low area (below -950 HU) that a low pixel lies in, mean of all low
            pixels; a patch ends at 24 mm.
        length_px: Distance in pixels of 2 mm at which the autocorrelation has fallen to 1/e.
        vessels: Share of all pixels above -600 HU, 0 to 1.
    """

    patches: int
    mean_hu: float
    p5_hu: float
    p50_hu: float
    p95_hu: float
    laa950: float
    low_mm: float
    length_px: float
    vessels: float


def texture(patches: np.ndarray) -> Texture:
    """Measures patches of one class, HU [patch y x] with pixels of 2 mm."""
    lung = patches < LUNG_TO_HU
    inside = patches[lung]
    low = (patches < LOW_HU) & lung
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(low, _within_planes()))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    diameters = GRID_MM * np.sqrt(4 / np.pi * sizes[labels[low]])
    p5, p50, p95 = (float(p) for p in np.percentile(inside, [5, 50, 95]))
    return Texture(
        len(patches),
        float(inside.mean()),
        p5,
        p50,
        p95,
        float(low.sum() / lung.sum()),
        float(diameters.mean()) if low.any() else 0.0,
        correlation_length(patches, lung),
        float(1 - lung.mean()),
    )


def correlation_length(patches: np.ndarray, lung: np.ndarray) -> float:
    """The lag in pixels at which the autocorrelation of the lung falls to 1/e, along rows and columns alike."""
    values = np.where(lung, np.minimum(patches, WITHOUT_VESSELS_HU), np.nan)[lung.any(axis=(1, 2))]
    values = values - np.nanmean(values, axis=(1, 2), keepdims=True)
    whole, before = float(np.nanmean(values**2)), 1.0
    for lag in range(1, SIZE):
        pairs = np.concatenate(
            [(values[:, lag:] * values[:, :-lag]).ravel(), (values[:, :, lag:] * values[:, :, :-lag]).ravel()]
        )
        now = float(np.nanmean(pairs)) / whole
        if now < np.exp(-1):
            return lag - 1 + (before - np.exp(-1)) / (before - now)
        before = now
    return float(SIZE)


def real_patches(data: Path) -> dict[str, np.ndarray]:
    """The real patches by class, HU [patch y x], with pixels of 2 mm."""
    stored = loadmat(data / "emphysema-patches" / "EmphysemaPatches.mat")
    found = {}
    for label, patches in zip(stored["classLabel"][0], stored["EmphyPatch"][0]):
        found[CLASSES[str(label[0])]] = on_the_grid(np.moveaxis(patches, 2, 0).astype(np.float32))
    return found


def on_the_grid(patches: np.ndarray) -> np.ndarray:
    """Averages patches over pixels of 2 mm; each takes from the pixels below it as much as it covers of them."""
    number = patches.shape[1]
    first = (number * PIXEL_MM - SIZE * GRID_MM) / 2
    edges = (first + GRID_MM * np.arange(SIZE + 1))[:, None] / PIXEL_MM
    reached = np.clip(edges - np.arange(number), 0, 1)
    covered = np.diff(reached, axis=0)  # [pixel of 2 mm, pixel of the patch]
    covered /= covered.sum(axis=1, keepdims=True)
    return np.einsum("iy,nyx,jx->nij", covered, patches, covered).astype(np.float32)


def read_bodies(data: Path, folder: Path, names: tuple[str, ...]) -> list[Anatomy]:
    """Cases of the training on its grid."""
    settings = training_settings("pretrain_chest_ct", data)
    cases = [case for case in settings["cases"] if case.name in names]
    return prepare_cases(cases, data, folder, settings["image"])


def painted_patches(bodies: list[Anatomy], seeds: int) -> dict[str, np.ndarray]:
    """Patches of painted emphysema by kind, and of the same bodies without it, HU [patch y x]."""
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for number in range(seeds):
        body = bodies[number % len(bodies)]
        rng = np.random.default_rng([20, number])
        crop = sample_deformed_crop(body, SHAPE, STILL, rng)
        assert crop.lungs is not None  # these bodies have outlines
        lungs = crop.lungs.copy()
        found["normal"] += cut(crop.volume_hu, lungs > 0, lungs > 0, rng, 2)
        canvas = Canvas(crop.volume_hu, crop.lungs, body.spacing_mm, rng, crop.lesions > 0)
        painted = paint_emphysema(canvas)
        for one in painted.everything if painted is not None else []:
            kind = PANLOBULAR.get(one.attributes[0], one.attributes[0])
            name = f"{kind}, {one.attributes[1]}" if kind == "centrilobular" else kind
            found[name] += cut(
                canvas.volume_hu, one.mask, lungs > 0, rng, 8, least=0.3 if kind == "paraseptal" else 0.9
            )
    return {name: np.stack(patches) for name, patches in found.items()}


def cut(
    volume_hu: np.ndarray, mask: np.ndarray, lung: np.ndarray, rng: np.random.Generator, most: int, least: float = 0.9
) -> list[np.ndarray]:
    """Up to so many patches around places of a mask, in which the share of lung is ``least`` or more."""
    where = np.argwhere(mask)
    half, found = SIZE // 2, []
    for z, y, x in where[rng.permutation(len(where))[: 6 * most]] if len(where) else ():
        window = (z, slice(y - half, y + half), slice(x - half, x + half))
        if min(y, x) < half or lung[window].shape != (SIZE, SIZE) or lung[window].mean() < least:
            continue
        found.append(volume_hu[window].astype(np.float32))
        if len(found) == most:
            break
    return found


def real_scan_patches(body: Anatomy, number: int = 200) -> np.ndarray:
    """Patches anywhere inside the lungs of a whole scan, HU [patch y x]."""
    assert body.lungs is not None
    rng = np.random.default_rng(0)
    return np.stack(cut(body.volume_hu, body.lungs > 0, body.lungs > 0, rng, number))


def markdown(result: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The table of docs/training.md."""
    lines = [
        "| patches | of | number | mean HU | 5, 50, 95% | below -950 HU | low areas, mm | length, px | vessels |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, source, one in _rows(result):
        percentiles = ", ".join(f"{one[f'p{p}_hu']:.0f}" for p in (5, 50, 95))
        lines.append(
            f"| {name} | {source} | {one['patches']} | {one['mean_hu']:.0f} | {percentiles} | {one['laa950']:.2f} | "
            f"{one['low_mm']:.1f} | {one['length_px']:.1f} | {one['vessels']:.3f} |"
        )
    return "\n".join(lines)


def picture(real: Mapping[str, np.ndarray], painted: Mapping[str, np.ndarray], number: int = 16) -> Image.Image:
    """Real patches of every class, and painted ones below them; -1050 to -550 HU."""
    rng, rows = np.random.default_rng(1), []
    for name in real:
        for patches in (real[name], painted.get(name, np.zeros((0, SIZE, SIZE)))):
            chosen = patches[rng.permutation(len(patches))[:number]]
            empty = np.full((number - len(chosen), SIZE, SIZE), -1050.0)
            grey = np.clip((np.concatenate([chosen, empty]) + 1050) / 500 * 255, 0, 255).astype(np.uint8)
            tiles = np.pad(grey.repeat(6, 1).repeat(6, 2), ((0, 0), (1, 1), (1, 1)), constant_values=255)
            rows.append(np.concatenate(list(tiles), axis=1))
    return Image.fromarray(np.concatenate(rows))


def main() -> None:
    """Measures, prints the table, and keeps it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=400, help="number of painted scenes")
    parser.add_argument("--anatomies", type=Path, help="folder of prepared bodies; made anew when not given")
    parser.add_argument("--picture", type=Path, help="PNG of real patches with painted ones below them")
    parser.add_argument("--earlier", action="store_true", help="keep the painted ones as the earlier painter's")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = given.anatomies or Path(folder)
        bodies = read_bodies(given.data, at, BODIES)
        scans = {REAL[one.name]: real_scan_patches(one) for one in read_bodies(given.data, at, tuple(REAL))}
    real, painted = real_patches(given.data), painted_patches(bodies, given.seeds)
    kept = json.loads(WRITTEN.read_text("utf-8")) if WRITTEN.exists() else {}
    result = {
        **kept,
        "real": {name: asdict(texture(one)) for name, one in {**real, **scans}.items()},
        "earlier" if given.earlier else "painted": {name: asdict(texture(one)) for name, one in painted.items()},
    }
    print(markdown(result))
    if given.picture:
        picture(real, painted).save(given.picture)
    if given.write:
        WRITTEN.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        write_between_marks(DOCS / "training.md", "emphysema texture", markdown(result))


def _rows(result: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    for name in result["real"]:
        for source in ("real", "painted", "earlier"):
            if name in result.get(source, {}):
                yield name, "painted, earlier" if source == "earlier" else source, result[source][name]


def _within_planes() -> np.ndarray:
    """Neighbours within a patch, and none across patches."""
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = True
    return structure


if __name__ == "__main__":
    main()
