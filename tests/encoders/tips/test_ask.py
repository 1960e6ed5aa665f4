"""A folder of TIPS towers, asked like any other model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.encoders.tips.test_image import oblique_scan
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import grid_corners
from tips_med.grounding import encode, ground
from tips_med.models import open_model
from tips_med.slabs import make_slabs


def test_a_scan_is_encoded_saved_and_asked(tips_folder: Path, tmp_path: Path) -> None:
    model, scan = open_model(f"tips:{tips_folder}", "cpu"), oblique_scan((8.0, 18.0, 24.0))
    assert max(make_slabs(scan, model.image.slab_spec).pixels.shape[-2:]) == 3 * 14  # enlarged to 4 x 14
    encode(scan, model).save(tmp_path / "study.safetensors")
    study = EncodedStudy.load(tmp_path / "study.safetensors")
    assert study.encoder == model.text.name
    found = ground(study, "ground glass opacity in the left lung", model)
    # Random weights: what is found means nothing, but it has a place, and it is where the scan is.
    assert found.heat.shape == tuple(study.features.patches.shape[:3])
    assert max(found.heat.shape[1:]) == 4
    assert np.isfinite(found.heat).any()
    assert found.labels.shape == scan.shape
    assert {heat.shape for heat in found.token_heat.values()} == {found.heat.shape}
    low, high = (getattr(grid_corners(found.lps_from_heat, found.heat.shape), end)(axis=0) for end in ("min", "max"))
    corners = grid_corners(scan.lps_from_kji, scan.shape)
    slack_mm = np.array([14 * 0.9, 14 * 0.9, 2.5])
    assert (low <= corners.min(axis=0) + slack_mm).all()
    assert (high >= corners.max(axis=0) - slack_mm).all()
