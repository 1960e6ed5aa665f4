"""Shared by all tests: seeds, and scans whose every value is known from its place."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch

from tips_med.scan import Scan

# Ignite imports parts of PyTorch that warn of themselves; whichever test came first would fail for it.
with warnings.catch_warnings(), suppress(ImportError):
    warnings.simplefilter("ignore")
    import ignite.engine  # noqa: F401


@pytest.fixture(autouse=True)
def _seeded() -> None:
    np.random.seed(0)  # noqa: NPY002 (MONAI and others still draw from it)
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def axial_affine(spacing_mm: tuple[float, float, float] = (2.5, 0.8, 1.1), turned_deg: float = 0.0) -> np.ndarray:
    """lps_from_kji of an axial scan, turned about x and half as much about z; three different spacings."""
    a, b = np.deg2rad(turned_deg), np.deg2rad(turned_deg / 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (about_z @ about_x @ np.eye(3)[:, ::-1]) * spacing_mm
    return affine


ORIENTATIONS = {
    "axial": axial_affine(),
    "oblique": axial_affine(turned_deg=20.0),
    "mirrored": axial_affine() @ np.diag([1.0, 1, -1, 1]),
    "feet first": axial_affine() @ np.diag([-1.0, 1, 1, 1]),
    "sagittal": axial_affine()[:, [2, 0, 1, 3]],
    "coronal": axial_affine()[:, [1, 0, 2, 3]],
}


def placed_scan(lps_from_kji: np.ndarray, shape: tuple[int, int, int] = (13, 21, 17)) -> Scan:
    """A scan around the point (-30, 12, -250) whose value is ``value_at`` its place."""
    affine = lps_from_kji.copy()
    affine[:3, 3] = (-30.0, 12.0, -250.0) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    points = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    return Scan(value_at(points).reshape(shape).astype(np.float32), affine, "CT", "HU")


def value_at(points_lps: np.ndarray) -> np.ndarray:
    """Linear in x, y and z, so that linear interpolation is exact; different along each."""
    return 20.0 + 3.0 * points_lps[:, 0] - 2.0 * points_lps[:, 1] + 1.0 * points_lps[:, 2]


@pytest.fixture(params=list(ORIENTATIONS))
def any_scan(request: pytest.FixtureRequest) -> Scan:
    return placed_scan(ORIENTATIONS[request.param])
