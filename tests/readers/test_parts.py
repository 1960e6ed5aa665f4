from __future__ import annotations

import numpy as np
import pydicom

from tests.manifest.files import uid, write_rtstruct
from tips_med.readers import inspect_path
from tips_med.readers.parts import part_names


def test_rois_are_named_as_a_manifest_takes_them(tmp_path):
    square = np.array([[0, 0, 0], [9, 0, 0], [9, 9, 0.0]])
    path = write_rtstruct(tmp_path / "rs.dcm", [square], name="GTV left")
    assert part_names(path) == ("GTV left",)
    header = pydicom.dcmread(path)
    header.StudyInstanceUID, header.SeriesInstanceUID = uid(1), uid(2)
    header.save_as(path)
    (report,) = inspect_path(path).series
    assert report.parts == ("GTV left",)
    assert any("GTV left" in row["description"] for row in inspect_path(path).rows())


def test_a_file_that_holds_none_has_none(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no DICOM")
    assert part_names(tmp_path / "a.dcm") == ()
