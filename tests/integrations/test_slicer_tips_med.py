"""The module for 3D Slicer on MRML itself (slicer-core): answers become nodes at their place in the patient."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import nrrd
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("slicer", reason="slicer-core has no wheel for this platform", exc_type=ImportError)

import slicer
import vtk
from tips_med_client import Client, Volume
from TipsMedLib import asking, nodes
from vtkmodules.util.numpy_support import vtk_to_numpy

from tests.phantom import rule_model
from tests.server.running import TOKEN, Running, running, turned, write_scan
from tips_med.exporters.viewer_labels import SlicerExporter
from tips_med.geometry import ras_affine_ijk, transform_points
from tips_med.grounding import encode, ground
from tips_med.readers import read_scan

TURNED = ["oblique", "mirrored", "anisotropic"]
MASS_RAS = np.array([-60.0, 0.0, 20.0])
"""The middle of the mass of ``turned``."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server") / "server") as made:
        yield made


@pytest.fixture
def scene() -> Any:
    return slicer.vtkMRMLScene()


def volume_node(scene: Any, name: str) -> Any:
    """The body with its mass as Slicer has it."""
    scan = turned(name)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    image = vtk.vtkImageData()
    nodes._fill(image, scan.voxels.astype(np.int16))
    node.SetAndObserveImageData(image)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ras_affine_ijk(scan.lps_from_kji).ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    return node


def answered(server: Running, node: Any, query: str, **options: Any) -> list[asking.Fetched]:
    """What comes of a question."""
    with Client(server.url, TOKEN) as client:
        scan = nodes.volume_of(node)
        study = asking.encode(client, scan, nodes.modality_of(node))
        return asking.fetch(client, study, scan, query, **options)


def segment_points_ras(segmentation: Any, segment_id: str) -> np.ndarray:
    """Where the voxels of a segment lie, in the coordinates of its node."""
    labelmap = segmentation.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap")
    i, _, j, _, k, _ = labelmap.GetExtent()
    columns, rows, slices = labelmap.GetDimensions()
    inside = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(slices, rows, columns)
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    affine = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    return transform_points(affine, np.argwhere(inside)[:, ::-1] + (i, j, k))


def only(scene: Any, kind: str) -> Any:
    """The node of a kind, but for those of what was not assessed, which oblique scans have at their edges."""
    made = scene.GetNodesByClass(kind)
    found = [made.GetItemAsObject(n) for n in range(made.GetNumberOfItems())]
    (one,) = (node for node in found if not node.GetName().endswith("not assessed"))
    return one


@pytest.mark.parametrize("name", TURNED)
def test_a_segment_lies_where_the_mask_of_ground_lies(name: str, server: Running, scene: Any, tmp_path: Path) -> None:
    node = volume_node(scene, name)
    table = nodes.show(scene, node, answered(server, node, "mass in the left lung"))
    segmentation = only(scene, "vtkMRMLSegmentationNode")
    found = segment_points_ras(segmentation, "tips_med_1")
    direct = ground(
        encode(read_scan(write_scan(turned(name), tmp_path / "scan.nii.gz")), rule_model()), "mass in the left lung",
        rule_model(),
    )  # fmt: skip
    expected = transform_points(direct.scan.lps_from_kji, np.argwhere(direct.mask)) * [-1, -1, 1]
    assert len(found) == len(expected)
    order = [np.lexsort(np.round(points, 2).T) for points in (found, expected)]
    np.testing.assert_allclose(found[order[0]], expected[order[1]], atol=0.01)
    np.testing.assert_allclose(found.mean(axis=0), MASS_RAS, atol=1.0)
    peak = np.array([float(one) for one in table.GetCellText(0, nodes.COLUMNS.index("peak_ras")).split()])
    np.testing.assert_allclose(peak, np.array(direct.peak_lps) * [-1, -1, 1], atol=0.01)


@pytest.mark.parametrize("query", ["mass in the left lung", "left lung", "mass"])
def test_names_and_terminology_are_those_of_the_file_for_slicer(
    query: str, server: Running, scene: Any, tmp_path: Path
) -> None:
    node = volume_node(scene, "mirrored")
    (fetched,) = answered(server, node, query)
    nodes.show(scene, node, [fetched])
    segment = only(scene, "vtkMRMLSegmentationNode").GetSegmentation().GetNthSegment(0)
    scan = read_scan(write_scan(turned("mirrored"), tmp_path / "scan.nii.gz"))
    direct = ground(encode(scan, rule_model()), query, rule_model())
    (path,) = SlicerExporter().export(direct, tmp_path)
    header = nrrd.read_header(str(path))
    assert segment.GetName() == header["Segment0_Name"]
    np.testing.assert_allclose(segment.GetColor(), [float(c) for c in header["Segment0_Color"].split()], atol=1e-5)
    tag: Any = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), tag)
    assert f"TerminologyEntry:{tag.get()}|" in header["Segment0_Tags"]


def test_results_follow_the_transform_of_the_volume(server: Running, scene: Any) -> None:
    node = volume_node(scene, "oblique")
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 100.0)
    moved.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(moved.GetID())
    table = nodes.show(scene, node, answered(server, node, "mass left lung"))
    segmentation = only(scene, "vtkMRMLSegmentationNode")
    assert segmentation.GetTransformNodeID() == moved.GetID()
    np.testing.assert_allclose(segment_points_ras(segmentation, "tips_med_1").mean(axis=0), MASS_RAS, atol=1.0)
    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    scene.AddNode(view)
    assert nodes.jump_to_row(scene, node, table, 0)
    peak = [float(one) for one in table.GetCellText(0, nodes.COLUMNS.index("peak_ras")).split()]
    assert view.GetSliceToRAS().GetElement(2, 3) == pytest.approx(peak[2] + 100.0)


def test_the_table_tells_the_answer_its_limits_and_its_instances(server: Running, scene: Any) -> None:
    node = volume_node(scene, "mirrored")
    table = nodes.show(scene, node, answered(server, node, "mass in the left lung zebra"))
    assert nodes.show(scene, node, answered(server, node, "mass right lung"), table) is table
    rows = [
        {name: table.GetCellText(row, n) for n, name in enumerate(nodes.COLUMNS)}
        for row in range(table.GetNumberOfRows())
    ]
    assert [row["answer"] for row in rows] == ["present", "", "absent"]
    assert rows[0]["probability"] == "1.00" and rows[0]["assessed"] == "100%"
    assert rows[0]["notes"] == "not understood: zebra"
    assert rows[1]["what"] == "mass 1 (left)" and "left lung" in rows[1]["notes"] and float(rows[1]["volume_ml"]) > 5
    only(scene, "vtkMRMLSegmentationNode")  # nothing is made for what is absent
    assert "Research use only" in only(scene, "vtkMRMLSegmentationNode").GetDescription()
    assert not nodes.jump_to_row(scene, node, table, table.AddEmptyRow())


def test_maps_of_words_are_volumes_at_their_place(server: Running, scene: Any) -> None:
    node = volume_node(scene, "oblique")
    nodes.show(scene, node, answered(server, node, "mass in the left lung", words=True))
    made = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
    by_name = {made.GetItemAsObject(n).GetName(): made.GetItemAsObject(n) for n in range(made.GetNumberOfItems())}
    left = nodes.volume_of(next(one for name, one in by_name.items() if name.endswith("'left'")))
    lit = transform_points(left.lps_from_kji, np.argwhere(left.voxels > 0.9))
    assert len(lit) and lit[:, 0].mean() > 20 and np.isfinite(left.voxels).all()


@pytest.mark.parametrize("name", TURNED)
def test_what_was_not_assessed_is_a_hidden_segmentation_at_its_place(name: str, scene: Any, server: Running) -> None:
    node = volume_node(scene, name)
    (fetched,) = answered(server, node, "mass right lung")
    grid = np.diag([4.0, 4.0, 4.0, 1.0])[:, [2, 1, 0, 3]]
    grid[:3, 3] = [-398.0, -398.0, -398.0]
    hidden = Volume(np.zeros((200, 200, 200), np.uint8), grid)
    hidden.voxels[90:94, 90:94, 120:124] = 1  # x 82 to 98, y -38 to -22, z -38 to -22
    hidden.voxels[0] = 1  # beside the scan
    nodes.show(scene, node, [asking.Fetched(fetched.answer, None, asking.on_scan(hidden, nodes.volume_of(node)))])
    made = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    places = segment_points_ras(made, "tips_med_not_assessed")
    np.testing.assert_allclose(places.mean(axis=0), [-88.0, 32.0, -32.0], atol=2.0)
    assert np.abs(places - [-88.0, 32.0, -32.0]).max() < 11
    assert made.GetName() == "mass right lung: not assessed" and not made.GetDisplayNode().GetVisibility()


def test_a_volume_that_was_changed_meanwhile_gets_no_segments(server: Running, scene: Any) -> None:
    node = volume_node(scene, "mirrored")
    fetched = answered(server, node, "mass left lung")
    node.SetOrigin(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="not on the grid"):
        nodes.show(scene, node, fetched)


def test_what_is_no_scan_is_told(scene: Any) -> None:
    with pytest.raises(ValueError, match="no voxels"):
        nodes.volume_of(None)
    with pytest.raises(ValueError, match="no voxels"):
        nodes.volume_of(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node = volume_node(scene, "mirrored")
    assert nodes.modality_of(node) is None
    node.SetVoxelValueUnits(units)
    assert nodes.modality_of(node) == "CT"


@pytest.fixture
def panel(server: Running, scene: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The panel, with stand-ins for Qt; scene and nodes are MRML's."""
    base = ModuleType("slicer.ScriptedLoadableModule")
    for name in ("ScriptedLoadableModule", "ScriptedLoadableModuleWidget"):
        setattr(base, name, type(name, (), {"__init__": lambda self, *_: None, "setup": lambda self: None}))
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", base)
    for name in ("qt", "ctk"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    for name in ("qMRMLNodeComboBox", "qMRMLTableView"):
        monkeypatch.setattr(slicer, name, MagicMock(), raising=False)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.delitem(sys.modules, "TipsMed", raising=False)
    made = importlib.import_module("TipsMed").TipsMedWidget()
    made.layout = MagicMock()
    made.setup()
    made.address, made.token = SimpleNamespace(text=server.url), SimpleNamespace(text=TOKEN)
    made.query, made.words = SimpleNamespace(text="mass in the left lung"), SimpleNamespace(checked=False)
    made.told = MagicMock()
    made.volume.currentNode.return_value = volume_node(scene, "oblique")
    made.table.mrmlTableNode.return_value = None
    yield made
    made.cleanup()


def finish(panel: Any) -> str:
    """Polls until the panel is done; what it tells at the end."""
    end = time.monotonic() + 60
    while panel._future is not None:
        assert time.monotonic() < end
        panel.poll()
    return panel.told.setText.call_args.args[0]


def test_the_panel_asks_in_a_thread_and_makes_the_nodes(panel: Any, scene: Any, server: Running) -> None:
    panel.start()
    assert panel.ask.enabled is False
    assert "present" in finish(panel) and panel.ask.enabled is True
    only(scene, "vtkMRMLSegmentationNode")
    only(scene, "vtkMRMLTableNode")
    before = len(server.http.get("/v1/studies").json()["studies"])
    panel.start()
    finish(panel)
    assert len(server.http.get("/v1/studies").json()["studies"]) == before and len(panel._studies) == 1
    panel.volume.currentNode().SetOrigin(10.0, 20.0, 30.0)
    panel.start()
    assert "not on the grid" not in finish(panel) and len(panel._studies) == 2


def test_the_panel_tells_what_is_refused(panel: Any, scene: Any) -> None:
    panel.token.text = "wrong"
    panel.start()
    assert "token" in finish(panel)
    panel.query.text = " "
    panel.start()
    assert panel._future is None and "Type a query" in panel.told.setText.call_args.args[0]
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
