"""Corrected masks become rows that training reads."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.server.running import Running, running
from tips_med.manifest.check import check_rows
from tips_med.manifest.masks import read_mask
from tips_med.manifest.rows import read_manifest
from tips_med.query import Lexicon
from tips_med.readers import read_scan


def _sent(mask: np.ndarray, affine: np.ndarray) -> str:
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    image.set_sform(affine, 1)
    return base64.b64encode(gzip.compress(image.to_bytes())).decode()


def _correct(server: Running, study: str, query: str, mask: str) -> tuple[int, dict[str, object]]:
    given = server.http.post(f"/v1/studies/{study}/corrections", json={"query": query, "mask": mask})
    return given.status_code, given.json()


def test_a_correction_is_a_row_of_a_manifest(server: Running, scan_path: Path) -> None:
    study = server.ready(scan_path)
    image = nib.load(scan_path)
    drawn = np.zeros(image.shape, np.uint8)
    drawn[60:70, 40:50, 30:40] = 1
    assert _correct(server, study, "mass left lung", _sent(drawn, image.affine))[1]["voxels"] == 1000
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = image.shape[0] - 1
    flipped = _sent(drawn[::-1], image.affine @ turn)
    assert _correct(server, study, "nodule", flipped)[1]["row"] == 2
    assert _correct(server, study, "pleural effusion", _sent(0 * drawn, image.affine))[1]["label"] == "absent"
    smaller = drawn.copy()
    smaller[65:] = 0
    again = _correct(server, study, "mass left lung", _sent(smaller, image.affine))[1]
    assert again == {"row": 1, "rows": 3, "label": "present", "voxels": 500}
    manifest = server.service.settings.corrections / "manifest.csv"
    rows = read_manifest(manifest)
    assert [row.label for row in rows] == ["present", "present", "absent"]
    scan = read_scan(rows[0].scan)
    for row, expected in ((rows[0], smaller), (rows[1], drawn)):
        np.testing.assert_array_equal(read_mask(row.mask, scan), expected.T > 0)
    assert check_rows(rows, Lexicon.load("chest_ct")).usable


def test_masks_that_do_not_fit_are_refused(server: Running, scan_path: Path, tmp_path: Path) -> None:
    study = server.ready(scan_path)
    image = nib.load(scan_path)
    elsewhere = _sent(np.ones(image.shape, np.uint8), image.affine @ np.diag([1.1, 1, 1, 1]))
    assert _correct(server, study, "mass", elsewhere)[1]["code"] == "other-grid"
    for bad in ("!!", base64.b64encode(b"no gzip").decode(), base64.b64encode(gzip.compress(bytes(1 << 25))).decode()):
        assert _correct(server, study, "mass", bad)[0] in (400, 422)
    assert _correct(server, study, "xyzzy", elsewhere)[0] == 422
    with running(tmp_path) as other:
        study = other.ready(scan_path)
        assert _correct(other, study, "mass", elsewhere)[1]["code"] == "not-allowed"
