"""Of the date of a study, its year is kept; de-identification takes it, too."""

from __future__ import annotations

import pytest

from tests.readers.awkward.writing import make_series, write_file
from tips_med.deidentification import Deidentifier
from tips_med.readers import read_scan


@pytest.mark.parametrize(
    ("date", "year"),
    [("20240301", 2024), ("2024.03.01", 2024), ("", None), (None, None)],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_the_year_is_read(date, year, tmp_path):
    for n, one in enumerate(make_series(slices=4)):
        one.set(StudyDate=date)
        write_file(tmp_path / f"{n}.dcm", one.dataset)
    scan = read_scan(tmp_path)
    assert scan.provenance.study_year == year
    assert Deidentifier(bytes(32)).scan(scan).provenance.study_year is None
