"""Results as DICOM objects: segmentation, report, key images; on request contours, captures of all slices, a heat map.

>>> exporter = DicomExporter("CT_series")  # doctest: +SKIP
>>> write_answers(answers, "out", model, exporters=[*default_exporters(), exporter])  # doctest: +SKIP
"""

from tips_med.exporters.dicom.captures import make_captures
from tips_med.exporters.dicom.exporter import DicomExporter
from tips_med.exporters.dicom.results import DicomResults, make_results
from tips_med.exporters.dicom.source import SourceImages, read_source

__all__ = ["DicomExporter", "DicomResults", "SourceImages", "make_captures", "make_results", "read_source"]
