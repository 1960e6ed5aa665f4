"""Results as DICOM objects: segmentation, measurement report, key image and key object selection.

>>> exporter = DicomExporter("CT_series")  # doctest: +SKIP
>>> write_answers(answers, "out", model, exporters=[*default_exporters(), exporter])  # doctest: +SKIP
"""

from tips_med.exporters.dicom.exporter import DicomExporter
from tips_med.exporters.dicom.results import DicomResults, make_results
from tips_med.exporters.dicom.source import SourceImages, read_source

__all__ = ["DicomExporter", "DicomResults", "SourceImages", "make_results", "read_source"]
