"""Comparisons of two scans as files: report, masks, figure and displacement."""

from tips_med.exporters.comparison.displacement import write_displacement
from tips_med.exporters.comparison.folder import write_comparisons
from tips_med.exporters.comparison.masks import write_masks
from tips_med.exporters.comparison.report import comparison_report, comparison_schema, registration_entry

__all__ = [
    "comparison_report", "comparison_schema", "registration_entry", "write_comparisons", "write_displacement",
    "write_masks",
]  # fmt: skip
