"""Whose scan a series is, from its headers alone; the patient is named nowhere."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from tests.readers.awkward.writing import make_series, write_file
from tips_med.errors import ReadError
from tips_med.exporters.nifti import write_volume
from tips_med.readers import PatientTrace, read_patient_trace, read_scan_of_patient


def test_it_is_that_of_the_scan_that_was_read(tmp_path: Path) -> None:
    for n, one in enumerate(make_series(slices=4)):
        one.set(PatientID="JOHN-DOE-7", AcquisitionDate="20240301")
        write_file(tmp_path / f"{n}.dcm", one.dataset)
    scan, trace = read_scan_of_patient(tmp_path)
    assert scan.provenance.series_uid is not None
    assert read_patient_trace(tmp_path, scan.provenance.series_uid) == trace
    assert trace.acquired == date(2024, 3, 1)
    assert trace.key and "DOE" not in trace.key
    with pytest.raises(ReadError) as refused:
        read_patient_trace(tmp_path, "1.2.3")
    assert refused.value.code == "no-such-series"


def test_other_formats_name_nobody(tmp_path: Path) -> None:
    path = write_volume(np.zeros((3, 4, 5), np.int16), np.eye(4), tmp_path / "scan.nii.gz")
    assert read_patient_trace(path, "") == PatientTrace()
