"""Manifests from whole reports: what their rows carry, what they leave out, and what is told of them."""

import json
from pathlib import Path

import pytest

from pipelines.check_manifest import check_manifest
from pipelines.make_manifest import make_manifest
from tests.manifest.files import a_scan, write_nifti
from tips_med.manifest import ManifestError, read_manifest
from tips_med.manifest.check import UnusableManifestError
from tips_med.manifest.reports import read_coverage

REPORTS = """scan,report,patient
a.nii.gz,"Patient: Margaret Whitfield
MRN: 00482913
FINDINGS: 9 mm nodule in the right upper lobe (series 4, image 87). No pleural effusion. Two zonky masses on 3/4/2021.
IMPRESSION: Lungs are clear. Small right pleural effusion. History of pneumonia.",MRN-00482913
b.nii.gz,"No new nodules. Stable 5 mm nodule in the lingula with zonky borders. Possible emphysema.",MRN-77
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "reports.csv").write_text(REPORTS, encoding="utf-8")
    for name in ("a", "b"):
        write_nifti(tmp_path / f"{name}.nii.gz", a_scan())
    return make_manifest("reports", tmp_path / "m.csv", reports=tmp_path / "reports.csv")


def test_rows_carry_what_a_report_says(manifest: Path) -> None:
    rows = {row.phrase: row for row in read_manifest(manifest)}

    nodule = rows["9 mm nodule right upper lobe"]
    assert (nodule.label, nodule.state, nodule.series, nodule.images) == ("present", "present", 4, (87,))
    assert (nodule.size_mm, nodule.mask) == (9.0, None)
    assert rows["mass"].count == 2
    assert rows["no pleural effusion"].label == "absent"
    assert (rows["history of pneumonia"].label, rows["history of pneumonia"].state) == ("unknown", "prior")
    assert (rows["possible emphysema"].label, rows["possible emphysema"].state) == ("unknown", "possible")
    assert rows["no consolidation lung"].label == "absent", "the lungs are clear"


def test_no_new_nodule_does_not_say_that_there_is_none(manifest: Path) -> None:
    assert {row.phrase: row.label for row in read_manifest(manifest)}["no nodule"] == "unknown"


def test_the_source_is_told_by_its_place_and_nothing_of_the_person_is_written(manifest: Path) -> None:
    rows = read_manifest(manifest)
    number, _, place = (rows[0].source or "").partition(":")
    first, last = (int(n) for n in place.split("-"))
    report = REPORTS.split('"')[1]

    assert number == "1"
    assert report[first:last].startswith("9 mm nodule in the right upper lobe")
    written = manifest.read_text() + (manifest.parent / "m.coverage.json").read_text()
    for identity in ("Whitfield", "Margaret", "00482913", "MRN", "2021", "zonky borders"):
        assert identity not in written
    assert {row.patient for row in rows} == {"patient-00001", "patient-00002"}


def test_coverage_and_contradictions_are_told(manifest: Path) -> None:
    report = check_manifest(str(manifest))

    assert report.usable
    assert report.coverage == read_coverage(manifest)
    assert report.coverage is not None
    assert report.coverage.unknown == {"zonky": 2}
    assert "2 reports: " in str(report)
    assert "zonky 2" in str(report)
    texts = [problem.text for problem in report.problems if problem.code == "contradiction"]
    assert any("'small pleural effusion right' contradicts 'no pleural effusion'" in text for text in texts)


def test_what_a_report_says_survives_json_lines(manifest: Path) -> None:
    again = make_manifest("reports", manifest.with_suffix(".jsonl"), reports=manifest.parent / "reports.csv")
    one, other = ([{**vars(row), "line": 0} for row in read_manifest(path)] for path in (manifest, again))
    assert one == other
    assert "state" in json.loads(again.read_text().splitlines()[0])


@pytest.mark.parametrize(
    ("text", "code"), [("", "layout"), ("scan,text\na,b\n", "layout"), ('scan,report\na,"b\n', "manifest-unreadable")]
)
def test_a_file_that_holds_no_reports(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "reports.csv"
    path.write_text(text)
    with pytest.raises(ManifestError) as caught:
        make_manifest("reports", tmp_path / "m.csv", reports=path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("column", "value", "code"), [("state", "maybe", "state"), ("series", "x", "type"), ("images", "1 x", "type")]
)
def test_columns_of_reports_are_checked(tmp_path: Path, column: str, value: str, code: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"scan,phrase,{column}\na,nodule,{value}\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert caught.value.code == code


def test_without_scans_the_manifest_is_not_usable(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text(REPORTS, encoding="utf-8")
    path = make_manifest("reports", tmp_path / "m.csv", reports=tmp_path / "reports.csv")
    with pytest.raises(UnusableManifestError, match="not-found"):
        check_manifest(str(path))
