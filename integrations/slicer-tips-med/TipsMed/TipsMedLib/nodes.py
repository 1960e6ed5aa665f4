"""From MRML's nodes to what the server takes, and from answers to nodes. No Qt."""
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
# (The module slicer gets MRML's classes when it is imported, and has no wheel for some platforms.)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from tips_med_client import Answer, Volume
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from TipsMedLib.asking import Fetched

NOTICE = "Research use only, not a medical device"
COLUMNS = ("what", "answer", "probability", "assessed", "volume_ml", "long_axis_mm", "mean_hu", "notes", "peak_ras")
COLOURS_RGB = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Told apart by any kind of colour vision (Okabe and Ito, Color Universal Design, 2008)."""

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ABNORMAL = "SCT^49755003^Morphologically Abnormal Structure"
_ANATOMICAL = "SCT^91723000^Anatomical Structure"
_TYPES, _REGIONS = "Segmentation category and type - DICOM master list", "Anatomic codes - DICOM master list"
_GREY = (0.5, 0.5, 0.5)


def volume_of(node: Any) -> Volume:
    """The voxels of a scalar volume at their place: its own, before any transform that it is under.

    Args:
        node: A vtkMRMLScalarVolumeNode.

    Raises:
        ValueError: It has no voxels, or more than one value a voxel.
    """
    image = None if node is None else node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise ValueError("The volume has no voxels. Load a CT volume, and select it.")
    scalars = image.GetPointData().GetScalars()
    if scalars.GetNumberOfComponents() != 1:
        raise ValueError(f"The volume has {scalars.GetNumberOfComponents()} values a voxel; a CT volume has one.")
    columns, rows, slices = image.GetDimensions()
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)  # pyright: ignore[reportOptionalMemberAccess]
    ras_from_ijk = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    voxels = vtk_to_numpy(scalars).reshape(slices, rows, columns)
    kind = {"l": np.int32, "q": np.int32, "L": np.uint32, "Q": np.uint32}.get(voxels.dtype.char)
    return Volume(voxels if kind is None else voxels.astype(kind), _RAS_FROM_LPS @ ras_from_ijk[:, [2, 1, 0, 3]])


def modality_of(node: Any) -> str | None:
    """``CT`` where Slicer says that the values are Hounsfield units, as it does for DICOM; else None: not known."""
    units = node.GetVoxelValueUnits()
    return "CT" if units is not None and units.GetCodeValue() == "[hnsf'U]" else None


def show(scene: Any, scan_node: Any, fetched: Sequence[Fetched], table_node: Any = None) -> Any:
    """Adds the nodes of answers: segmentations, maps of words, rows of the table.

    Args:
        scene: The vtkMRMLScene.
        scan_node: The volume that was asked.
        fetched: What came of the question.
        table_node: The table of earlier answers; None to make one.

    Returns:
        The table, a vtkMRMLTableNode.
    """
    table_node = table_node or _new_table(scene)
    for one in fetched:
        if one.answer.declined is None:
            if one.labels is not None:
                add_segmentation(scene, scan_node, one.answer, one.labels)
            if one.not_assessed is not None:
                _add_not_assessed(scene, scan_node, one.answer, one.not_assessed)
            for word, heat in one.words.items():
                _add_map(scene, scan_node, f"{one.answer.query}: '{word}'", heat)
        for row in rows_of(one.answer):
            at = table_node.AddEmptyRow()
            for column, text in enumerate(row):
                table_node.SetCellText(at, column, text)
    return table_node


def add_segmentation(scene: Any, scan_node: Any, answer: Answer, labels: Volume) -> Any:
    """One segment an instance, with name, colour and terminology, on the grid of the scan and under its transform.

    Args:
        scene: The vtkMRMLScene.
        scan_node: The volume that was asked.
        answer: The answer.
        labels: Number of the instance in each voxel, on the scan's own grid.

    Returns:
        The vtkMRMLSegmentationNode.

    Raises:
        ValueError: The labels are not on the grid of the scan.
    """
    scan = volume_of(scan_node)
    if labels.voxels.shape != scan.voxels.shape or not np.allclose(labels.lps_from_kji, scan.lps_from_kji, atol=0.01):
        raise ValueError("The answer is not on the grid of the volume. Ask again: the volume was changed meanwhile.")
    node = _new_segmentation(scene, scan_node, f"{answer.query}: {answer.presence}")
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan_node)
    node.SetAttribute("tips_med.presence", answer.presence)
    node.SetAttribute("tips_med.sentence", answer.sentence)
    node.SetDescription(f"{answer.sentence} {NOTICE}.")
    for n, one in enumerate(answer.instances, 1):
        inside = Volume(labels.voxels == one["label"], scan.lps_from_kji)
        segment = _segment(name_of(answer, n), [channel / 255 for channel in COLOURS_RGB[(n - 1) % 7]], inside)
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_of(answer, one))
        segment.SetTag("tips_med.score", f"{one['score']:.3f}")
        node.GetSegmentation().AddSegment(segment, f"tips_med_{one['label']}")
    return node


def name_of(answer: Answer, number: int) -> str:
    """What an instance is called, in the lexicon's words: ``nodule 1 (left)``, ``nodule 1 (left, unsure)``."""
    subject = answer.entry["finding"] or answer.entry["structure"]
    side = answer.instances[number - 1]["side"]
    marks = [mark for mark in (side, "unsure" if answer.presence == "unsure" else None) if mark]
    return f"{subject['name']} {number}" + (f" ({', '.join(marks)})" if marks else "")


def terminology_of(answer: Answer, instance: dict[str, Any]) -> str:
    """Slicer's seven parts: the finding in the structure that it was looked for in, with its side."""
    finding, structure = answer.entry["finding"], answer.entry["structure"]
    side = _triple(instance.get("laterality")) if structure is not None else "^^"
    if finding is None:  # then the structure was asked for
        return "~".join([_TYPES, _ANATOMICAL, _coded(structure), side, _REGIONS, "^^", "^^"])
    region = "^^" if structure is None else _triple(structure.get("code"))
    sides = ("^^", side) if region != "^^" else (side, "^^")  # of the region where it has a code, else of the finding
    return "~".join([_TYPES, _ABNORMAL, _coded(finding), sides[0], _REGIONS, region, sides[1]])


def rows_of(answer: Answer) -> list[tuple[str, ...]]:
    """An answer, and below it each of its instances; one text for each of ``COLUMNS``."""
    if answer.declined is not None:
        return [(answer.query, "no answer", "", "", "", "", "", answer.declined, "")]
    entry = answer.entry
    notes = [one["meaning"] for one in entry["reasons"]]
    notes += [f"not understood: {word}" for word in entry["unknown_words"]]
    notes += [f"not checked: {part}" for part in entry["unchecked"]]
    probability = "not calibrated" if answer.probability is None else f"{answer.probability:.2f}"
    assessed = f"{100 * entry['assessed_fraction']:.0f}%"
    peak = _ras_text(answer.peak_lps)
    rows = [(answer.query, answer.presence, probability, assessed, "", "", "", "; ".join(notes), peak)]
    for n, one in enumerate(answer.instances, 1):
        measured = (f"{one['volume_ml']:.1f}", f"{one['long_axis_mm']:.0f}", f"{one['mean_hu']:.0f}")
        place = one.get("place", one["region"])  # an older server gives the region alone
        rows.append((name_of(answer, n), "", f"{one['score']:.2f}", "", *measured, place, _ras_text(one["peak_lps"])))
    return rows


def jump_to_row(scene: Any, scan_node: Any, table_node: Any, row: int) -> bool:
    """Shows the peak of a row in all slice views.

    Args:
        scene: The vtkMRMLScene.
        scan_node: The volume that was asked.
        table_node: The table.
        row: Row, from 0.

    Returns:
        Whether the row has a place.
    """
    text = table_node.GetCellText(row, COLUMNS.index("peak_ras"))
    if not text:
        return False
    r, a, s = (float(one) for one in text.split())
    jump_to(scene, scan_node, (r, a, s))
    return True


def jump_to(scene: Any, scan_node: Any, ras: tuple[float, float, float]) -> None:
    """Shows a place of the scan, RAS in mm before any transform that the scan is under, in all slice views."""
    transform = scan_node.GetParentTransformNode()
    if transform is not None:
        to_world = vtk.vtkGeneralTransform()
        transform.GetTransformToWorld(to_world)
        ras = to_world.TransformPoint(*ras)
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def _new_table(scene: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "tips_med answers")
    for name in COLUMNS:
        node.AddColumn().SetName(name)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    node.SetDescription(NOTICE)
    return node


def _new_segmentation(scene: Any, scan_node: Any, name: str) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(scan_node.GetTransformNodeID())
    return node


def _add_not_assessed(scene: Any, scan_node: Any, answer: Answer, hidden: Volume) -> None:
    node = _new_segmentation(scene, scan_node, f"{answer.query}: not assessed")
    node.GetSegmentation().AddSegment(_segment("not assessed", _GREY, hidden), "tips_med_not_assessed")
    node.GetDisplayNode().SetVisibility(False)


def _add_map(scene: Any, scan_node: Any, name: str, heat: Volume) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = vtk.vtkImageData()
    _fill(image, heat.voxels.astype(np.float32))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(_matrix(heat.ras_from_ijk))
    node.SetAndObserveTransformNodeID(scan_node.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()


def _segment(name: str, rgb: Sequence[float], inside: Volume) -> Any:
    """A segment of a mask, cut to what it holds."""
    places = np.argwhere(inside.voxels)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    part = inside.voxels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    labelmap = slicer.vtkOrientedImageData()
    _fill(labelmap, part.astype(np.uint8), low)
    labelmap.SetGeometryFromImageToWorldMatrix(_matrix(inside.ras_from_ijk))
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*rgb)
    segment.AddRepresentation(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(), labelmap)
    return segment


def _fill(image: Any, voxels: np.ndarray, first: Sequence[int] = (0, 0, 0)) -> None:
    """Puts voxels [k j i] into a vtkImageData, of which the first has the index ``first`` (k, j, i)."""
    k, j, i = (int(one) for one in first)
    slices, rows, columns = voxels.shape
    image.SetExtent(i, i + columns - 1, j, j + rows - 1, k, k + slices - 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=True))


def _matrix(affine: np.ndarray) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(one) for one in affine.ravel()])
    return matrix


def _coded(term: Any) -> str:
    """A term's code; its name under the private scheme of tips_med where the lexicon has none."""
    if term.get("code") is None:
        return f"99TIPSMED^{term['id'][:16]}^{_clean(term['name'])}"
    return _triple(term["code"])


def _triple(code: dict[str, str] | None) -> str:
    return "^^" if code is None else "^".join(_clean(code[part]) for part in ("scheme", "value", "meaning"))


def _clean(text: str) -> str:
    """Without the characters that separate the parts."""
    return text.replace("~", "-").replace("^", "-").replace("|", "-")


def _ras_text(lps: Sequence[float] | None) -> str:
    return "" if lps is None else f"{-lps[0]:.2f} {-lps[1]:.2f} {lps[2]:.2f}"
