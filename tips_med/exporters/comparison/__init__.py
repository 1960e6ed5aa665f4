"""Comparisons of two scans as files: report, masks and figure."""

from tips_med.exporters.comparison.folder import write_comparisons
from tips_med.exporters.comparison.report import comparison_report, comparison_schema

__all__ = ["comparison_report", "comparison_schema", "write_comparisons"]
