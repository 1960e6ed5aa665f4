"""Scans under a folder: every one that would be read, once, and what is refused, without naming anybody."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.manifest.files import AFFINE, a_scan, uid, write_nifti, write_series
from tests.readers.awkward.writing import make_series, write_file
from tips_med.discovery import find_scans, study_key
from tips_med.errors import ReadError
from tips_med.manifest import ManifestError
from tips_med.readers import read_scan

SECRET, OTHER = bytes(32), bytes(31) + b"\x01"


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    write_series(folder / "DOE^JANE" / "study")
    write_nifti(folder / "b" / "ct.nii.gz", a_scan())
    (folder / "notes.txt").write_text("no scan")
    return folder


def test_series_and_files_are_found_once_and_read_as_by_themselves(archive):
    found = find_scans(archive, SECRET)
    by_path = {scan.path.as_posix(): scan for scan in found.scans}
    assert set(by_path) == {"DOE^JANE/study", "b/ct.nii.gz"}
    assert found.refused == ()
    assert found.other_files == 1
    for path, scan in by_path.items():
        alone = read_scan(archive / path)
        np.testing.assert_array_equal(scan.read().voxels, alone.voxels)
        np.testing.assert_array_equal(scan.read().lps_from_kji, alone.lps_from_kji)


def test_keys_are_stable_differ_by_secret_and_are_safe_names(archive, tmp_path):
    keys = {scan.path: scan.key for scan in find_scans(archive, SECRET).scans}
    moved = tmp_path / "elsewhere"
    shutil.copytree(archive, moved)
    assert {scan.path: scan.key for scan in find_scans(moved, SECRET).scans} == keys
    others = {scan.key for scan in find_scans(archive, OTHER).scans}
    assert not others & set(keys.values())
    assert all(key.isalnum() and key.islower() and key[0] == "s" and len(key) == 21 for key in keys.values())
    assert keys[Path("DOE^JANE/study")] == study_key(SECRET, uid(2))


def test_a_series_whose_files_lie_in_several_folders_is_one_scan(archive):
    study = archive / "DOE^JANE" / "study"
    whole = read_scan(study)
    for n, file in enumerate(sorted(study.iterdir())):
        place = archive / "store" / f"{n % 3}"
        place.mkdir(parents=True, exist_ok=True)
        file.rename(place / file.name)
    found = find_scans(archive, SECRET)
    series = [scan for scan in found.scans if scan.series]
    assert len(series) == 1
    assert len(series[0].folders) == 3
    np.testing.assert_array_equal(series[0].read().voxels, whole.voxels)
    assert found.refused == ()


def test_a_missing_slice_is_refused_in_words_without_identity_unless_it_may_be_filled(archive):
    folder = archive / "DOE^JANE" / "study"
    shutil.rmtree(folder)
    slices = make_series()
    for n, one in enumerate(slices):
        if n != 4:
            write_file(folder / f"{n}.dcm", one.dataset)
    own = str(slices[0].dataset.SeriesInstanceUID)
    found = find_scans(archive, SECRET)
    (refused,) = found.refused
    assert refused.code == "missing-slice"
    assert refused.key == study_key(SECRET, own)
    assert refused.path == Path("DOE^JANE/study")
    words = f"{refused.found} {refused.expected} {refused.remedy}"
    assert "DOE" not in words
    assert own not in words
    assert refused.found
    assert refused.remedy
    filled = find_scans(archive, SECRET, fill_gaps=True)
    assert filled.refused == ()
    (scan,) = (scan for scan in filled.scans if scan.series)
    assert np.isnan(scan.read(fill_gaps=True).voxels).any()
    with pytest.raises(ReadError):
        scan.read()


def test_a_series_beside_a_file_that_cannot_be_parsed_is_not_read(archive):
    study = archive / "DOE^JANE" / "study"
    whole = (study / "3.dcm").read_bytes()
    (study / "3.dcm").write_bytes(whole[:200] + b"\xff" * 400)  # the last slice: without it the rest looks whole
    found = find_scans(archive, SECRET)
    assert [scan.path.as_posix() for scan in found.scans] == ["b/ct.nii.gz"]
    assert {one.code for one in found.refused} == {"damaged-file"}
    assert study_key(SECRET, uid(2)) in {one.key for one in found.refused}
    assert not any("DOE" in one.found for one in found.refused)


def test_what_is_no_volume_is_told_and_is_no_scan(archive):
    import pydicom

    report = pydicom.dcmread(archive / "DOE^JANE" / "study" / "0.dcm")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    report.SeriesInstanceUID, report.Modality = uid(77), "SR"
    del report.PixelData
    report.save_as(archive / "DOE^JANE" / "dose.dcm")
    found = find_scans(archive, SECRET)
    assert len(found.scans) == 2
    assert [(one.code, one.key) for one in found.refused] == [("not-a-volume", "")]


def test_results_inside_the_folder_and_other_names_are_left_out(archive):
    write_nifti(archive / "out" / "mask.nii.gz", a_scan())
    assert len(find_scans(archive, SECRET).scans) == 3
    assert len(find_scans(archive, SECRET, skip=archive / "out").scans) == 2
    matched = find_scans(archive, SECRET, match="*/ct.nii.gz")
    assert {scan.path.name for scan in matched.scans} == {"study", "ct.nii.gz"}


def test_links_are_followed_once(archive):
    (archive / "b" / "again").symlink_to(archive)
    assert len(find_scans(archive, SECRET).scans) == 2


def test_a_manifest_names_each_scan_once(archive, tmp_path):
    manifest = tmp_path / "m.csv"
    rows = ["scan,phrase", *["archive/b/ct.nii.gz,mass"] * 2, f"{archive}/DOE^JANE/study,nodule"]
    manifest.write_text("\n".join(rows))
    found = find_scans(manifest, SECRET)
    assert {scan.path.as_posix() for scan in found.scans} == {"archive/b/ct.nii.gz", "archive/DOE^JANE/study"}
    for scan in found.scans:
        assert scan.read().shape == a_scan().shape


def test_nothing_to_read_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, code in ((tmp_path / "nowhere", "not-found"), (tmp_path / "empty", "no-scan")):
        with pytest.raises(ReadError) as told:
            find_scans(path, SECRET)
        assert told.value.code == code
    file = write_nifti(tmp_path / "a.nii.gz", a_scan(), AFFINE)
    with pytest.raises(ReadError, match="one file"):
        find_scans(file, SECRET)
    with pytest.raises(ManifestError):
        find_scans(tmp_path / "nowhere.csv", SECRET)
