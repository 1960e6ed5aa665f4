from __future__ import annotations

import numpy as np
import pydicom
import pytest

from tests.manifest.files import AFFINE, a_scan, uid, write_nifti, write_series
from tips_med.manifest import Row, check_rows, read_manifest
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")


def problems(rows, fatal=True):
    rows = [Row(**{**vars(row), "line": n}) for n, row in enumerate(rows, start=2)]
    return {(p.line, p.code) for p in check_rows(rows, LEXICON).problems if p.fatal == fatal}


def test_one_scan_by_two_paths_is_one_patient(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_nifti(tmp_path / "one" / "ct.nii.gz", a_scan())
    (tmp_path / "link").symlink_to("one")
    (tmp_path / "m.csv").write_text(
        f"scan,phrase,split\none/ct.nii.gz,mass,train\n{path},nodule,val\nlink/ct.nii.gz,emphysema,test\n"
    )
    rows = read_manifest("m.csv")
    report = check_rows(rows, LEXICON)
    assert (report.scans, report.patients) == (1, 1)
    assert {(p.line, p.code) for p in report.problems} == {(n, "two-splits") for n in (2, 3, 4)}


def test_a_copy_of_a_scan_is_found_in_another_format_and_turned(tmp_path):
    write_series(tmp_path / "dicom")
    turned = np.flip(a_scan().transpose(2, 0, 1), 1)
    affine = AFFINE[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (turned.shape[1] - 1)
    affine[:3, 1] *= -1
    copy = write_nifti(tmp_path / "copy.nii.gz", turned, affine)
    first = Row(tmp_path / "dicom", "mass", patient="a")
    assert problems([first, Row(copy, "mass", patient="b", split="test")]) == {(3, "two-splits")}
    assert problems([first, Row(copy, "mass", patient="a", split="train")]) == set()
    assert problems([first, Row(copy, "mass", patient="b")], fatal=False) == {(3, "one-patient")}
    other = write_nifti(tmp_path / "other.nii.gz", a_scan(patient=1))
    assert problems([first, Row(other, "mass", patient="b", split="test")]) == set()


def two_series(tmp_path, removed):
    """Two series with one Patient ID, of different images."""
    for n in (0, 1):
        folder = tmp_path / f"{removed}{n}"
        write_series(folder)
        for path in folder.iterdir():
            header = pydicom.dcmread(path)
            header.SeriesInstanceUID, header.StudyInstanceUID = uid(2, n), uid(1, n)
            header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"{header.SOPInstanceUID}.{n}"
            header.PixelData = (np.frombuffer(header.PixelData, np.int16) + 3 * n).tobytes()
            if removed:
                header.PatientIdentityRemoved = removed
            header.save_as(path)
        yield folder


@pytest.mark.parametrize(("removed", "fatal"), [("", True), ("NO", True), ("YES", False)])
def test_two_series_of_one_patient_id_are_of_one_patient(tmp_path, removed, fatal):
    one, two = two_series(tmp_path, removed)
    unnamed = [Row(one, "mass"), Row(two, "mass", split="val")]
    assert problems(unnamed) == {(3, "two-splits")}
    named = [Row(one, "mass", patient="a"), Row(two, "mass", patient="b", split="val")]
    assert bool(problems(named)) == fatal
    assert problems(named, fatal) == {(3, "two-splits" if fatal else "one-patient")}
    assert problems([Row(one, "mass"), Row(two, "mass")], fatal=False) == {(3, "one-patient")}
    texts = " ".join(p.text for p in check_rows(unnamed, LEXICON).problems)
    assert pydicom.dcmread(next(one.iterdir())).PatientID not in texts.split()


@pytest.mark.parametrize(
    ("split", "fatal"), [("valid", True), ("Validation", True), ("TRAIN", True), ("external", False), ("fold 3", False)]
)
def test_splits_that_no_command_reads_are_told(tmp_path, split, fatal):
    path = write_nifti(tmp_path / "ct.nii.gz", a_scan())
    assert problems([Row(path, "mass", split=split)], fatal) == {(2, "split-name")}
    assert problems([Row(path, "mass", split="val")], fatal) == set()
