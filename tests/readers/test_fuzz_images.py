"""Damaged NRRD and MetaImage files and manifests: read, or refused in one line; never a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.readers.test_reported import HU, NRRD
from tips_med.errors import ReadError
from tips_med.manifest import ManifestError, Row, read_manifest, write_manifest
from tips_med.readers import read_scan

META = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -10 -20 -30
ElementSpacing = 5 5 5
DimSize = 4 3 2
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, taken away, doubled, or the end cut off."""
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(made)))
        way = rng.random()
        if way < 0.5:
            made[at] = int(rng.integers(256))
        elif way < 0.7:
            del made[at : at + int(rng.integers(1, 9))]
        elif way < 0.9:
            made[at:at] = made[at : at + int(rng.integers(1, 9))]
        else:
            del made[max(at, 1) :]
    return bytes(made)


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.mha"])
def test_a_damaged_image_is_read_or_refused(name: str, tmp_path: Path) -> None:
    whole = (NRRD.encode() + b"\n" if name.endswith("nrrd") else META) + HU.tobytes()
    file = tmp_path / name
    file.write_bytes(whole)
    assert read_scan(file).shape == HU.shape
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        file.write_bytes(damaged(whole, rng))
        try:
            scan = read_scan(file)
            assert np.isfinite(scan.lps_from_kji).all()
        except ReadError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
def test_a_damaged_manifest_is_read_or_refused(name: str, tmp_path: Path) -> None:
    rows = [Row(tmp_path / f"{n}.nii.gz", f"no mass, \u2028 {n}", label="absent", patient=f"p{n}") for n in range(4)]
    file = write_manifest(rows, tmp_path / name)
    whole = file.read_bytes()
    assert len(read_manifest(file)) == 4
    rng = np.random.default_rng(1)
    for _ in range(150):
        file.write_bytes(damaged(whole, rng))
        try:
            assert all(isinstance(row, Row) for row in read_manifest(file))
        except ManifestError as error:
            assert "\n" not in str(error)
