"""Every awkward case is read rightly or refused by its name; recovered where an option says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.readers.awkward.case import Case
from tests.readers.awkward.catalog import CASES
from tests.readers.awkward.phantom import agrees
from tips_med.errors import ReadError
from tips_med.readers import inspect_path, read_scan
from tips_med.scan import Scan


def _name(case: Case) -> str:
    return "".join(c if c.isalnum() else "-" for c in case.name)


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_read_rightly_or_refused_by_name(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    written = case.write(folder)
    if case.refusal is None:
        scan = read_scan(written.path)
        assert _faults(scan, written.truths[0]) == ""
        assert case.note in " ".join(scan.provenance.notes)
        return
    with pytest.raises(ReadError) as caught:
        read_scan(written.path)
    assert caught.value.code == case.refusal
    if case.options:
        scan = read_scan(written.path, **case.options)
        assert _faults(scan, written.truths[case.recovered]) == ""
        assert case.note in " ".join(scan.provenance.notes)
        if "phase" not in case.options:
            assert scan.provenance.notes or "series" in case.options


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_inspection_agrees_with_reading(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    path = case.write(folder).path
    try:
        code = None
        read_scan(path)
    except ReadError as error:
        code = error.code
    try:
        found = inspect_path(path)
    except ReadError as error:
        assert error.code == code
        return
    if code in ("no-rescale", "damaged-pixels"):  # known only once the pixels are decoded
        return
    assert (found.would_read is not None) == (code is None)
    assert found.reason
    assert len(found.rows()) >= len(found.series)


def _faults(scan: Scan, truth: object) -> str:
    lps_from_index = scan.lps_from_kji
    if scan.provenance.format == "dicom":
        assert np.linalg.det(lps_from_index[:3, :3]) < 0, "(i, j, k) must be right-handed"
    return agrees(scan.voxels, lps_from_index, truth)  # type: ignore[arg-type]
