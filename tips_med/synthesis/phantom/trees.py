"""Branching tubes: trees that reach everywhere in a lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tips_med.synthesis.phantom.build import Build

STEP_MM = 1.5
LEAF_MM = 0.7
"""Radius of the twigs."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree as points along its branches.

    Attributes:
        points: Points of the branch, [point xyz], in mm.
        radii_mm: Radius at each point in mm.
    """

    points: np.ndarray
    radii_mm: np.ndarray


def grow(root: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> Tree:
    """Grows a tree from a root to every target, the near ones first; each joins where that is short and forward.

    Radii follow from the number of twigs beyond (close to Murray's law).
    """
    order = np.argsort(np.linalg.norm(targets - root, axis=1))
    spread = float(np.linalg.norm(targets - root, axis=1).max())
    most = int(len(targets) * spread / STEP_MM) + 2
    points = np.zeros((most, 3), np.float32)
    parent = np.full(most, -1)
    from_root = np.zeros(most, np.float32)
    points[0], n = root, 1
    leaves = []
    for target in targets[order]:
        own = float(np.linalg.norm(target - root))
        away = np.sqrt(((points[:n] - target.astype(np.float32)) ** 2) @ np.ones(3, np.float32))
        # Twigs leave stems that lead their way: whoever is farther from the root than the target is no stem of it.
        cost = away + 0.25 * from_root[:n] + np.where(from_root[:n] > own, 1e3, 0)
        joint = int(cost.argmin())
        steps = max(2, int(away[joint] / STEP_MM))
        t = np.linspace(0, 1, steps + 1)[1:]
        line = points[joint] + t[:, None] * (target - points[joint])
        line += np.sin(np.pi * t)[:, None] * rng.normal(0, 0.05 * away[joint], 3)  # none is quite straight
        fresh = slice(n, n + steps)
        points[fresh] = line
        parent[fresh] = np.arange(n - 1, n + steps - 1)
        parent[n] = joint
        from_root[fresh] = np.linalg.norm(line - root, axis=1)
        n += steps
        leaves.append(n - 1)
    beyond = np.zeros(n)
    beyond[leaves] = 1
    for child in range(n - 1, 0, -1):  # children come after their parents
        beyond[parent[child]] += beyond[child]
    return Tree(points[:n], LEAF_MM * beyond**0.37)


def stamp(build: Build, points: np.ndarray, radii_mm: np.ndarray, hu: float, where: np.ndarray) -> None:
    """Puts balls of matter along points, as much of each voxel as they fill."""
    fraction = np.zeros(build.volume_hu.size, np.float32)
    shape = np.array(build.volume_hu.shape)
    axes = (build.z_mm, build.y_mm, build.x_mm)
    steps = np.array([axis[1] - axis[0] for axis in axes])
    index = np.stack([(points[:, 2 - n] - axes[n][0]) / steps[n] for n in range(3)], axis=1)
    reach = np.ceil((radii_mm + 1.0) / steps.min()).astype(int)
    for r in np.unique(reach):
        some = reach == r
        nearest = np.rint(index[some]).astype(int)
        offsets = np.stack(np.meshgrid(*[np.arange(-r, r + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        voxels = nearest[:, None, :] + offsets
        away = np.linalg.norm((voxels - index[some][:, None, :]) * steps, axis=2)
        filled = np.clip((radii_mm[some][:, None] + 1.0 - away) / 2, 0, 1)
        inside = ((voxels >= 0) & (voxels < shape)).all(axis=2) & (filled > 0)
        flat = np.ravel_multi_index(tuple(voxels[inside].T), build.volume_hu.shape)
        np.maximum.at(fraction, flat, filled[inside].astype(np.float32))
    touched = np.flatnonzero(fraction)
    touched = touched[where.reshape(-1)[touched]]
    volume = build.volume_hu.reshape(-1)
    volume[touched] += fraction[touched] * (hu - volume[touched])
