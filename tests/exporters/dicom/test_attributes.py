"""Dates, times and sex as real archives hold them: what is meant is kept, and nothing stands in the way of a result."""

from __future__ import annotations

import logging
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from tests.exporters.dicom.answers import answer
from tests.exporters.dicom.test_results import errors_of, needs_dciodvfy
from tests.readers.awkward.writing import make_series, write_series
from tips_med.exporters.dicom import DicomExporter
from tips_med.exporters.dicom.attributes import fitting
from tips_med.readers import read_scan


@pytest.mark.parametrize(
    ("keyword", "written", "meant"),
    [
        ("PatientBirthDate", "19500228", "19500228"),
        ("PatientBirthDate", "1950.02.28", "19500228"),
        ("PatientBirthDate", "1950-02-28", "19500228"),
        ("PatientBirthDate", "19500228120000", None),
        ("PatientBirthDate", "19500228 120000", "19500228"),
        ("PatientBirthDate", "00000000", None),
        ("PatientBirthDate", "19500230", None),
        ("PatientBirthDate", "1950", None),
        ("StudyDate", "01/02/2020", None),
        ("StudyDate", MultiValue(str, ["20200101", "20200102"]), "20200101"),
        ("StudyTime", "12:30:15", "123015"),
        ("StudyTime", "123015.1234567", "123015.123456"),
        ("StudyTime", "12", "12"),
        ("StudyTime", "250000", None),
        ("StudyTime", "noon", None),
        ("PatientSex", "male", "M"),
        ("PatientSex", " F", "F"),
        ("PatientSex", "U", None),
        ("PatientAge", "45Y", "045Y"),
        ("PatientAge", "old", None),
        ("ReferringPhysicianName", MultiValue(str, ["A^B", "C"]), "A^B"),
        ("StudyID", "S7", "S7"),
        ("StudyID", "", None),
    ],
)
def test_what_is_meant_is_kept(keyword: str, written: object, meant: str | None) -> None:
    assert fitting(keyword, written) == meant


ODD = {
    "PatientBirthDate": b"00000000",
    "PatientSex": b"male",
    "StudyDate": b"2020.02.29",
    "StudyTime": b"25:00:00",
    "PatientAge": b"45",
    "PatientWeight": b"ca. 80",
    "ReferringPhysicianName": b"a\\b ",
    "InstanceNumber": b"x ",
}


@needs_dciodvfy
def test_odd_values_do_not_keep_a_result_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_series(tmp_path / "series", make_series())
    for file in path.iterdir():
        dataset = pydicom.dcmread(file)
        for keyword, value in ODD.items():
            tag = Tag(tag_for_keyword(keyword))  # type: ignore[arg-type]
            raw = RawDataElement(tag, dictionary_VR(keyword), len(value), value, 0, False, True, True)
            dataset._dict[tag] = raw
        dataset.save_as(file, enforce_file_format=True)
    (tmp_path / "out").mkdir()
    with caplog.at_level(logging.WARNING, "tips_med"):
        made = DicomExporter(path).export(answer(read_scan(path)), tmp_path / "out")
    for file in made:
        result = pydicom.dcmread(file)
        assert (result.PatientBirthDate, result.PatientSex, result.StudyDate) == ("", "M", "20200229")
        assert errors_of(file) == []
    said = [record.getMessage() for record in caplog.records if record.name.startswith("tips_med")]
    assert len(said) == 1 and "PatientBirthDate" in said[0] and "00000000" not in said[0]
