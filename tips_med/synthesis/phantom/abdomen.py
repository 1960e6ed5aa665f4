"""The upper abdomen: liver, spleen, stomach, kidneys, gallbladder, pancreas, psoas and bowel."""

from __future__ import annotations

import numpy as np

from tips_med.synthesis.phantom.build import Build, Point, smooth_line
from tips_med.synthesis.phantom.trunk import BOTTOM_MM, DEPTH_MM, SPINE_Y_MM, WIDTH_MM, Habitus


def build_abdomen(build: Build, habitus: Habitus, cage: np.ndarray, diaphragm: np.ndarray) -> None:
    """Puts in what lies below the diaphragm; what is in front is put in last."""
    box = build.box((-WIDTH_MM, -DEPTH_MM - 10, BOTTOM_MM), (WIDTH_MM, DEPTH_MM + 20, 8))
    if box is None:
        return
    under = (diaphragm[:, box[1], box[2]] - build.at(box)[2]) * 0.75
    below = np.full(cage.shape, -20.0, np.float32)
    below[box] = np.minimum(cage[box] - 3, under)
    # The diaphragm itself, a sheet of muscle.
    build.put(box, np.minimum(cage[box], 2.5 - np.abs(under - 1)), 50.0)
    contrast = np.clip((habitus.blood_hu - 40) / 200, 0, 1.3)
    _bowel(build, below)
    for side in (-1, 1):
        psoas = [(side * 28.0, SPINE_Y_MM - 2, -70.0), (side * 42.0, SPINE_Y_MM - 2, -300.0)]
        for box, level in build.tube(psoas, [6.0, 24.0]):
            build.put(box, np.minimum(level, below[box]), 55.0)
    _kidneys(build, below, contrast)
    _stomach(build, below)
    rng = build.rng
    spleen = build.ellipsoid((WIDTH_MM - 40, 42, -62), (52 * rng.uniform(0.8, 1.2), 27, 46), (0.35, -0.8, -0.35))
    if spleen is not None:
        box, level = spleen
        hu = 48 + 70 * contrast + 4 * build.noise(box, 5.0)
        build.put(box, np.minimum(level, below[box] - 1) + build.noise(box, 20.0), hu, "spleen")
    pancreas = smooth_line([(-28, 8, -140), (0, 2, -122), (30, 14, -112), (70, 34, -95)])
    for box, level in build.tube(pancreas, [11.0] * len(pancreas)):
        lobules = level + 2.5 * build.noise(box, 5.0)
        build.put(box, np.minimum(lobules, below[box]), 38 + 45 * contrast, "pancreas")
    _liver(build, below, contrast)


def _liver(build: Build, below: np.ndarray, contrast: float) -> None:
    rng = build.rng
    box = build.box((-WIDTH_MM, -110, -190), (75, 100, 10))
    if box is None:
        return
    x, y, z = build.at(box)
    tip, reach = rng.uniform(-172, -128), rng.uniform(45, 75)
    # Its lower surface climbs from the right side to the left, and from the front to the back of the left lobe.
    under = tip + (rng.uniform(-40, -28) - tip) * np.clip((x + WIDTH_MM) / (WIDTH_MM + 60), 0, 1.1) ** 1.1
    under = under + 22 * np.clip((y - 10) / 70, -0.5, 1)
    hollow = np.hypot(x + 6, (y - 45)) - 46  # the caudal side keeps clear of vessels and spine
    level = np.minimum(np.minimum(below[box] - 1, (z - under) * 0.8), np.minimum(reach - x, hollow))
    level = level + 1.5 * build.noise(box, 20.0)
    hu = rng.uniform(30, 62) + rng.uniform(35, 65) * contrast
    build.put(box, level, hu + 4 * build.noise(box, 5.0), "liver")
    # Portal and hepatic veins: brighter with contrast, darker without.
    vein_hu = hu + (28 * contrast if contrast > 0.2 else -12)
    roots: list[list[Point]] = [
        [(-18, 8, -62), (-52, 0, -52), (-95, 10, -60)],
        [(-52, 0, -52), (-75, -35, -45)],
        [(-52, 0, -52), (-80, 40, -50)],
        [(-18, 8, -62), (8, -40, -40)],
        [(-22, 12, -18), (-60, 10, -22), (-100, 15, -35)],
        [(-22, 12, -18), (-48, -35, -25)],
    ]
    for way in roots:
        line = smooth_line([(a, b, c + rng.uniform(-5, 5)) for a, b, c in way])
        for part, depth in build.tube(line, list(np.linspace(5.5, 2.0, len(line)))):
            build.put(part, np.where(build.label("liver")[part], depth, -3), vein_hu, edge_mm=3.0)
    bladder = build.ellipsoid((-48, -52, rng.uniform(-112, -92)), (34, 15, 15), (0.2, -0.5, -0.6))
    if bladder is not None and rng.random() < 0.85:
        part, depth = bladder
        build.put(part, np.minimum(depth, below[part]), 8.0, "gallbladder")


def _kidneys(build: Build, below: np.ndarray, contrast: float) -> None:
    rng = build.rng
    for side, organ in ((-1, "kidney_right"), (1, "kidney_left")):
        height = -158 + (12 if side > 0 else 0) + rng.uniform(-12, 12)
        centre = (side * rng.uniform(60, 70), SPINE_Y_MM - 6, height)
        size = rng.uniform(0.88, 1.12)
        made = build.ellipsoid(centre, (55 * size, 27 * size, 25 * size), (side * -0.22, -0.12, 1.0))
        if made is None:
            continue
        box, level = made
        build.put(box, np.minimum(level + 9, below[box]), -102.0)
        cortex = 34 + 130 * contrast
        level = np.minimum(level + 1.2 * build.noise(box, 16.0), below[box] - 3)
        build.put(box, level, cortex + 3 * build.noise(box, 5.0), organ)
        # Pyramids under the cortex are darker in the early phase; the fat of the sinus opens towards the middle.
        build.put(box, level - 8, 34 + 75 * contrast, edge_mm=4.0)
        x, y, z = build.at(box)
        sinus = 1 - np.sqrt(
            ((x - centre[0] + side * 11) / 15) ** 2 + ((y - centre[1] + 6) / 9) ** 2 + ((z - centre[2]) / 24) ** 2
        )
        build.put(box, sinus * 9 + 2 * build.noise(box, 6.0), -85.0)
        # What is fat is not kidney to an observer, either.
        view = build.organs[box]
        view[(sinus > 0.15) & (level > 0)] = 0


def _stomach(build: Build, below: np.ndarray) -> None:
    rng = build.rng
    full = rng.uniform(0.75, 1.2)
    made = build.ellipsoid((58, -18, -72), (58 * full, 36 * full, 32 * full), (0.5, -0.35, 0.75))
    if made is None:
        return
    box, level = made
    level = np.minimum(level + 2 * build.noise(box, 20.0), below[box] - 1)
    build.put(box, level, 45.0, "stomach")
    build.put(box, level - 4, 15 + 18 * np.abs(build.noise(box, 8.0)))
    y = build.at(box)[1]
    surface = rng.uniform(-45, -15)  # gas lies in front, with a level
    build.put(box, np.minimum(level - 4, surface - y), -980.0)


def _bowel(build: Build, below: np.ndarray) -> None:
    """Loops: full of fluid and stool, some with gas."""
    box = build.box((-WIDTH_MM, -DEPTH_MM - 10, BOTTOM_MM), (WIDTH_MM, 30, -90))
    if box is None:
        return
    _, y, z = build.at(box)
    loops = 14 * build.noise(box, 30.0) + 6 * build.noise(box, 16.0)
    level = np.minimum(np.minimum(loops - 3, below[box] - 4), np.minimum(-95 - z, 25 - y))
    build.put(box, level, 32 + 12 * build.noise(box, 8.0))
    gas = np.minimum(level - 7, 8 * build.noise(box, 20.0) - 3 - 0.15 * (y + 40))
    build.put(box, gas, -900.0)
