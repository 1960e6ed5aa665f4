"""Results refer to the images that were searched, slice by slice."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.exporters.dicom.answers import multiframe, shuffled_series
from tests.readers.awkward.writing import make_series, write_series
from tips_med.errors import OutputError
from tips_med.exporters.dicom import read_source
from tips_med.readers import read_scan


def test_images_stand_in_the_order_of_the_slices(tmp_path: Path) -> None:
    path = shuffled_series(tmp_path / "series")
    scan = read_scan(path)
    source = read_source(path, scan)
    uids = list(scan.provenance.instance_uids)
    assert [str(image.SOPInstanceUID) for image in source.by_slice if image is not None] == uids
    assert [str(image.SOPInstanceUID) for image in source.images] == uids
    assert str(source.first.SOPInstanceUID) == uids[0]
    heights = [float(image.ImagePositionPatient[2]) for image in source.images]
    assert heights == sorted(heights)
    assert not source.is_multiframe
    assert [(str(image.SOPInstanceUID), frames) for image, frames in source.of_slices(range(2, 4))] == [
        (uids[2], None),
        (uids[3], None),
    ]


def test_slices_of_one_object_are_its_frames(tmp_path: Path) -> None:
    path = multiframe(tmp_path)
    source = read_source(path, read_scan(path))
    assert source.is_multiframe and len(source.images) == 1
    ((image, frames),) = source.of_slices([0, 1, 3])
    assert image is source.first
    assert frames == [12, 11, 9], "the first frame is at the head, and k counts upwards"


def test_a_slice_that_was_made_up_has_no_image(tmp_path: Path) -> None:
    path = write_series(tmp_path / "gap", [item for n, item in enumerate(make_series()) if n != 5])
    scan = read_scan(path, fill_gaps=True)
    source = read_source(path, scan)
    (k,) = [k for k, image in enumerate(source.by_slice) if image is None]
    assert len(source.images) == 11 and len(source.by_slice) == 12
    assert len(source.of_slices([k - 1, k, k + 1])) == 2


def test_other_series_beside_it_are_passed_over_and_an_archive_will_do(tmp_path: Path) -> None:
    path = write_series(tmp_path / "series", make_series())
    scan = read_scan(path)
    others = make_series()
    for item in others:
        item.set(SeriesInstanceUID="1.2.7", PatientID="OTHER")
    for file in write_series(tmp_path / "other", others).iterdir():
        file.rename(path / f"other-{file.name}")
    (path / "notes.txt").write_text("no DICOM")
    assert {str(image.PatientID) for image in read_source(path, scan).images} == {"P1"}
    archive = tmp_path / "series.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in sorted(path.iterdir()):
            packed.write(file, file.name)
    assert len(read_source(archive, scan).images) == 12
    one = next(file for file in sorted(path.iterdir()) if not file.name.startswith("other"))
    assert len(read_source(one, scan).images) == 12, "one file stands for its folder"


def test_a_scan_of_another_series_has_no_images_here(tmp_path: Path) -> None:
    path = write_series(tmp_path / "series", make_series())
    scan = read_scan(path)
    other = replace(scan, provenance=replace(scan.provenance, series_uid="1.2.3"))
    with pytest.raises(OutputError, match="12 of the 12 images") as refused:
        read_source(path, other)
    assert refused.value.code == "source-missing"
