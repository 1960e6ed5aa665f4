"""Manifests: which phrase is true of which scan, and where; read, checked, and made from public layouts."""

from tips_med.manifest.check import CheckReport, check_rows
from tips_med.manifest.masks import read_instances, read_mask, stores_instances
from tips_med.manifest.phrases import OTHER_FINDINGS, other_finding, other_level, other_side
from tips_med.manifest.problems import ManifestProblem
from tips_med.manifest.rows import ManifestError, Row, read_manifest, write_manifest

__all__ = [
    "OTHER_FINDINGS",
    "CheckReport",
    "ManifestError",
    "ManifestProblem",
    "Row",
    "check_rows",
    "other_finding",
    "other_level",
    "other_side",
    "read_instances",
    "read_manifest",
    "read_mask",
    "stores_instances",
    "write_manifest",
]
