"""The wall of the trunk: skin, fat, muscle, spine, ribs, sternum, shoulder blades; and the room inside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tips_med.synthesis.phantom.build import Box, Build

WIDTH_MM, DEPTH_MM = 136.0, 94.0
"""Half of the inside of the rib cage of an average adult, at its widest."""
APEX_MM, BOTTOM_MM = 222.0, -300.0
"""Where the pleura ends above, and where the phantom may end below, from the top of the diaphragm."""
SPINE_Y_MM = 60.0
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Habitus:
    """What kind of body.

    Attributes:
        fat_mm: Thickness of the fat under the skin in mm, at the side of the chest.
        muscle_mm: Thickness of the muscle around the rib cage in mm.
        breast_mm: Radius of the breasts in mm; 0 for none.
        blood_hu: Hounsfield units of blood in the large vessels: 40 without contrast agent.
        calcium: Relative density of the bones, about 1.
        arms: Whether the arms lie beside the trunk.
    """

    fat_mm: float
    muscle_mm: float
    breast_mm: float
    blood_hu: float
    calcium: float
    arms: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Habitus:
        """One of the habits of a mixed population."""
        return cls(
            fat_mm=float(np.exp(rng.uniform(np.log(5), np.log(45)))),
            muscle_mm=float(rng.uniform(9, 20)),
            breast_mm=float(rng.uniform(38, 62)) if rng.random() < 0.5 else 0.0,
            blood_hu=float(rng.uniform(35, 50) if rng.random() < 0.45 else rng.uniform(110, 330)),
            calcium=float(rng.uniform(0.65, 1.15)),
            arms=bool(rng.random() < 0.12),
        )


def cage_level(build: Build) -> np.ndarray:
    """How deep inside the rib cage and the abdominal wall each voxel lies, in mm, [slab y x]."""
    x, y, z = build.at(EVERYWHERE)
    t = np.clip(z / APEX_MM, -1.5, 1)
    up = np.clip(t, 0, 1)
    taper = np.where(t > 0, np.sqrt(np.clip(1 - up**3.2, 0, 1)), 1 - 0.05 * t**2)
    width = np.maximum(WIDTH_MM * taper * (1 - 0.1 * up), 2.0)
    depth = np.maximum(
        DEPTH_MM * np.where(t > 0, np.clip(1 - up**3.0, 0, 1) ** 0.45, 1 - 0.12 * np.clip(-t, 0, 1)), 2.0
    )
    # It leans back: the apex lies behind the breastbone's lower end.
    middle = 22 * up - 4
    r = (np.abs(x / width) ** 2.5 + np.abs((y - middle) / depth) ** 2.5).astype(np.float32) ** np.float32(0.4)
    level = (1 - r) * np.minimum(width, depth)
    return np.where(z > APEX_MM, np.minimum(level, APEX_MM - z), level).astype(np.float32)


def build_wall(build: Build, habitus: Habitus, cage: np.ndarray) -> None:
    """Puts skin, fat and muscle around the cage, and fat into it."""
    x, y, z = build.at(EVERYWHERE)
    t = np.clip(z / APEX_MM, -1.5, 1.3)
    fat, muscle = habitus.fat_mm, habitus.muscle_mm
    shoulders = 1 + 0.12 * np.clip(t - 0.2, 0, 0.5)
    neck = np.clip(1 - np.clip(t - 0.85, 0, 1) ** 1.2, 0.45, 1)
    width = (WIDTH_MM + muscle + 1.15 * fat) * shoulders * neck * (1 + 0.003 * fat * np.clip(-t, 0, 1))
    depth = (DEPTH_MM + 0.7 * muscle + 0.9 * fat + 14) * neck * (1 + 0.006 * fat * np.clip(-t, 0, 1))
    middle = 10 + 18 * np.clip(t, 0, 1.2)
    r = (np.abs(x / width) ** 2.4 + np.abs((y - middle) / depth) ** 2.4).astype(np.float32) ** np.float32(1 / 2.4)
    body = ((1 - r) * np.minimum(width, depth)).astype(np.float32)
    if habitus.breast_mm:
        size = habitus.breast_mm
        for side in (-1, 1):
            made = build.ellipsoid((side * 72.0, -DEPTH_MM - 0.3 * fat, 45.0), (size, 0.7 * size, 1.1 * size))
            if made is not None:
                body[made[0]] = np.maximum(body[made[0]], made[1])
    if build.free_mm is not None:  # whose cage may be of any form
        body = np.maximum(body, np.minimum(cage, 0) + muscle + 0.5 * fat + 6)
    wavy = build.noise(EVERYWHERE, 30.0)
    body += 1.5 * wavy
    build.put(EVERYWHERE, body, 30.0)  # skin
    build.put(EVERYWHERE, body - 2.5, -105 + 6 * build.noise(EVERYWHERE, 5.0))
    # Muscle: thick beside the spine and at the shoulders, thin over the belly.
    thick = muscle * (0.75 + 0.9 * np.clip(t, 0, 0.7) + 0.5 * np.clip(y / DEPTH_MM, 0, 1)) * (1 + 0.25 * wavy)
    sheet = np.minimum(cage + thick, body - 4)
    for side in (-1, 1):
        made = build.tube([(side * 30.0, 104.0, BOTTOM_MM), (side * 26.0, 108.0, 260.0)], [24.0, 14.0])
        for box, level in made:
            sheet[box] = np.maximum(sheet[box], np.minimum(level, body[box] - 5))
    neck_muscle = build.ellipsoid((0, 42, 255), (88, 52, 75))
    if neck_muscle is not None:
        box, level = neck_muscle
        sheet[box] = np.maximum(sheet[box], np.minimum(level + 3 * wavy[box], body[box] - 5))
    # Fat runs between the sheets of muscle.
    marbled = 52 + 6 * build.noise(EVERYWHERE, 5.0) - 70 * np.clip(build.noise(EVERYWHERE, 8.0) - 1.3, 0, 1)
    build.put(EVERYWHERE, sheet, marbled)
    build.put(EVERYWHERE, cage, -95 + 10 * build.noise(EVERYWHERE, 4.0))
    if habitus.breast_mm:
        for side in (-1, 1):
            made = build.ellipsoid(
                (side * 70.0, -DEPTH_MM - 0.5 * fat - 6, 42.0),
                (0.6 * habitus.breast_mm, 0.45 * habitus.breast_mm, 0.65 * habitus.breast_mm),
            )
            if made is not None:
                box, level = made
                glands = np.minimum(level, body[box] - 7) + 8 * build.noise(box, 8.0) - 6
                build.put(box, np.minimum(glands, -cage[box] - muscle), 25.0)
    if habitus.arms:
        _arms(build, float(width.max()))


def _arms(build: Build, width: float) -> None:
    for side in (-1, 1):
        x = side * (width + 48)
        line = [(x, 20.0, BOTTOM_MM), (x, 15.0, 190.0)]
        for radius, hu in ((46.0, 30.0), (43.5, -105.0), (36.0, 55.0), (11.0, 900.0), (6.0, 60.0)):
            for box, level in build.tube(line, [0.85 * radius, radius]):
                build.put(box, level, hu)


def build_skeleton(build: Build, habitus: Habitus, cage: np.ndarray) -> None:
    """Puts in spine, ribs, breastbone and shoulder blades."""
    _ribs(build, habitus, cage)
    _spine(build, habitus)
    _front_and_shoulders(build, habitus, cage)


def _bone(build: Build, box: Box, level: np.ndarray, calcium: float, organ: str | None) -> None:
    """A bone: a dense shell of 2 to 3 mm around trabeculae."""
    spongy = calcium * (190 + 60 * build.noise(box, 4.0))
    build.put(box, level, calcium * 720.0, organ)
    build.put(box, level - 2.6, spongy)


def _ribs(build: Build, habitus: Habitus, cage: np.ndarray) -> None:
    out_mm = -cage
    where = np.nonzero((out_mm > -2) & (out_mm < 12) & (build.z_mm[:, None, None] > -150))
    x, y, z = build.x_mm[where[2]], build.y_mm[where[1]], build.z_mm[where[0]]
    # Ribs slope down from the spine to the front; counted from the top.
    turn = np.arctan2(np.abs(x), y)  # 0 at the back, pi in front
    gap_mm = 27.0
    slope_mm = 70 * np.clip(turn / np.pi, 0, 1) ** 1.3 + 6 * np.sin(3 * turn)
    count = (APEX_MM - 16 - z - slope_mm) / gap_mm
    off_mm = (count - np.rint(count)) * gap_mm
    level = 5.5 - np.hypot(off_mm * 0.8, (out_mm[where] - 5.0) * 1.25)
    exists = (np.rint(count) >= 0) & (np.rint(count) < 12)
    # The lowest two end at the side; the others become cartilage before they reach the breastbone.
    exists &= (np.rint(count) < 10) | (turn < 1.7)
    cartilage = turn > 2.45
    level = np.where(exists, level, -9.0)
    hu = np.where(cartilage, 95.0, np.where(level > 2.2, habitus.calcium * 170, habitus.calcium * 650))
    fraction = np.clip(level / 2 + 0.5, 0, 1)
    build.volume_hu[where] += fraction * (hu - build.volume_hu[where])
    found = level > 0
    organs = np.where(x < 0, 16, 17)  # rib_right, rib_left
    build.organs[tuple(axis[found] for axis in where)] = organs[found]


def _spine(build: Build, habitus: Habitus) -> None:
    height_mm = 27.0
    box = build.box((-48, SPINE_Y_MM - 30, BOTTOM_MM), (48, SPINE_Y_MM + 75, 270))
    if box is None:
        return
    x, y, z = build.at(box)
    y = y - SPINE_Y_MM - 10 * np.clip((z - 60) / 200, -0.4, 1) ** 2  # it curves
    within = np.abs(z / height_mm - np.rint(z / height_mm)) * height_mm  # 0 at the middle of a vertebra
    waist = 1 - 0.12 * np.cos(np.pi * within / (height_mm / 2))
    size = 1 + 0.2 * np.clip(-z / 250, -0.6, 1)
    body = (1 - np.hypot(x / (19 * waist * size), y / (15.5 * waist * size))) * 15
    disc = within > height_mm / 2 - 3.2
    body = np.broadcast_to(body, build.volume_hu[box].shape)
    disc = np.broadcast_to(disc, body.shape)
    arch = 4.0 - np.abs(np.hypot(x / 1.15, y - 25) - 12)
    spinous = np.minimum(3.5 - np.abs(x), np.minimum(y - 34, 66 - y - 0.5 * np.abs(within)))
    across = np.minimum(5 - np.abs(y - 24 - 0.25 * np.abs(x)), np.minimum(38 - np.abs(x), 6 - np.abs(within - 2)))
    behind = np.maximum(np.maximum(np.where(within < 8, arch, -3), np.where(within < 10, spinous, -3)), across)
    build.put(box, np.where(disc, body, -3), 80.0, "spine")
    build.put(box, 9.5 - np.hypot(x / 1.15, y - 25) + 0 * body, 20.0)  # the canal
    _bone(build, box, np.where(disc, -3.0, body), habitus.calcium, "spine")
    _bone(build, box, behind + 0 * body, habitus.calcium, "spine")


def _front_and_shoulders(build: Build, habitus: Habitus, cage: np.ndarray) -> None:
    box = build.box((-30, -140, 0), (30, 20, 190))
    if box is not None:
        x, _, z = build.at(box)
        y = build.at(box)[1]
        wide = 12 + 9 * np.clip((z - 110) / 60, 0, 1)
        plate = np.minimum(5.0 - np.abs(-cage[box] - 6), np.minimum(wide - np.abs(x), np.minimum(z - 15, 172 - z)))
        _bone(build, box, np.where(y < 20, plate, -3), habitus.calcium, "sternum")
    for side in (-1, 1):
        box = build.box((min(side * 60, side * 165), 10, 50), (max(side * 60, side * 165), 130, 205))
        if box is None:
            continue
        x, y, z = build.at(box)
        x = side * x
        # A thin plate behind the ribs, with a ridge.
        plate = 3.6 - np.abs(-cage[box] - 20 - 0.05 * (x - 90))
        extent = np.minimum((z - 60) * 0.6, np.minimum(200 - z, np.minimum(x - 70 + 0.1 * (z - 60), 148 - x)))
        _bone(build, box, np.minimum(plate, np.minimum(extent, y - 15)), habitus.calcium, None)
        for piece, level in build.tube(
            [(side * 20.0, -62.0, 178.0), (side * 80.0, -60.0, 200.0), (side * 150.0, -5.0, 205.0)], [8.0, 6.0, 7.0]
        ):
            _bone(build, piece, level, habitus.calcium, None)
