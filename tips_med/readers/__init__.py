"""Strict reading of medical scans: a right volume, or an error that names its reason."""

from tips_med.readers.inspection import Inspection, inspect_path
from tips_med.readers.reading import (
    PatientTrace,
    read_patient_trace,
    read_scan,
    read_scan_of_patient,
    read_series,
)

__all__ = [
    "Inspection", "PatientTrace", "inspect_path", "read_patient_trace", "read_scan", "read_scan_of_patient",
    "read_series",
]  # fmt: skip
