"""Masks from outlines: in the right place at any angle, and the outlines that are shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.organs.heart import (
    OUTLINES,
    Level,
    Outlines,
    cut_out,
    heart_mask,
    main,
    read_outlines,
    smooth_curve,
)
from tests.conftest import ORIENTATIONS, placed_scan
from tests.manifest.files import write_nifti
from tips_med.errors import ConfigError, ReadError
from tips_med.geometry import same_grid, voxel_volume_mm3
from tips_med.readers import read_scan
from tips_med.scan import Scan

CENTRE = np.array([-24.0, 8.0, -252.0])
RADII = np.array([16.0, 10.0, 13.0])
"""Of an ellipsoid that is not in the middle of the scan, and as wide as long along no two axes."""

SHAPE = (25, 61, 49)


def ellipse(height: float, corners: int = 14) -> np.ndarray:
    """Vertices on the ellipsoid's section at a height from its centre, mm."""
    turn = 2 * np.pi * np.arange(corners) / corners
    width = np.sqrt(1 - (height / RADII[2]) ** 2)
    return CENTRE[:2] + width * RADII[:2] * np.column_stack([np.cos(turn), np.sin(turn)])


def ellipsoid_outlines() -> Outlines:
    levels = tuple(Level(CENTRE[2] + h, (ellipse(h),)) for h in (-11.0, -7.0, -3.0, 1.0, 5.0, 9.0))
    return Outlines(CENTRE[2] - RADII[2], CENTRE[2] + RADII[2], levels, "train", "")


def points_of(scan: Scan) -> np.ndarray:
    return np.indices(scan.shape).reshape(3, -1).T @ scan.lps_from_kji[:3, :3].T + scan.lps_from_kji[:3, 3]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("name", list(ORIENTATIONS))
def test_an_ellipsoid_comes_back_at_any_angle(name: str) -> None:
    slices, rows, columns = SHAPE
    shape = {"sagittal": (columns, slices, rows), "coronal": (rows, slices, columns)}.get(name, SHAPE)
    scan = placed_scan(ORIENTATIONS[name], shape)
    inside = (((points_of(scan) - CENTRE) / RADII) ** 2).sum(axis=1).reshape(scan.shape) < 1
    mask = heart_mask(scan, ellipsoid_outlines())
    assert inside.sum() > 2000
    assert dice(mask, inside) > 0.96
    volume = mask.sum() * voxel_volume_mm3(scan.lps_from_kji)
    assert volume == pytest.approx(4 / 3 * np.pi * RADII.prod(), rel=0.04)


def test_parts_of_a_level_are_joined() -> None:
    scan = placed_scan(ORIENTATIONS["axial"], SHAPE)
    left, right = (np.array([[x, 4], [x + 8, 4], [x + 8, 16], [x, 16.0]]) for x in (-24.0, -44.0))
    both = tuple(Level(z, (left, right)) for z in (-260.0, -244.0))
    mask = heart_mask(scan, Outlines(-262.0, -242.0, both, "train", ""))
    at = points_of(scan)[mask.reshape(-1)]
    for low, high in ((-24, -16), (-44, -36)):
        assert ((at[:, 0] > low) & (at[:, 0] < high)).sum() > 300
    assert not ((at[:, 0] > -34) & (at[:, 0] < -26)).any()


def test_a_curve_goes_through_its_vertices_and_keeps_the_area() -> None:
    vertices = ellipse(0.0, 12)
    curve = smooth_curve(vertices)
    assert np.abs(curve[:, None] - vertices).sum(axis=2).min(axis=0).max() < 1e-9
    x, y = curve.T
    area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    assert area == pytest.approx(np.pi * RADII[0] * RADII[1], rel=0.01)


def test_outlines_of_another_scan_are_refused() -> None:
    scan = placed_scan(ORIENTATIONS["oblique"], SHAPE)
    far = Outlines(100.0, 120.0, (Level(110.0, (ellipse(0.0),)),), "train", "")
    with pytest.raises(ConfigError, match="Give the outlines of this scan"):
        heart_mask(scan, far)


def test_lung_and_other_organs_are_cut_out() -> None:
    placed = placed_scan(ORIENTATIONS["axial"], SHAPE)
    voxels = np.full(SHAPE, 40, np.float32)
    voxels[:, :20] = -800
    scan = Scan(voxels, placed.lps_from_kji, "CT", "HU")
    others = np.zeros(SHAPE, bool)
    others[:, :, 40:] = True
    mask = cut_out(np.ones(SHAPE, bool), scan, others)
    assert mask[:, 21:, :40].all()
    assert not mask[:, :19].any()
    assert not mask[:, :, 40:].any()


def written(folder: Path, labels_shape: tuple[int, int, int] = SHAPE) -> dict[str, Any]:
    """A case in a folder of data; what its outlines are in JSON."""
    scan = placed_scan(ORIENTATIONS["axial"], SHAPE)
    write_nifti(folder / "data" / "one" / "ct.nii.gz", np.full(SHAPE, 40, np.int16), scan.lps_from_kji)
    organs = np.zeros(labels_shape, np.uint8)
    organs[:12] = 10
    write_nifti(folder / "data" / "one" / "organs.nii.gz", organs, scan.lps_from_kji)
    numbers = {"spine": 3, "liver": 10, "stomach": 14, "spleen": 11}
    (folder / "data" / "organs.json").write_text(json.dumps(numbers))
    drawn = ellipsoid_outlines()
    levels = [{"z": level.z, "parts": [part.tolist() for part in level.parts]} for level in drawn.levels]
    return {"use": "test", "first_z": drawn.first_z, "last_z": drawn.last_z, "note": "", "levels": levels}


def run(folder: Path, one: dict[str, Any]) -> Path:
    outlines = folder / "outlines.json"
    outlines.write_text(json.dumps({"cases": {"one": one}}))
    main([str(folder / "data"), "--out", str(folder / "out"), "--outlines", str(outlines)])
    return folder / "out" / "one" / "heart.nii.gz"


def test_the_command_writes_a_mask_on_the_grid_of_its_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(tmp_path, written(tmp_path))
    mask, scan = read_scan(path), read_scan(tmp_path / "data" / "one" / "ct.nii.gz")
    assert mask.shape == scan.shape
    assert same_grid(mask.lps_from_kji, scan.lps_from_kji, scan.shape)
    assert set(np.unique(mask.voxels)) == {0, 1}
    assert not mask.voxels[:12].any()
    assert capsys.readouterr().out.split()[:2] == ["one", "test"]


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path, (25, 61, 48))
    with pytest.raises(ReadError, match="Resample the labels"):
        run(tmp_path, one)


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": []},
        {"first_z": -240.0},
        {"levels": [{"z": -252.0, "parts": [[[0, 0], [1, 1]]]}]},
        {"levels": [{"z": -252.0, "parts": []}]},
    ],
)
def test_wrong_outlines_are_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="one"):
        run(tmp_path, written(tmp_path) | wrong)


def test_the_shipped_outlines() -> None:
    drawn = read_outlines()
    assert {case for case, one in drawn.items() if one.use == "test"} == {
        "LIDC-IDRI-0003",
        "NSCLC-RG-R01-001",
        "QIN-LSC-0064",
        "NLST-101287",
    }
    assert {one.use for one in drawn.values()} == {"train", "test"}
    for case, one in drawn.items():
        assert one.note, case
        assert len(one.levels) >= 6, case
        for level in one.levels:
            for part in level.parts:
                assert np.linalg.norm(part - np.roll(part, 1, axis=0), axis=1).min() > 0.5, (case, level.z)
    assert "no radiologist" in json.loads(OUTLINES.read_text())["drawn_by"]
