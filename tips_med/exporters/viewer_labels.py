"""Label maps with names and colours, for ITK-SNAP, niivue and 3D Slicer.

All of them hold the same labels on the scan's own grid; they differ in where they keep the names and the colours.
Where nothing was found nothing is written, as there is no empty DICOM segmentation either: the report says *absent*.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from highdicom.sr import CodedConcept

from tips_med.errors import OutputError
from tips_med.exporters.base import Exporter
from tips_med.exporters.dicom.equipment import NOTICE
from tips_med.exporters.label_table import LabelEntry, label_table
from tips_med.exporters.nifti import write_labels
from tips_med.geometry import axis_directions, spacing_mm
from tips_med.grounding import Grounding

_LABELS = "labels.nii.gz"
_TERMINOLOGY = "Segmentation category and type - DICOM master list"
_REGIONS = "Anatomic codes - DICOM master list"
_SEPARATORS = str.maketrans({"~": "-", "^": "-", "|": "-"})


class ItkSnapExporter(Exporter):
    """Writes ``labels.nii.gz`` and ``labels.label.txt``, the label descriptions that ITK-SNAP loads.

    In ITK-SNAP: *Segmentation, Open Segmentation*, then *Segmentation, Import Label Descriptions*.
    """

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the labels of one answer."""
        table = label_table(grounding)
        if not table:
            return ()
        lines = [
            f"# {NOTICE}",
            "# IDX R G B A VIS MESH LABEL",
            '0 0 0 0 0 0 0 "Clear Label"',
            *(f'{one.label} {" ".join(map(str, one.rgb))} 1 1 1 "{one.name}"' for one in table),
        ]
        names = _write_text(folder / "labels.label.txt", "\n".join(lines) + "\n")
        return write_labels(grounding, folder / _LABELS), names


class NiivueExporter(Exporter):
    """Writes ``labels.nii.gz`` and ``labels.niivue.json``, which niivue's ``setColormapLabel`` takes as it is."""

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the labels of one answer."""
        table = label_table(grounding)
        if not table:
            return ()
        red, green, blue = (list(channel) for channel in zip((0, 0, 0), *(one.rgb for one in table)))
        colours = {
            "R": red,
            "G": green,
            "B": blue,
            "A": [0, *(255 for _ in table)],
            "I": [0, *(one.label for one in table)],
            "labels": ["", *(one.name for one in table)],
            "notice": NOTICE,
        }
        names = _write_text(folder / "labels.niivue.json", json.dumps(colours, indent=1) + "\n")
        return write_labels(grounding, folder / _LABELS), names


class SlicerExporter(Exporter):
    """Writes ``segmentation.seg.nrrd``: a segmentation of 3D Slicer, with names, colours and terminology.

    The format is Slicer's own
    (https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html).
    """

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the segmentation of one answer."""
        table = label_table(grounding)
        return (write_seg_nrrd(grounding, table, folder / "segmentation.seg.nrrd"),) if table else ()


def write_seg_nrrd(grounding: Grounding, table: tuple[LabelEntry, ...], path: Path) -> Path:
    """Writes the labels as uint8, gzip-compressed, one layer, one segment an instance.

    Args:
        grounding: The answer.
        table: Its instances, at least one.
        path: A ``.seg.nrrd`` file.

    Raises:
        OutputError: It cannot be written there.
    """
    lps_from_kji = grounding.scan.lps_from_kji
    image = sitk.GetImageFromArray(np.ascontiguousarray(grounding.labels, dtype=np.uint8))
    image.SetOrigin([float(x) for x in lps_from_kji[:3, 3]])
    image.SetSpacing([float(x) for x in spacing_mm(lps_from_kji)[::-1]])
    image.SetDirection([float(x) for x in axis_directions(lps_from_kji)[:, ::-1].ravel()])
    for key, value in _slicer_fields(grounding, table).items():
        image.SetMetaData(key, value)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OutputError("cannot be written", path=path, remedy="make room there") from error
    return path


def _slicer_fields(grounding: Grounding, table: tuple[LabelEntry, ...]) -> dict[str, str]:
    slices, rows, columns = grounding.scan.shape
    fields = {
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_MasterRepresentation": "Binary labelmap",  # its name before Slicer 5.3
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "tips_med_notice": NOTICE,
    }
    for n, one in enumerate(table):
        fields |= {
            f"Segment{n}_ID": f"Segment_{one.label}",
            f"Segment{n}_Name": one.name,
            f"Segment{n}_NameAutoGenerated": "0",
            f"Segment{n}_Color": " ".join(f"{channel / 255:.6f}" for channel in one.rgb),
            f"Segment{n}_ColorAutoGenerated": "0",
            f"Segment{n}_Extent": f"0 {columns - 1} 0 {rows - 1} 0 {slices - 1}",
            f"Segment{n}_Layer": "0",
            f"Segment{n}_LabelValue": str(one.label),
            f"Segment{n}_Tags": f"TerminologyEntry:{_terminology(one)}|Segmentation.Status:completed|",
        }
    return fields


def _terminology(entry: LabelEntry) -> str:
    """Slicer's seven parts. The side belongs to the region where there is one, else to the structure itself."""
    of_region = entry.region is not None
    return "~".join(
        [
            _TERMINOLOGY,
            _triple(entry.category),
            _triple(entry.kind),
            _triple(None if of_region else entry.laterality),
            _REGIONS,
            _triple(entry.region),
            _triple(entry.laterality if of_region else None),
        ]
    )


def _triple(code: CodedConcept | None) -> str:
    parts = ("", "", "") if code is None else (code.scheme_designator, code.value, code.meaning)
    return "^".join(part.translate(_SEPARATORS) for part in parts)


def _write_text(path: Path, text: str) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path=path) from error
    return path
