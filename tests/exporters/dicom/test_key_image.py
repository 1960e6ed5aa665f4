"""The picture says which way it is turned, as every viewer writes at its edges."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporters.dicom.answers import ORIENTATIONS, answered
from tips_med.exporters.dicom import make_results, read_source


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        ("axial", ["L", "P"]),
        ("rows to the right", ["R", "P"]),
        ("prone", ["R", "A"]),
        ("columns to the front", ["L", "A"]),
        ("sagittal", ["P", "F"]),
        ("coronal", ["L", "F"]),
    ],
)
def test_patient_orientation_names_where_rows_and_columns_run_to(
    tmp_path: Path, orientation: str, letters: list[str]
) -> None:
    """First where a row runs to, then a column (PS3.3 C.7.6.1.1.1); feet and head, not inferior and superior."""
    path, grounding = answered(tmp_path, orientation=ORIENTATIONS[orientation])
    picture = make_results(grounding, read_source(path, grounding.scan)).key_image
    assert picture is not None
    assert list(picture.PatientOrientation) == letters
