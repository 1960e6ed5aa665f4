"""The inside of the chest: diaphragm, heart, great vessels, airways and lungs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.phantom.build import Box, Build, Point, smooth_line
from tips_med.synthesis.phantom.trees import grow, stamp
from tips_med.synthesis.phantom.trunk import APEX_MM, DEPTH_MM, EVERYWHERE, SPINE_Y_MM, WIDTH_MM, Habitus

CARINA: Point = (-4.0, 12.0, 100.0)
HILA: dict[int, Point] = {RIGHT: (-46.0, 8.0, 72.0), LEFT: (48.0, 14.0, 76.0)}
AORTA: list[Point] = [
    (-6, -22, 40),
    (-18, -30, 75),
    (-20, -28, 105),
    (-4, -12, 130),
    (16, 12, 132),
    (26, 36, 112),
    (26, 40, 70),
    (22, 38, 0),
    (12, 34, -90),
    (6, 30, -300),
]
"""From the heart up, over the left main bronchus, and down in front of the spine."""


def diaphragm_mm(build: Build) -> np.ndarray:
    """The height of the diaphragm over each place, [1 y x]: two domes, the right one higher, deep behind."""
    x, y, _ = build.at(EVERYWHERE)
    steep = build.rng.uniform(0.85, 1.2)
    right = -95 * steep * (((x + 66) / 100) ** 2 + ((y + 22) / 115) ** 2)
    left = build.rng.uniform(-22, -8) - 95 * steep * (((x - 64) / 95) ** 2 + ((y + 18) / 112) ** 2)
    middle = -26 - 95 * ((x / 110) ** 2 + ((y + 25) / 100) ** 2)
    return np.maximum(np.maximum(right, left), middle).astype(np.float32)


def build_heart(
    build: Build, habitus: Habitus, hila: dict[int, Point] | None = None, room: np.ndarray | None = None
) -> np.ndarray:
    """Puts in heart, vessels, airways and gullet; returns how deep inside all of these each voxel lies, in mm.

    Args:
        build: Build; beside lungs that are given, vessels give way to them, and their airways are put in elsewhere.
        habitus: Habitus of the body.
        hila: Where vessels and bronchi enter the lungs, by side; the average adult's when None.
        room: How deep each voxel lies within the pericardium, in mm, [slab y x]: a heart that fills it; None for one of
            the usual form.
    """
    hila = hila or HILA
    rng = build.rng
    inside = np.full(build.volume_hu.shape, -20.0, np.float32)
    wall_hu = 45 + 0.2 * (habitus.blood_hu - 40)
    blood = habitus.blood_hu
    size = rng.uniform(0.92, 1.15)
    parts = [
        ((24, -26, 14), (66 * size, 47 * size, 42 * size), (0.78, -0.42, -0.45)),  # the ventricles
        ((-24, -12, 30), (27, 30, 34), None),  # right atrium
        ((8, 14, 42), (34, 20, 24), None),  # left atrium
    ]
    made = [part for part in (build.ellipsoid(*one) for one in parts) if part is not None]
    for box, level in made:  # the fat around it first
        build.put(box, level + 4, -95.0)
        np.maximum(inside[box], level + 4, out=inside[box])
    if room is not None:
        made = [(EVERYWHERE, room)]
    for box, level in made:
        build.put(box, level, wall_hu + 4 * build.noise(box, 6.0), "heart")
    hollows = [
        ((35, -24, 8), (42 * size, 22 * size, 22 * size), (0.78, -0.42, -0.45)),
        ((4, -46, 14), (30 * size, 17 * size, 24 * size), (0.75, -0.3, -0.5)),
        ((-24, -12, 30), (23, 26, 30), None),
        ((8, 14, 42), (31, 17, 21), None),
    ]
    for hollow in hollows:
        found = build.ellipsoid(*hollow)
        if found is not None:
            level = build.beside_lungs(*found, 6.0)
            if room is not None:
                level = np.minimum(level, room[found[0]] - 3.0)
            build.put(found[0], level, blood + 5 * build.noise(found[0], 6.0), edge_mm=4.0)
    _vessels(build, habitus, inside, hila)
    if build.free_mm is None:
        _airways(build, inside)
    return inside


def _put_tube(
    build: Build,
    inside: np.ndarray,
    line: list[Point],
    radii: list[float],
    hu: float,
    organ: str | None,
    coat_mm: float,
) -> None:
    pieces = build.tube(_give_way(build, line, radii), radii)
    for box, level in pieces:
        build.put(box, level, hu, organ)
        np.maximum(inside[box], level + coat_mm, out=inside[box])


def _give_way(build: Build, line: list[Point], radii: list[float]) -> list[Point]:
    """A tube's line, moved aside where lungs that are given leave it no room."""
    if build.free_mm is None:
        return line
    free, axes = build.free_mm, (build.z_mm, build.y_mm, build.x_mm)
    aside = np.stack(np.meshgrid(np.arange(-20.0, 21, 4), np.arange(-20.0, 21, 4), indexing="ij"), axis=-1).reshape(
        -1, 2
    )
    moved = []
    for (x, y, z), radius in zip(line, radii):
        places = np.column_stack([np.full(len(aside), z), y + aside[:, 0], x + aside[:, 1]])
        cells = [np.clip(np.searchsorted(mm, places[:, n]), 0, len(mm) - 1) for n, mm in enumerate(axes)]
        lacking = np.maximum(radius + 1.5 - free[tuple(cells)], 0)
        best = int((np.linalg.norm(aside, axis=1) + 3 * lacking).argmin())
        moved.append(aside[best])
    smooth = np.asarray(ndimage.gaussian_filter1d(np.array(moved), 1.5, axis=0, mode="nearest"))
    return [(x + float(dx), y + float(dy), z) for (x, y, z), (dy, dx) in zip(line, smooth)]


def _vessels(build: Build, habitus: Habitus, inside: np.ndarray, hila: dict[int, Point]) -> None:
    rng, blood = build.rng, habitus.blood_hu
    wide = rng.uniform(0.9, 1.25)
    veins = blood if blood < 60 else blood * rng.uniform(0.55, 1.2)
    line = smooth_line(AORTA)
    # From 16 mm at the heart to 9 in the belly.
    _put_tube(build, inside, line, list(np.linspace(16, 9, len(line)) * wide), blood, "aorta", 2.5)
    trunk = smooth_line([(14, -42, 42), (16, -36, 66), (18, -16, 84)])
    _put_tube(build, inside, trunk, [14.0] * len(trunk), blood * 1.03, "pulmonary_artery", 2.5)
    for side, way in ((RIGHT, [(18, -16, 84), (-10, -6, 82), hila[RIGHT]]), (LEFT, [(18, -16, 84), hila[LEFT]])):
        line = smooth_line([(float(a), float(b), float(c)) for a, b, c in way])
        _put_tube(build, inside, line, list(np.linspace(12, 8, len(line))), blood * 1.03, "pulmonary_artery", 2.5)
        x, y, z = hila[side]
        vein = smooth_line([(8.0 + (12 if side == LEFT else -14), 14.0, 44.0), (x, y - 6, z - 22)])
        _put_tube(build, inside, vein, [7.0] * len(vein), blood, None, 2.0)
    cava = smooth_line([(-26, -14, 30), (-27, -16, 80), (-26, -18, 140), (-22, -14, 190)])
    _put_tube(build, inside, cava, [9.0] * len(cava), veins, "superior_vena_cava", 2.5)
    lower = smooth_line([(-22, 2, 20), (-24, 10, -20), (-20, 26, -120), (-16, 32, -300)])
    _put_tube(build, inside, lower, [11.0] * len(lower), veins * 0.9, "inferior_vena_cava", 1.5)
    for start, end in (((-14, -18, 128), (-22, -8, 215)), ((0, -8, 132), (22, 2, 220)), ((12, 8, 132), (28, 12, 215))):
        branch = [(float(a), float(b), float(c)) for a, b, c in (start, end)]
        _put_tube(build, inside, branch, [5.5, 4.5], blood, None, 2.5)
    vein = smooth_line([(-26, -20, 138), (-2, -26, 150), (22, -16, 182)])
    _put_tube(build, inside, vein, [6.0] * len(vein), veins, None, 2.5)
    gullet = smooth_line([(4, 24, 240), (6, 30, 120), (8, 28, 20), (22, 10, -25), (40, -4, -45)])
    _put_tube(build, inside, gullet, [7.0] * len(gullet), 35.0, "esophagus", 2.0)
    if rng.random() < 0.4:
        _put_tube(build, inside, gullet[:-4], [2.5] * (len(gullet) - 4), -700.0, None, 0.0)


def _airways(build: Build, inside: np.ndarray) -> None:
    trachea = smooth_line([(0, 2, 262), (0, 8, 180), CARINA])
    ways = [(trachea, 8.5)]
    ways.append((smooth_line([CARINA, (-24.0, 12.0, 84.0), HILA[RIGHT]]), 6.8))
    ways.append((smooth_line([CARINA, (22.0, 16.0, 86.0), HILA[LEFT]]), 6.2))
    for line, radius in ways:
        _put_tube(build, inside, line, [radius + 2.0] * len(line), 20.0, "trachea", 2.0)
    for line, radius in ways:
        _put_tube(build, inside, line, [radius] * len(line), -990.0, None, 0.0)


def build_lungs(build: Build, habitus: Habitus, cage: np.ndarray, diaphragm: np.ndarray, inside: np.ndarray) -> None:
    """Puts in the lungs: where the cage has room beside heart, vessels and spine, above the diaphragm."""
    rng = build.rng
    box = build.box((-WIDTH_MM, -DEPTH_MM - 10, -125), (WIDTH_MM, DEPTH_MM + 20, APEX_MM))
    if box is None:
        return
    x, y, z = build.at(box)
    wavy = build.noise(box, 20.0)
    # The two sides of the septum: narrow in front, where they nearly touch, wide at vessels and windpipe.
    shift = 7 * np.clip((60 - z) / 60, 0, 1) * np.clip(-y / 60, 0, 1)
    narrow = 6 + 15 * np.exp(-(((y - 8) / 30) ** 2)) + 10 * np.clip((y - 35) / 25, 0, 1)
    narrow = narrow + 16 * np.clip((z - 130) / 60, 0, 1) + 12 * np.clip((5 - z) / 40, 0, 1) * (y < 0)
    apart = np.abs(x - shift) - narrow
    spine = np.hypot(x / 24, (y - SPINE_Y_MM - 2) / 20) * 20 - 20
    spine = np.where(y > SPINE_Y_MM + 12, np.minimum(spine, np.abs(x) - 17 - 0.1 * y), spine)
    free = np.minimum(np.minimum(cage[box] - 2.0, (z - diaphragm[:, box[1], box[2]]) * 0.75), np.minimum(apart, spine))
    level = np.minimum(free, 1.0 - inside[box]) + 0.8 * wavy
    tissue_hu = rng.uniform(-885, -790) + rng.uniform(10, 55) * np.clip(y / 90, -1, 1)
    build.put(box, level, tissue_hu + 15 * build.noise(box, 4.0) + 18 * wavy)
    build.lungs[box] = np.where(level > 0, np.where(x > shift, LEFT, RIGHT), 0)
    build.organs[box][level > 0] = 0
    _fissures(build, box, level, wavy)
    for side in (RIGHT, LEFT):
        _trees(build, habitus, side, box, level)


def _fissures(build: Build, box: Box, level: np.ndarray, wavy: np.ndarray) -> None:
    """Puts in the sheets of pleura between the lobes: thinner than a voxel, so no more than a veil."""
    x, y, z = build.at(box)
    slanted = ((z - 45) + 1.25 * (y - 4)) * 0.62 + 3 * wavy
    sheet = np.clip(1 - np.abs(slanted) / 2.0, 0, 1)
    flat = (z - 52) + 0.06 * y + 3 * wavy
    minor = np.clip(1 - np.abs(flat) / 2.0, 0, 1) * ((x < 0) & (slanted < 0))
    build.volume_hu[box] += 130 * np.maximum(sheet, minor) * np.clip(level / 2, 0, 1)


def _trees(build: Build, habitus: Habitus, side: int, box: Box, level: np.ndarray) -> None:
    """Arteries with bronchi beside them, and veins between."""
    rng = build.rng
    # Neither twigs nor bronchi are seen in the outermost lung.
    room = np.argwhere((build.lungs[box][::2, ::3, ::3] == side) & (level[::2, ::3, ::3] > 5)) * (2, 3, 3)
    if len(room) < 50:
        return
    axes = build.x_mm, build.y_mm, build.z_mm
    places = np.stack([axis[part][room[:, n]] for axis, part, n in zip(axes, box[::-1], (2, 1, 0))], axis=1)
    only = build.lungs == side
    root = np.asarray(HILA[side])
    hu = 30 + 0.8 * (habitus.blood_hu - 40)
    for turn, count in enumerate((420, 300)):
        start = root + np.array([0, -6.0, -22.0]) * turn
        targets = places[rng.choice(len(places), count)] + rng.uniform(-3, 3, (count, 3))
        tree = grow(start, targets, rng)
        stamp(build, tree.points, tree.radii_mm, hu, only)
        if turn == 0:
            # A bronchus runs beside its artery; only the larger ones show.
            large = tree.radii_mm > 1.3
            beside = tree.points[large] + np.array([0.0, 1.0, 0.0]) * (1.9 * tree.radii_mm[large, None] + 0.8)
            stamp(build, beside, tree.radii_mm[large] * 0.95 + 0.9, -150.0, only)
            stamp(build, beside, tree.radii_mm[large] * 0.95, -960.0, only)
