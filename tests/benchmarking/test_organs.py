"""What is taught of organs: sides, ends that are cut short, and fields of view that hold none of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.organs import presence
from benchmarks.organs.__main__ import table
from benchmarks.organs.manifest import TEST, organs_of, patient_of, rows_of, unknown_of
from tests.manifest.files import write_nifti
from tips_med.manifest import read_mask
from tips_med.readers import read_scan
from tips_med.scan import Scan

NUMBERS = {"body": 1, "bone": 2, "spine": 3, "ribs": 4, "airway": 5, "descending_aorta": 6, "liver": 10, "spleen": 11,
           "left_kidney": 12, "right_kidney": 13, "stomach": 14, "gallbladder": 15}  # fmt: skip
SHAPE = (40, 30, 40)
UPRIGHT = np.array([[0, 0, 5.0, -97.5], [0, 5.0, 0, -72.5], [5.0, 0, 0, -600.0], [0, 0, 0, 1]])
"""5 mm cells, slices to the head, columns to the patient's left, from z = -600 to -405 mm."""

UPSIDE_DOWN = UPRIGHT @ np.array([[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, -1, 39], [0, 0, 0, 1.0]])
"""The same patient with slices to the feet and columns to the right."""


def labels() -> np.ndarray:
    """A trunk [k j i] of the upright grid: liver without its dome, both kidneys, a trachea that forks at k = 26."""
    found = np.ones(SHAPE, np.uint8)
    found[:, 20:24, 18:22] = 3
    found[:, 24, 8:32] = 4
    found[5:15, 8:18, 4:18] = 10
    found[2:8, 18:22, 10:13], found[2:8, 18:22, 27:30] = 13, 12
    found[26:, 14:17, 18:21] = 5
    found[22:26, 14:17, 13:16], found[22:26, 14:17, 24:27] = 5, 5
    return found


def values() -> np.ndarray:
    """HU of it: the dome of the liver is there, and was not outlined."""
    hu = np.full(SHAPE, -80, np.int16)
    hu[5:18, 8:18, 4:18] = 60
    hu[labels() == 5] = -950
    return hu


@pytest.fixture(params=[UPRIGHT, UPSIDE_DOWN], ids=["upright", "upside-down"])
def data(request, tmp_path):
    """A folder of one case on either grid."""
    turned = request.param is not UPRIGHT
    for name, array in (("ct", values()), ("organs", labels())):
        stored = np.ascontiguousarray(array[::-1, :, ::-1]) if turned else array
        write_nifti(tmp_path / "data" / "case" / f"{name}.nii.gz", stored, request.param)
    (tmp_path / "data" / "organs.json").write_text(json.dumps(NUMBERS))
    return tmp_path / "data"


def opened(data) -> Scan:
    return read_scan(data / "case" / "ct.nii.gz")


def places(mask: np.ndarray, scan: Scan) -> np.ndarray:
    """LPS of the voxels of a mask, [n 3]."""
    return np.argwhere(mask) @ scan.lps_from_kji[:3, :3].T + scan.lps_from_kji[:3, 3]


def test_sides_are_the_patients_whatever_the_grid(data):
    scan = opened(data)
    organs = organs_of(data, "case", scan, None)
    kidneys, ribs = ("kidney", "left kidney", "right kidney"), ("rib", "left rib", "right rib")
    assert set(organs) == {"body", "spine", "airway", "trachea", "liver", *kidneys, *ribs}
    for organ in ("kidney", "rib"):
        assert places(organs[f"left {organ}"], scan)[:, 0].min() > 0
        assert places(organs[f"right {organ}"], scan)[:, 0].max() < 0
        np.testing.assert_array_equal(organs[f"left {organ}"] | organs[f"right {organ}"], organs[organ])
    # Above the fork, which is at z = -470 mm.
    assert places(organs["trachea"], scan)[:, 2].min() == pytest.approx(-600 + 26 * 5)


def test_what_an_outline_left_out_beyond_its_cut_end_is_not_known(data):
    scan = opened(data)
    organs = organs_of(data, "case", scan, None)
    unknown = unknown_of("liver", organs, scan)
    assert not (unknown & organs["liver"]).any()
    heights = places(unknown, scan)[:, 2]
    assert heights.min() == pytest.approx(-600 + 15 * 5)  # above the last slice that was outlined
    assert heights.max() == pytest.approx(-600 + 17 * 5)  # as far as there is liver
    assert not (unknown & (organs["spine"] | organs["rib"])).any()
    assert not unknown_of("left kidney", organs, scan).any()  # its ends are small: whole


def test_rows_name_masks_that_lie_on_the_scan(data, tmp_path):
    rows = {row.phrase: row for row in rows_of(data, "case", tmp_path / "out", None)}
    scan = opened(data)
    organs = organs_of(data, "case", scan, None)
    for phrase, row in rows.items():
        assert row.mask is not None
        np.testing.assert_array_equal(read_mask(row.mask, scan), organs[phrase])
    assert rows["liver"].ignore is not None
    assert rows["left kidney"].ignore is None
    assert {row.split for row in rows.values()} == {"train"}
    assert "LIDC-IDRI-0003" in TEST
    assert patient_of("TCGA-LIHC-A3KF-acq1") == patient_of("TCGA-LIHC-A3KF-acq2") != patient_of("TCGA-LIHC-A10X")


def test_what_lies_above_the_fork_holds_no_abdomen(data, tmp_path):
    rows = list(presence.rows_of(data, "case", tmp_path / "out", None))
    absent = {row.phrase: row.scan for row in rows if row.label == "absent"}
    assert set(absent) == {*presence.ABSENT_ABOVE, *presence.ABSENT_BELOW}
    above, below = read_scan(absent["liver"]), read_scan(absent["trachea"])
    for part, low, high in ((above, -600 + 26 * 5 + 15, -405), (below, -600, -600 + 26 * 5 - 60)):
        heights = places(np.ones(part.shape, bool), part)[:, 2]
        assert heights.min() >= low - 0.01
        assert heights.max() <= high + 0.01
        # Each voxel is where it was.
        where = np.linalg.inv(opened(data).lps_from_kji) @ part.lps_from_kji
        k, j, i = np.rint(where @ [1, 2, 3, 1])[:3].astype(int)
        assert part.voxels[1, 2, 3] == opened(data).voxels[k, j, i]
    present = {row.phrase for row in rows if row.label == "present"}
    assert {"liver", "kidney", "trachea"} <= present
    assert not present & set(presence.ALWAYS_THERE)


def test_rows_about_presence_take_the_outlines_of_whole_scans(data, tmp_path):
    outlined = list(rows_of(data, "case", tmp_path / "masks", None))
    asked = list(presence.rows_of(data, "case", tmp_path / "parts", None))
    rows = presence.with_outlines(asked, outlined)
    liver = {row.label: row for row in rows if row.phrase == "liver"}
    assert (liver["absent"].mask, liver["absent"].ignore) == (None, None)
    source = next(row for row in outlined if row.phrase == "liver")
    assert (liver["present"].mask, liver["present"].ignore) == (source.mask, source.ignore)
    added = {row.phrase for row in rows} - {row.phrase for row in asked}
    assert added == {row.phrase for row in outlined} & set(presence.ALWAYS_THERE)


def test_the_table_has_a_line_for_each_organ():
    row = {"case": "a", "organ": "left kidney", "dice": 0.9, "state": "present", "peak_inside": True, "wrong_side": 0.0}
    lines = table([row, {**row, "case": "b", "dice": 0.7, "state": "unsure", "wrong_side": 0.031}]).splitlines()
    assert lines[2] == "| left kidney | 2 | 0.80 | 0.70 | 1 | 2 | 3.1 % |"
