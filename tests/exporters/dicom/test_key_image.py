"""The picture says which way it is turned, as every viewer writes at its edges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tips_med
from tests.exporters.dicom.answers import ORIENTATIONS, answer, answered, multiframe
from tests.exporters.patient import make_grounding, make_scan
from tips_med.exporters.dicom import make_results, read_source
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE
from tips_med.exporters.dicom.key_image import draw, key_slice
from tips_med.readers import read_scan


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


def test_the_picture_says_what_it_is_who_made_it_and_of_what(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    made = make_results(grounding, read_source(path, grounding.scan), weights_sha256="ab" * 32)
    for one, number in ((made.key_image, 9703), (made.key_objects, 9704)):
        assert one is not None
        assert (one.Manufacturer, one.ManufacturerModelName) == ("tips_med", grounding.model)
        assert (one.SoftwareVersions, one.DeviceSerialNumber) == (tips_med.__version__, "ab" * 32)
        assert (one.SeriesDescription, one.SeriesNumber, one.InstanceNumber) == (DESCRIPTION, number, 1)
    picture = made.key_image
    assert picture is not None
    assert (picture.BurnedInAnnotation, picture.PhotometricInterpretation, picture.Laterality) == ("NO", "RGB", "")
    assert picture.DerivationDescription == "slice with the contour of what was found"
    (referenced,) = picture.SourceImageSequence
    k = key_slice(grounding)
    assert referenced.ReferencedSOPInstanceUID == grounding.scan.provenance.instance_uids[k]
    assert "ReferencedFrameNumber" not in referenced
    assert made.key_objects is not None
    assert NOTICE in [item.get("TextValue") for item in made.key_objects.ContentSequence]


def test_the_picture_of_a_frame_names_it(tmp_path: Path) -> None:
    path = multiframe(tmp_path)
    grounding = answer(read_scan(path))
    picture = make_results(grounding, read_source(path, grounding.scan)).key_image
    assert picture is not None
    k = key_slice(grounding)
    assert picture.SourceImageSequence[0].ReferencedFrameNumber == grounding.scan.provenance.frame_numbers[k]


def test_pixels_are_square_and_the_contour_runs_around_what_was_found() -> None:
    """Columns of 2.5 mm and rows of 2 mm: the picture is at least 512 wide, and as high as the patient is."""
    grounding = make_grounding()
    k = key_slice(grounding)
    drawn = draw(grounding, k, "image 1")
    rows, columns = grounding.scan.shape[1:]
    height = round(512 / (columns * 2.5 / 2.0) * rows)
    assert drawn.shape[1] == 512 and abs(drawn.shape[0] - 48 - height) <= 1
    contour = (drawn[:height] == (255, 176, 0)).all(axis=-1)
    scale = 512 / columns, height / rows
    row, column = np.argwhere(grounding.labels[k] > 0).mean(axis=0) + 0.5
    middle = np.argwhere(contour).mean(axis=0)
    np.testing.assert_allclose(middle, (row * scale[1], column * scale[0]), atol=4)
    assert not contour[int(middle[0]), int(middle[1])], "a line, and no disc"
    extent = np.ptp(np.argwhere(contour), axis=0) * 2.0 * columns * 1.25 / 512
    np.testing.assert_allclose(extent, 2 * 9.0, atol=4)


def test_the_picture_is_grey_from_black_to_white_within_the_window() -> None:
    grounding = replace(make_grounding(), labels=np.zeros(make_scan().shape, np.uint8))
    voxels = grounding.scan.voxels.copy()
    voxels[:, :20], voxels[:, 20:40], voxels[:, 40:60], voxels[:, 60:] = -1350, 150, -600, np.nan
    drawn = draw(replace(grounding, scan=replace(grounding.scan, voxels=voxels)), 3, "image 4")
    zoom = 512 / (grounding.scan.shape[2] * 1.25)
    for row, value in ((10, 0), (30, 255), (50, 128), (75, 0)):
        assert (drawn[int(row * zoom), 200] == value).all(), row
