"""Strict reading of medical scans: a right volume, or an error that names its reason."""

from tips_med.readers.reading import read_scan

__all__ = ["read_scan"]
