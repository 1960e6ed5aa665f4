"""What viewers read: every voxel, name, colour and code, however the patient was scanned."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from tests.exporters.patient import grid_points, make_grounding, make_scan, with_text
from tips_med.exporters.dicom.equipment import NOTICE
from tips_med.exporters.label_table import label_table
from tips_med.exporters.viewer_labels import ItkSnapExporter, NiivueExporter, SlicerExporter
from tips_med.geometry import lps_affine_kji
from tips_med.grounding import Decision, Grounding
from tips_med.scan import Scan

NAMES = ["nodule 1 (left)", "nodule 2 (right)"]


@pytest.fixture
def two(any_scan: Scan) -> Grounding:
    return make_grounding(any_scan, second=True)


def assert_same_labels(labels: np.ndarray, lps_from_index: np.ndarray, grounding: Grounding) -> None:
    """Voxel for voxel the same label at the same place, in whatever order the reader has its axes."""
    scan = grounding.scan
    there = grid_points(lps_from_index, labels.shape).reshape(-1, 3)  # type: ignore[arg-type]
    index = (np.c_[there, np.ones(len(there))] @ np.linalg.inv(scan.lps_from_kji).T)[:, :3]
    assert np.abs(index - index.round()).max() < 1e-3, "the reader's grid is the scan's"
    k, j, i = index.round().astype(int).T
    np.testing.assert_array_equal(labels.ravel(), grounding.labels[k, j, i])
    assert labels.size == grounding.labels.size and labels.any()


def test_pynrrd_reads_slicers_segmentation(two: Grounding, tmp_path: Path) -> None:
    (path,) = SlicerExporter().export(two, tmp_path)
    labels, header = nrrd.read(str(path))
    assert header["space"] == "left-posterior-superior"
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    assert_same_labels(labels, affine, two)
    assert [header[f"Segment{n}_Name"] for n in (0, 1)] == NAMES
    assert [header[f"Segment{n}_LabelValue"] for n in (0, 1)] == ["1", "2"]
    assert header["Segment0_Color"] != header["Segment1_Color"]
    assert header["tips_med_notice"] == NOTICE


def test_simpleitk_reads_slicers_segmentation(two: Grounding, tmp_path: Path) -> None:
    (path,) = SlicerExporter().export(two, tmp_path)
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    assert_same_labels(sitk.GetArrayFromImage(image), affine, two)


def test_slicers_terminology_has_category_type_region_and_side(tmp_path: Path) -> None:
    (path,) = SlicerExporter().export(make_grounding(second=True), tmp_path)
    _, header = nrrd.read(str(path))
    for n, side in enumerate(("Left", "Right")):
        entry = re.search(r"TerminologyEntry:([^|]*)\|", header[f"Segment{n}_Tags"])
        assert entry is not None
        _, category, kind, modifier, _, region, region_modifier = entry[1].split("~")
        assert category.startswith("SCT^49755003^")
        assert kind.split("^")[0] in ("SCT", "DCM") and "odule" in kind
        assert modifier == "^^"
        assert region.startswith("SCT^39607008^") and region_modifier.endswith(f"^{side}")


def test_a_structures_side_is_its_own_modifier(tmp_path: Path) -> None:
    (path,) = SlicerExporter().export(make_grounding(text="left lung"), tmp_path)
    _, header = nrrd.read(str(path))
    parts = header["Segment0_Tags"].split("|")[0].split("~")
    assert parts[2].startswith("SCT^39607008^") and parts[3].endswith("^Left")
    assert parts[5:] == ["^^", "^^"]


@pytest.mark.parametrize("exporter", [ItkSnapExporter, NiivueExporter])
def test_nibabel_reads_the_label_map(exporter: type, two: Grounding, tmp_path: Path) -> None:
    labels_file, _ = exporter().export(two, tmp_path)
    image = nib.load(labels_file)
    labels = np.asarray(image.dataobj).transpose(2, 1, 0)
    assert_same_labels(labels, lps_affine_kji(image.affine), two)


def test_itk_snaps_table_is_of_the_form_that_it_reads(tmp_path: Path) -> None:
    """Six numbers' columns and a quoted name, as ITK-SNAP's own reader scans a line."""
    _, table = ItkSnapExporter().export(make_grounding(second=True), tmp_path)
    lines = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    form = re.compile(r'(\d+) (\d+) (\d+) (\d+) ([01]) ([01]) ([01]) "([^"]*)"')
    found = [form.fullmatch(line) for line in lines]
    assert all(found)
    rows = [match.groups() for match in found if match]
    assert [row[-1] for row in rows] == ["Clear Label", *NAMES]
    assert [int(row[0]) for row in rows] == [0, 1, 2]
    assert all(0 <= int(channel) <= 255 for row in rows for channel in row[1:4])
    assert NOTICE in table.read_text()


def test_niivues_table_has_one_colour_and_name_for_each_label(tmp_path: Path) -> None:
    _, file = NiivueExporter().export(make_grounding(second=True), tmp_path)
    table = json.loads(file.read_text())
    assert table["I"] == [0, 1, 2] and table["labels"] == ["", *NAMES] and table["A"] == [0, 255, 255]
    assert {len(table[channel]) for channel in "RGBAI"} == {3}


def test_labels_of_an_unsure_answer_say_so_and_fit_where_dicom_names_segments(tmp_path: Path) -> None:
    unsure = replace(make_grounding(second=True), presence=Decision("unsure", 0.4, 0.5))
    assert [one.name for one in label_table(unsure)] == ["nodule 1 (left, unsure)", "nodule 2 (right, unsure)"]
    finding = unsure.query.finding
    assert finding is not None
    wordy = replace(unsure, query=replace(unsure.query, finding=replace(finding, name="long " * 20)))
    for one in label_table(wordy):
        assert len(one.name) == 64 and one.name.endswith("unsure)")


@pytest.mark.parametrize("exporter", [ItkSnapExporter, NiivueExporter, SlicerExporter])
def test_nothing_found_writes_nothing_and_nothing_typed_is_written(exporter: type, tmp_path: Path) -> None:
    assert exporter().export(make_grounding(state="absent"), tmp_path) == ()
    assert not list(tmp_path.iterdir())
    typed = with_text(make_grounding(make_scan(), second=True), "JANE DOE nodule")
    for file in exporter().export(typed, tmp_path):
        assert b"JANE" not in file.read_bytes()
