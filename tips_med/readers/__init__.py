"""Strict reading of medical scans: a right volume, or an error that names its reason."""

from tips_med.readers.inspection import Inspection, inspect_path
from tips_med.readers.reading import read_scan

__all__ = ["Inspection", "inspect_path", "read_scan"]
