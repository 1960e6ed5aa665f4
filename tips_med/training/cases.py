"""Scans to paint into, brought onto the working grid: once each, from the scans themselves or from a pack of them."""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tips_med.encoders.compact import CompactConfig
from tips_med.errors import ConfigError
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.shapes import Affine
from tips_med.synthesis.anatomy import Anatomy, make_anatomy
from tips_med.synthesis.pack import read_pack_index, read_packed
from tips_med.synthesis.phantom import make_lung_phantom, make_phantom, read_lung_shape
from tips_med.synthesis.phantom.shapes import OUTLINE
from tips_med.training.outlines import outline_lungs

log = logging.getLogger(__name__)

LUNG_BODY = "lungs-"
"""What the names of torsos around real lungs begin with."""

Sphere = tuple[float, float, float, float]
"""Centre x, y, z in LPS mm, and radius in mm."""


@dataclass(frozen=True)
class TrainingCase:
    """One scan to paint into.

    Attributes:
        name: Name of the anatomy.
        scan: Path of the scan, relative to the root of the data.
        lungs: Path of a label map (1 right, 2 left); None where there is none.
        votes: Path of a map of how many readers outlined a lesion.
        outlined_from: Minimum number of votes of a lesion voxel; from 1 to below this it is disputed.
        disputed: Sphere (x, y, z in LPS mm, radius in mm) around a lesion that nobody outlined.
    """

    name: str
    scan: str
    lungs: str | None = None
    votes: str | None = None
    outlined_from: int = 2
    disputed: Sphere | None = None


def prepare_cases(
    cases: Sequence[TrainingCase],
    data: Path,
    folder: Path,
    image: CompactConfig,
    outliner: GroundingModel | None = None,
    spheres: Mapping[str, Sequence[Sphere]] | None = None,
    may_lack: Collection[str] = (),
) -> list[Anatomy]:
    """Brings all cases onto the working grid, those that ``folder`` does not have yet.

    Args:
        cases: Scans to paint into.
        data: Root folder of the cases' paths; or a pack of them, which has what ``prepare`` makes.
        folder: Folder of the prepared anatomies.
        image: Sizes of the image tower, whose grid is used.
        outliner: Model that outlines lungs that nobody has.
        spheres: Places of real findings that nobody outlined, by case.
        may_lack: Names of cases that a pack need not have: they are left out then.

    Raises:
        ConfigError: ``pack-cases`` when a pack lacks a case, ``pack-grid`` when it was made for another grid.
        ReadError: The pack, or a scan, cannot be read.
    """
    if not data.is_file():
        return [prepare(case, data, folder, image, outliner, (spheres or {}).get(case.name, ())) for case in cases]
    index = read_pack_index(data)
    if index.spacing_mm != tuple(image.slabs.spacing_mm):
        raise ConfigError(
            f"the pack has a grid of {index.spacing_mm} mm",
            path=data,
            expected=f"that of the image tower, {tuple(image.slabs.spacing_mm)} mm",
            remedy="pack the scans again for this image tower",
            code="pack-grid",
        )
    lacking = [case.name for case in cases if case.name not in index.names]
    needed = [name for name in lacking if name not in may_lack]
    if needed:
        raise ConfigError(
            f"the pack lacks {', '.join(needed)}",
            path=data,
            expected="every case that is trained on",
            remedy="pack them, too, or leave them out of the cases",
            code="pack-cases",
        )
    if lacking:
        log.info("held out, and not in the pack: %s", ", ".join(lacking))
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for case in cases:
        if case.name in lacking:
            continue
        file = folder / f"{case.name}.safetensors"
        if not file.exists():
            read_packed(data, case.name).save(file)
        found.append(Anatomy.load(file))
    return found


def prepare(
    case: TrainingCase,
    data: Path,
    folder: Path,
    image: CompactConfig,
    outliner: GroundingModel | None = None,
    spheres: Sequence[Sphere] = (),
) -> Anatomy:
    """Brings one case onto the working grid, once.

    A model outlines lungs that nobody has. What lies in the spheres and is not outlined is disputed.
    """
    file = folder / f"{case.name}.safetensors"
    if file.exists():
        return Anatomy.load(file)
    folder.mkdir(parents=True, exist_ok=True)
    scan = read_scan(data / case.scan)
    lungs = _labels(data / case.lungs) if case.lungs else None
    votes = _labels(data / case.votes) if case.votes else np.zeros(scan.shape, np.uint8)
    disputed = (votes > 0) & (votes < case.outlined_from)
    if case.disputed is not None:
        disputed |= _sphere(scan.shape, scan.lps_from_kji, case.disputed)
    for sphere in spheres:
        disputed |= _sphere(scan.shape, scan.lps_from_kji, sphere)
    anatomy = make_anatomy(case.name, scan, image.slabs, lungs, votes >= case.outlined_from, disputed)
    if lungs is None and outliner is not None:
        anatomy = replace(anatomy, lungs=outline_lungs(anatomy, outliner))
    anatomy.save(file)
    return anatomy


def read_spheres(path: Path) -> dict[str, list[Sphere]]:
    """Places where a reader reported something, or was not sure, by case.

    Args:
        path: CSV with the columns case, finding, state, approx_centre_lps_mm ("x y z") and approx_size_mm (a length, or
            several with x between them).

    Returns:
        Spheres of half the largest length and 8 mm more; rows without a centre and diffuse emphysema are left out.
    """
    found: dict[str, list[Sphere]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            centre = row["approx_centre_lps_mm"].split()
            if row["state"] == "absent" or len(centre) != 3 or row["finding"] == "emphysema":
                continue
            sizes = [float(size) for size in row["approx_size_mm"].split("x") if size.strip()] or [15.0]
            x, y, z = (float(c) for c in centre)
            found[row["case"]].append((x, y, z, min(max(sizes) / 2, 40.0) + 8.0))
    return found


def prepare_phantom(seed: int, folder: Path, image: CompactConfig) -> Anatomy:
    """One procedural torso, made once; ``paint`` makes its own of other seeds.

    Args:
        seed: Random seed (integer, 0 or more).
        folder: Folder of the prepared anatomies.
        image: Sizes of the image tower, whose grid is used.
    """
    file = folder / f"phantom-{seed}.safetensors"
    if not file.exists():
        make_phantom(seed, image.slabs.spacing_mm).save(file)
    return Anatomy.load(file)


def prepare_lung_bodies(shapes: str, count: int, data: Path, folder: Path, image: CompactConfig) -> list[Anatomy]:
    """Procedural torsos around the lungs of real people, made once each: every shape in turn, every seed once.

    Args:
        shapes: Folder of the shapes, relative to the root of the data: one folder each, as ``read_lung_shape`` reads.
        count: Number of bodies.
        data: Root folder of the data; or a pack, of which the bodies that were packed are taken, ``count`` at most.
        folder: Folder of the prepared anatomies.
        image: Sizes of the image tower, whose grid is used.

    Returns:
        The bodies; none where the data have no such folder.

    Raises:
        ReadError: A shape cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if data.is_file():
        names = [name for name in read_pack_index(data).names if name.startswith(LUNG_BODY)][:count]
        for name in names:
            if not (folder / f"{name}.safetensors").exists():
                read_packed(data, name).save(folder / f"{name}.safetensors")
        return [Anatomy.load(folder / f"{name}.safetensors") for name in names]
    found = sorted(one for one in (data / shapes).glob("*") if (one / OUTLINE).exists())
    if not found:
        log.info("no shapes of lungs in %s: no torsos are built around them", shapes)
        return []
    files = [folder / f"{LUNG_BODY}{found[seed % len(found)].name}-{seed}.safetensors" for seed in range(count)]
    for first, one in enumerate(found):  # each shape is read once
        lacking = [seed for seed in range(first, count, len(found)) if not files[seed].exists()]
        shape = read_lung_shape(one) if lacking else None
        for seed in lacking:
            if shape is not None:
                make_lung_phantom(shape, seed, image.slabs.spacing_mm).save(files[seed])
    return [Anatomy.load(file) for file in files]


def _labels(path: Path) -> np.ndarray:
    return np.nan_to_num(read_scan(path).voxels).round().astype(np.uint8)


def _sphere(shape: tuple[int, int, int], lps_from_kji: Affine, sphere: Sphere) -> np.ndarray:
    """The voxels of a sphere, bool [k j i]: only those of its box are looked at."""
    kji_from_lps = np.linalg.inv(lps_from_kji)
    middle = (kji_from_lps @ [*sphere[:3], 1.0])[:3]
    reach = sphere[3] * np.linalg.norm(kji_from_lps[:3, :3], axis=1) + 1
    low = np.clip(np.floor(middle - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(middle + reach) + 1, low, shape).astype(int)
    k, j, i = (index.astype(np.float32) + start for index, start in zip(np.indices(high - low), low.astype(np.float32)))
    place = np.stack([k, j, i], axis=-1) @ lps_from_kji[:3, :3].T.astype(np.float32) + lps_from_kji[:3, 3]
    inside = np.zeros(shape, bool)
    inside[tuple(map(slice, low, high))] = np.linalg.norm(place - np.asarray(sphere[:3]), axis=-1) <= sphere[3]
    return inside
